"""Keras layers of a graph of primitive layers.

Only arguments that Keras 3 and tf_keras share are used, and every layer is a
stock layer with an explicit name, so that a model loads anywhere, converts to
TFLite and can be rebuilt under either Keras. Types and formats are stated, so
that the settings of the process are nobody's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tfnas.arch import Block
from tfnas.keras_settings import DATA_FORMAT
from tfnas.keras_settings import DTYPE
from tfnas.ops.base import lower
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Node
from tfnas.ops.graph import Shape


def _conv_init(K: Any, node: Node) -> Any:
    """N(0, sqrt(2 / (k * k * filters / groups))), as DenseNAS (its 2.2)."""
    a = node.attrs
    fan_out = a["kernel"] ** 2
    if node.kind == "conv":
        fan_out = fan_out * a["filters"] // a["groups"]
    return K.initializers.RandomNormal(stddev=math.sqrt(2 / fan_out))


def _layer(K: Any, node: Node, shape: Shape, name: str) -> Any:
    layers, a = K.layers, node.attrs
    named = {"name": name, "dtype": DTYPE}
    if node.kind == "conv":
        return layers.Conv2D(
            a["filters"], a["kernel"], a["stride"], a["padding"],
            data_format=DATA_FORMAT, groups=a["groups"], use_bias=a["bias"],
            kernel_initializer=_conv_init(K, node), **named,
        )
    if node.kind == "depthwise":
        return layers.DepthwiseConv2D(
            a["kernel"], a["stride"], a["padding"],
            data_format=DATA_FORMAT, dilation_rate=a["dilation"],
            use_bias=a["bias"], depthwise_initializer=_conv_init(K, node),
            **named,
        )
    if node.kind == "norm":
        return layers.BatchNormalization(
            momentum=a["momentum"], epsilon=a["eps"], scale=a["affine"],
            center=a["affine"], **named,
        )
    if node.kind == "embed":
        return layers.Embedding(a["rows"], a["units"], **named)
    if node.kind == "dense":
        limit = 1 / math.sqrt(shape[-1])
        return layers.Dense(
            a["units"], use_bias=a["bias"],
            kernel_initializer=K.initializers.RandomUniform(-limit, limit),
            **named,
        )
    return _plain_layer(layers, node, name)


def _plain_layer(layers: Any, node: Node, name: str) -> Any:
    """Returns the layer of a node without weights."""
    a, named = node.attrs, {"name": name, "dtype": DTYPE}
    mapped = {**named, "data_format": DATA_FORMAT}
    if node.kind == "pad":
        return layers.ZeroPadding2D(a["amount"], **mapped)
    if node.kind == "act":
        return _activation(layers, a["fn"], name)
    if node.kind == "add":
        return layers.Add(**named)
    if node.kind == "zeros":
        return layers.Rescaling(0.0, **named)
    if node.kind == "sub":
        return layers.Subtract(**named)
    if node.kind == "average":
        return layers.Average(**named)
    if node.kind == "mul":
        return layers.Multiply(**named)
    if node.kind == "flatten":
        return layers.Flatten(**mapped)
    if node.kind == "concat":
        return layers.Concatenate(**named)
    if node.kind == "max_pool":
        return layers.MaxPooling2D(
            a["size"], a["stride"], a["padding"], **mapped
        )
    if node.kind == "avg_pool":
        return layers.AveragePooling2D(
            a["size"], a["stride"], a["padding"], **mapped
        )
    if node.kind == "mean":
        return layers.GlobalAveragePooling2D(
            keepdims=a["keepdims"], **mapped
        )
    raise ValueError(f"No Keras layer for this node. Received: {node}")


def _activation(
    layers: Any, fn: str, name: str
) -> Callable[[Any], Any]:
    """Returns an activation made of layers that quantise well.

    Keras 3 and tf_keras disagree about `hard_sigmoid`, so the hard forms are
    composed; the converter makes one HARD_SWISH of the second.
    """
    if fn in ("relu", "relu6"):
        top = {"relu": None, "relu6": 6.0}[fn]
        return layers.ReLU(max_value=top, name=name, dtype=DTYPE)
    if fn in ("sigmoid", "tanh", "swish"):
        return layers.Activation(fn, name=name, dtype=DTYPE)

    def named(part: str) -> dict[str, str]:
        return {"name": f"{name}_{part}", "dtype": DTYPE}

    def hard_sigmoid(x: Any) -> Any:
        x = layers.Rescaling(1.0, 3.0, **named("shift"))(x)
        x = layers.ReLU(max_value=6.0, **named("clip"))(x)
        return layers.Rescaling(1 / 6, **named("scale"))(x)

    def hard_swish(x: Any) -> Any:
        return layers.Multiply(name=name, dtype=DTYPE)([x, hard_sigmoid(x)])

    forms = {"hard_sigmoid": hard_sigmoid, "hard_swish": hard_swish}
    return forms[fn]


def build(
    block: Block, in_shape: Shape, K: Any, name: str
) -> Callable[..., Any]:
    """Returns a function that applies a block with new stock layers.

    Args:
        block: Any registered op's block.
        in_shape: `(height, width, channels)` of its input.
        K: The namespace, `keras` or `tf_keras`.
        name: Prefix of the layer names: `f"{name}_{node.name}"`.

    Returns:
        A function from a symbolic tensor to a symbolic tensor. That of a
        recurrent block takes the state as a second one.
    """
    graph: Graph = lower(block, in_shape)

    def apply(x: Any, state: Any = None) -> Any:
        tensors = {"input": x}
        for node in graph.live:
            if node.kind == "state":
                tensors[node.name] = state
                continue
            layer = _layer(
                K, node, graph.shapes[node.inputs[0]],
                f"{name}_{node.name}",
            )
            inputs = [tensors[i] for i in node.inputs]
            tensors[node.name] = layer(
                inputs if len(inputs) > 1 else inputs[0]
            )
        return tensors[graph.output]

    return apply
