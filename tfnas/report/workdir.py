"""Reads what a search, or a whole run, left in its workdir."""

import dataclasses
from pathlib import Path
from typing import Any

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.report.fields import Fields
from tfnas.report.fields import printable

# The role of networks that were measured together with the latency table.
WITH_TABLE = "with the table"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An architecture as the search saw it, scored with shared weights."""

    arch_id: str
    role: str
    arch: Arch | None
    cost: float | None
    score: float | None
    params: float | None
    madds: float | None


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of a log; `progress` is the epoch with its fraction done."""

    phase: str
    progress: float
    loss: float | None
    accuracy: float | None


@dataclasses.dataclass(frozen=True)
class Network:
    """A derived network: trained from scratch, exported, checked."""

    arch_id: str
    role: str
    arch: Arch | None
    accuracy: dict[str, float]
    size_bytes: dict[str, float]
    params: float | None
    madds: float | None
    predicted_ms: float | None
    test_images: float | None
    agreement: float | None
    parity: float | None
    tflite_ops: dict[str, float]
    delegate_nodes: float | None
    log: tuple[Record, ...]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One network of one dtype on the device, predicted and measured."""

    arch_id: str
    role: str
    dtype: str
    predicted_ms: float | None
    measured_ms: float | None

    @property
    def error(self) -> float | None:
        """The relative error of the prediction; negative is too low."""
        if self.predicted_ms is None or not self.measured_ms:
            return None
        return self.predicted_ms / self.measured_ms - 1


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything the report shows, read and checked.

    `slowdown` is what the reference block took beside the networks over what
    it took beside the table: what the machine itself adds to the error.
    """

    path: Path
    config: dict[str, Any] | None
    algorithm: str
    space: str
    seed: str
    versions: dict[str, str]
    unit: str
    target: float | None
    archs: tuple[Candidate, ...]
    baseline: tuple[Candidate, ...]
    pareto: tuple[str, ...]
    history: tuple[dict[str, float | None], ...]
    log: tuple[Record, ...]
    lut: LatencyTable | None
    networks: tuple[Network, ...]
    measurements: tuple[Measurement, ...]
    bench: dict[str, str]
    slowdown: float | None = None

    def latency(self, network: Network) -> Measurement:
        """Returns the latency that stands for a network in the headline.

        Of several dtypes it is the one the table predicts, int8 first.
        """
        unmeasured = Measurement(
            network.arch_id, network.role, "", network.predicted_ms, None
        )
        return min(
            (
                m
                for m in self.measurements
                if m.arch_id == network.arch_id and m.role != WITH_TABLE
            ),
            key=lambda m: (m.predicted_ms is None, m.dtype != "int8"),
            default=unmeasured,
        )


def read(workdir: str | Path) -> Run:
    """Reads the workdir of `tfnas-run` or of a single search.

    Args:
        workdir: The directory. Only the search's `result.json` must be there.

    Returns:
        The run; what the directory does not hold is empty or None.

    Raises:
        ArtifactError: If the result is missing, or a file is unreadable.
    """
    path = Path(workdir)
    stage = path / "search" if (path / "search").is_dir() else path
    result = _object(stage / "result.json", "tfnas-result/1")
    archs = tuple(_candidate(f) for f in result.sections("archs"))
    if not archs:
        raise ArtifactError(
            f'{result.where}: field "archs": expected at least one '
            "architecture. Received: archs=[]"
        )
    config = _optional(path / "config.json") or _optional(stage / "config.json")
    bench = _optional(path / "bench" / "bench.json", "tfnas-bench/1")
    # Later rounds of a run add table-2.json and so on.
    tables = sorted(
        path.glob("lut/table*.json"), key=lambda p: (len(p.name), p.name)
    )
    lut = LatencyTable.load(tables[-1]) if tables else None
    return Run(
        path=path,
        config=config.values if config else None,
        algorithm=result.text("algorithm"),
        space=result.text("space"),
        seed=printable(str(result.values.get("seed"))),
        versions=result.section("versions").flat(),
        unit=result.text("unit"),
        target=result.number("target"),
        archs=archs,
        baseline=tuple(_candidate(f) for f in result.sections("baseline")),
        pareto=tuple(str(name) for name in result.sequence("pareto")),
        history=tuple(_epoch(f) for f in result.sections("history")),
        log=_log(stage / "log.jsonl"),
        lut=lut,
        networks=_networks(path / "derived", archs),
        measurements=(_measurements(bench) if bench else ())
        + (_with_table(lut) if lut else ()),
        bench=_hardware(bench) if bench else {},
        slowdown=_slowdown(bench) if bench else None,
    )


