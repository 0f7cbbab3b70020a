"""How a supernet runs a primitive layer, and what its variables first hold.

Mixed, elastic and cell layers run the same layers: what a kind computes
stands here once. The variables are those of `tfnas.ops.primitives`, without
moving averages: supernets normalise by the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.ops.graph import Graph
from tfnas.ops.graph import Node
from tfnas.ops.primitives import Variable
from tfnas.supernets.base import stream

Tensors = Sequence[tf.Tensor]
# Normalises: `(x, eps, *scale_and_offset)` to a tensor like x.
Normalise = Callable[..., tf.Tensor]

# What the weights tell, or what changes no tensor here.
_TOLD = ("kernel", "filters", "units", "amount", "momentum")


def form(graph: Graph) -> tuple:
    """What must agree for two graphs to share one traced function.

    Sizes are those of the weights; of a kernel it matters whether it is 1x1.
    """
    return tuple(
        (
            node.kind, node.name, node.inputs, node.attrs.get("kernel") == 1,
            *sorted(a for a in node.attrs.items() if a[0] not in _TOLD),
        )
        for node in graph.nodes
    )


def held(node: Node, width: int = 1) -> list[Variable]:
    """Returns the variables of a node that a supernet holds, in order.

    Args:
        node: The layer.
        width: Channels of its input; on them depend shapes and first values.
    """
    made = node.primitive.variables
    return [v for v in made(node.attrs, width) if v.trainable] if made else []


def weight_ranks(node: Node) -> list[int]:
    """Returns the ranks of those variables."""
    return [len(v.shape) for v in held(node)]


def first_value(variable: Variable, seed: int, path: str) -> np.ndarray:
    """Draws the first values of a variable.

    Args:
        variable: The variable.
        seed: Seed of the network.
        path: Its name in the supernet: each has its own random stream.
    """
    shape, first = variable.shape, variable.first
    if not isinstance(first, tuple):
        return np.full(shape, first, np.float32)
    law, scale = first
    if law == "normal":
        draw = stream(seed, path).standard_normal(shape, dtype=np.float32)
        return draw * np.float32(scale)
    return stream(seed, path).uniform(-scale, scale, shape).astype(np.float32)


def first_values(
    path: str, node: Node, width: int, seed: int
) -> list[tuple[str, np.ndarray]]:
    """Returns names and first values of a node's variables.

    Args:
        path: Name of the kernel, and the beginning of the others'.
        node: The layer.
        width: Channels of its input.
        seed: Seed of the network.
    """
    return [
        (name, first_value(variable, seed, name))
        for variable in held(node, width)
        for name in [f"{path}/{variable.name}".removesuffix("/kernel")]
    ]


def node_variables(
    path: str, node: Node, width: int, seed: int
) -> list[tf.Variable]:
    """Returns new weights of a primitive layer; see `first_values`."""
    return [
        tf.Variable(value, name=name)
        for name, value in first_values(path, node, width, seed)
    ]


def graph_variables(name: str, graph: Graph, seed: int) -> list[tf.Variable]:
    """Returns new weights of a graph, in the order of `run_graph`."""
    return [
        variable
        for node in graph.nodes
        for variable in node_variables(
            f"{name}/{node.name}", node, graph.width(node), seed
        )
    ]


def classifier_variables(
    width: int, classes: int, seed: int, random_bias: bool = False
) -> list[tf.Variable]:
    """Returns kernel and bias of a new classifier; see `classify`.

    Args:
        width: Channels of its input.
        classes: Number of logits.
        seed: Seed of the network.
        random_bias: Whether the bias starts at random, like the kernel.
    """
    limit, draw = 1 / np.sqrt(width), stream(seed, "fc")
    kernel = draw.uniform(-limit, limit, (width, classes))
    bias = np.zeros(classes)
    if random_bias:
        bias = draw.uniform(-limit, limit, classes)
    return [
        tf.Variable(value.astype("float32"), name=f"fc/{name}")
        for name, value in (("kernel", kernel), ("bias", bias))
    ]


def classify(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns the logits, `(batch, classes)`, of the mean of a map."""
    return tf.reduce_mean(x, [1, 2]) @ kernel + bias


def run_graph(
    graph: Graph, x: tf.Tensor, weights: Tensors, bn_groups: int
) -> tf.Tensor:
    """Runs a graph of primitive layers on given weights.

    Args:
        graph: The graph; kernel size and inner width come from the weights.
        x: `(batch, height, width, channels)`.
        weights: Kernels, scales and offsets in the order of the nodes.
        bn_groups: See `batch_norm`.
    """
    tensors, left = {"input": x}, list(weights)
    norm = by_batch(bn_groups)
    for node in graph.nodes:
        taken = [left.pop(0) for _ in weight_ranks(node)]
        inputs = [tensors[name] for name in node.inputs]
        tensors[node.name] = run_node(node, inputs, taken, norm)
    return tensors[graph.output]


