"""Keras layers of a graph of primitive layers.

Only arguments that Keras 3 and tf_keras share are used, and every layer is a
stock layer with an explicit name, so that a model loads anywhere, converts to
TFLite and can be rebuilt under either Keras.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tfnas.arch import Block
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
    if node.kind == "conv":
        return layers.Conv2D(
            a["filters"], a["kernel"], a["stride"], a["padding"],
            groups=a["groups"], use_bias=a["bias"],
            kernel_initializer=_conv_init(K, node), name=name,
        )
    if node.kind == "depthwise":
        return layers.DepthwiseConv2D(
            a["kernel"], a["stride"], a["padding"],
            dilation_rate=a["dilation"], use_bias=a["bias"],
            depthwise_initializer=_conv_init(K, node), name=name,
        )
    if node.kind == "norm":
        return layers.BatchNormalization(
            momentum=a["momentum"], epsilon=a["eps"], scale=a["affine"],
            center=a["affine"], name=name,
        )
    if node.kind == "dense":
        limit = 1 / math.sqrt(shape[-1])
        return layers.Dense(
            a["units"], name=name,
            kernel_initializer=K.initializers.RandomUniform(
                -limit, limit
            ),
        )
    return _plain_layer(layers, node, name)


def _plain_layer(layers: Any, node: Node, name: str) -> Any:
    """Returns the layer of a node without weights."""
    a = node.attrs
    if node.kind == "pad":
        return layers.ZeroPadding2D(a["amount"], name=name)
    if node.kind == "act":
        top = {"relu": None, "relu6": 6.0}[a["fn"]]
        return layers.ReLU(max_value=top, name=name)
    if node.kind == "add":
        return layers.Add(name=name)
    if node.kind == "mean":
        return layers.GlobalAveragePooling2D(name=name)
    raise ValueError(f"No Keras layer for this node. Received: {node}")


def build(
    block: Block, in_shape: Shape, K: Any, name: str
) -> Callable[[Any], Any]:
    """Returns a function that applies a block with new stock layers.

    Args:
        block: Any registered op's block.
        in_shape: `(height, width, channels)` of its input.
        K: The namespace, `keras` or `tf_keras`.
        name: Prefix of the layer names: `f"{name}_{node.name}"`.

    Returns:
        A function from a symbolic tensor to a symbolic tensor.
    """
    graph: Graph = lower(block, in_shape)

    def apply(x: Any) -> Any:
        tensors = {"input": x}
        for node in graph.nodes:
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