def _object(path: Path, format: str | None = None) -> Fields:
    return Fields(artifacts.read_json(path, format=format), str(path))


def _optional(path: Path, format: str | None = None) -> Fields | None:
    return _object(path, format) if path.exists() else None


def _candidate(entry: Fields) -> Candidate:
    arch = entry.values.get("arch")
    return Candidate(
        arch_id=entry.text("id"),
        role=entry.text("role"),
        arch=Arch.from_json(arch, entry.where) if arch else None,
        cost=entry.number("cost"),
        score=entry.number("score"),
        params=entry.number("params"),
        madds=entry.number("madds"),
    )


def _epoch(entry: Fields) -> dict[str, float | None]:
    names = ("epoch", "cost", "expected_cost", "accuracy")
    values = {name: entry.number(name) for name in names}
    # Files count epochs from 0; what an epoch ends with belongs at its end.
    if values["epoch"] is not None:
        values["epoch"] += 1
    return values


def _log(path: Path) -> tuple[Record, ...]:
    if not path.exists():
        return ()
    lines = [
        Fields(line, f"{path}: record {i}")
        for i, line in enumerate(artifacts.read_jsonl(path), start=1)
    ]
    groups: dict[tuple[str, float], list[Fields]] = {}
    for line in lines:
        group = line.text("phase"), line.number("epoch") or 0.0
        groups.setdefault(group, []).append(line)
    # The records of one epoch are spread evenly over it.
    return tuple(
        Record(
            phase,
            epoch + position / len(group),
            line.number("loss"),
            line.number("accuracy"),
        )
        for (phase, epoch), group in groups.items()
        for position, line in enumerate(group, start=1)
    )


def _networks(
    derived: Path, archs: tuple[Candidate, ...]
) -> tuple[Network, ...]:
    networks = [_network(p) for p in sorted(derived.glob("*/result.json"))]
    result = archs[0].arch_id
    return tuple(
        sorted(
            networks, key=lambda n: (n.arch_id != result, n.role == "random")
        )
    )


def _network(path: Path) -> Network:
    result = _object(path, "tfnas-derived/1")
    arch = path.parent / "arch.json"
    return Network(
        arch_id=result.text("arch_id"),
        role=result.text("role"),
        arch=Arch.load(arch) if arch.exists() else None,
        accuracy=result.numbers("accuracy"),
        size_bytes=result.numbers("size_bytes"),
        params=result.number("params"),
        madds=result.number("madds"),
        predicted_ms=result.number("predicted_ms"),
        test_images=result.number("test_images"),
        agreement=result.number("argmax_agreement_int8"),
        parity=result.number("parity_max_abs"),
        tflite_ops=result.section("tflite_ops").numbers("int8"),
        delegate_nodes=result.number("delegate_nodes"),
        log=_log(path.parent / "train" / "log.jsonl"),
    )


def _measurements(bench: Fields) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(
            arch_id=model.text("arch_id"),
            role=model.text("role"),
            dtype=model.text("dtype"),
            predicted_ms=model.number("predicted_ms"),
            measured_ms=model.number("measured_ms"),
        )
        for model in bench.sections("models")
    )


def _slowdown(bench: Fields) -> float | None:
    reference = bench.section("reference")
    then, now = reference.number("table_ms"), reference.number("bench_ms")
    return now / then if then and now else None


def _with_table(lut: LatencyTable) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(
            arch_id=net.arch.id,
            role=WITH_TABLE,
            dtype=lut.dtype,
            predicted_ms=lut.latency_ms(net.arch),
            measured_ms=net.latency_ms,
        )
        for net in lut.networks
        if not lut.missing(net.arch)
    )


def _hardware(source: Fields) -> dict[str, str]:
    return {
        f"{part}.{name}": text
        for part in ("device", "runtime")
        for name, text in source.section(part).flat().items()
    }
