"""The fields of a latency-table file, and the checks each must pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tfnas import fields
from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.fields import Fields
from tfnas.fields import shown

FORMAT = "tfnas-lut/1"
DTYPES = ("float32", "int8")
LEAST_NETS = 3  # to fit a scale
LEAST_NETS_AFFINE = 5  # to fit a scale and a bias
# What the rows of a table are; `tflite_bench.build.Job` says more.
ENTRIES = ("isolated", "chain", "operators")
LOWERINGS = ("xnnpack", "none")
_MAX_KEY = 200  # of a row's key in messages
_COUNT = fields.whole(1)
_ROWS = ("an object with rows", lambda v: isinstance(v, dict) and bool(v))
_HEADER = {
    "unit": fields.one_of(("ms",)),
    "device": fields.OBJECT,
    "runtime": fields.OBJECT,
    "tool": fields.OBJECT,
    "batch": _COUNT,
    "rounds": _COUNT,
    "statistic": fields.TEXT,
    "clock": fields.TEXT,
    "entries": fields.one_of(ENTRIES),
    "date": fields.TEXT,
}
_SECTIONS = {
    "device": {"name": fields.TEXT, "cpu": fields.TEXT},
    "tool": {"name": fields.TEXT, "sha256": fields.TEXT},
    "runtime": {
        "delegate": fields.TEXT,
        "dtype": fields.one_of(DTYPES),
        "threads": _COUNT,
        # Older tables do not say it.
        "lowering": fields.optional(fields.one_of(LOWERINGS)),
    },
    "runtime.tflite": {"name": fields.TEXT, "version": fields.TEXT},
}


@dataclasses.dataclass(frozen=True)
class LutRow:
    """One measured operator.

    Args:
        latency_ms: The table's statistic over the rounds.
        spread: How far the statistic of the odd rounds lies from that of the
            even rounds, as a fraction: the error of `latency_ms` itself.
        n: Number of rounds.
    """

    latency_ms: float
    spread: float
    n: int


@dataclasses.dataclass(frozen=True)
class MeasuredNet:
    """A whole network measured on the device of a table.

    Args:
        arch: The network.
        latency_ms: As in `LutRow`.
        spread: As in `LutRow`.
        n: As in `LutRow`.
    """

    arch: Arch
    latency_ms: float
    spread: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Returns the network as a JSON object."""
        return {
            "arch": self.arch.to_json(),
            "latency_ms": self.latency_ms,
            "spread": self.spread,
            "n": self.n,
        }


@dataclasses.dataclass(frozen=True)
class Calibration:
    """From a sum of rows to the latency of a network.

    Args:
        scale: Factor of the sum.
        bias_ms: Added to it; 0 for a fit of the scale alone.
        residual_percent: Standard deviation of the relative residuals.
        space: The space of the networks it was fitted on.
        nets: Number of those networks.
        held_out_percent: Mean error on networks that the fit has not seen:
            each in turn is left out. `None` where nobody has looked.
        held_out_max_percent: The largest of those errors.
    """

    scale: float
    bias_ms: float
    residual_percent: float
    space: str
    nets: int
    held_out_percent: float | None = None
    held_out_max_percent: float | None = None

    @property
    def error_percent(self) -> float:
        """By how much predictions are off, the worse of both figures."""
        return max(self.residual_percent, self.held_out_percent or 0.0)

    def __str__(self) -> str:
        text = f"residual {self.residual_percent:.1f} %"
        if self.held_out_percent is not None:
            text += (
                f", left out of the fit {self.held_out_percent:.1f} % in the "
                f"mean and {self.held_out_max_percent:.1f} % at most"
            )
        return text


def unique_keys(source: str) -> Callable[[list[tuple[str, Any]]], dict]:
    """Returns a JSON object hook that refuses a key given twice."""

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ArtifactError(
                f"{source}: each key must be there once. "
                f"Received: {shown(twice)}"
            )
        return value

    return hook


def _reading(row: Fields) -> dict[str, Any]:
    """Returns what rows and networks share."""
    return {
        "latency_ms": row.need("latency_ms", fields.POSITIVE),
        "spread": row.need("spread", fields.NOT_NEGATIVE),
        "n": row.need("n", _COUNT),
    }


def _header(table: Fields) -> dict[str, Any]:
    header = {
        name: table.need(name, rule) for name, rule in _HEADER.items()
    }
    for name, rules in _SECTIONS.items():
        section = table
        for part in name.split("."):
            section = section.within(part, section.values.get(part))
        for field, rule in rules.items():
            section.need(field, rule)
    # Older tables do not say the conditions.
    return {**header, "conditions": table.section("conditions").values}


def _calibration(fit: Fields) -> Calibration:
    fit.only([field.name for field in dataclasses.fields(Calibration)])
    fit.need("space", fields.TEXT)
    fit.need("scale", fields.NOT_NEGATIVE)
    least = LEAST_NETS
    if fit.need("bias_ms", fields.NUMBER):
        least = LEAST_NETS_AFFINE
    fit.need("nets", fields.whole(least))
    fit.need("residual_percent", fields.NOT_NEGATIVE)
    for name in ("held_out_percent", "held_out_max_percent"):
        fit.need(name, fields.optional(fields.NOT_NEGATIVE))
    return Calibration(**fit.values)


def read(value: Any, source: str) -> dict[str, Any]:
    """Checks a parsed table file.

    Args:
        value: Parsed JSON.
        source: File name for messages.

    Returns:
        `header`, `rows`, `calibration` and `networks`, as values.

    Raises:
        ArtifactError: naming the file and the field or row.
    """
    if isinstance(value, list):
        raise ArtifactError(
            f"{source}: expected an object of format {FORMAT!r}. A published "
            "list becomes one with tfnas-lut --mode=import. "
            f"Received: {shown(value)}"
        )
    table = Fields(value, source)
    table.need("format", fields.one_of((FORMAT,)))
    rows = table.need("rows", _ROWS)
    fit = value.get("calibration")
    return {
        "header": _header(table),
        "rows": {
            key: LutRow(
                **_reading(Fields(row, f"{source}: row `{key[:_MAX_KEY]}`"))
            )
            for key, row in rows.items()
        },
        "calibration": (
            None if fit is None else
            _calibration(table.within("calibration", fit))
        ),
        "networks": tuple(
            MeasuredNet(
                Arch.from_json(net.values.get("arch"), source), **_reading(net)
            )
            for net in table.sections("networks")
        ),
    }
