"""DenseNAS' published cost tables: nested lists read by position.

One list: cost of the stem; per block from 1 on, its head costs per incoming
connection (nearest source first) and its stack costs per layer; tail costs
per incoming connection; cost of the classifier. The text is parsed as a
literal and never evaluated.

The costs of the authors' lists are milliseconds. A list becomes a latency
table (`to_table`) whose rows are the blocks of the space: what was measured
at several places is averaged, and what was measured in one piece, the stem
with the fixed block, is shared out by multiply-adds. The table keeps the list
beside its rows, so that `from_table` gives it back digit for digit.
"""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas import artifacts
from tfnas import ops
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lattice import block_madds
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut_fields import LutRow
from tfnas.cost.lut_fields import shown
from tfnas.errors import ArtifactError
from tfnas.errors import LutMiss

_MAX_BYTES = 4 << 20
_KEPT = "published_list"  # where a table's `conditions` keep its list


def load(space: Any, path: str | os.PathLike) -> LatticeCosts:
    """Reads a positional cost table of a space.

    Args:
        space: The `DenseSpace` whose blocks and ops the positions stand for.
        path: The file.

    Raises:
        ArtifactError: when the file is no literal, its shape is not that of
            the space, or a cost is no number >= 0; the message names the
            place.
    """
    return parse(space, artifacts.read_text(path, _MAX_BYTES), str(path))


def save(
    space: Any, costs: LatticeCosts, path: str | os.PathLike
) -> None:
    """Writes a positional cost table of a space, atomically."""
    artifacts.write_text(path, dump(space, costs) + "\n")


def parse(
    space: Any, text: str, source: str = "cost table"
) -> LatticeCosts:
    """Reads a positional cost table from text; see `load`."""
    return _read(space, _literal(text, source), source)


def _read(space: Any, value: Any, source: str) -> LatticeCosts:
    spec, reader = space.spec, _Reader(source, space.name)
    stem, blocks, tails, fc = reader.items(value, 4, "table")
    found: dict[str, tuple[float, ...]] = {}
    found[space.stem_name] = (reader.cost(stem, "input"),)
    blocks = reader.items(blocks, spec.tail - 1, "blocks")
    for to, block in enumerate(blocks, 1):
        place = f"block {to}"
        head_rows, stack_rows = reader.items(block, 2, place)
        sources = spec.incoming(to)
        rows = reader.items(head_rows, len(sources), f"{place} heads")
        for b, row in zip(sources, rows, strict=True):
            found[f"head{b}_{to}"] = reader.costs(
                row, len(spec.head_ops), f"{place} head from {b}"
            )
        if not spec.layers[to]:
            # The published MobileNetV2 table lists layers even here.
            continue
        rows = reader.items(stack_rows, spec.layers[to], f"{place} stack")
        for i, row in enumerate(rows):
            found[f"stack{to}_{i}"] = reader.costs(
                row, len(spec.stack_ops), f"{place} layer {i}"
            )
    ends = spec.incoming(spec.tail)
    tail_costs = reader.costs(tails, len(ends), "tail")
    last = reader.cost(fc, "classifier")
    found["classifier"] = (last,)
    shared = "classifier" in space.lattice
    for b, cost in zip(ends, tail_costs, strict=True):
        found[f"tail{b}"] = (cost if shared else cost + last,)
    lattice = space.lattice
    return LatticeCosts(
        lattice, tuple(found[link.name] for link in lattice.links), "ms"
    )


def dump(space: Any, costs: LatticeCosts) -> str:
    """Returns the positional form of a space's costs, on one line."""
    spec, row = space.spec, costs.row
    blocks = [
        [
            [list(row(f"head{b}_{to}")) for b in spec.incoming(to)],
            [list(row(f"stack{to}_{i}")) for i in range(spec.layers[to])],
        ]
        for to in range(1, spec.tail)
    ]
    tails = [row(f"tail{b}")[0] for b in spec.incoming(spec.tail)]
    stem = row(space.stem_name)[0] + costs.base
    # In the ResNet form the classifier is all of the tail.
    fc = row("classifier")[0] if "classifier" in space.lattice else 0.0
    return repr([stem, blocks, tails, fc])