def run_node(
    node: Node, inputs: Tensors, weights: Tensors, norm: Normalise
) -> tf.Tensor:
    """Runs one primitive layer.

    Args:
        node: The layer. A `pad` does nothing: the convolution after it pads.
        inputs: The values of `node.inputs`.
        weights: The values of its variables.
        norm: What a `norm` does: `by_batch`, for example.
    """
    if node.kind == "norm":
        return norm(inputs[0], node.attrs["eps"], *weights)
    if node.kind not in _RUN:
        raise ValueError(f"No supernet form. Received: {node}")
    return _RUN[node.kind](node.attrs, weights, *inputs)


def by_batch(bn_groups: int) -> Normalise:
    """Returns `batch_norm` in a number of groups."""
    return functools.partial(batch_norm, groups=bn_groups)


def batch_norm(
    x: tf.Tensor, eps: float, scale: tf.Tensor | None = None,
    offset: tf.Tensor | None = None, groups: int = 1,
) -> tf.Tensor:
    """Normalises with batch statistics.

    Args:
        x: `(batch, height, width, channels)`.
        eps: Added to the variance.
        scale: `(channels,)`; 1 by default.
        offset: `(channels,)`; 0 by default.
        groups: Normalise the batch in this many equal parts, as as many
            replicas would; parts of a last batch may differ by one example.
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


def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """1x1 convolution as a matrix product, whose gradients are faster.

    Args:
        x: `(batch, height, width, in)`.
        kernel: `(1, 1, in, out)`.
    """
    shape = tf.shape(kernel)
    y = tf.reshape(x, [-1, shape[2]]) @ tf.reshape(kernel, shape[2:])
    return tf.reshape(y, tf.concat([tf.shape(x)[:3], shape[3:]], 0))


def depthwise(
    x: tf.Tensor, kernel: tf.Tensor, stride: int, dilation: int = 1
) -> tf.Tensor:
    """Depthwise convolution that pads `size // 2` on both sides.

    Args:
        x: `(batch, height, width, channels)`.
        kernel: `(size, size, channels, 1)`; the size may change from step to
            step.
        stride: Of the convolution.
        dilation: Of the kernel.
    """
    x, padding = _padded(x, kernel, stride)
    return tf.nn.depthwise_conv2d(
        x, kernel, [1, stride, stride, 1], padding, dilations=[dilation] * 2
    )


def _padded(
    x: tf.Tensor, kernel: tf.Tensor, stride: int
) -> tuple[tf.Tensor, str]:
    """Returns what to convolve, and the padding that is then to be told."""
    if stride == 1:
        return x, "SAME"
    half = tf.shape(kernel)[0] // 2
    pads = tf.stack([[0, 0], [half, half], [half, half], [0, 0]])
    padded = tf.pad(x, pads)
    padded.set_shape([x.shape[0], None, None, x.shape[3]])
    return padded, "VALID"


def _with_bias(y: tf.Tensor, weights: Tensors) -> tf.Tensor:
    return y + weights[1] if len(weights) > 1 else y


def _conv(a: dict[str, Any], weights: Tensors, x: tf.Tensor) -> tf.Tensor:
    kernel, stride = weights[0], a["stride"]
    if a["kernel"] == stride == 1:
        return _with_bias(pointwise(x, kernel), weights)
    x, padding = _padded(x, kernel, stride)
    return _with_bias(tf.nn.conv2d(x, kernel, stride, padding), weights)


def _depthwise(
    a: dict[str, Any], weights: Tensors, x: tf.Tensor
) -> tf.Tensor:
    y = depthwise(x, weights[0], a["stride"], a["dilation"])
    return _with_bias(y, weights)


def _pool(
    run: Callable[..., tf.Tensor], a: dict[str, Any], x: tf.Tensor
) -> tf.Tensor:
    return run(x, a["size"], a["stride"], a["padding"].upper())


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu6(x + 3.0) * (1 / 6)


ACTIVATIONS = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.nn.sigmoid,
    "tanh": tf.nn.tanh,
    "swish": tf.nn.silu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
}
# From attributes, weights and inputs to the output. A state has no form here:
# supernets are of images.
_RUN: dict[str, Callable[..., tf.Tensor]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "dense": lambda a, w, x: _with_bias(x @ w[0], w),
    "embed": lambda a, w, x: tf.gather(w[0], x),
    "act": lambda a, w, x: ACTIVATIONS[a["fn"]](x),
    "pad": lambda a, w, x: x,
    "max_pool": lambda a, w, x: _pool(tf.nn.max_pool2d, a, x),
    "avg_pool": lambda a, w, x: _pool(tf.nn.avg_pool2d, a, x),
    "mean": lambda a, w, x: tf.reduce_mean(
        x, [1, 2], keepdims=a["keepdims"]
    ),
    "flatten": lambda a, w, x: tf.reshape(x, [tf.shape(x)[0], -1]),
    "concat": lambda a, w, *x: tf.concat(x, -1),
    "add": lambda a, w, x, y: x + y,
    "sub": lambda a, w, x, y: x - y,
    "mul": lambda a, w, x, y: x * y,
    "average": lambda a, w, *x: tf.add_n(x) / len(x),
    "zeros": lambda a, w, x: tf.zeros_like(x),
}
KINDS = {*_RUN, "norm"}
