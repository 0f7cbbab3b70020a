"""The fields of a latency-table file, and the checks each must pass."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any

from tfnas.arch import Arch
from tfnas.errors import ArtifactError

FORMAT = "tfnas-lut/1"
DTYPES = ("float32", "int8")
LEAST_NETS = 3  # to fit a scale
LEAST_NETS_AFFINE = 5  # to fit a scale and a bias
# What the rows of a table are; `tflite_bench.build.Job` says more.
ENTRIES = ("isolated", "chain", "operators")
LOWERINGS = ("xnnpack", "none")
_MAX_SHOWN = 80  # characters of a wrong value
_MAX_KEY = 200  # of a row's key in messages


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


def shown(value: Any) -> str:
    """Returns a wrong value as messages show it: never at length."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _fail(source: str, field: str, expected: str, received: Any) -> None:
    raise ArtifactError(
        f"{source}: {field} must be {expected}. Received: {shown(received)}"
    )


def unique_keys(source: str) -> Callable[[list[tuple[str, Any]]], dict]:
    """Returns a JSON object hook that refuses a key given twice."""

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            _fail(source, "each key", "there once", twice)
        return value

    return hook


def _is_number(value: Any, low: float = -math.inf) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        # Compared, not converted: JSON integers may exceed every float.
        and abs(value) <= sys.float_info.max
        and value >= low
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value, 1)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _reading(value: Any, source: str, place: str) -> dict[str, Any]:
    """Checks what rows and networks share."""
    if not isinstance(value, dict):
        _fail(source, place, "an object", value)
    latency_ms = value.get("latency_ms")
    if not _is_number(latency_ms, 0) or latency_ms == 0:
        _fail(
            source, f"{place}, field `latency_ms`",
            "a positive number of milliseconds", latency_ms,
        )
    if not _is_number(value.get("spread"), 0):
        _fail(
            source, f"{place}, field `spread`", "a fraction >= 0",
            value.get("spread"),
        )
    if not _is_count(value.get("n")):
        _fail(
            source, f"{place}, field `n`", "a number of rounds >= 1",
            value.get("n"),
        )
    return {k: value[k] for k in ("latency_ms", "spread", "n")}


def _object(value: Any, source: str, field: str, texts: tuple) -> dict:
    """Checks an object of the header and its text fields."""
    if not isinstance(value, dict):
        _fail(source, f"field `{field}`", "an object", value)
    for name in texts:
        if not _is_text(value.get(name)):
            _fail(
                source, f"field `{field}.{name}`", "a text", value.get(name)
            )
    return value


def _header(value: dict[str, Any], source: str) -> dict[str, Any]:
    header: dict[str, Any] = {
        "unit": value.get("unit"),
        "device": _object(
            value.get("device"), source, "device", ("name", "cpu")
        ),
        "runtime": _object(
            value.get("runtime"), source, "runtime", ("delegate",)
        ),
        "tool": _object(
            value.get("tool"), source, "tool", ("name", "sha256")
        ),
        "conditions": _object(
            value.get("conditions", {}), source, "conditions", ()
        ),
    }
    if header["unit"] != "ms":
        _fail(source, "field `unit`", "'ms'", header["unit"])
    runtime = header["runtime"]
    _object(
        runtime.get("tflite"), source, "runtime.tflite", ("name", "version")
    )
    if runtime.get("dtype") not in DTYPES:
        _fail(
            source, "field `runtime.dtype`", f"one of {DTYPES}",
            runtime.get("dtype"),
        )
    if not _is_count(runtime.get("threads")):
        _fail(
            source, "field `runtime.threads`", "an integer >= 1",
            runtime.get("threads"),
        )
    lowering = runtime.get("lowering", "none")  # older tables do not say
    if lowering not in LOWERINGS:
        _fail(
            source, "field `runtime.lowering`", f"one of {LOWERINGS}",
            lowering,
        )
    for name in ("batch", "rounds"):
        header[name] = value.get(name)
        if not _is_count(header[name]):
            _fail(source, f"field `{name}`", "an integer >= 1", header[name])
    for name in ("statistic", "clock", "entries", "date"):
        header[name] = value.get(name)
        if not _is_text(header[name]):
            _fail(source, f"field `{name}`", "a text", header[name])
    if header["entries"] not in ENTRIES:
        _fail(source, "field `entries`", f"one of {ENTRIES}", header["entries"])
    return header


def _calibration(value: Any, source: str) -> Calibration | None:
    if value is None:
        return None
    _object(value, source, "calibration", ("space",))
    fields = {f.name for f in dataclasses.fields(Calibration)}
    optional = {"held_out_percent", "held_out_max_percent"}
    if not fields - optional <= set(value) <= fields:
        _fail(
            source, "field `calibration`",
            f"an object with {', '.join(sorted(fields - optional))}",
            sorted(value),
        )
    given = optional & set(value)
    for name, low in [
        ("scale", 0), ("bias_ms", -math.inf), ("residual_percent", 0),
        *((name, 0) for name in sorted(given) if value[name] is not None),
    ]:
        if not _is_number(value[name], low):
            _fail(
                source, f"field `calibration.{name}`", "a number", value[name]
            )
    least = LEAST_NETS_AFFINE if value["bias_ms"] else LEAST_NETS
    if not _is_count(value["nets"]) or value["nets"] < least:
        _fail(
            source, "field `calibration.nets`", f"an integer >= {least}",
            value["nets"],
        )
    return Calibration(**value)


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
    found = value.get("format") if isinstance(value, dict) else value
    if found != FORMAT:
        _fail(source, "field `format`", repr(FORMAT), found)
    rows = value.get("rows")
    if not isinstance(rows, dict) or not rows:
        _fail(source, "field `rows`", "an object with rows", rows)
    nets = value.get("networks", [])
    if not isinstance(nets, list):
        _fail(source, "field `networks`", "a list", nets)
    readings = [
        _reading(net, source, f"networks[{i}]") for i, net in enumerate(nets)
    ]
    return {
        "header": _header(value, source),
        "rows": {
            key: LutRow(**_reading(row, source, f"row `{key[:_MAX_KEY]}`"))
            for key, row in rows.items()
        },
        "calibration": _calibration(value.get("calibration"), source),
        "networks": tuple(
            MeasuredNet(Arch.from_json(net.get("arch"), source), **reading)
            for net, reading in zip(nets, readings, strict=True)
        ),
    }
