"""How far a latency table is off, on networks it has never seen.

    python -m benchmarks.lut_accuracy --space=all --rounds=8
    python -m benchmarks.lut_accuracy --space=densenas_mbv2 \\
        --entries=chain --nets=10 --builds=3
    python -m benchmarks.lut_accuracy --space=nasbench201 --before

Builds the table of a space on this machine, calibrates it with a few
networks, and compares it with 20 others, measured in the same rounds. Beside
it stand the plain sum of the table's rows and a straight line through
multiply-adds, fitted to the same calibration networks. `--before` measures
the rows as they were once: each block alone, files not rewritten, and only
those that the networks need.

Prints one JSON line for each space, says whether `WANTED` holds, and writes
it to `benchmarks/results/`. Takes 1 to 5 minutes for each space and type on
an idle core.
"""

from __future__ import annotations

import pathlib
import time

import numpy as np
from absl import flags

from benchmarks import closing
from tflite_bench import build
from tflite_bench.device import HostDevice
from tfnas import artifacts
from tfnas import cli
from tfnas import measuring
from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.cost.calibration import calibrate
from tfnas.cost.counting import count
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import MeasuredNet

# Native, or scaled where the native ones take long.
SPACES = (
    "densenas_mbv2", "densenas_resnet@32", "mobilenetv3@32",
    "autospace_proxyless@32", "autoshrink_cnn@32", "nasbench201",
)
WANTED = {"mape_percent": 2.0, "max_percent": 6.0, "spearman": 0.98}
_BUILD_S = 300.0

_SPACE = flags.DEFINE_string("space", "densenas_mbv2", "Search space, or all.")
_DTYPES = flags.DEFINE_list("dtypes", ["float32", "int8"], "Types to test.")
_ENTRIES = flags.DEFINE_enum(
    "entries", measuring.AUTO, [measuring.AUTO, *build.ENTRIES],
    "What a row is.",
)
_BEFORE = flags.DEFINE_bool(
    "before", False, "Rows as they were: blocks alone, not rewritten."
)
_NETS = flags.DEFINE_integer(
    "nets", 5, "Networks to calibrate with.", lower_bound=3
)
_TEST_NETS = flags.DEFINE_integer(
    "test_nets", 20, "Unseen networks.", lower_bound=3
)
_BUILDS = flags.DEFINE_integer("builds", 1, "Tables to build.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 25, "Rounds.", lower_bound=2)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/lut_accuracy", "Journals and tables; kept, so that a "
    "run that was killed goes on.",
)
_TEST_SEED = 1  # the calibration networks are drawn with seed 0


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    names = SPACES if _SPACE.value == "all" else (_SPACE.value,)
    for name in names:
        _show(spaces.get(name), HostDevice())


def _show(space: spaces.Space, device: HostDevice) -> None:
    described = device.describe()
    entries = "before" if _BEFORE.value else _ENTRIES.value
    result = {
        "benchmark": "lut_accuracy",
        "space": space.name,
        "entries": entries,
        "calibration_nets": _NETS.value,
        "device": described["device"],
        "runtime": described["runtime"],
        "clock": described["clock"],
        "wanted": WANTED,
    }
    for dtype in _DTYPES.value:
        runs = [
            _run(space, device, dtype, f"{entries}_{i}")
            for i in range(_BUILDS.value)
        ]
        result[dtype] = {
            "median_mape_percent": float(
                np.median([r["calibrated"]["mape_percent"] for r in runs])
            ),
            "holds": all(map(_holds, runs)),
            "builds": runs,
        }
    closing.show(result, f"lut_accuracy_{space.name}_{entries}_{_NETS.value}")


def _holds(run: dict) -> bool:
    found = run["calibrated"]
    return (
        found["mape_percent"] <= WANTED["mape_percent"]
        and found["max_percent"] <= WANTED["max_percent"]
        and found["spearman"] >= WANTED["spearman"]
        and run["build_s"] <= _BUILD_S
    )


