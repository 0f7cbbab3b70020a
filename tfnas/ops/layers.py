"""Keras layers of a graph of primitive layers.

Every layer is a stock layer with an explicit name, so that a model loads
anywhere, converts to TFLite and can be rebuilt under either Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfnas.arch import Block
from tfnas.ops.base import lower
from tfnas.ops.graph import Shape


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
    graph = lower(block, in_shape)

    def apply(x: Any, state: Any = None) -> Any:
        tensors = {"input": x}
        for node in graph.live:
            if node.kind == "state":
                tensors[node.name] = state
                continue
            layer = node.primitive.layer(
                K, node.attrs, graph.width(node), f"{name}_{node.name}"
            )
            inputs = [tensors[i] for i in node.inputs]
            tensors[node.name] = layer(
                inputs if len(inputs) > 1 else inputs[0]
            )
        return tensors[graph.output]

    return apply
