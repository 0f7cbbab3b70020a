"""What every option of a lattice costs, and so every network of a space.

The one form in which gradient searches see costs, whether milliseconds of a
table or counts: the cost of a network is a sum along its route.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tfnas import ops
from tfnas.arch import Block
from tfnas.cost.lut import LatencyTable
from tfnas.ops.graph import Shape
from tfnas.spaces.lattice import Lattice
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link
from tfnas.spaces.lattice import Route

BlockCost = Callable[[Block, Shape], float]
_PER_UNIT = 1e6
_SKIP_SHARE = 10


@dataclasses.dataclass(frozen=True)
class LatticeCosts:
    """The cost of every option of a lattice, in one unit.

    Args:
        lattice: The lattice.
        rows: The costs of each link's options; a skip costs nothing.
        unit: `"ms"`, `"madds_m"` or `"params_m"`, in millions.
        base: What a network costs beside its operators.
    """

    lattice: Lattice
    rows: tuple[tuple[float, ...], ...]
    unit: str
    base: float = 0.0

    @classmethod
    def of(
        cls, lattice: Lattice, block_cost: BlockCost, unit: str,
        base: float = 0.0,
    ) -> LatticeCosts:
        """Returns the costs that a cost of blocks makes."""
        rows = tuple(row_costs(link, block_cost) for link in lattice.links)
        return cls(lattice, rows, unit, base)

    @classmethod
    def from_table(
        cls, space: LatticeSpace, table: LatencyTable
    ) -> LatticeCosts:
        """Returns calibrated latencies in ms, whose sums are the table's.

        Args:
            space: The space.
            table: A table that covers it.

        Raises:
            LutMiss: with every key that the table lacks.
        """
        table.require_space(space)
        return cls.of(space.lattice, table.block_ms, "ms", table.bias_ms)

    @classmethod
    def from_madds(cls, space: LatticeSpace) -> LatticeCosts:
        """Returns multiply-adds, in millions."""
        return cls.of(space.lattice, block_madds, "madds_m")

    def row(self, name: str) -> tuple[float, ...]:
        """Returns the costs of the options of a link."""
        return self.rows[self.lattice.find(name)]

    @property
    def fixed(self) -> float:
        """What every network costs, whatever is chosen."""
        return self.base + sum(self.rows[i][0] for i in self.lattice.common)

    def cost(self, route: Route) -> float:
        """Returns the cost of the network of a route."""
        return sum((self.rows[i][k] for i, k in route), start=self.base)

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of any network."""
        lattice, bounds = self.lattice, []
        for best in (min, max):
            so_far: dict[Any, float] = {lattice.nodes[0]: self.base}
            for node in lattice.nodes[1:]:
                so_far[node] = best(
                    so_far[lattice.links[i].source] + best(self.rows[i])
                    for i in lattice.incoming[node]
                )
            bounds.append(so_far[lattice.nodes[-1]])
        return bounds[0], bounds[1]

    def with_skips_priced(self) -> LatticeCosts:
        """Lets a skip cost a tenth of its link's first option.

        So that depth is not free to drop (DenseNAS' released `skip_reg`).
        """
        rows = [
            tuple(
                row[0] / _SKIP_SHARE if _is_skip(link, k) else cost
                for k, cost in enumerate(row)
            )
            for link, row in zip(self.lattice.links, self.rows, strict=True)
        ]
        return dataclasses.replace(self, rows=tuple(rows))


def _is_skip(link: Link, option: int) -> bool:
    return all(
        not ops.lower(block, shape).nodes
        for block, shape in link.blocks(option)
    )


def row_costs(link: Link, block_cost: BlockCost) -> tuple[float, ...]:
    """Returns the cost of each option of a link."""
    return tuple(
        sum(block_cost(block, shape) for block, shape in link.blocks(k))
        for k in range(len(link.options))
    )


def block_madds(block: Block, shape: Shape) -> float:
    """Returns the multiply-adds of a block, in millions."""
    graph = ops.lower(block, shape)
    return sum(map(graph.madds, graph.nodes)) / _PER_UNIT


def block_params(block: Block, shape: Shape) -> float:
    """Returns the parameters of a block, in millions."""
    graph = ops.lower(block, shape)
    return sum(map(graph.params, graph.nodes)) / _PER_UNIT
