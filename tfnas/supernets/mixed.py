"""A mixed layer: candidate ops of one place, run one or two at a time.

All candidates that lower to the same chain of primitive layers are one traced
function of their kernels; which candidate runs is a matter of which kernels
are handed to it. So a graph holds each place once, whatever the number of
candidates, and only sampled candidates cost anything.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Sequence

import tensorflow as tf

from tfnas import ops
from tfnas.arch import Block
from tfnas.ops.graph import Graph
from tfnas.supernets.base import Selected
from tfnas.supernets.primitives import form
from tfnas.supernets.primitives import graph_variables
from tfnas.supernets.primitives import run_graph
from tfnas.supernets.primitives import weight_ranks


class LayerFunctions:
    """Traced functions of mixed layers, one for each signature.

    Args:
        bn_groups: See `primitives.batch_norm`.
    """

    def __init__(self, bn_groups: int):
        self.bn_groups = bn_groups
        self._functions: dict[tuple, tf.types.experimental.GenericFunction]
        self._functions = {}

    def get(
        self, graph: Graph, skippable: bool, train: bool
    ) -> tf.types.experimental.GenericFunction:
        """Returns `f(x, keep, *weights)`.

        Args:
            graph: The candidates' graph.
            skippable: Whether `keep` may be false; the result is then `x`.
            train: Whether gradients to the weights are wanted.
        """
        key = (form(graph), skippable, train)
        if key not in self._functions:
            self._functions[key] = self._trace(graph, skippable, train)
        return self._functions[key]

    def _trace(
        self, graph: Graph, skippable: bool, train: bool
    ) -> tf.types.experimental.GenericFunction:
        def run(x, keep, *weights):
            if not train:
                weights = tuple(tf.stop_gradient(w) for w in weights)
            body = functools.partial(
                run_graph, graph, x, weights, self.bn_groups
            )
            return tf.cond(keep, body, lambda: x) if skippable else body()

        specs = [tf.TensorSpec([None] * 4), tf.TensorSpec([], tf.bool)]
        for node in graph.nodes:
            specs += [tf.TensorSpec([None] * r) for r in weight_ranks(node)]
        return tf.function(run, specs, autograph=False)


def _lower(
    block: Block, in_shape: tuple[int, ...], affine: Callable[[str], bool]
) -> Graph:
    graph = ops.lower(block, in_shape)
    graph.nodes = [
        dataclasses.replace(n, attrs={**n.attrs, "affine": affine(n.name)})
        if n.kind == "norm"
        else n
        for n in graph.nodes
    ]
    return graph


class MixedLayer:
    """The candidates of one place with their weights.

    All candidates but the identity must lower to graphs of one form.

    Args:
        name: Prefix of the variable names.
        candidates: The candidate blocks, in the order of the op parameters.
        in_shape: `(height, width, channels)` of the input.
        seed: Seed of the initial weights.
        functions: The supernet's traced functions.
        affine: Says of a normalisation's name whether it has scale and
            offset; by default none has.
    """

    def __init__(
        self, name: str, candidates: Sequence[Block],
        in_shape: tuple[int, ...], seed: int, functions: LayerFunctions,
        affine: Callable[[str], bool] = lambda name: False,
    ):
        graphs = [_lower(block, in_shape, affine) for block in candidates]
        real = [i for i, g in enumerate(graphs) if g.nodes]
        if not real:
            raise ValueError(
                "A mixed layer must have a candidate beside skips. "
                f"Received: {[b.op for b in candidates]}"
            )
        if len({form(graphs[i]) for i in real}) != 1:
            raise ValueError(
                "Candidates of a mixed layer must have one form. "
                f"Received: {[b.op for b in candidates]}"
            )
        self.graphs = graphs
        self._functions = functions
        self._graph = graphs[real[0]]
        self.skippable = len(real) < len(graphs)
        self._keep = [bool(g.nodes) for g in graphs]
        # Place of an op among those with weights; an identity borrows 0.
        self._slots = [
            real.index(i) if i in real else 0 for i in range(len(graphs))
        ]
        self.weights = [
            graph_variables(f"{name}/op{i}", graphs[i], seed) for i in real
        ]

    def weights_of(self, op: int) -> list[tf.Variable]:
        """Returns the weights of a candidate; none for the identity."""
        return self.weights[self._slots[op]] if self._keep[op] else []

    def select(self, op: tf.Tensor) -> list[Selected]:
        """Returns the weights of the candidate with a run-time index."""
        index = None
        if len(self.weights) > 1:
            index = tf.gather(tf.constant(self._slots), op)
        gate = self._gate(op) if self.skippable else None
        return [
            Selected(tuple(column), index, gate)
            for column in zip(*self.weights, strict=True)
        ]

    def _gate(self, op: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(self._keep), op)

    def __call__(
        self, x: tf.Tensor, op: tf.Tensor, weights: Sequence[tf.Tensor],
        train: bool,
    ) -> tf.Tensor:
        """Applies the candidate `op`, whose weights are handed in.

        Args:
            x: `(batch, height, width, channels)`.
            op: Scalar index of the candidate.
            weights: The values of `select(op)`.
            train: Whether gradients to the weights are wanted.
        """
        run = self._functions.get(self._graph, self.skippable, train)
        keep = self._gate(op) if self.skippable else tf.constant(True)
        return run(x, keep, *weights)
