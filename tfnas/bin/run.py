"""The whole loop: measure, search, train, export, measure again, report.

    tfnas-run --config=configs/densenas_mbv2.py:local --workdir=runs/demo

Measures the operators of the space on the device, searches under that table,
trains the network found and a random one of the same latency, exports both to
float32 and int8, times the files, and writes `report.html`. With `--rounds=2`
the measured networks calibrate the table and the search runs again. A run that
was killed goes on when the same command is given again; files that were lost
or damaged meanwhile are made anew, and it says so.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
from absl import flags

from android_bench import flags as phone_flags
from tflite_bench import build
from tfnas import artifacts
from tfnas import cli
from tfnas import locks
from tfnas import measuring
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.bin import checks
from tfnas.bin import configs
from tfnas.bin import options
from tfnas.cost.calibration import calibrate
from tfnas.cost.counting import count
from tfnas.cost.lut import DEFAULT_LOWERING
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import max_error
from tfnas.cost.lut_fields import MeasuredNet
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import Diverged

_CONFIG = configs.define_config()
_WORKDIR = options.define_workdir()
options.define_target()
options.define_overrides()
flags.DEFINE_integer(
    "rounds", None, "Searches; before each but the first the table is "
    "calibrated with the networks measured so far.", lower_bound=1,
)

flags.DEFINE_string(
    "device", None, "host, adb:SERIAL or adb, instead of the config's."
)

_DERIVED, _BENCH = "tfnas-derived/1", "tfnas-bench/1"
DTYPES = ("float32", "int8")
_REPRESENTATIVE = 200  # images that set the int8 ranges
_PARITY_IMAGES = 1000  # test images on which the files are compared
_QUANTILE_DRAWS = 300


@dataclasses.dataclass(frozen=True)
class Net:
    """A network that the loop trains.

    Args:
        arch: The network.
        role: `"searched"` or `"random"`.
        folder: `derived/<arch.id>` in the workdir.
    """

    arch: Arch
    role: str
    folder: pathlib.Path

    def file(self, dtype: str) -> pathlib.Path:
        """Returns the path of its `.tflite` file."""
        return self.folder / f"model_{dtype}.tflite"


def main(argv: list[str]) -> None:
    """Runs the loop."""
    del argv
    config = options.merge(_CONFIG.value)
    checks.require(
        config, "target_ms", "target_madds", "strategy", "lut", "search",
        "train", "run",
    )
    check(config)
    checks.settings(config, _WORKDIR.value)
    checks.training(config)
    _device(config)
    cli.load_tensorflow()
    folder = pathlib.Path(_WORKDIR.value)
    with locks.workdir(folder):
        _run(config, folder)


def _run(config: Any, folder: pathlib.Path) -> None:
    from tfnas import data

    dataset = data.load(config.data)
    space = spaces.get(config.space, dataset.classes, dataset.image_shape)
    table = measure_operators(config, space, folder)
    print(f"Latency table: {measuring.error_line(table)}; {table.source}")
    target_ms = config.target_ms
    if target_ms is None:
        target_ms = quantile_ms(space, table, config)
    now = table
    nets: list[Net] = []
    for number in range(1, config.run.rounds + 1):
        last = number == config.run.rounds
        here = folder if last else folder / f"round-{number}"
        found = search(config, now, target_ms, folder, here)
        # Only now: after a target that is refused, another one may be tried
        # on the same table. (Each stage claims its own folder.)
        artifacts.claim_workdir(folder, config)
        for net in found:
            train_and_export(config, dataset, now, net)
        known = {net.arch.id for net in nets}
        nets += [net for net in found if net.arch.id not in known]
        measure_networks(config, now, nets, folder, here)
        if not last:
            path = folder / "lut" / f"table-{number + 1}.json"
            now = recalibrate(table, nets, here, path)

    from tfnas import report

    path = report.write(folder)
    print(report.terminal_table(folder))
    print(f"The whole report: {path}")
    print(report.next_steps(folder))


def check(config: Any) -> None:
    """Refuses at once what would come to light after hours.

    Raises:
        ConfigError: when the loop cannot run with the config.
    """
    if config.target_madds is not None:
        raise ConfigError(
            "`target_madds` is for searches without a latency table. "
            f"Received: {config.target_madds:g}"
        )
    if config.strategy == "multiworker":
        raise ConfigError(
            "tfnas-run works on one machine; tfnas-search and tfnas-train "
            "take several. Received: strategy='multiworker'"
        )
    archs = config.search.get("random_archs", 1)  # query searches have theirs
    if not (archs and config.run.random_networks):
        raise ConfigError(
            "`search.random_archs` and `run.random_networks` must be at "
            "least 1: a random network stands beside the result. Received: "
            f"{archs} and {config.run.random_networks}"
        )


def _device(
    config: Any, journal: pathlib.Path | None = None
) -> measuring.Device:
    """Returns the device of the config."""
    lut = config.lut
    return measuring.get_device(
        lut.device, benchmark_binary=lut.benchmark_binary,
        fixed_performance=lut.fixed_performance, journal=journal,
        options=phone_flags.options_of(threads=1),
    )


def measure_operators(
    config: Any, space: spaces.Space, folder: pathlib.Path
) -> LatencyTable:
    """Returns the latency table of the space, measured unless it is there."""
    path = config.lut.path
    if path is None:
        path = folder / "lut" / "table.json"
        settings = {
            "space": config.space, "input_shape": space.input_shape,
            "classes": space.classes, **config.lut, "max_table_error": None,
        }
        artifacts.claim_workdir(path.parent, settings)
        if not path.exists():
            measuring.build_table(
                space, path, _device(config, folder / "lut" / "runs.jsonl"),
                config.lut.dtype, config.lut.rounds, config.lut.nets,
                strict=False, lower=_lowering(config),
                max_error=max_error(config.lut),
            )
    table = LatencyTable.load(path)
    table.require_config(config.lut, _device(config).describe())
    table.require_space(space)
    return table


def _lowering(config: Any) -> str:
    """Returns what the files of the run are written for."""
    return config.lut.get("lower") or DEFAULT_LOWERING


def search(
    config: Any, table: LatencyTable, target_ms: float, folder: pathlib.Path,
    here: pathlib.Path,
) -> list[Net]:
    """Searches under the table; returns the result and random networks.

    Args:
        config: The whole config.
        table: The latency table, as it was loaded.
        target_ms: Latency to aim at.
        folder: The run's workdir.
        here: Folder of this round.
    """
    from tfnas.search import run_search

    config = config.copy_and_resolve_references()
    config.lut.path, config.target_ms = table.source, target_ms
    result = run_search(config, here / "search")
    best = result.archs[0]
    others = [f for f in result.baseline if f.arch.id != best.arch.id]
    nets = []
    for found in [best, *others[: config.run.random_networks]]:
        target = folder / "derived" / found.arch.id
        nets.append(Net(found.arch, found.role, target))
        found.arch.save(target / "arch.json")
    return nets


def recalibrate(
    table: LatencyTable, nets: list[Net], here: pathlib.Path,
    path: pathlib.Path,
) -> LatencyTable:
    """Returns the table calibrated with the networks of the rounds too.

    Args:
        table: The table as it was built.
        nets: The networks of the rounds so far.
        here: Folder of the round, with its `bench.json`.
        path: Where the new table is saved.
    """
    bench = artifacts.read_json(here / "bench" / "bench.json", sealed=True)
    archs = {net.arch.id: net.arch for net in nets}
    new = [
        MeasuredNet(
            archs[m["arch_id"]], m["measured_ms"], m["spread"], m["rounds"]
        )
        for m in bench["models"]
        if m["dtype"] == table.dtype
    ]
    # Each time: what is computed from whole files cannot be damaged.
    calibrate(table, [*table.networks, *new]).save(path)
    return LatencyTable.load(path)


def quantile_ms(
    space: spaces.Space, table: LatencyTable, config: Any
) -> float:
    """Returns a quantile of the latency of random networks of the space."""
    draws = [
        table.latency_ms(space.sample(i)) for i in range(_QUANTILE_DRAWS)
    ]
    return float(np.quantile(draws, config.run.target_quantile))


def train_and_export(
    config: Any, dataset: Any, table: LatencyTable, net: Net
) -> None:
    """Trains one network and writes its model, `.tflite` files and result.

    What is there is believed with its digests only, else it is made anew;
    the training has checkpoints, which do so themselves.
    """
    from tfnas import export
    from tfnas.train.retrain import save_model

    if _is_whole(config, net):
        return
    model = _train(config, dataset, table, net)
    feed = export.feed_of(dataset)
    save_model(model, net.folder / "model.keras", feed)
    images = dataset.test.representative(_PARITY_IMAGES, config.seed)
    calibration = dataset.train.representative(_REPRESENTATIVE, config.seed)
    accuracy = {"keras": export.accuracy(model, dataset.test)}
    described, parity = {}, {}
    for dtype in DTYPES:
        quantize = "int8" if dtype == "int8" else "none"
        blob = export.with_metadata(
            export.to_tflite(
                model, quantize, calibration, lower=_lowering(config)
            ),
            export.Metadata.of(feed, net.arch.id, quantize),
        )
        artifacts.write_bytes(net.file(dtype), blob)
        described[dtype] = export.describe(blob)
        parity[dtype] = export.parity(model, blob, images)
        accuracy[dtype] = export.accuracy(
            export.TFLiteClassifier(blob), dataset.test
        )
    counts = count(net.arch)
    artifacts.write_json(
        net.folder / "result.json",
        {
            "format": _DERIVED,
            "config_sha256": artifacts.config_digest(config),
            "files": {
                name: artifacts.sha256(net.folder / name)
                for name in (
                    "model.keras", *(net.file(d).name for d in DTYPES),
                    "train/config.json", "train/result.json",
                )
            },
            "arch_id": net.arch.id,
            "role": net.role,
            "params": counts.params,
            "madds": counts.madds,
            "predicted_ms": table.latency_ms(net.arch),
            "accuracy": accuracy,
            "test_images": len(dataset.test),
            "parity_max_abs": parity["float32"].max_abs,
            "argmax_agreement_int8": parity["int8"].argmax_agreement,
            "size_bytes": {d: described[d]["size_bytes"] for d in DTYPES},
            "tflite_ops": {d: described[d]["ops"] for d in DTYPES},
            "delegate_nodes": described["int8"]["delegate_nodes"],
        },
        sealed=True,
    )


def _train(
    config: Any, dataset: Any, table: LatencyTable, net: Net
) -> Any:
    """Returns the trained model."""
    from tfnas.train.retrain import retrain

    try:
        model, _ = retrain(
            net.arch, config, net.folder / "train", dataset,
            title=f"train {net.role}",
        )
    except Diverged as error:
        raise Diverged(
            f"{net.folder}/train: {error.__cause__ or error}. All networks of "
            "a run are trained by one recipe: give a lower train.lr and a new "
            f"--workdir, with --lut={table.source}"
        ) from error
    return model


def _is_whole(config: Any, net: Net) -> bool:
    """Says whether a network's result and files are there, and whole."""
    from tfnas.train.stage import check_log

    path = net.folder / "result.json"
    if not path.exists():
        return False
    try:
        result = artifacts.read_json(path, _DERIVED, sealed=True)
        _require_origin(path, result, config)
        if result["arch_id"] != net.arch.id:
            raise ArtifactError(
                f"{path}: expected the result of {net.arch.id}. Received: "
                f"arch_id={result['arch_id']!r}"
            )
        for name, expected in result["files"].items():
            if artifacts.sha256(net.folder / name) != expected:
                raise ArtifactError(f"{net.folder / name}: it is damaged")
    except ArtifactError as error:
        artifacts.warn(f"{error}. It is made anew from the training")
        return False
    check_log(net.folder / "train")
    return True


