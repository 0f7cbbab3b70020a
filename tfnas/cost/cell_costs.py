"""What evolving cells cost at the positions of a chain.

Multiply-adds and parameters are counted, latencies are of fused cells: a
table knows a few cells of each place (`CellSpace.basis`), and the others are
sums of the parts that a least-squares fit of those finds (ours: all cells are
too many to measure). A table of operators knows all of a cell's, mostly.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.arch import Block
from tfnas.cost.lattice import BlockCost
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lattice import block_madds
from tfnas.cost.lattice import block_params
from tfnas.cost.lut import LatencyTable
from tfnas.ops.cell import CONV
from tfnas.ops.cell import IDENTITY
from tfnas.ops.cell import KERNELS
from tfnas.ops.cell import Cell
from tfnas.ops.graph import Shape

KINDS = ("madds", "params", "latency")


class CellCosts:
    """The cost of any cell at any position, in one unit.

    Args:
        space: A `CellSpace`.
        block_cost: Cost of a block, also of a cell's, at an input shape.
        unit: `"ms"`, `"madds_m"` or `"params_m"`, in millions.
        fused: Whether cells cost what networks hold of them.
        base: What a network costs beside its operators.

    Attributes:
        positions: Number of positions.
    """

    def __init__(
        self, space: Any, block_cost: BlockCost, unit: str,
        fused: bool = True, base: float = 0.0,
    ):
        self.unit, self.fused, self._base = unit, fused, base
        self._space, self.positions = space, len(space.spec.positions)
        self._block_cost = functools.cache(block_cost)

    def of(self, rows: Sequence[Sequence[Cell]]) -> LatticeCosts:
        """Returns the costs of the line of some cells at each position."""
        lattice = self._space.lattice(rows, self.fused)
        return LatticeCosts.of(
            lattice, self._block_cost, self.unit, self._base
        )

    def cost(self, position: int, cell: Cell) -> float:
        """Returns the cost of a cell, summed over the position's blocks."""
        space = self._space
        make = space.derived if self.fused else space.block
        return sum(
            self._block_cost(make(place, cell), shape)
            for place, shape in zip(
                space.spec.places, space.shapes, strict=False
            )
            if place.position == position
        )

    def total(self, chosen: Sequence[Cell]) -> float:
        """Returns the cost of a network of one cell at each position."""
        return self.of([[cell] for cell in chosen]).reachable()[0]


def from_madds(space: Any, fused: bool = True) -> CellCosts:
    """Returns millions of multiply-adds of a `CellSpace`'s cells."""
    return CellCosts(space, block_madds, "madds_m", fused)


def from_params(space: Any, fused: bool = True) -> CellCosts:
    """Returns millions of parameters of a `CellSpace`'s cells."""
    return CellCosts(space, block_params, "params_m", fused)


def from_table(space: Any, table: LatencyTable) -> CellCosts:
    """Returns latencies in ms of a `CellSpace`'s fused cells.

    Args:
        space: The space.
        table: A table that covers the basis of the space.

    Raises:
        LutMiss: with every key that the table lacks.
    """
    table.require_space(space)
    places = {
        (place.in_channels, place.out_channels, place.stride, shape): place
        for place, shape in zip(space.spec.places, space.shapes, strict=False)
    }

    @functools.cache
    def fit(place: Any, shape: Shape, dim: int) -> np.ndarray:
        known = [cell for cell in space.basis() if cell.dim == dim]
        costs = [
            table.block_ms(space.block(place, cell), shape) for cell in known
        ]
        rows = [_parts(cell, place.stride) for cell in known]
        return np.linalg.lstsq(np.array(rows), np.array(costs), rcond=None)[0]

    def block_cost(block: Block, shape: Shape) -> float:
        if block.op != "cell" or (
            table.entries == "operators" and table.knows(block, shape)
        ):
            return table.block_ms(block, shape)
        cell = Cell.parse(block.attrs["cell"])
        place = places[
            block.in_channels, block.out_channels, block.stride, shape
        ]
        parts = _parts(cell, block.stride)
        # A sum of parts may fall short of nothing where noise is large.
        return max(float(parts @ fit(place, shape, cell.dim)), 1e-6)

    return CellCosts(space, block_cost, "ms", True, table.bias_ms)


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
