"""Latency tables: what each operator of a network costs on one device.

A table is a JSON file of format `tfnas-lut/1`: where its numbers come from,
its rows, and, once whole networks were measured too, a calibration from sums
of rows to what a network really takes. A row is a block of a space, or one
operator as the runtime runs it (`entries`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

from tfnas import artifacts
from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.cost import lut_fields
from tfnas.cost import summaries
from tfnas.cost.lut_fields import Calibration
from tfnas.cost.lut_fields import LutRow
from tfnas.cost.lut_fields import MeasuredNet
from tfnas.errors import ArtifactError
from tfnas.errors import LutMiss
from tfnas.lowering import networks as lowered
from tfnas.ops.graph import Shape

__all__ = [
    "Calibration",
    "Coverage",
    "LatencyTable",
    "LutRow",
    "MeasuredNet",
    "Prediction",
    "TableDiff",
    "max_error",
]

# Rows may share a table, and tables may be compared row by row, only where
# all of these agree.
PROVENANCE = (
    "unit", "device", "runtime", "batch", "statistic", "clock", "entries",
    "tool",
)
DEFAULT_LOWERING = "xnnpack"
MAX_ERROR = 5.0  # percent that a search takes without being told
# Two-sided 95 % quantiles of Student's t for 1..10 degrees of freedom.
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


def max_error(settings: Any) -> float:
    """Returns the bound of a table's error in the section `lut` of a config.

    In percent; `MAX_ERROR` where the config leaves it out.
    """
    bound = settings.get("max_table_error")
    return MAX_ERROR if bound is None else bound


class HasKeys(Protocol):
    """What a table asks of a search space.

    Attributes:
        name: Registered name.
        entries: What the rows of its tables have to be.
    """

    name: str
    entries: str

    def pieces(self) -> Iterable[tuple[Sequence[Block], Shape]]:
        """Yields chains of blocks that hold every operator of the space."""

    def lut_keys(self) -> list[str]:
        """Returns the distinct keys of the space's blocks."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A predicted latency with the interval that covers 95 % of networks.

    Args:
        latency_ms: The prediction.
        low_ms: Lower end; `None` while the table is not calibrated, because
            its error is then unknown.
        high_ms: Upper end, or `None`.
    """

    latency_ms: float
    low_ms: float | None = None
    high_ms: float | None = None

    def __str__(self) -> str:
        if self.low_ms is None:
            return f"{self.latency_ms:.4g} ms (not calibrated: reads low)"
        return (
            f"{self.latency_ms:.4g} ms "
            f"({self.low_ms:.4g} to {self.high_ms:.4g} ms)"
        )


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How much of a space a table knows.

    Args:
        total: Distinct operators of the space.
        missing: Keys without a row.
    """

    total: int
    missing: tuple[str, ...]

    @property
    def present(self) -> int:
        """Operators that have a row."""
        return self.total - len(self.missing)

    def __str__(self) -> str:
        percent = 100 * self.present / max(self.total, 1)
        return f"{self.present} of {self.total} operators ({percent:.4g} %)"