def _run(
    space: spaces.Space, device: HostDevice, dtype: str, name: str
) -> dict:
    """Builds one table and compares it with unseen networks."""
    path = pathlib.Path(_WORKDIR.value) / f"{space.name}_{dtype}_{name}.json"
    known = measuring.spanning_nets(space, _NETS.value)
    unseen = [
        arch
        for arch in measuring.spanning_nets(space, _TEST_NETS.value, _TEST_SEED)
        if arch.id not in {one.id for one in known}
    ]
    start = time.monotonic()
    job = _job(space, dtype, known, unseen)
    artifacts.write_json(path, build.build(job, device, path))
    build_s = time.monotonic() - start
    whole = LatencyTable.load(path)
    of = {net.arch.id: net for net in whole.networks}
    table = calibrate(whole, [of[arch.id] for arch in known])
    nets = [of[arch.id] for arch in unseen]
    measured = np.array([net.latency_ms for net in nets])
    plain = table.uncalibrated()
    return {
        "entries": table.entries,
        "lowering": table.lowering,
        "rows": len(table.rows),
        "test_nets": len(nets),
        "test_ms": [measured.min(), measured.max()],
        "build_s": round(build_s, 1),
        "measuring_s": round(table.header["conditions"]["seconds"], 1),
        "load_average": float(
            np.mean(table.header["conditions"]["load_average"])
        ),
        "spread_percent": 100 * table.header["conditions"]["mean_spread"],
        "calibration": vars(table.calibration),
        "inside_interval": _inside(table, nets),
        "calibrated": _errors(table, nets),
        "uncalibrated": _errors(plain, nets),
        "madds_line": _compare(_madds_line(table.networks, nets), measured),
    }


def _job(
    space: spaces.Space, dtype: str, known: list[Arch], unseen: list[Arch]
) -> build.Job:
    """Returns what to measure, all of it in the same rounds."""
    archs = (*known, *unseen)
    if not _BEFORE.value:
        entries = _ENTRIES.value
        if entries == measuring.AUTO:
            entries = space.entries
        keys = measuring.space_keys(space, entries, dtype, "xnnpack")
        return build.Job(keys, archs, dtype, _ROUNDS.value, False, entries)
    keys = tuple(dict.fromkeys(
        key
        for arch in archs
        for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False)
        if (key := ops.lut_key(block, shape))
    ))
    return build.Job(
        keys, archs, dtype, _ROUNDS.value, False, "isolated", "none"
    )


def _inside(table: LatencyTable, nets: list[MeasuredNet]) -> float:
    """Share of the networks that the 95 % interval covers."""
    found = [(table.predict(net.arch), net.latency_ms) for net in nets]
    return float(np.mean([p.low_ms <= ms <= p.high_ms for p, ms in found]))


def _madds_line(
    known: tuple[MeasuredNet, ...], nets: list[MeasuredNet]
) -> np.ndarray:
    """Latency as a straight line over multiply-adds."""
    columns, targets = (
        np.array([[count(net.arch).madds, 1.0] for net in group])
        for group in (known, nets)
    )
    measured = np.array([net.latency_ms for net in known])
    line = np.linalg.lstsq(
        columns / measured[:, None], np.ones(len(known)), rcond=None
    )[0]
    return targets @ line


def _errors(table: LatencyTable, nets: list[MeasuredNet]) -> dict[str, float]:
    predicted = np.array([table.latency_ms(net.arch) for net in nets])
    return _compare(predicted, np.array([net.latency_ms for net in nets]))


def _compare(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    fresh = measuring.Fresh(tuple(predicted), tuple(measured))
    return {
        "mape_percent": fresh.mape_percent,
        "max_percent": fresh.max_percent,
        "bias_percent": float(np.mean(fresh.errors_percent)),
        "spearman": fresh.spearman,
        "kendall": _kendall(predicted, measured),
    }


def _kendall(a: np.ndarray, b: np.ndarray) -> float:
    i, j = np.triu_indices(len(a), 1)
    return float(np.mean(np.sign((a[i] - a[j]) * (b[i] - b[j]))))


if __name__ == "__main__":
    cli.run(main)
