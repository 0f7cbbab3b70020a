"""What an architecture, or a latency table, looks like on a screen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from tfnas import ops
from tfnas import text_table
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.cost.counting import count
from tfnas.ops.graph import Shape
from tfnas.text_table import amount
from tfnas.text_table import sides

_MAX_ROWS = 21  # with title, rule and totals 25 lines


class _Row(NamedTuple):
    """A block of a network and what it costs."""

    number: int
    block: Block
    shape: Shape
    params: int
    madds: int
    ms: float


def of_arch(arch: Arch, table: Any = None) -> str:
    """Returns a table of the blocks; see `Arch.summary`."""
    counts, shapes = count(arch), ops.shapes(arch)
    ms = None if table is None else _block_ms(arch, table)
    rows = [
        _Row(
            i, block, one.out_shape, one.params, one.madds, ms[i] if ms else 0.0
        )
        for i, (block, one) in enumerate(
            zip(arch.blocks, counts.blocks, strict=True)
        )
    ]
    # Blocks in a row that are one but for their place share a line.
    groups = _grouped(rows, lambda row: (row.block, row.shape))
    if len(groups) > _MAX_ROWS:
        groups = _grouped(rows, lambda row: row.block.stage)
    title = text_table.fit(repr(arch)[1:-1])
    lines = text_table.layout(
        ("block", "op", "output", "stride", "params", "madds",
         *(["ms"] if ms else [])),
        [list(_cells(group, ms is not None)) for group in groups], 2,
    )
    total = (
        f"parameters {counts.params:,}, multiply-adds {counts.madds:,}, "
        f"input {sides(shapes[0])}"
    )
    if table is not None:
        total += f"\n{table.latency_ms(arch):.3f} ms by {_origin(table)}"
    return f"{title}\n{lines}\n{total}"


def _grouped(
    rows: Iterable[_Row], key: Callable[[_Row], Any]
) -> list[list[_Row]]:
    return [list(group) for _, group in itertools.groupby(rows, key)]


def _cells(group: Sequence[_Row], priced: bool) -> Iterator[str]:
    """Yields the cells of blocks that share a line."""
    first, last = group[0].number, group[-1].number
    names = dict.fromkeys(_name(row.block) for row in group)
    if len(names) > 1:  # of a stage
        names = dict.fromkeys(row.block.op for row in group)
    times = f" x{len(group)}" if len(group) > 1 else ""
    yield f"{first}" if first == last else f"{first}-{last}"
    yield text_table.fit(", ".join(names), 30) + times
    yield sides(group[-1].shape)
    yield str(math.prod(row.block.stride for row in group))
    yield f"{sum(row.params for row in group):,}"
    yield amount(sum(row.madds for row in group))
    if priced:
        yield f"{math.fsum(row.ms for row in group):.3f}"


def _name(block: Block) -> str:
    """Returns the op with what it is made of: `mbconv k=5 e=6 relu6`."""
    numbers = [f"{k}={v}" for k, v in block.attrs.items() if type(v) is int]
    words = [v for v in block.attrs.values() if type(v) is str and v != "sym"]
    return " ".join([block.op, *numbers, *words])


def _block_ms(arch: Arch, table: Any) -> list[float] | None:
    """Returns the share of each block.

    `None` where the runtime makes one operator of two blocks: then only the
    whole network has a price.
    """
    shapes = ops.shapes(arch)
    parts = list(zip(arch.blocks, shapes, strict=False))
    if not all(table.knows(*part) for part in parts):
        return None
    shares = [table.block_ms(*part) for part in parts]
    whole = math.fsum(shares) + table.bias_ms
    return shares if math.isclose(whole, table.latency_ms(arch)) else None


def _origin(table: Any) -> str:
    device = table.header.get("device", {})
    name = device.get("cpu") or device.get("name", "an unknown device")
    return f"{table.source}: {table.dtype} on {name}"


def line_of_table(table: Any) -> str:
    """Returns what a table is, in a line."""
    error = table.error_percent
    off = "not calibrated" if error is None else f"{error:.1f} % off"
    kinds = "operators" if table.entries == "operators" else "blocks"
    return f"<LatencyTable {_origin(table)}, {len(table.rows)} {kinds}, {off}>"


def of_table(table: Any) -> str:
    """Returns where a table is from and its rows by kind of operator."""
    kinds: dict[str, list[float]] = {}
    for key, row in table.rows.items():
        kinds.setdefault(key.partition("|")[0], []).append(row.latency_ms)
    ranked = sorted(kinds.items(), key=lambda item: -max(item[1]))
    rows = [
        [kind, str(len(ms)), *(f"{v:.4f}" for v in _least_median_most(ms))]
        for kind, ms in ranked[:_MAX_ROWS - 4]
    ]
    header = table.header
    fit = table.calibration
    facts = [
        line_of_table(table)[1:-1],
        f"runtime {header['runtime'].get('delegate')}, "
        f"{header['runtime'].get('threads')} thread(s), lowering "
        f"{table.lowering}; {header.get('statistic')} of "
        f"{header.get('rounds')} rounds, {header.get('date', '')[:10]}",
    ]
    if fit is not None:
        facts.append(
            f"calibrated on {fit.nets} networks: {fit.scale:.3f} x sum "
            f"+ {fit.bias_ms:.3f} ms"
        )
    titles = ("rows, ms", "number", "least", "median", "most")
    more = [f"and {len(ranked) - len(rows)} other kinds"] * (
        len(ranked) > len(rows)
    )
    return "\n".join(
        [*map(text_table.fit, facts), text_table.layout(titles, rows), *more]
    )


def _least_median_most(values: list[float]) -> tuple[float, float, float]:
    ranked = sorted(values)
    return ranked[0], ranked[len(ranked) // 2], ranked[-1]