@dataclasses.dataclass(frozen=True)
class TableDiff:
    """What differs between two tables.

    Args:
        header: Field of the provenance to its two values.
        only_left: Keys that only the first table has.
        only_right: Keys that only the second table has.
        ratios: Second latency by first latency of each shared key.
    """

    header: dict[str, tuple[Any, Any]]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    ratios: dict[str, float]


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """A latency table.

    Args:
        header: Where the numbers come from: `unit`, `device`, `runtime`,
            `batch`, `statistic`, `clock`, `entries`, `rounds`, `date`,
            `tool` and `conditions`.
        rows: Measured latency by key: that of a block
            (`tfnas.ops.lut_key`), or of an operator
            (`tfnas.lowering.operator`) where `entries` says so.
        calibration: From a sum of rows to a network's latency, or `None`.
        networks: Whole networks measured with the rows.
        source: Where the table was read, for messages.

    Example:
        >>> table = tfnas.LatencyTable.load("table.json")
        >>> arch = tfnas.Arch.load("arch.json")
        >>> table.latency_ms(arch) == table.bias_ms + sum(
        ...     table[key] for key in table.keys_of(arch))
        True
    """

    header: Mapping[str, Any]
    rows: Mapping[str, LutRow]
    calibration: Calibration | None = None
    networks: tuple[MeasuredNet, ...] = ()
    source: str = "table"

    @classmethod
    def load(cls, path: str | os.PathLike) -> LatencyTable:
        """Reads a table.

        Raises:
            ArtifactError: when the file is missing, truncated or of another
                format, a field or a row is wrong, or a key is there twice;
                the message names the file and the field or row.
        """
        source = str(path)
        try:
            value = json.loads(
                artifacts.read_text(path),
                object_pairs_hook=lut_fields.unique_keys(source),
            )
        except (ValueError, RecursionError) as error:
            raise ArtifactError(
                f"{source}: not valid JSON (damaged or truncated?): {error}"
            ) from error
        parts = lut_fields.read(value, source)
        artifacts.unsealed(value, source)
        return cls(**parts, source=source)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the table, atomically and sealed; see `artifacts`.

        Raises:
            ArtifactError: when a row is not a positive number; nothing is
                written.
        """
        value = {
            "format": lut_fields.FORMAT,
            **self.header,
            "calibration": None,
            "networks": [net.to_json() for net in self.networks],
            "rows": {
                key: dataclasses.asdict(row)
                for key, row in sorted(self.rows.items())
            },
        }
        if self.calibration:
            value["calibration"] = dataclasses.asdict(self.calibration)
        lut_fields.read(value, str(path))
        artifacts.write_json(path, value, sealed=True)

    def __repr__(self) -> str:
        return summaries.line_of_table(self)

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints where the numbers are from, and the rows by kind."""
        print_fn(summaries.of_table(self))

    @property
    def dtype(self) -> str:
        """The type of the measured models, `"float32"` or `"int8"`."""
        return self.header["runtime"]["dtype"]

    @property
    def entries(self) -> str:
        """What a row is: `"isolated"`, `"chain"` or `"operators"`."""
        return self.header.get("entries", "isolated")

    @property
    def lowering(self) -> str:
        """The lowering of the measured models (`tfnas.lowering`)."""
        return self.header.get("runtime", {}).get("lowering") or "none"

    @property
    def error_percent(self) -> float | None:
        """By how much predictions are off; `None` while nobody knows."""
        return self.calibration.error_percent if self.calibration else None

    @property
    def scale(self) -> float:
        """Factor from a measured row to its share of a network."""
        return self.calibration.scale if self.calibration else 1.0

    @property
    def bias_ms(self) -> float:
        """What a network takes beside its operators."""
        return self.calibration.bias_ms if self.calibration else 0.0

    def __getitem__(self, key: str) -> float:
        """Returns the calibrated share of one operator in ms.

        Raises:
            LutMiss: when the table has no such row.
        """
        if key not in self.rows:
            raise LutMiss([key])
        return self.scale * self.rows[key].latency_ms

    def keys_of(self, arch: Arch) -> list[str]:
        """Returns the keys whose rows add up to a network.

        They are those of its blocks, identities left out, or those of its
        operators, which may be of two blocks each.
        """
        whole: list[str] = []
        if self.entries == "operators":
            whole = lowered.operator_keys(arch, self.dtype, self.lowering)
            if not self.missing_keys(whole):
                return whole
        shapes = ops.shapes(arch)
        keys = [
            key
            for block, shape in zip(arch.blocks, shapes, strict=False)
            for key in self.block_keys(block, shape)
        ]
        return whole if whole and self.missing_keys(keys) else keys

    def block_keys(self, block: Block, in_shape: Shape) -> list[str]:
        """Returns the keys whose rows add up to a block.

        A block without a row is priced by its parts (`ops.parts`).
        """
        whole = self._own_keys(block, in_shape)
        if not self.missing_keys(whole):
            return whole
        return [
            key
            for part in ops.parts(block, in_shape)
            for key in self._own_keys(*part)
        ]

    def _own_keys(self, block: Block, in_shape: Shape) -> list[str]:
        """Returns the keys of a block in one piece."""
        if self.entries == "operators":
            return lowered.block_operator_keys(
                block, in_shape, self.dtype, self.lowering
            )
        key = ops.lut_key(block, in_shape)
        return [] if key is None else [key]

    def block_ms(self, block: Block, in_shape: Shape) -> float:
        """Returns the calibrated share of one block in ms; 0 for identities.

        What searches price a choice by. Summed over the blocks of a network
        and with `bias_ms` it is `latency_ms`, unless the runtime makes one
        operator of two blocks: in such spaces only whole networks have a
        price.

        Raises:
            LutMiss: with every missing key.
        """
        keys = self.block_keys(block, in_shape)
        self.require_rows(keys)
        return self.scale * math.fsum(self.rows[k].latency_ms for k in keys)

    def knows(self, block: Block, in_shape: Shape) -> bool:
        """Says whether the table has every row of a block."""
        return not self.missing_keys(self.block_keys(block, in_shape))

    def missing(self, arch: Arch) -> list[str]:
        """Returns the keys of a network that have no row, each once."""
        return self.missing_keys(self.keys_of(arch))

    def missing_keys(self, keys: Iterable[str]) -> list[str]:
        """Returns the keys that have no row, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self.rows]

    def space_keys(self, space: HasKeys) -> list[str]:
        """Returns the distinct keys that networks of a space need."""
        if self.entries == "operators":
            return lowered.space_operator_keys(
                space, self.dtype, self.lowering
            )
        return space.lut_keys()

    def coverage(self, space: HasKeys) -> Coverage:
        """Returns how much of a search space the table knows."""
        keys = self.space_keys(space)
        return Coverage(len(keys), tuple(self.missing_keys(keys)))

    def require_space(self, space: HasKeys) -> None:
        """Checks that the table prices every network of a space.

        Raises:
            ArtifactError: when its rows are none of which networks of the
                space are made.
            LutMiss: with every missing key.
        """
        if space.entries == "operators" != self.entries:
            raise ArtifactError(
                f"{self.source}: field `entries` must be 'operators', because "
                f"the runtime fuses blocks of `{space.name}`; measure it with "
                f"tfnas-lut --space={space.name} --entries=operators. "
                f"Received: {self.entries!r}"
            )
        self.require_rows(self.coverage(space).missing)

    def require_rows(self, keys: Iterable[str]) -> None:
        """Raises a `LutMiss` with all of `keys` that have no row."""
        missing = self.missing_keys(keys)
        if missing:
            raise LutMiss(missing)

    def raw_ms(self, arch: Arch) -> float:
        """Returns the plain sum of a network's rows, without calibration.

        Raises:
            LutMiss: with every missing key.
        """
        return self._sum_ms(self.keys_of(arch))

    def _sum_ms(self, keys: Sequence[str]) -> float:
        self.require_rows(keys)
        return math.fsum(self.rows[key].latency_ms for key in keys)

    def latency_ms(self, arch: Arch) -> float:
        """Returns the predicted latency of a network.

        It is linear in the rows: `scale * sum + bias_ms`, with scale 1 and
        bias 0 while the table is not calibrated.

        Raises:
            LutMiss: with every missing key.
        """
        return self.scale * self.raw_ms(arch) + self.bias_ms

    def predict(self, arch: Arch) -> Prediction:
        """Returns the predicted latency with its 95 % interval.

        Raises:
            LutMiss: with every missing key.
        """
        return self.predict_keys(self.keys_of(arch))

    def predict_keys(self, keys: Sequence[str]) -> Prediction:
        """Returns the predicted latency of what has these keys.

        Args:
            keys: Of a network's blocks or operators, with repeats.

        Raises:
            LutMiss: with every missing key.
        """
        latency_ms = self.scale * self._sum_ms(keys) + self.bias_ms
        fit = self.calibration
        if fit is None:
            return Prediction(latency_ms)
        parameters = 2 if fit.bias_ms else 1
        t95 = _T95[min(fit.nets - parameters, len(_T95)) - 1]
        margin = fit.residual_percent / 100 * t95 * math.sqrt(1 + 1 / fit.nets)
        return Prediction(
            latency_ms, latency_ms * (1 - margin), latency_ms * (1 + margin)
        )

    def bias_percent(
        self, networks: Sequence[MeasuredNet] | None = None
    ) -> list[float]:
        """Returns by how much predictions exceed measured networks.

        Args:
            networks: Defaults to those measured with the table.

        Returns:
            For each network `100 * (predicted / measured - 1)`.
        """
        nets = self.networks if networks is None else networks
        return [
            100 * (self.latency_ms(net.arch) / net.latency_ms - 1)
            for net in nets
        ]

    def uncalibrated(self) -> LatencyTable:
        """Returns the table as it was measured."""
        return dataclasses.replace(self, calibration=None)

    def require(
        self,
        dtype: str | None = None,
        device: Mapping[str, Any] | None = None,
        lowering: str | None = None,
        runtime: Mapping[str, Any] | None = None,
    ) -> None:
        """Checks that the table was measured for a certain use.

        Args:
            dtype: The type of the models it has to be for.
            device: The device it has to be for, as `Device.describe` gives.
            lowering: How the files are written that it has to be for.
            runtime: The runtime it has to be for, as `Device.describe`
                gives.

        Raises:
            ArtifactError: naming the file, the field that differs, and what
                to do.
        """
        found = self.header.get("runtime", {})
        wanted = [
            ("runtime.dtype", dtype, found.get("dtype"),
             "take a table of that type, or set lut.dtype"),
            ("runtime.lowering", lowering, self.lowering,
             "measure it anew with tfnas-lut --lower, or set lut.lower to "
             "what the table has"),
            ("device", device, self.header.get("device"),
             "measure one there with tfnas-lut --device"),
            *(
                (f"runtime.{name}", value, found.get(name),
                 "measure it anew with the runtime that is here")
                for name, value in (runtime or {}).items()
            ),
        ]
        for field, expected, value, remedy in wanted:
            if expected is not None and value != expected:
                raise ArtifactError(
                    f"{self.source}: field `{field}` must be {expected!r}: "
                    f"{remedy}. Received: {value!r}"
                )

    def require_config(
        self, settings: Any, device: Mapping[str, Any] | None = None
    ) -> None:
        """Checks that the table is for the networks of a config.

        Args:
            settings: The section `lut` of the config. Without `lower` files
                are written for XNNPACK, as export does; without
                `max_table_error` it is `MAX_ERROR`.
            device: Where the networks are going to run, as
                `Device.describe` gives it.

        Raises:
            ArtifactError: naming the file, the field that differs, and what
                to do.
        """
        described = device or {}
        self.require(
            settings.dtype, described.get("device"),
            settings.get("lower") or DEFAULT_LOWERING,
            described.get("runtime"),
        )
        self.require_error(max_error(settings))

    def require_error(self, max_percent: float) -> None:
        """Checks that predictions are as near as asked.

        A table that was never held against networks is not refused: nobody
        knows its error.

        Raises:
            ArtifactError: naming the file, its error, and what to do.
        """
        error = self.error_percent
        if error is not None and error > max_percent:
            raise ArtifactError(
                f"{self.source}: field `calibration`: predictions may be off "
                f"by {max_percent:g} % at most; measure the table anew with "
                "tfnas-lut (--entries=operators, more --rounds or --nets), or "
                f"allow it with --max_table_error={math.ceil(error)}. "
                f"Received: {error:.1f} % ({self.calibration})"
            )

    def diff(self, other: LatencyTable) -> TableDiff:
        """Returns what differs between this table and another."""
        shared = [key for key in self.rows if key in other.rows]
        ours, theirs = (
            {
                **table.header,
                "runtime": {
                    **table.header["runtime"], "lowering": table.lowering
                },
            }
            for table in (self, other)
        )
        return TableDiff(
            {
                field: (ours[field], theirs[field])
                for field in PROVENANCE
                if ours[field] != theirs[field]
            },
            tuple(self._missing_from(other)),
            tuple(other._missing_from(self)),
            {
                key: other.rows[key].latency_ms / self.rows[key].latency_ms
                for key in shared
            },
        )

    def _missing_from(self, other: LatencyTable) -> list[str]:
        return [key for key in self.rows if key not in other.rows]

    def merge(self, other: LatencyTable) -> LatencyTable:
        """Returns a table with the rows of both.

        Of a key that both have, the row of more rounds is kept. The merged
        table is not calibrated: fit it anew.

        Raises:
            ArtifactError: when their provenance differs; the message names
                the fields.
        """
        unlike = self.diff(other).header
        if unlike:
            listing = "\n  ".join(
                f"{field}: {left} there, {right} here"
                for field, (left, right) in unlike.items()
            )
            raise ArtifactError(
                f"{other.source}: rows of unlike provenance do not mix. "
                f"Received, against {self.source}:\n  {listing}"
            )
        rows = dict(self.rows)
        for key, row in other.rows.items():
            if key not in rows or row.n > rows[key].n:
                rows[key] = row
        nets = {net.arch.id: net for net in (*self.networks, *other.networks)}
        header = {
            **self.header,
            "rounds": min(self.header["rounds"], other.header["rounds"]),
            "date": max(self.header["date"], other.header["date"]),
        }
        return LatencyTable(header, rows, None, tuple(nets.values()))
