"""Layers whose kernel size and inner width are chosen at run time.

One traced function runs every candidate of all layers of one form. It slices
the weights that the candidate has, so that a small one costs what a small
layer costs, and the widths of what it computes are known only at run time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas import ops
from tfnas.arch import Block
from tfnas.supernets.base import Selected
from tfnas.supernets.elastic_plan import Plan
from tfnas.supernets.elastic_plan import cut
from tfnas.supernets.elastic_plan import initial
from tfnas.supernets.elastic_plan import make_plan
from tfnas.supernets.elastic_plan import ranks
from tfnas.supernets.primitives import batch_norm
from tfnas.supernets.primitives import run_node

# What a layer normalises by: the batch; the batch, whose moments it then
# returns; or statistics that were recorded.
BATCH, COLLECT, RECORDED = "batch", "collect", "recorded"


class _Norms:
    """The normalisations of one run of a layer, in order.

    Statistics are `(2, channels)`, means above variances: those of the
    active channels of each normalisation in turn, without gaps.
    """

    def __init__(self, mode: str, statistics: tf.Tensor, bn_groups: int):
        self.mode, self.statistics = mode, statistics
        self.bn_groups = bn_groups
        self.moments = [tf.zeros([2, 0])]

    def __call__(
        self, x: tf.Tensor, eps: float, scale: tf.Tensor | None = None,
        offset: tf.Tensor | None = None,
    ) -> tf.Tensor:
        if self.mode == BATCH:
            return batch_norm(x, eps, scale, offset, self.bn_groups)
        if self.mode == RECORDED:
            width = tf.shape(x)[-1]
            mean, variance = tf.unstack(self.statistics[:, :width])
            self.statistics = self.statistics[:, width:]
        else:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            self.moments.append(tf.stack([mean, variance]))
        return tf.nn.batch_normalization(
            x, mean, variance, offset, scale, eps
        )


class ElasticFunctions:
    """Traced functions of elastic layers, one for each form and mode.

    Args:
        bn_groups: Normalise each batch in this many equal parts.
    """

    def __init__(self, bn_groups: int):
        self.bn_groups = bn_groups
        self._functions: dict[tuple, tf.types.experimental.GenericFunction]
        self._functions = {}

    def get(
        self, plan: Plan, optional: bool, mode: str
    ) -> tf.types.experimental.GenericFunction:
        """Returns `f(x, keep, sizes, statistics, *weights)`.

        Args:
            plan: The plan of a layer.
            optional: Whether `keep` may be false; the result is then `x`.
            mode: What to normalise by.

        Returns:
            A function to the output and, in the mode `COLLECT`, the moments
            `(2, active channels)` of the normalisations.
        """
        key = (plan.form, optional, mode)
        if key not in self._functions:
            self._functions[key] = self._trace(plan, optional, mode)
        return self._functions[key]

    def _trace(
        self, plan: Plan, optional: bool, mode: str
    ) -> tf.types.experimental.GenericFunction:
        graph = plan.graph

        def run(x, keep, sizes, statistics, *values):
            def body():
                weights = cut(plan, sizes, values)
                norms = _Norms(mode, statistics, self.bn_groups)
                tensors = {"input": x}
                for node in graph.nodes:
                    inputs = [tensors[name] for name in node.inputs]
                    tensors[node.name] = run_node(
                        node, inputs, weights[node.name], norms
                    )
                return tensors[graph.output], tf.concat(norms.moments, 1)

            if not optional:
                return body()
            return tf.cond(keep, body, lambda: (x, tf.zeros([2, 0])))

        specs = [
            tf.TensorSpec([None] * 4), tf.TensorSpec([], tf.bool),
            tf.TensorSpec([plan.sizes.shape[1]], tf.int32),
            tf.TensorSpec([2, None]),
        ]
        specs += [
            tf.TensorSpec([None] * rank)
            for node in graph.nodes
            for rank in ranks(node, plan)
        ]
        return tf.function(run, specs, autograph=False)


class ElasticLayer:
    """The candidates of one place, all parts of the largest.

    Args:
        name: Prefix of the variable names.
        candidates: The blocks, of one form; the last one is the largest.
        in_shape: `(height, width, channels)` of the input.
        seed: Seed of the initial weights.
        functions: The supernet's traced functions.
        optional: Whether the layer may be left out.

    Attributes:
        plan: What the candidates share, and where they differ.
        weights: The weights of the largest candidate, with the matrices of
            smaller kernels behind their kernel.
        channels: Channels of all normalisations of the largest candidate.
    """

    def __init__(
        self, name: str, candidates: Sequence[Block],
        in_shape: tuple[int, ...], seed: int, functions: ElasticFunctions,
        optional: bool = False,
    ):
        graphs = [ops.lower(block, in_shape) for block in candidates]
        self.plan = make_plan(graphs)
        self.optional = optional
        self._functions = functions
        graph = self.plan.graph
        self.weights = [
            tf.Variable(value, name=path)
            for node in graph.nodes
            for path, value in initial(
                node, self.plan, seed, f"{name}/{node.name}"
            )
        ]
        self.channels = sum(
            graph.shapes[n.name][-1] for n in graph.nodes if n.kind == "norm"
        )

    def __call__(
        self, x: tf.Tensor, code: tf.Tensor, values: Sequence[tf.Tensor],
        statistics: tf.Tensor, mode: str,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies one candidate, or nothing.

        Args:
            x: `(batch, height, width, channels)`.
            code: Scalar: 0 for nothing, else one more than the index of the
                candidate.
            values: The values of `weights`.
            statistics: `(2, channels)`, read in the mode `RECORDED`.
            mode: What to normalise by.

        Returns:
            The output, and the moments `(2, channels)` in the mode
            `COLLECT`, filled up with zeros; else nothing, `(2, 0)`.
        """
        run = self._functions.get(self.plan, self.optional, mode)
        sizes = tf.gather(self.plan.sizes, tf.maximum(code - 1, 0))
        y, moments = run(x, code > 0, sizes, statistics, *values)
        if mode == COLLECT:
            missing = self.channels - tf.shape(moments)[1]
            moments = tf.pad(moments, [[0, 0], [0, missing]])
            moments.set_shape([2, self.channels])
        return y, moments

    def select(self, codes: tf.Tensor) -> list[Selected]:
        """Returns the weights, gated where all subnets leave the layer out.

        Args:
            codes: `(subnets,)`: the layer's code in each.
        """
        gate = tf.reduce_any(codes > 0) if self.optional else None
        return [Selected((v,), None, gate) for v in self.weights]

    def weights_of(
        self, code: int, statistics: np.ndarray
    ) -> list[np.ndarray]:
        """Returns the weights of a candidate as a plain network has them.

        Args:
            code: One more than the index of the candidate.
            statistics: `(2, channels)`, recorded for the candidate.

        Returns:
            In the order of the nodes kernels and biases, and of each
            normalisation scale and offset where it has them, mean, variance.
        """
        plan, start, result = self.plan, 0, []
        values = [v.read_value() for v in self.weights]
        sizes = plan.sizes[code - 1]
        parts = cut(plan, tf.constant(sizes), values)
        widths = dict(zip(plan.widths, sizes.tolist(), strict=False))
        for node in plan.graph.nodes:
            result += [part.numpy() for part in parts[node.name]]
            if node.kind == "norm":
                largest = plan.graph.shapes[node.name][-1]
                end = start + widths.get(node.name, largest)
                result += list(statistics[:, start:end])
                start = end
        return result
