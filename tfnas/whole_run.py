"""The whole loop: measure, search, train, export, measure again, report."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from android_bench.options import Options
from tflite_bench import build
from tflite_bench.device import Device
from tfnas import artifacts
from tfnas import locks
from tfnas import measuring
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.cost.calibration import calibrate
from tfnas.cost.counting import count
from tfnas.cost.lut import DEFAULT_LOWERING
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import max_error
from tfnas.cost.lut_fields import MeasuredNet
from tfnas.cost.objective import check_numbers
from tfnas.data import arrays
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.fields import check_is_config
from tfnas.results import Bench
from tfnas.results import Derived
from tfnas.results import Measurement
from tfnas.results import SearchResult
from tfnas.results import require_config

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


def run(
    config: Any,
    workdir: str | pathlib.Path,
    target_ms: float | None = None,
    options: Options | None = None,
    progress: bool = True,
    data: Any = None,
) -> SearchResult:
    """Measures, searches, trains, exports, measures again and reports.

    The operators of the space are measured on the device of `config.lut`
    unless it names a table; the search runs under that table; the network
    found and random ones of the same latency are trained, exported to float32
    and int8, and timed. With more than one of `config.run.rounds` the
    measured networks calibrate the table, and the search runs again. The
    same call goes on where it was; files that were lost or damaged are made
    anew, with a warning.

    Args:
        config: A config such as those in `configs/`.
        workdir: Folder of the run; `docs/architecture.md` says what is in it.
        target_ms: Latency to aim at, instead of the config's; where both are
            `None`, a quantile of random networks (`run.target_quantile`).
        options: What the program on a phone is told; see
            `measuring.get_device`.
        progress: Whether to say where it is, with progress bars.
        data: Images to train and to test on, in the place of the set that
            the config names, `((x_train, y_train), (x_test, y_test))` or two
            `tf.data.Dataset`s; see `tfnas.data.arrays.held`.

    Returns:
        The result of the (last) search; its first network is in
        `derived/<arch id>` as `model.keras` and `model_*.tflite`.

    Raises:
        ConfigError: when the loop cannot run with the config, or the workdir
            is that of another one.
        ArtifactError: when a file is damaged that nothing can replace.
        DeviceError: when the device fails or does not settle.
        InfeasibleBudget: when the target cannot be reached.
        Diverged: when a training does; a lower `train.lr` may help.
        Locked: when another process works in the folder.

    Example:
        >>> config = tfnas.config("densenas_mbv2:local", {"lut.dtype": "int8"})
        >>> result = tfnas.run(config, "runs/demo", target_ms=0.07)
        >>> result.best.arch.summary()
    """
    check_is_config(config)
    if target_ms is not None:
        config = config.copy_and_resolve_references()
        config.target_ms = target_ms
    check(config)
    folder = pathlib.Path(workdir)
    with arrays.held(config, data, tested=True) as config:
        with locks.workdir(folder):
            return _Loop(config, folder, options, progress).run()


def check(config: Any) -> None:
    """Refuses at once what would come to light after hours.

    Raises:
        ConfigError: when the loop cannot run with the config.
    """
    check_numbers(config)
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


def device_of(
    config: Any, options: Options | None = None,
    journal: pathlib.Path | None = None,
) -> Device:
    """Returns the device of the config; see `measuring.get_device`."""
    lut = config.lut
    return measuring.get_device(
        lut.device, benchmark_binary=lut.benchmark_binary,
        fixed_performance=lut.fixed_performance, journal=journal,
        options=options,
    )


class _Loop:
    """One run, with what all of its steps need."""

    def __init__(
        self, config: Any, folder: pathlib.Path, options: Options | None,
        progress: bool,
    ):
        from tfnas import data

        self.config, self.folder = config, folder
        self.options, self.progress = options, progress
        self.data = data.load(config.data)
        self.space = spaces.get(
            config.space, self.data.classes, self.data.image_shape
        )

    def run(self) -> SearchResult:
        """Goes round; returns the result of the last search."""
        table = now = self.measure_operators()
        if self.progress:
            error = measuring.error_line(table)
            print(f"Latency table: {error}; {table.source}")
        target_ms = self.config.target_ms
        if target_ms is None:
            target_ms = self.quantile_ms(table)
        nets: dict[str, Net] = {}
        rounds = self.config.run.rounds
        for number in range(1, rounds + 1):
            last = number == rounds
            here = self.folder if last else self.folder / f"round-{number}"
            result = self.search(now, target_ms, here)
            # Only now: after a target that is refused, another one may be
            # tried on the same table. (Each stage claims its own folder.)
            artifacts.claim_workdir(self.folder, self.config)
            for net in self.chosen(result):
                self.train_and_export(now, net)
                nets.setdefault(net.arch.id, net)
            path = here / "bench" / "bench.json"
            self.measure_networks(now, list(nets.values()), path)
            if not last:
                new = _measured(Bench.load(path, sealed=True), table, nets)
                path = self.folder / "lut" / f"table-{number + 1}.json"
                # Each time: what is computed from whole files cannot be
                # damaged.
                calibrate(table, [*table.networks, *new]).save(path)
                now = LatencyTable.load(path)

        from tfnas import report

        said = report.publish(self.folder)
        if self.progress:
            print(said)
        return result

    def measure_operators(self) -> LatencyTable:
        """Returns the space's table, measured unless it is there."""
        lut, space = self.config.lut, self.space
        path = lut.path
        if path is None:
            path = self.folder / "lut" / "table.json"
            settings = {
                "space": self.config.space, "input_shape": space.input_shape,
                "classes": space.classes, **lut, "max_table_error": None,
            }
            artifacts.claim_workdir(path.parent, settings)
            if not path.exists():
                journal = path.with_name("runs.jsonl")
                measuring.build_table(
                    space, path, device_of(self.config, self.options, journal),
                    lut.dtype, lut.rounds, lut.nets, strict=False,
                    progress=self.progress, lower=self.lowering,
                    max_error=max_error(lut),
                )
        table = LatencyTable.load(path)
        device = device_of(self.config, self.options)
        table.require_config(lut, device.describe())
        table.require_space(space)
        return table

    @property
    def lowering(self) -> str:
        """What the files of the run are written for."""
        return self.config.lut.get("lower") or DEFAULT_LOWERING

    def quantile_ms(self, table: LatencyTable) -> float:
        """Returns a quantile of the latency of random networks."""
        draws = [
            table.latency_ms(self.space.sample(i))
            for i in range(_QUANTILE_DRAWS)
        ]
        return float(np.quantile(draws, self.config.run.target_quantile))

    def search(
        self, table: LatencyTable, target_ms: float, here: pathlib.Path
    ) -> SearchResult:
        """Searches under a table, in a folder of the round."""
        from tfnas.search import run_search

        config = self.config.copy_and_resolve_references()
        config.lut.path, config.target_ms = table.source, target_ms
        return run_search(config, here / "search", self.progress)

    def chosen(self, result: SearchResult) -> list[Net]:
        """Returns the network found and random ones, their files written."""
        best = result.archs[0]
        others = [f for f in result.baseline if f.arch.id != best.arch.id]
        nets = []
        for found in [best, *others[: self.config.run.random_networks]]:
            target = self.folder / "derived" / found.arch.id
            nets.append(Net(found.arch, found.role, target))
            found.arch.save(target / "arch.json")
        return nets

    def train_and_export(self, table: LatencyTable, net: Net) -> None:
        """Trains one network; writes its model, `.tflite` files and result.

        What is there is believed with its digests only, else it is made
        anew; the training has checkpoints, which do so themselves.
        """
        from tfnas import export
        from tfnas.train.retrain import save_model

        if _is_whole(self.config, net):
            return
        seed, test = self.config.seed, self.data.test
        model = self.train(table, net)
        feed = export.feed_of(self.data)
        save_model(model, net.folder / "model.keras", feed)
        images = test.representative(_PARITY_IMAGES, seed)
        calibration = self.data.train.representative(_REPRESENTATIVE, seed)
        accuracy = {"keras": export.accuracy(model, test)}
        described, parity = {}, {}
        for dtype in DTYPES:
            quantize = "int8" if dtype == "int8" else "none"
            blob = export.with_metadata(
                export.to_tflite(
                    model, quantize, calibration, lower=self.lowering
                ),
                export.Metadata.of(feed, net.arch.id, quantize),
            )
            artifacts.write_bytes(net.file(dtype), blob)
            described[dtype] = export.describe(blob)
            parity[dtype] = export.parity(model, blob, images)
            classifier = export.TFLiteClassifier(blob)
            accuracy[dtype] = export.accuracy(classifier, test)
        counts = count(net.arch)
        Derived(
            arch_id=net.arch.id,
            role=net.role,
            config_sha256=artifacts.config_digest(self.config),
            files={
                name: artifacts.sha256(net.folder / name)
                for name in (
                    "model.keras", *(net.file(d).name for d in DTYPES),
                    "train/config.json", "train/result.json",
                )
            },
            params=counts.params,
            madds=counts.madds,
            predicted_ms=table.latency_ms(net.arch),
            accuracy=accuracy,
            test_images=len(test),
            parity_max_abs=parity["float32"].max_abs,
            argmax_agreement_int8=parity["int8"].argmax_agreement,
            size_bytes={d: described[d]["size_bytes"] for d in DTYPES},
            tflite_ops={d: described[d]["ops"] for d in DTYPES},
            delegate_nodes=described["int8"]["delegate_nodes"],
        ).save(net.folder / "result.json")

    def train(self, table: LatencyTable, net: Net) -> Any:
        """Returns the trained model."""
        from tfnas.train.retrain import retrain

        try:
            model, _ = retrain(
                net.arch, self.config, net.folder / "train", self.data,
                title=f"train {net.role}", progress=self.progress,
            )
        except Diverged as error:
            raise Diverged(
                f"{net.folder}/train: {error.__cause__ or error}. All "
                "networks of a run are trained by one recipe: give a lower "
                "train.lr and a new --workdir, with "
                f"--lut={table.source}"
            ) from error
        return model

    def measure_networks(
        self, table: LatencyTable, nets: Sequence[Net], path: pathlib.Path
    ) -> None:
        """Times the exported files side by side and writes `bench.json`."""
        if _is_measured(path, self.config, nets):
            return
        device = device_of(
            self.config, self.options, path.with_name("runs.jsonl")
        )
        jobs = [(net, dtype) for net in nets for dtype in DTYPES]
        reference = path.with_name("reference.tflite")
        artifacts.write_bytes(
            reference,
            build.reference_model(table.dtype, table.entries, table.lowering),
        )
        files = [reference, *(net.file(dtype) for net, dtype in jobs)]
        beside, *measured = device.measure(
            [str(file) for file in files], self.config.run.bench_rounds
        )
        described = device.describe()
        models = tuple(
            Measurement(
                net.arch.id,
                net.role,
                dtype,
                table.latency_ms(net.arch) if dtype == table.dtype else None,
                found.latency_ms,
                str(net.file(dtype).relative_to(self.folder)),
                artifacts.sha256(net.file(dtype)),
                found.spread,
                len(found.samples_ms),
            )
            for (net, dtype), found in zip(jobs, measured, strict=True)
        )
        Bench(
            described["device"],
            described["runtime"],
            models,
            artifacts.config_digest(self.config),
            table.header["conditions"].get("reference_ms"),
            beside.latency_ms,
        ).save(path)


