"""What each candidate at each place of a chain costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Block
from tfnas.cost.lut import LatencyTable
from tfnas.ops.graph import Shape

_MADDS_PER_UNIT = 1e6


@dataclasses.dataclass(frozen=True)
class ChainCosts:
    """The cost of every choice of a `CandidateSpace`, in one unit.

    The cost of a network is `fixed` and one entry of each row.

    Args:
        fixed: Stem, fixed block and tail, and what a network costs beside
            its operators.
        rows: The candidates' costs at each place; a skip costs nothing.
        unit: `"ms"`, or `"madds_m"` for millions of multiply-adds.
    """

    fixed: float
    rows: tuple[tuple[float, ...], ...]
    unit: str

    @classmethod
    def from_table(cls, space: Any, table: LatencyTable) -> ChainCosts:
        """Returns calibrated latencies, whose sums are `table.latency_ms`.

        Args:
            space: A `CandidateSpace`.
            table: A table that covers it.

        Raises:
            LutMiss: with every key that the table lacks.
        """
        table.require_space(space)
        costs = _costs(space, table.block_ms, "ms")
        return dataclasses.replace(costs, fixed=costs.fixed + table.bias_ms)

    @classmethod
    def from_madds(cls, space: Any) -> ChainCosts:
        """Returns multiply-adds, in millions, of a `CandidateSpace`."""
        return _costs(space, block_madds, "madds_m")

    def cost(self, codes: Sequence[int]) -> float:
        """Returns the cost of the network of an index for each place."""
        return self.fixed + sum(
            row[code] for row, code in zip(self.rows, codes, strict=True)
        )

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of any network."""
        return (
            self.fixed + sum(map(min, self.rows)),
            self.fixed + sum(map(max, self.rows)),
        )

    def table(self) -> np.ndarray:
        """Returns the rows as `(places, most candidates)`, padded with 0."""
        width = max(map(len, self.rows))
        return np.array(
            [[*row, *[0.0] * (width - len(row))] for row in self.rows],
            np.float32,
        )


def block_madds(block: Block, shape: Shape) -> float:
    """Returns the multiply-adds of a block, in millions."""
    graph = ops.lower(block, shape)
    return sum(map(graph.madds, graph.nodes)) / _MADDS_PER_UNIT


def _costs(
    space: Any, cost: Callable[[Block, Shape], float], unit: str
) -> ChainCosts:
    return ChainCosts(
        sum(cost(block, shape) for block, shape in space.frame()),
        tuple(
            tuple(cost(block, shape) for block in row)
            for row, shape in zip(
                space.candidates, space.shapes, strict=False
            )
        ),
        unit,
    )
