"""What a space, or all of them, look like on a screen."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from tfnas import text_table
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.errors import ArtifactError
from tfnas.errors import LutMiss
from tfnas.text_table import amount
from tfnas.text_table import power_of_ten
from tfnas.text_table import sides

SAMPLES = 50

_Three = tuple[float, float, float]  # least, median, most


def of_space(space: Any, table: Any = None, samples: int = SAMPLES) -> str:
    """Returns what a space holds; see `Space.summary`."""
    archs = _sample(space, samples)
    counts = [count(arch) for arch in archs]
    rows = [
        ["blocks", *_texts([len(a.blocks) for a in archs], "{:.0f}".format)],
        ["parameters", *_texts([c.params for c in counts], amount)],
        ["multiply-adds", *_texts([c.madds for c in counts], amount)],
        ["peak activations, bytes",
         *_texts([c.peak_activation_bytes for c in counts], amount)],
    ]
    notes = []
    if table is not None:
        ms = _latencies(archs, table)
        if ms is not None:
            rows.append(["latency, ms", *_texts(ms, "{:.3f}".format)])
        try:
            known = f"it has {table.coverage(space)}"
        except ArtifactError as error:
            known = str(error)
        notes = [text_table.fit(f"{table!r}"[1:-1]), text_table.fit(known)]
    titles = (f"of {len(archs)} random networks", "least", "median", "most")
    return "\n".join(
        [repr(space)[1:-1], text_table.layout(titles, rows), *notes]
    )


def of_all(
    spaces: Sequence[Any], table: Any = None, samples: int = SAMPLES
) -> str:
    """Returns a line for each space; see `tfnas.spaces.summary`."""
    drawn = {space.name: _sample(space, samples) for space in spaces}
    rows = []
    for space in spaces:
        counts = [count(arch) for arch in drawn[space.name]]
        rows.append(
            [
                space.name, sides(space.input_shape),
                power_of_ten(space.num_choices),
                _range([c.madds / 1e6 for c in counts]),
                _range([c.params / 1e6 for c in counts]),
            ]
        )
    titles = ("space", "input", "choices", "madds, M", "params, M")
    parts = [text_table.layout(titles, rows)]
    if table is not None:
        prices = [
            [space.name, *_texts(ms, "{:.3f}".format)]
            for space in spaces
            if (ms := _latencies(drawn[space.name], table)) is not None
        ]
        priced = ("space", "least", "median", "most, ms")
        parts.append(text_table.fit(f"{table!r}"[1:-1]))
        if prices:
            parts.append(text_table.layout(priced, prices))
        else:
            parts.append("It prices networks of none of these spaces.")
    parts.append(
        f"least, median and most of {samples} random networks; choices: unlike "
        "ones\nmay make one network"
    )
    return "\n".join(parts)


def _sample(space: Any, samples: int) -> list[Arch]:
    return [space.sample(seed) for seed in range(samples)]


def _latencies(archs: Sequence[Arch], table: Any) -> list[float] | None:
    try:
        return [table.latency_ms(arch) for arch in archs]
    except LutMiss:
        return None


def _three(values: Sequence[float]) -> _Three:
    return min(values), statistics.median(values), max(values)


def _texts(
    values: Sequence[float], write: Callable[[float], str]
) -> list[str]:
    return [write(value) for value in _three(values)]


def _range(values: Sequence[float]) -> str:
    return " ".join(f"{_short(value):>4}" for value in _three(values))


def _short(value: float) -> str:
    """Returns a number in four characters."""
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}"
