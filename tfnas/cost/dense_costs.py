"""What each layer of a densely connected space costs.

The chained cost of a relaxed network (DenseNAS, section 3.3) is a sum over
these numbers weighted by the probabilities of paths and ops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from tfnas import ops
from tfnas.arch import Block
from tfnas.cost.lut import LatencyTable
from tfnas.ops.graph import Shape

_MADDS_PER_UNIT = 1e6
_SKIP_SHARE = 10


@dataclasses.dataclass(frozen=True)
class DenseCosts:
    """The cost of every choice of a `DenseSpace`, in one unit.

    Args:
        input_cost: Stem and fixed block, and what a network costs beside
            its operators.
        heads: `(source, to)` of a connection to the costs of its head ops,
            in the order of `spec.head_ops`.
        stacks: Block to its layers' costs, each a tuple in the order of
            `spec.stack_ops`; blocks without stack layers have `()`.
        tails: Last block of a path to the cost of what follows but `fc`.
        fc: The classifier. In the ResNet form its width depends on the
            last block, so there it is part of `tails` and `fc` is 0 (but
            see `from_madds`).
    """

    input_cost: float
    heads: Mapping[tuple[int, int], tuple[float, ...]]
    stacks: Mapping[int, tuple[tuple[float, ...], ...]]
    tails: Mapping[int, float]
    fc: float

    @classmethod
    def from_table(
        cls, space: Any, table: LatencyTable, skip_reg: bool = False
    ) -> DenseCosts:
        """Returns the calibrated latencies of a space in ms.

        The sum along a path is `table.latency_ms` of its network; a skip
        costs nothing.

        Args:
            space: A `DenseSpace`.
            table: A table that covers it.
            skip_reg: See `from_madds`.

        Raises:
            LutMiss: with every key that the table lacks.
        """
        table.require_space(space)
        costs = _costs(space, table.block_ms, skip_reg)
        return dataclasses.replace(
            costs, input_cost=costs.input_cost + table.bias_ms
        )

    @classmethod
    def from_madds(
        cls,
        space: Any,
        skip_reg: bool = False,
        supernet_tail: bool = False,
    ) -> DenseCosts:
        """Returns the multiply-adds of a space in millions.

        Args:
            space: A `DenseSpace`.
            skip_reg: Lets a skip cost a tenth of the first op of its layer,
                so that depth is not free to drop.
            supernet_tail: Counts the tail of the published ResNet supernet,
                a 1x1 convolution to `last_dim` and a classifier on that,
                which its derived networks do not have. Changes nothing in
                the MobileNetV2 form.
        """

        def cost(block: Block, shape: Shape) -> float:
            graph = ops.lower(block, shape)
            return sum(map(graph.madds, graph.nodes)) / _MADDS_PER_UNIT

        costs = _costs(space, cost, skip_reg)
        spec = space.spec
        if not supernet_tail or spec.net_type == "mbv2":
            return costs
        height, width, _ = space.shape(spec.tail - 1)
        per_channel = height * width * spec.last_dim / _MADDS_PER_UNIT
        return dataclasses.replace(
            costs,
            tails={
                b: spec.tensor_width(b) * per_channel for b in costs.tails
            },
            fc=spec.last_dim * space.classes / _MADDS_PER_UNIT,
        )


def _costs(
    space: Any, cost: Callable[[Block, Shape], float], skip_reg: bool
) -> DenseCosts:
    spec = space.spec

    def layer(block: int) -> tuple[float, ...]:
        row = [
            cost(space.stack(block, op), space.shape(block))
            for op in spec.stack_ops
        ]
        if skip_reg:
            row[spec.stack_ops.index("skip_connect")] = row[0] / _SKIP_SHARE
        return tuple(row)

    def chain(blocks: list[Block], shape: Shape) -> float:
        total = 0.0
        for block in blocks:
            total += cost(block, shape)
            shape = ops.lower(block, shape).output_shape
        return total

    ends = spec.incoming(spec.tail)
    fc = 0.0
    tails = {b: chain(space.tail(b), space.shape(b)) for b in ends}
    if spec.net_type == "mbv2":
        (tail, classifier), shape = space.tail(ends[0]), space.shape(ends[0])
        fc = cost(classifier, ops.lower(tail, shape).output_shape)
        tails = {b: chain(space.tail(b)[:1], space.shape(b)) for b in ends}
    return DenseCosts(
        chain(space.stem(), space.input_shape),
        {
            (source, to): tuple(
                cost(space.head(source, to, op), space.shape(source))
                for op in spec.head_ops
            )
            for to in range(1, spec.tail)
            for source in spec.incoming(to)
        },
        {
            block: (layer(block),) * spec.layers[block]
            if spec.layers[block]
            else ()
            for block in range(spec.tail)
        },
        tails,
        fc,
    )
