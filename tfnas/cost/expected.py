"""Differentiable expected cost of a relaxed network, and its penalties."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfnas.cost.dense_costs import DenseCosts


class ChainedCost:
    """Expected cost of a densely connected supernet (section 5 of its spec).

    `R_b = S_b + sum_j p_bj (h_bj + R_j)`, `cost = R_0 + fc`: a connection
    pays its head layer, and a block's stack is paid once for each
    probability that arrives. With one-hot choices it is the sum along the
    path. Source: DenseNAS, section 3.3.

    Args:
        costs: The cost of every choice.

    Attributes:
        connections: `(source, to)` in the order of the connection weights;
            the tail is one past the last block.
    """

    def __init__(self, costs: DenseCosts):
        self.costs = costs
        self.tail = max(costs.tails) + 1
        ends = [(block, self.tail) for block in costs.tails]
        self.connections = sorted([*costs.heads, *ends])
        heads = [costs.heads[c] for c in sorted(costs.heads)]
        layers = [
            (block, row) for block in sorted(costs.stacks)
            for row in costs.stacks[block]
        ]
        self._heads = np.array(heads, np.float32)
        self._stacks = np.array([row for _, row in layers], np.float32)
        self._owners = [block for block, _ in layers]

    def __call__(
        self, connections: tf.Tensor, heads: tuple[tf.Tensor, tf.Tensor],
        stacks: tuple[tf.Tensor, tf.Tensor],
    ) -> tf.Tensor:
        """Returns the expected cost, a scalar in the unit of the costs.

        Args:
            connections: Probability of each connection, `(connections,)`.
            heads: Active ops of the head layers and their weights, each
                `(connections into blocks, k)`.
            stacks: The same of the stack layers, `(stack layers, k)`.
        """
        probability = tf.unstack(connections, len(self.connections))
        head = iter(tf.unstack(_weigh(self._heads, *heads)))
        edges: dict[int, list] = {}
        for p, (source, to) in zip(
            probability, self.connections, strict=True
        ):
            cost = (
                tf.constant(self.costs.tails[source], tf.float32)
                if to == self.tail
                else next(head)
            )
            edges.setdefault(source, []).append((to, p, cost))
        stack: dict[int, list] = {}
        weighed = tf.unstack(_weigh(self._stacks, *stacks))
        for block, cost in zip(self._owners, weighed, strict=True):
            stack.setdefault(block, []).append(cost)
        rest = {self.tail: tf.constant(0.0)}
        for block in range(self.tail - 1, -1, -1):
            parts = [p * (cost + rest[to]) for to, p, cost in edges[block]]
            rest[block] = tf.add_n(parts + stack.get(block, []))
        return rest[0] + self.costs.input_cost + self.costs.fc


def _weigh(
    table: np.ndarray, ops: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    active = tf.gather(tf.constant(table), ops, batch_dims=1)
    return tf.reduce_sum(active * weights, -1)


def log_penalty(
    cost: tf.Tensor, factor: float, log_base: float
) -> tf.Tensor:
    """Returns `factor * ln(cost) / ln(log_base)` (DenseNAS, equation 6).

    `log_base` is a scale, not a target: the term equals `factor` where the
    cost equals `log_base`.
    """
    return factor * tf.math.log(cost) / math.log(log_base)


def target_penalty(
    cost: tf.Tensor, factor: float, target: float
) -> tf.Tensor:
    """Returns `factor * |cost / target - 1|`, which aims at the target.

    Source: TuNAS (Bender et al. 2020), the absolute-value reward.
    """
    return factor * tf.abs(cost / target - 1.0)
