"""What surrounds the searched blocks of a chain: stem, fixed block, tail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas import ops
from tfnas.ops.graph import Graph
from tfnas.spaces.chain import ChainSpace
from tfnas.supernets.primitives import classifier_variables
from tfnas.supernets.primitives import classify
from tfnas.supernets.primitives import graph_variables
from tfnas.supernets.primitives import run_graph

_ENTRY = 2  # graphs before the searched blocks


def without_sum(graph: Graph) -> Graph:
    """Returns the same graph without its last sum with the input, if any.

    Several candidates of a residual block share that sum.
    """
    last = graph.nodes[-1] if graph.nodes else None
    if last and last.kind == "add" and "input" in last.inputs:
        graph.nodes.pop()
        graph.output = last.inputs[1]
    return graph


class Frame:
    """Stem, fixed block, tail and classifier with their weights.

    Args:
        space: A space over a chain.
        seed: Seed of the initial weights.
        bn_groups: Normalise each batch in this many equal parts.

    Attributes:
        variables: All weights: kernels, scales and offsets in order, then
            kernel and bias of the classifier.
    """

    def __init__(self, space: ChainSpace, seed: int, bn_groups: int):
        self._bn_groups = bn_groups
        *body, _ = space.frame()
        names = ("stem", "fixed", "tail")
        self._graphs = [ops.lower(block, shape) for block, shape in body]
        self._weights = [
            graph_variables(name, graph, seed)
            for name, graph in zip(names, self._graphs, strict=True)
        ]
        self._fc = classifier_variables(space.spec.head, space.classes, seed)
        self.variables = [v for group in self._weights for v in group]
        self.variables += self._fc

    def _run(
        self, part: int, x: tf.Tensor, values: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        start = sum(len(group) for group in self._weights[:part])
        taken = values[start : start + len(self._weights[part])]
        return run_graph(self._graphs[part], x, taken, self._bn_groups)

    def stem(
        self, images: tf.Tensor, values: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Returns what the first searched block takes.

        Args:
            images: `(batch, height, width, channels)`.
            values: The values of `variables`.
        """
        return self._run(1, self._run(0, images, values), values)

    def logits(
        self, x: tf.Tensor, values: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Returns the logits, `(batch, classes)`, of the last output."""
        return classify(self._run(_ENTRY, x, values), *values[-2:])

    def network_weights(
        self, inner: Sequence[list[np.ndarray]]
    ) -> list[list[np.ndarray]]:
        """Returns the kernels of a network, block by block.

        Args:
            inner: Those of the searched blocks.

        Returns:
            What `derive.load_weights` takes.
        """
        stem, fixed, tail = (kernels(group) for group in self._weights)
        return [stem, fixed, *inner, tail, [v.numpy() for v in self._fc]]


def kernels(variables: Sequence[tf.Variable]) -> list[np.ndarray]:
    """Returns the values of the kernels among the weights of a block."""
    return [v.numpy() for v in variables if v.shape.rank == 4]
