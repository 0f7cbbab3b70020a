"""Reads what a search, or a whole run, left in its workdir."""

import dataclasses
from pathlib import Path
from typing import Any

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.cost.lut import LatencyTable
from tfnas.fields import Fields
from tfnas.fields import printable
from tfnas.results import Bench
from tfnas.results import Derived
from tfnas.results import Found
from tfnas.results import Measurement
from tfnas.results import SearchResult

# The role of networks that were measured together with the latency table.
WITH_TABLE = "with the table"


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of a log; `progress` is the epoch with its fraction done."""

    phase: str
    progress: float
    loss: float | None
    accuracy: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Derived):
    """A derived network, with its blocks and the log of its training."""

    arch: Arch | None = None
    log: tuple[Record, ...] = ()


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
    archs: list[Found]
    baseline: list[Found]
    pareto: list[str]
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
    result = SearchResult.load(stage / "result.json")
    header = Fields(result.header, str(stage / "result.json"))
    if not result.archs:
        header.refuse("archs", "a list of at least one network", [])
    config = _optional(path / "config.json") or _optional(stage / "config.json")
    bench_path = path / "bench" / "bench.json"
    bench = Bench.load(bench_path) if bench_path.exists() else None
    # Later rounds of a run add table-2.json and so on.
    tables = sorted(
        path.glob("lut/table*.json"), key=lambda p: (len(p.name), p.name)
    )
    lut = LatencyTable.load(tables[-1]) if tables else None
    return Run(
        path=path,
        config=config,
        algorithm=header.text("algorithm"),
        space=header.text("space"),
        seed=printable(str(header.values.get("seed"))),
        versions=header.section("versions").flat(),
        unit=header.text("unit"),
        target=header.number("target"),
        archs=result.archs,
        baseline=result.baseline,
        pareto=result.pareto,
        history=tuple(
            _epoch(header.within(f"history[{i}]", values))
            for i, values in enumerate(result.history)
        ),
        log=_log(stage / "log.jsonl"),
        lut=lut,
        networks=_networks(path / "derived", result.archs[0].arch.id),
        measurements=(bench.models if bench else ())
        + (_with_table(lut) if lut else ()),
        bench=_hardware(bench) if bench else {},
        slowdown=bench.slowdown if bench else None,
    )


def _optional(path: Path) -> dict[str, Any] | None:
    return artifacts.read_json(path) if path.exists() else None


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


def _networks(derived: Path, found: str) -> tuple[Network, ...]:
    """Returns the derived networks: the one found, then others by role."""
    networks = []
    for path in sorted(derived.glob("*/result.json")):
        network, beside = Network.load(path), path.with_name("arch.json")
        arch = Arch.load(beside) if beside.exists() else None
        for expected in {path.parent.name, arch.id if arch else None} - {None}:
            if network.arch_id != expected:
                Fields({}, str(path)).refuse(
                    "arch_id", "that of its folder and of arch.json there, "
                    f"{expected}", network.arch_id,
                )
        networks.append(
            dataclasses.replace(
                network,
                arch=arch,
                log=_log(path.parent / "train" / "log.jsonl"),
            )
        )
    return tuple(
        sorted(networks, key=lambda n: (n.arch_id != found, n.role == "random"))
    )


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


def _hardware(bench: Bench) -> dict[str, str]:
    parts = {"device": bench.device, "runtime": bench.runtime}
    return Fields(parts, "bench.json").flat()
