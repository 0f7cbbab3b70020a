"""DenseNAS' published cost tables: nested lists read by position.

One list: cost of the stem; per block from 1 on, its head costs per incoming
connection (nearest source first) and its stack costs per layer; tail costs
per incoming connection; cost of the classifier. The text is parsed as a
literal and never evaluated.
"""

from __future__ import annotations

import ast
import math
import os
from typing import Any

from tfnas import artifacts
from tfnas.cost.dense_costs import DenseCosts
from tfnas.errors import ArtifactError

_MAX_BYTES = 4 << 20


def load(space: Any, path: str | os.PathLike) -> DenseCosts:
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
    space: Any, costs: DenseCosts, path: str | os.PathLike
) -> None:
    """Writes a positional cost table of a space, atomically."""
    artifacts.write_text(path, dump(space, costs) + "\n")


def parse(
    space: Any, text: str, source: str = "cost table"
) -> DenseCosts:
    """Reads a positional cost table from text; see `load`."""
    spec, reader = space.spec, _Reader(source)
    stem, blocks, tails, fc = reader.items(_literal(text, source), 4, "table")
    blocks = reader.items(blocks, spec.tail - 1, "blocks")
    heads: dict[tuple[int, int], tuple[float, ...]] = {}
    stacks: dict[int, tuple[tuple[float, ...], ...]] = {0: ()}
    for to, block in enumerate(blocks, 1):
        place = f"block {to}"
        head_rows, stack_rows = reader.items(block, 2, place)
        sources = spec.incoming(to)
        rows = reader.items(head_rows, len(sources), f"{place} heads")
        for b, row in zip(sources, rows, strict=True):
            heads[b, to] = reader.costs(
                row, len(spec.head_ops), f"{place} head from {b}"
            )
        if not spec.layers[to]:
            # The published MobileNetV2 table lists layers even here.
            stacks[to] = ()
            continue
        rows = reader.items(stack_rows, spec.layers[to], f"{place} stack")
        stacks[to] = tuple(
            reader.costs(row, len(spec.stack_ops), f"{place} layer {i}")
            for i, row in enumerate(rows)
        )
    ends = spec.incoming(spec.tail)
    tail_costs = reader.costs(tails, len(ends), "tail")
    return DenseCosts(
        reader.cost(stem, "input"),
        heads,
        stacks,
        dict(zip(ends, tail_costs, strict=True)),
        reader.cost(fc, "classifier"),
    )


def dump(space: Any, costs: DenseCosts) -> str:
    """Returns the positional form of a space's costs, on one line."""
    spec = space.spec
    blocks = [
        [
            [list(costs.heads[b, to]) for b in spec.incoming(to)],
            [list(layer) for layer in costs.stacks[to]],
        ]
        for to in range(1, spec.tail)
    ]
    tails = [costs.tails[b] for b in spec.incoming(spec.tail)]
    return repr([costs.input_cost, blocks, tails, costs.fc])


def _literal(text: str, source: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ArtifactError(
            f"{source}: expected a nested list of numbers. "
            f"Received: {text.strip()[:60]!r}"
        ) from error


class _Reader:
    def __init__(self, source: str):
        self.source = source

    def _fail(self, place: str, expected: str, received: Any) -> None:
        raise ArtifactError(
            f"{self.source}: {place}: expected {expected}. "
            f"Received: {received!r}"
        )

    def items(self, value: Any, count: int, place: str) -> list[Any]:
        if not isinstance(value, list):
            self._fail(place, f"a list of {count}", value)
        if len(value) != count:
            self._fail(place, f"a list of {count}", f"{len(value)} items")
        return value

    def cost(self, value: Any, place: str) -> float:
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            self._fail(place, "a number >= 0", value)
        return float(value)

    def costs(self, value: Any, count: int, place: str) -> tuple[float, ...]:
        items = self.items(value, count, place)
        return tuple(self.cost(item, place) for item in items)