def _measured(
    bench: Bench, table: LatencyTable, nets: dict[str, Net]
) -> list[MeasuredNet]:
    """Returns the measured networks of the table's dtype."""
    return [
        MeasuredNet(nets[m.arch_id].arch, m.measured_ms, m.spread, m.rounds)
        for m in bench.models
        if m.dtype == table.dtype and m.measured_ms is not None
    ]


def _is_whole(config: Any, net: Net) -> bool:
    """Says whether a network's result and files are there, and whole."""
    from tfnas.train.stage import check_log

    path = net.folder / "result.json"
    if not path.exists():
        return False
    try:
        result = Derived.load(path, sealed=True)
        require_config(path, result, config)
        if result.arch_id != net.arch.id:
            raise ArtifactError(
                f"{path}: expected the result of {net.arch.id}. Received: "
                f"arch_id={result.arch_id!r}"
            )
        for name, expected in result.files.items():
            if artifacts.sha256(net.folder / name) != expected:
                raise ArtifactError(f"{net.folder / name}: it is damaged")
    except ArtifactError as error:
        artifacts.warn(f"{error}. It is made anew from the training")
        return False
    check_log(net.folder / "train")
    return True


def _is_measured(
    path: pathlib.Path, config: Any, nets: Sequence[Net]
) -> bool:
    """Says whether the files were measured as they are."""
    if not path.exists():
        return False
    try:
        bench = Bench.load(path, sealed=True)
        require_config(path, bench, config)
        files = [net.file(dtype) for net in nets for dtype in DTYPES]
        measured = sorted(model.sha256 for model in bench.models)
        if measured != sorted(map(artifacts.sha256, files)):
            raise ArtifactError(f"{path}: other files were measured")
    except ArtifactError as error:
        artifacts.warn(f"{error}. They are measured anew")
        return False
    return True
