"""What the files of a workdir hold: one class for its writer and its reader."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

import numpy as np

from tfnas import artifacts
from tfnas import fields
from tfnas import text_table
from tfnas.arch import Arch
from tfnas.cost.counting import Counts
from tfnas.cost.counting import count
from tfnas.cost.objective import pareto_front
from tfnas.errors import ArtifactError
from tfnas.fields import Fields

_SEARCH = "tfnas-result/1"
_DERIVED = "tfnas-derived/1"
_BENCH = "tfnas-bench/1"
_Derived = TypeVar("_Derived", bound="Derived")  # a subclass too
_MAX_ROWS = 20  # of a summary
_AMOUNT = fields.NOT_NEGATIVE


@dataclasses.dataclass(frozen=True)
class Found:
    """A network that a search looked at.

    Args:
        arch: The network.
        cost: Its predicted cost, in the unit of the search.
        score: Its score, such as an accuracy with shared weights in 0..1.
        role: `"searched"` or `"random"`.
        epoch: When a search derived it.
    """

    arch: Arch
    cost: float
    score: float | None = None
    role: str = "searched"
    epoch: int | None = None

    def __repr__(self) -> str:
        score = "not scored" if self.score is None else f"{self.score:.4f}"
        return (
            f"<Found {self.arch.id}, {self.role}: cost {self.cost:.4g}, "
            f"{score}>"
        )

    @functools.cached_property
    def counts(self) -> Counts:
        """Parameters and multiply-adds of the network."""
        return count(self.arch)

    def to_json(self) -> dict[str, Any]:
        """Returns the record of `result.json`, counts included."""
        return {
            "id": self.arch.id,
            "role": self.role,
            "epoch": self.epoch,
            "cost": self.cost,
            "score": self.score,
            "params": self.counts.params,
            "madds": self.counts.madds,
            "arch": self.arch.to_json(),
        }

    def log_record(self, epoch: int) -> dict[str, Any]:
        """Returns what the log says of its score."""
        return {
            "phase": "score", "epoch": epoch, "role": self.role,
            "arch_id": self.arch.id, "cost": self.cost, "accuracy": self.score,
        }

    @classmethod
    def from_json(cls, value: Any, source: str, path: str = "") -> Found:
        """Reads a record of `result.json`.

        Args:
            value: Parsed JSON.
            source: The file, for messages.
            path: Where in the file it stands.

        Raises:
            ArtifactError: when a field is wrong, or the network is not the
                one of its id.
        """
        record = Fields(value, source, path)
        arch = Arch.from_json(value.get("arch"), source)
        if value.get("id") != arch.id:
            record.refuse(
                "id", f"that of the network, {arch.id}", value.get("id")
            )
        return cls(
            arch,
            record.need("cost", fields.NUMBER),
            record.need("score", fields.optional(fields.NUMBER)),
            record.text("role"),
            record.need("epoch", fields.optional(fields.whole(0))),
        )


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The outcome of a search: its `result.json`.

    Args:
        header: Algorithm, space, seed, versions, unit and target.
        archs: The networks found; the first is the result.
        baseline: Random networks of the same cost, scored the same way.
        history: One record for each epoch.

    Example:
        >>> result = tfnas.SearchResult.load("runs/first/result.json")
        >>> result.summary()
        >>> model = tfnas.build_model(result.best.arch)
    """

    header: dict[str, Any]
    archs: list[Found]
    baseline: list[Found]
    history: list[dict[str, Any]]

    @property
    def best(self) -> Found:
        """The network that the search decided for."""
        return self.archs[0]

    def __repr__(self) -> str:
        h = self.header
        return (
            f"<SearchResult of {h.get('algorithm')} in {h.get('space')}: "
            f"{self.best!r}>"
        )

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints the networks found and, beside them, random ones.

        Args:
            print_fn: What is called with the text.
        """
        h, known = self.header, [*self.archs, *self.baseline]
        rows = [
            [
                found.role, found.arch.id, f"{found.cost:.4g}",
                "-" if found.score is None else f"{found.score:.4f}",
                text_table.amount(found.counts.params),
                text_table.amount(found.counts.madds),
            ]
            for found in known[:_MAX_ROWS]
        ]
        target = h.get("target")
        aim = "" if target is None else f", target {target:g} {h.get('unit')}"
        titles = ("role", "network", h.get("unit", "cost"), "score", "params",
                  "madds")
        left_out = len(known) - len(rows)
        lines = [
            f"{h.get('algorithm')} in {h.get('space')}, seed {h.get('seed')}"
            + aim,
            text_table.layout(titles, rows, 2),
            *([f"and {left_out} more"] if left_out else []),
        ]
        print_fn("\n".join(lines))

    @property
    def pareto(self) -> list[str]:
        """Ids of the scored networks that no other one dominates."""
        scored = [
            f for f in self.archs + self.baseline if f.score is not None
        ]
        front = pareto_front([(f.cost, f.score or 0.0) for f in scored])
        return [scored[i].arch.id for i in front]

    def save(self, path: str | pathlib.Path) -> None:
        """Writes `result.json`, sealed; it holds no clock times."""
        artifacts.write_json(
            path,
            {
                "format": _SEARCH,
                **self.header,
                "archs": [f.to_json() for f in self.archs],
                "baseline": [f.to_json() for f in self.baseline],
                "pareto": self.pareto,
                "history": self.history,
            },
            sealed=True,
        )

    @classmethod
    def load(
        cls, path: str | pathlib.Path, sealed: bool = False
    ) -> SearchResult:
        """Reads `result.json`.

        Args:
            path: The file.
            sealed: Whether it must vouch for itself; see `artifacts`.

        Raises:
            ArtifactError: when the file is missing, damaged, or not of the
                format.
        """
        value = artifacts.read_json(path, _SEARCH, sealed=sealed)
        file = Fields(value, str(path))
        archs, baseline = (
            [
                Found.from_json(f, file.source, f"{name}[{i}]")
                for i, f in enumerate(file.need(name, fields.LIST))
            ]
            for name in ("archs", "baseline")
        )
        history = [epoch.values for epoch in file.sections("history")]
        keys = ("format", "archs", "baseline", "pareto", "history")
        header = {k: v for k, v in value.items() if k not in keys}
        return cls(header, archs, baseline, history)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived:
    """A network trained from scratch, exported and checked.

    In `derived/<arch id>/result.json`. A field that a file does not tell is
    `None` or empty.

    Args:
        arch_id: Id of the network.
        role: `"searched"` or `"random"`.
        config_sha256: Digest of the run's config.
        files: SHA-256 of the files beside it, by their names.
        params: Number of parameters.
        madds: Multiply-adds of an image.
        predicted_ms: Latency by the run's table.
        accuracy: On the test images, by precision: `"keras"`, then dtypes.
        test_images: How many these are.
        parity_max_abs: Largest difference of a logit, float32 file to model.
        argmax_agreement_int8: Share of images of which both say the same.
        size_bytes: Size of the `.tflite` files, by dtype.
        tflite_ops: Number of operators of each kind in them, by dtype.
        delegate_nodes: Nodes that the delegate makes of the int8 file.
    """

    arch_id: str
    role: str
    config_sha256: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    params: float | None = None
    madds: float | None = None
    predicted_ms: float | None = None
    accuracy: Mapping[str, float] = dataclasses.field(default_factory=dict)
    test_images: float | None = None
    parity_max_abs: float | None = None
    argmax_agreement_int8: float | None = None
    size_bytes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tflite_ops: Mapping[str, Mapping[str, float]] = dataclasses.field(
        default_factory=dict
    )
    delegate_nodes: float | None = None

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the file, sealed."""
        value = {"format": _DERIVED, **vars(self)}
        artifacts.write_json(path, value, sealed=True)

    @classmethod
    def load(
        cls: type[_Derived], path: str | pathlib.Path, sealed: bool = False
    ) -> _Derived:
        """Reads the file.

        Args:
            path: The file.
            sealed: Whether it must vouch for itself; see `artifacts`.

        Raises:
            ArtifactError: when it is missing, damaged or not of the format.
        """
        value = artifacts.read_json(path, _DERIVED, sealed=sealed)
        return cls(**_read(Derived, Fields(value, str(path))))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One network of one dtype on the device, predicted and measured.

    Args:
        arch_id: Id of the network.
        role: `"searched"` or `"random"`.
        dtype: `"float32"` or `"int8"`.
        predicted_ms: By the table, where it is of that dtype.
        measured_ms: The statistic of the table, over the rounds.
        file: The file that was measured, in the workdir.
        sha256: Its digest.
        spread: As of a row of the table.
        rounds: How often it was measured.
    """

    arch_id: str
    role: str
    dtype: str
    predicted_ms: float | None
    measured_ms: float | None
    file: str = ""
    sha256: str = ""
    spread: float = 0.0
    rounds: int = 0

    @property
    def error(self) -> float | None:
        """The relative error of the prediction; negative is too low."""
        if self.predicted_ms is None or not self.measured_ms:
            return None
        return self.predicted_ms / self.measured_ms - 1


@dataclasses.dataclass(frozen=True)
class Bench:
    """The networks of a run, measured side by side: `bench/bench.json`.

    Args:
        device: As the device describes itself.
        runtime: Likewise.
        models: The networks in each dtype.
        config_sha256: Digest of the run's config.
        table_ms: What the reference block took beside the table's rows.
        bench_ms: What the same block took beside these models.
    """

    device: Mapping[str, Any]
    runtime: Mapping[str, Any]
    models: tuple[Measurement, ...]
    config_sha256: str = ""
    table_ms: float | None = None
    bench_ms: float | None = None

    @property
    def slowdown(self) -> float | None:
        """How much slower the machine itself is now than with the table."""
        if not (self.table_ms and self.bench_ms):
            return None
        return self.bench_ms / self.table_ms

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the file, sealed."""
        bias = [100 * m.error for m in self.models if m.error is not None]
        value: dict[str, Any] = {
            "format": _BENCH,
            "config_sha256": self.config_sha256,
            "device": self.device,
            "runtime": self.runtime,
            "models": [vars(model) for model in self.models],
            "reference": {
                "table_ms": self.table_ms, "bench_ms": self.bench_ms
            },
            "bias_percent": {
                "mean": float(np.mean(bias)), "min": min(bias),
                "max": max(bias),
            },
        }
        artifacts.write_json(path, value, sealed=True)

    @classmethod
    def load(cls, path: str | pathlib.Path, sealed: bool = False) -> Bench:
        """Reads the file; arguments and errors as of `Derived.load`."""
        value = artifacts.read_json(path, _BENCH, sealed=sealed)
        file = Fields(value, str(path))
        reference = file.section("reference")
        return cls(
            file.section("device").values,
            file.section("runtime").values,
            tuple(
                Measurement(**_read(Measurement, model))
                for model in file.sections("models")
            ),
            file.text("config_sha256"),
            reference.number("table_ms"),
            reference.number("bench_ms"),
        )