def to_table(
    space: Any, text: str, header: Mapping[str, Any],
    source: str = "cost table",
) -> LatencyTable:
    """Returns a published list as a latency table.

    Skips, which networks of ours do not contain, get no row.

    Args:
        space: The `DenseSpace` of the list.
        text: The list.
        header: Where its numbers come from, see `LatencyTable`.
        source: File name for messages.

    Raises:
        ArtifactError: as `load`, or when a block costs nothing.
    """
    value = _literal(text, source)
    rows = _rows(space, _read(space, value, source), source)
    kept = {"space": space.name, "list": value}
    conditions = {**header.get("conditions", {}), _KEPT: kept}
    return LatencyTable(
        {**header, "conditions": conditions}, rows, source=source
    )


def from_table(space: Any, table: LatencyTable) -> str:
    """Returns the positional form of a latency table, on one line.

    A table made from a list, and not changed since, gives that very list.
    Any other gives its calibrated latencies.

    Raises:
        ArtifactError: when the table lacks rows of the space.
    """
    kept = table.header.get("conditions", {}).get(_KEPT)
    if isinstance(kept, Mapping) and kept.get("space") == space.name:
        value = kept.get("list")
        costs = _read(space, value, table.source)
        unchanged = table.calibration is None and table.rows == _rows(
            space, costs, table.source
        )
        if unchanged:
            return repr(value)
    try:
        return dump(space, LatticeCosts.from_table(space, table))
    except LutMiss as error:
        raise ArtifactError(
            f"{table.source}: rows: expected those of the space "
            f"`{space.name}` (another --space, --image_size or --classes?). "
            f"Received: {len(error.keys)} missing, the first `{error.keys[0]}`"
        ) from error


def _rows(
    space: Any, costs: LatticeCosts, source: str
) -> dict[str, LutRow]:
    readings: dict[str, list[float]] = {}
    for link, row in zip(costs.lattice.links, costs.rows, strict=True):
        for k, cost in enumerate(row):
            chain = list(link.blocks(k))
            madds = [block_madds(block, shape) for block, shape in chain]
            for (block, shape), share in zip(chain, madds, strict=True):
                key = ops.lut_key(block, shape)
                if key is None:
                    continue
                if not cost > 0:
                    raise ArtifactError(
                        f"{source}: {link.name}: expected a number > 0, "
                        f"because a block computes something. Received: {cost}"
                    )
                readings.setdefault(key, []).append(cost * share / sum(madds))
    return {
        key: LutRow(
            float(np.mean(found)),
            (max(found) - min(found)) / float(np.mean(found)), len(found),
        )
        for key, found in readings.items()
    }


def _literal(text: str, source: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ArtifactError(
            f"{source}: expected a nested list of numbers; name a list as "
            f"DenseNAS publishes them. Received: {shown(text.strip())}"
        ) from error


class _Reader:
    def __init__(self, source: str, space: str):
        self.source, self.space = source, space

    def _fail(self, place: str, expected: str, received: Any) -> None:
        raise ArtifactError(
            f"{self.source}: {place}: expected {expected}. "
            f"Received: {shown(received)}"
        )

    def items(self, value: Any, count: int, place: str) -> list[Any]:
        expected = (
            f"a list of {count}, as the space `{self.space}` has it (is it "
            "the list of another --space?)"
        )
        if not isinstance(value, list):
            self._fail(place, expected, value)
        if len(value) != count:
            self._fail(place, expected, f"{len(value)} items")
        return value

    def cost(self, value: Any, place: str) -> float:
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            self._fail(place, "a number >= 0", value)
        return float(value)

    def costs(self, value: Any, count: int, place: str) -> tuple[float, ...]:
        items = self.items(value, count, place)
        return tuple(self.cost(item, place) for item in items)
