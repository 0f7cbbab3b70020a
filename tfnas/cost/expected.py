"""Differentiable expected cost of a relaxed network, and its penalties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.cost.lattice import LatticeCosts

# Which options of some links are active (`None`: all), and their weights.
Active = tuple[tf.Tensor | None, tf.Tensor]


class ExpectedCost:
    """Expected cost of the networks of a lattice.

    Backwards from the last node, a node's cost is the sum over the links
    that leave it of `p (cost of the link + cost of the node it leads to)`;
    a link's cost is the mean of its options'. With one-hot choices it is the
    sum along the route. Source: DenseNAS (CVPR 2020), section 3.3; on a line
    it is ProxylessNAS' (ICLR 2019), equation 4.

    Args:
        costs: The cost of every option.
        tables: The searched links, as they share tables of parameters.
    """

    def __init__(self, costs: LatticeCosts, tables: Sequence[Sequence[int]]):
        self.costs, self._links = costs, tables
        self.tables = [padded([costs.rows[i] for i in t]) for t in tables]

    def __call__(
        self, active: Sequence[Active], paths: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the expected cost, a scalar in the unit of the costs.

        Args:
            active: For each table its active options and their weights, each
                `(links, k)`.
            paths: Probability of each link of `lattice.weighed`; may be left
                out where there is none.
        """
        terms = [
            _rows(table, ops) * weights
            for table, (ops, weights) in zip(self.tables, active, strict=True)
        ]
        if self.costs.lattice.weighed:
            total = self._over_paths(terms, paths)
        else:  # every network takes all links
            total = tf.add_n([tf.reduce_sum(term) for term in terms])
        return total + self.costs.fixed

    def _over_paths(
        self, terms: Sequence[tf.Tensor], paths: tf.Tensor
    ) -> tf.Tensor:
        costs, lattice = self.costs, self.costs.lattice
        cost = {i: row[0] for i, row in enumerate(costs.rows)}
        for table, term in zip(self._links, terms, strict=True):
            means = tf.unstack(tf.reduce_sum(term, -1))
            cost |= dict(zip(table, means, strict=True))
        odds = dict(zip(lattice.weighed, tf.unstack(paths), strict=True))
        # Links in series are summed at once, where paths meet.
        ahead: dict[Any, list[tf.Tensor]] = {lattice.nodes[-1]: []}
        for node in reversed(lattice.nodes[:-1]):
            parts = []
            for i in lattice.outgoing[node]:
                link = lattice.links[i]
                if i in odds:
                    rest = tf.add_n([tf.constant(0.0), *ahead[link.to]])
                    parts.append(odds[i] * (cost[i] + rest))
                else:
                    parts += ahead[link.to]
                    parts += [] if i in lattice.common else [cost[i]]
            ahead[node] = parts
        return tf.add_n(ahead[lattice.nodes[0]])


def _rows(table: np.ndarray, ops: tf.Tensor | None) -> tf.Tensor:
    table = tf.constant(table)
    return table if ops is None else tf.gather(table, ops, batch_dims=1)


def padded(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns rows as `(rows, most entries)`, float32, padded with 0."""
    table = np.zeros((len(rows), max(map(len, rows))), np.float32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


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