def _read(kind: Any, file: Fields) -> dict[str, Any]:
    """Returns the fields of a dataclass as a file has them, by their types."""
    def amounts(file: Fields, name: str) -> dict[str, float]:
        found = file.numbers(name)
        for key, value in found.items():
            if value < 0 or name == "accuracy" and value > 1:
                rule = fields.SHARE if name == "accuracy" else _AMOUNT
                file.refuse(f"{name}.{key}", rule[0], value)
        return found

    def amount(name: str) -> float | None:
        value = file.number(name)
        if value is not None and value < 0:
            file.refuse(name, _AMOUNT[0], value)
        return value

    readers = {
        "str": file.text,
        "float | None": amount,
        "float": lambda name: file.need(name, fields.NOT_NEGATIVE),
        "int": lambda name: file.need(name, fields.whole(1)),
        "Mapping[str, str]": lambda name: file.section(name).flat(),
        "Mapping[str, float]": lambda name: amounts(file, name),
        "Mapping[str, Mapping[str, float]]": lambda name: {
            key: amounts(file.section(name), key)
            for key in file.section(name).values
        },
    }
    return {
        field.name: readers[str(field.type)](field.name)
        for field in dataclasses.fields(kind)
    }


def require_config(
    path: pathlib.Path, result: Derived | Bench, config: Any
) -> None:
    """Refuses a file that was made from another config.

    Raises:
        ArtifactError: naming the file.
    """
    ours = artifacts.config_digest(config)
    if result.config_sha256 != ours:
        raise ArtifactError(
            f"{path}: expected a file of this config, {ours}. Received: "
            f"config_sha256={result.config_sha256!r}"
        )
