"""What evolving cells cost at the positions of a chain.

Multiply-adds and parameters are counted, latencies are of fused cells: a
table knows a few cells of each place (`CellSpace.basis`), and the others are
sums of the parts that a least-squares fit of those finds (ours: all cells are
too many to measure). A table of operators knows all of a cell's, mostly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Block
from tfnas.cost.chain_costs import block_madds
from tfnas.cost.lut import LatencyTable
from tfnas.ops.cell import CONV
from tfnas.ops.cell import IDENTITY
from tfnas.ops.cell import KERNELS
from tfnas.ops.cell import Cell
from tfnas.ops.graph import Shape

_PARAMS_PER_UNIT = 1e6
KINDS = ("madds", "params", "latency")


class CellCosts:
    """The cost of any cell at any position, in one unit.

    Args:
        space: A `CellSpace`.
        block_cost: Cost of a block of the frame at an input shape.
        cell_cost: Cost of a cell at a place with an input shape.
        unit: `"ms"`, `"madds_m"` or `"params_m"`, in millions.
        base: What a network costs beside its operators.

    Attributes:
        fixed: Cost of everything but the cells.
        positions: Number of positions.
    """

    def __init__(
        self, space: Any, block_cost: Callable[[Block, Shape], float],
        cell_cost: Callable[[Any, Shape, Cell], float], unit: str,
        base: float = 0.0,
    ):
        self.unit, self.positions = unit, len(space.spec.positions)
        self.fixed = base + sum(
            block_cost(block, shape) for block, shape in space.frame()
        )
        self._space = space
        self._cell_cost = functools.cache(cell_cost)

    def cost(self, position: int, cell: Cell) -> float:
        """Returns the cost of a cell, summed over the position's blocks."""
        space = self._space
        return sum(
            self._cell_cost(place, shape, cell)
            for place, shape in zip(
                space.spec.places, space.shapes, strict=False
            )
            if place.position == position
        )

    def total(self, chosen: Any) -> float:
        """Returns the cost of a network of one cell at each position."""
        return self.fixed + sum(
            self.cost(i, cell) for i, cell in enumerate(chosen)
        )


def from_madds(space: Any, fused: bool = False) -> CellCosts:
    """Returns millions of multiply-adds of a `CellSpace`'s cells.

    Args:
        space: The space.
        fused: Whether to count cells as networks hold them.
    """
    return _counted(space, block_madds, "madds_m", fused)


def from_params(space: Any, fused: bool = False) -> CellCosts:
    """Returns millions of parameters; see `from_madds`."""
    return _counted(space, _block_params, "params_m", fused)


def _counted(
    space: Any, count: Callable[[Block, Shape], float], unit: str,
    fused: bool,
) -> CellCosts:
    make = space.derived if fused else space.block
    return CellCosts(
        space, count,
        lambda place, shape, cell: count(make(place, cell), shape), unit,
    )


def _block_params(block: Block, shape: Shape) -> float:
    graph = ops.lower(block, shape)
    return sum(map(graph.params, graph.nodes)) / _PARAMS_PER_UNIT


def from_table(space: Any, table: LatencyTable) -> CellCosts:
    """Returns latencies in ms of a `CellSpace`'s fused cells.

    Args:
        space: The space.
        table: A table that covers the basis of the space.

    Raises:
        LutMiss: with every key that the table lacks.
    """
    table.require_space(space)
    block_cost = table.block_ms

    @functools.cache
    def fit(place: Any, shape: Shape, dim: int) -> np.ndarray:
        known = [cell for cell in space.basis() if cell.dim == dim]
        costs = [
            block_cost(space.block(place, cell), shape) for cell in known
        ]
        rows = [_parts(cell, place.stride) for cell in known]
        return np.linalg.lstsq(np.array(rows), np.array(costs), rcond=None)[0]

    def cell_cost(place: Any, shape: Shape, cell: Cell) -> float:
        block = space.derived(place, cell)
        if table.entries == "operators" and table.knows(block, shape):
            return block_cost(block, shape)
        fused = Cell.parse(block.attrs["cell"])
        parts = _parts(fused, place.stride)
        # A sum of parts may fall short of nothing where noise is large.
        return max(float(parts @ fit(place, shape, cell.dim)), 1e-6)

    return CellCosts(space, block_cost, cell_cost, "ms", table.bias_ms)


def _parts(cell: Cell, stride: int) -> np.ndarray:
    """Counts the parts of a fused cell.

    Expansion and projection; depthwise convolutions by kernel and 1x1
    convolutions, apart for edges that carry a stride; whether there is a
    pool; sums; products.
    """
    counts = dict.fromkeys(_PARTS, 0)
    counts["frame"] = 1
    for node in (1, 2, 3):
        inputs = cell.inputs(node)
        for source, code in inputs:
            where = "strided" if source == 0 and stride > 1 else "inner"
            if code == CONV:
                counts[f"conv {where}"] += 1
            elif code != IDENTITY:
                size = KERNELS[code]
                counts[f"{size} {where}" if size == 3 else f"{size}"] += 1
            elif where == "strided":
                counts["pool"] = 1  # for all edges
        kind = "product" if cell.mix(node) else "sum"
        counts[kind] += len(inputs) - 1
    return np.array([counts[part] for part in _PARTS], np.float64)


_PARTS = (
    "frame", "3 strided", "3 inner", "5", "7", "conv strided", "conv inner",
    "pool", "sum", "product",
)
