"""How far a latency table is off, on networks it has never seen.

    python -m benchmarks.lut_accuracy --space=densenas_mbv2
    python -m benchmarks.lut_accuracy --space=densenas_mbv2 \\
        --entries=chain --nets=10 --builds=3

Builds the table of a space on this machine, calibrates it with a few
networks, measures 30 others and compares. Beside it stand the plain sum of
the table's rows and a straight line through multiply-adds, fitted to the
same calibration networks. Prints one JSON line and writes it to
`benchmarks/results/`. Takes about 5 minutes per build and dtype on 2 cores.
"""

from __future__ import annotations

import pathlib
import shutil
import time

import numpy as np
from absl import flags

from benchmarks import closing
from tflite_bench import build
from tflite_bench import convert
from tflite_bench import writer
from tflite_bench.device import HostDevice
from tfnas import cli
from tfnas import spaces
from tfnas.bin import tables
from tfnas.cost.counting import count
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import MeasuredNet

_SPACE = flags.DEFINE_string("space", "densenas_mbv2", "Search space.")
_DTYPES = flags.DEFINE_list("dtypes", ["float32", "int8"], "Types to test.")
_ENTRIES = flags.DEFINE_enum(
    "entries", "isolated", build.ENTRIES, "What a row is."
)
_NETS = flags.DEFINE_integer(
    "nets", 5, "Networks to calibrate with.", lower_bound=3
)
_TEST_NETS = flags.DEFINE_integer(
    "test_nets", 30, "Unseen networks.", lower_bound=3
)
_BUILDS = flags.DEFINE_integer("builds", 1, "Tables to build.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 25, "Rounds.", lower_bound=2)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/lut_accuracy", "Journals and tables; kept, so that a "
    "run that was killed goes on.",
)
_TEST_SEED = 1  # the calibration networks are drawn with seed 0
_CONVERTED = 6


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    space, device = spaces.get(_SPACE.value), HostDevice()
    described = device.describe()
    result = {
        "benchmark": "lut_accuracy",
        "space": space.name,
        "entries": _ENTRIES.value,
        "calibration_nets": _NETS.value,
        "device": described["device"],
        "runtime": described["runtime"],
        "clock": described["clock"],
        "blocks": len(space.lut_keys()),
        "writer": _writer_speed(space),
    }
    for dtype in _DTYPES.value:
        runs = [_run(space, device, dtype, i) for i in range(_BUILDS.value)]
        result[dtype] = {
            "median_mape_percent": float(
                np.median([r["calibrated"]["mape_percent"] for r in runs])
            ),
            "builds": runs,
        }
    closing.show(
        result, f"lut_accuracy_{space.name}_{_ENTRIES.value}_{_NETS.value}"
    )


def _run(
    space: spaces.Space, device: HostDevice, dtype: str, index: int
) -> dict:
    """Builds one table and compares it with unseen networks."""
    name = f"{space.name}_{_ENTRIES.value}_{_NETS.value}_{dtype}_{index}"
    path = pathlib.Path(_WORKDIR.value) / name / "table.json"
    start = time.monotonic()
    table = tables.build_table(
        space, path, device, dtype, _ROUNDS.value, _NETS.value,
        strict=False, entries=_ENTRIES.value,
    )
    build_s = time.monotonic() - start
    nets = _measure(space, device, dtype, path.with_name("test"))
    measured = np.array([net.latency_ms for net in nets])
    plain = table.uncalibrated()
    return {
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
        "calibrated": _errors(
            [table.latency_ms(net.arch) for net in nets], measured
        ),
        "uncalibrated": _errors(
            [plain.latency_ms(net.arch) for net in nets], measured
        ),
        "madds_line": _errors(_madds_line(table.networks, nets), measured),
    }


def _measure(
    space: spaces.Space, device: HostDevice, dtype: str, path: pathlib.Path
) -> list[MeasuredNet]:
    """Measures the unseen networks on their own, after the table."""
    archs = tables.spanning_nets(space, _TEST_NETS.value, _TEST_SEED)
    job = build.Job((), tuple(archs), dtype, _ROUNDS.value, strict=False)
    value = build.build(job, device, path)
    return [
        MeasuredNet(arch, net["latency_ms"], net["spread"], net["n"])
        for arch, net in zip(archs, value["networks"], strict=True)
    ]


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


def _errors(predicted: object, measured: np.ndarray) -> dict[str, float]:
    predicted = np.asarray(predicted)
    errors = np.abs(predicted / measured - 1)
    return {
        "mape_percent": 100 * float(errors.mean()),
        "max_percent": 100 * float(errors.max()),
        "bias_percent": 100 * float(np.mean(predicted / measured - 1)),
        "kendall": _kendall(predicted, measured),
        "spearman": _spearman(predicted, measured),
    }


def _kendall(a: np.ndarray, b: np.ndarray) -> float:
    i, j = np.triu_indices(len(a), 1)
    return float(np.mean(np.sign((a[i] - a[j]) * (b[i] - b[j]))))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _writer_speed(space: spaces.Space) -> dict[str, float]:
    """Seconds per block of the direct writer and of the converter."""
    keys = space.lut_keys()
    start = time.process_time()
    for key in keys:
        writer.write_key(key, "int8")
    written_s = (time.process_time() - start) / len(keys)
    folder = pathlib.Path(_WORKDIR.value) / "converted"
    some = keys[:: len(keys) // _CONVERTED][: _CONVERTED + 1]
    folder.mkdir(parents=True, exist_ok=True)
    seconds = []
    for chosen in (some[:1], some):  # the first pays the start of the process
        jobs = {str(folder / f"{i}.tflite"): (k,) for i, k in enumerate(chosen)}
        start = time.monotonic()
        convert.convert(jobs, "int8")
        seconds.append(time.monotonic() - start)
    shutil.rmtree(folder)
    converted_s = (seconds[1] - seconds[0]) / (len(some) - 1)
    return {
        "written_s": written_s,
        "converted_s": converted_s,
        "times_faster": converted_s / written_s,
    }


if __name__ == "__main__":
    cli.run(main)
