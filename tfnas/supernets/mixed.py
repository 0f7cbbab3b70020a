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

import numpy as np
import tensorflow as tf

from tfnas import ops
from tfnas.arch import Block
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Node
from tfnas.supernets.base import Selected
from tfnas.supernets.base import kernel_init


def batch_norm(
    x: tf.Tensor, eps: float, groups: int, scale: tf.Tensor | None = None,
    offset: tf.Tensor | None = None,
) -> tf.Tensor:
    """Normalises with batch statistics.

    Args:
        x: `(batch, height, width, channels)`.
        eps: Added to the variance.
        groups: Normalise the batch in this many equal parts, as as many
            replicas would; parts of a last batch may differ by one example.
        scale: `(channels,)`; 1 by default.
        offset: `(channels,)`; 0 by default.
    """
    channels = tf.shape(x)[-1]
    scale = tf.ones([channels]) if scale is None else scale
    offset = tf.zeros([channels]) if offset is None else offset
    empty = tf.zeros([0])
    parts = [
        tf.raw_ops.FusedBatchNormV3(
            x=part, scale=scale, offset=offset, mean=empty, variance=empty,
            epsilon=eps, is_training=True,
        ).y
        for part in (_split(x, groups) if groups > 1 else [x])
    ]
    return tf.concat(parts, 0) if groups > 1 else parts[0]


def _split(x: tf.Tensor, groups: int) -> list[tf.Tensor]:
    batch = tf.shape(x)[0]
    return tf.split(x, [(batch + i) // groups for i in range(groups)])


def weight_ranks(node: Node) -> tuple[int, ...]:
    """Ranks of the variables of a node, in order."""
    if node.kind in ("conv", "depthwise"):
        return (4,)
    return (1, 1) if node.kind == "norm" and node.attrs["affine"] else ()


def window(
    x: tf.Tensor, kernel: tf.Tensor, stride: int
) -> tuple[tf.Tensor, str]:
    """Pads `size // 2` on both sides at stride 2; the size is the kernel's.

    Args:
        x: `(batch, height, width, channels)`.
        kernel: `(size, size, ...)`; the size may change from step to step.
        stride: Stride of the convolution.

    Returns:
        What to convolve, and the padding that the convolution then takes.
    """
    if stride == 1:
        return x, "SAME"
    half = tf.shape(kernel)[0] // 2
    pads = tf.stack([[0, 0], [half, half], [half, half], [0, 0]])
    padded = tf.pad(x, pads)
    padded.set_shape([x.shape[0], None, None, x.shape[3]])
    return padded, "VALID"


def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """1x1 convolution as a matrix product, whose gradients are faster.

    Args:
        x: `(batch, height, width, in)`.
        kernel: `(1, 1, in, out)`.
    """
    shape = tf.shape(kernel)
    y = tf.reshape(x, [-1, shape[2]]) @ tf.reshape(kernel, shape[2:])
    return tf.reshape(y, tf.concat([tf.shape(x)[:3], shape[3:]], 0))


def run_graph(
    graph: Graph, x: tf.Tensor, weights: Sequence[tf.Tensor], bn_groups: int
) -> tf.Tensor:
    """Runs a graph of primitive layers on given weights.

    Args:
        graph: The graph of any candidate; kernel size and inner width come
            from the weights.
        x: `(batch, height, width, channels)`.
        weights: Kernels, scales and offsets in the order of the nodes.
        bn_groups: See `batch_norm`.
    """
    tensors, left = {"input": x}, list(weights)
    for node in graph.nodes:
        taken = [left.pop(0) for _ in weight_ranks(node)]
        inputs = [tensors[name] for name in node.inputs]
        tensors[node.name] = run_node(node, inputs, taken, bn_groups)
    return tensors[graph.output]


def run_node(
    node: Node, inputs: Sequence[tf.Tensor], weights: Sequence[tf.Tensor],
    bn_groups: int,
) -> tf.Tensor:
    """Runs one primitive layer.

    Args:
        node: The layer. A `pad` does nothing: the convolution after it pads.
        inputs: The values of `node.inputs`.
        weights: Its kernel, or its scale and offset.
        bn_groups: See `batch_norm`.
    """
    a, x = node.attrs, inputs[0]
    if node.kind == "conv":
        if a["kernel"] == a["stride"] == 1:
            return pointwise(x, weights[0])
        x, padding = window(x, weights[0], a["stride"])
        return tf.nn.conv2d(x, weights[0], a["stride"], padding)
    if node.kind == "depthwise":
        x, padding = window(x, weights[0], a["stride"])
        strides = [1, a["stride"], a["stride"], 1]
        return tf.nn.depthwise_conv2d(
            x, weights[0], strides, padding, dilations=[a["dilation"]] * 2
        )
    if node.kind == "norm":
        return batch_norm(x, a["eps"], bn_groups, *weights)
    if node.kind == "act":
        return _ACTIVATIONS[a["fn"]](x)
    if node.kind == "mean":
        return tf.reduce_mean(x, [1, 2], keepdims=a["keepdims"])
    if node.kind in _POOLS:
        pool = _POOLS[node.kind]
        return pool(x, a["size"], a["stride"], a["padding"].upper())
    if node.kind in _JOINS:
        return _JOINS[node.kind](*inputs)
    if node.kind != "pad":
        raise ValueError(f"No supernet form. Received: {node}")
    return x


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu6(x + 3.0) * (1 / 6)


_ACTIVATIONS = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.nn.sigmoid,
    "swish": tf.nn.silu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
}
_POOLS = {"max_pool": tf.nn.max_pool2d, "avg_pool": tf.nn.avg_pool2d}
_JOINS = {"add": tf.add, "mul": tf.multiply}


def _signature(graph: Graph) -> tuple:
    """What must agree for two candidates to share one traced function."""
    return tuple(
        (n.kind, n.inputs, n.attrs.get("kernel") == 1,
         *map(n.attrs.get, _SHAPING))
        for n in graph.nodes
    )


# Attributes that weights do not tell; of a kernel, whether it is 1x1.
_SHAPING = ("stride", "dilation", "size", "fn", "eps", "affine")


class LayerFunctions:
    """Traced functions of mixed layers, one for each signature.

    Args:
        bn_groups: See `batch_norm`.
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
        key = (_signature(graph), skippable, train)
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
        if len({_signature(graphs[i]) for i in real}) != 1:
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


def graph_variables(name: str, graph: Graph, seed: int) -> list[tf.Variable]:
    """Returns new weights of a graph, in the order of `run_graph`."""
    return [
        variable
        for node in graph.nodes
        for variable in node_variables(
            f"{name}/{node.name}", node, graph.shapes[node.inputs[0]][-1],
            seed,
        )
    ]


def node_variables(
    path: str, node: Node, width: int, seed: int
) -> list[tf.Variable]:
    """Returns new weights of a primitive layer: see `run_node`.

    Args:
        path: Name of the kernel, or prefix of scale and offset.
        node: The layer.
        width: Channels of its input.
        seed: Seed of the network.
    """
    values: list[tuple[str, np.ndarray]] = []
    if node.kind in ("conv", "depthwise"):
        depthwise, size = node.kind == "depthwise", node.attrs["kernel"]
        shape = (size, size, width, 1 if depthwise else node.attrs["filters"])
        values.append((path, kernel_init(shape, depthwise, seed, path)))
    elif weight_ranks(node):
        values.append((f"{path}/scale", np.ones(width, np.float32)))
        values.append((f"{path}/offset", np.zeros(width, np.float32)))
    return [tf.Variable(value, name=name) for name, value in values]