def _require_origin(
    path: pathlib.Path, value: dict[str, Any], config: Any
) -> None:
    ours = artifacts.config_digest(config)
    if value.get("config_sha256") != ours:
        raise ArtifactError(
            f"{path}: expected a file of this config, {ours}. Received: "
            f"config_sha256={value.get('config_sha256')!r}"
        )


def measure_networks(
    config: Any, table: LatencyTable, nets: list[Net], folder: pathlib.Path,
    here: pathlib.Path,
) -> None:
    """Times the exported files side by side and writes `bench.json`."""
    path = here / "bench" / "bench.json"
    if _is_measured(path, config, nets):
        return
    device = _device(config, path.with_name("runs.jsonl"))
    jobs = [(net, dtype) for net in nets for dtype in DTYPES]
    reference = path.with_name("reference.tflite")
    artifacts.write_bytes(
        reference,
        build.reference_model(table.dtype, table.entries, table.lowering),
    )
    files = [reference, *(net.file(dtype) for net, dtype in jobs)]
    beside, *measured = device.measure(
        [str(file) for file in files], config.run.bench_rounds
    )
    described = device.describe()
    models = [
        {
            "arch_id": net.arch.id,
            "role": net.role,
            "dtype": dtype,
            "file": str(net.file(dtype).relative_to(folder)),
            "sha256": artifacts.sha256(net.file(dtype)),
            "predicted_ms": (
                table.latency_ms(net.arch) if dtype == table.dtype else None
            ),
            "measured_ms": measurement.latency_ms,
            "spread": measurement.spread,
            "rounds": len(measurement.samples_ms),
        }
        for (net, dtype), measurement in zip(jobs, measured, strict=True)
    ]
    bias = [
        100 * (table.latency_ms(net.arch) / measurement.latency_ms - 1)
        for (net, dtype), measurement in zip(jobs, measured, strict=True)
        if dtype == table.dtype
    ]
    artifacts.write_json(
        path,
        {
            "format": _BENCH,
            "config_sha256": artifacts.config_digest(config),
            "device": described["device"],
            "runtime": described["runtime"],
            "models": models,
            # The same block was timed with the table: how much slower the
            # machine itself is now.
            "reference": {
                "table_ms": table.header["conditions"].get("reference_ms"),
                "bench_ms": beside.latency_ms,
            },
            "bias_percent": {
                "mean": float(np.mean(bias)), "min": min(bias),
                "max": max(bias),
            },
        },
        sealed=True,
    )


def _is_measured(path: pathlib.Path, config: Any, nets: list[Net]) -> bool:
    """Says whether the files were measured as they are."""
    if not path.exists():
        return False
    try:
        bench = artifacts.read_json(path, _BENCH, sealed=True)
        _require_origin(path, bench, config)
        measured = sorted(m["sha256"] for m in bench["models"])
        files = [net.file(dtype) for net in nets for dtype in DTYPES]
        if measured != sorted(map(artifacts.sha256, files)):
            raise ArtifactError(f"{path}: other files were measured")
    except ArtifactError as error:
        artifacts.warn(f"{error}. They are measured anew")
        return False
    return True


def entry() -> None:
    """Runs the program `tfnas-run`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
