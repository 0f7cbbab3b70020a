"""Weights that a network takes over from a larger one of the same cell.

When a graph loses an edge, layers lose input channels, and a node that
becomes a leaf gives the layers after it new ones. Channels are therefore
named after the layer that made them: what both networks have is copied, what
is new keeps its first weights. (Ours; AutoShrink trains from scratch.)
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.derive import layer_prefix
from tfnas.ops import Graph
from tfnas.ops import Node

# The layer that made a channel, and which of its channels it is.
Channel = tuple[Any, ...]


def _made_by(layer: str, number: int) -> list[Channel]:
    return [(layer, i) for i in range(number)]


def _shortcut_channels(
    graph: Graph, tensors: Mapping[str, list[Channel]], layer: str
) -> list[Channel]:
    """A projection makes one channel for each that it is added to."""
    (total,) = [node for node in graph.nodes if node.kind == "add"]
    return [(layer, *channel) for channel in tensors[total.inputs[1]]]


def channels(arch: Arch) -> dict[str, tuple[list[Channel], list[Channel]]]:
    """Returns the channels that each layer with weights takes and gives.

    Args:
        arch: A network of `shrink_cell`, `conv` and `classifier` blocks.

    Returns:
        Name of the layer to its input and output channels; vectors, such as
        those of a normalisation, belong to output channels.
    """
    found: dict[str, tuple[list[Channel], list[Channel]]] = {}
    current = _made_by("image", arch.input_shape[-1])
    for i, (block, shape) in enumerate(
        zip(arch.blocks, ops.shapes(arch), strict=False)
    ):
        graph, prefix = ops.lower(block, shape), layer_prefix(i, block.op)
        tensors = {"input": current}
        for node in graph.nodes:
            layer = f"{prefix}_{node.name}"
            taken = [c for name in node.inputs for c in tensors[name]]
            tensors[node.name] = given = _given(
                graph, node, tensors, layer, taken
            )
            if node.kind in ("conv", "dense"):
                found[layer] = taken, given
            elif node.kind == "depthwise":
                found[layer] = taken, [(layer, 0)]
            elif node.kind == "norm":
                found[layer] = [], given
        current = tensors[graph.output]
    return found


def _given(
    graph: Graph, node: Node, tensors: Mapping[str, list[Channel]],
    layer: str, taken: list[Channel],
) -> list[Channel]:
    """Returns the channels of a node's output."""
    if node.kind == "add":
        return tensors[node.inputs[1]]
    if node.kind not in ("conv", "dense"):
        return taken
    if node.name == "shortcut":
        return _shortcut_channels(graph, tensors, layer)
    return _made_by(layer, graph.shapes[node.name][-1])


def _common(
    new: Sequence[Channel], old: Sequence[Channel]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the channels of both stand in either."""
    place = {channel: i for i, channel in enumerate(old)}
    pairs = [(i, place[c]) for i, c in enumerate(new) if c in place]
    here, there = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(here, np.int64), np.array(there, np.int64)


def inherit(
    model: Any, arch: Arch, parent: Arch, weights: Mapping[str, np.ndarray]
) -> None:
    """Copies what a network has in common with its parent.

    Args:
        model: The network's Keras model, from `derive.build_model`.
        arch: The network.
        parent: The parent.
        weights: The parent's arrays by Keras path, such as
            `"b00_conv_conv/kernel"`.
    """
    known = channels(parent)
    for name, (taken, given) in channels(arch).items():
        if name not in known:
            continue
        rows, old_rows = _common(taken, known[name][0])
        columns, old_columns = _common(given, known[name][1])
        for variable in model.get_layer(name).weights:
            value, old = np.array(variable), weights[variable.path]
            if value.ndim == 1:
                value[columns] = old[old_columns]
            else:
                value[..., rows[:, None], columns] = old[
                    ..., old_rows[:, None], old_columns
                ]
            variable.assign(value)
