"""Pools, and activations on their own, in forms that the delegate has."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.export.lowering.depthwise import convolve
from tfnas.export.lowering.editing import Editing
from tfnas.lowering.rewritings import MAX_TAPS

_LARGE = 25  # taps of a max pool that is faster in two
# The converter makes one operator of an activation and one of these.
_TAKE_ACTIVATION = (
    "Conv2D", "DepthwiseConv2dNative", "BiasAdd", "AddV2", "Add", "Mul", "Sub",
    "MatMul", "MaxPool", "AvgPool", "RealDiv",
)
# What these give has the scale of what they take.
_MOVERS = ("MaxPool", "Pad", "ConcatV2")
_CLIPS = ("Relu", "Relu6")


def _window(graph: Editing, node: Any) -> tuple | None:
    """Returns size, stride and padding of a pool, and its map's shape."""
    (image,) = graph.inputs(node)
    shape, result = graph.shape(image), graph.shape(node.name)
    size = tuple(node.attr["ksize"].list.i)
    stride = tuple(node.attr["strides"].list.i)
    padding = node.attr["padding"].s.decode()
    if shape is None or result is None or padding not in ("SAME", "VALID"):
        return None
    if node.attr["data_format"].s != b"NHWC" or len(size) != 4:
        return None
    if {size[0], size[3], stride[0], stride[3]} != {1}:
        return None
    return size[1:3], stride[1:3], padding, shape, result


def halving(graph: Editing) -> int:
    """Writes averages of 2x2 as a bilinear resize to half the size.

    Not before a concatenation: a resize hands the scale of that on to what it
    halves, and clips it.
    """
    count = 0
    for node in graph.of_kind("AvgPool"):
        found = _window(graph, node)
        if found is None:
            continue
        size, stride, _, shape, _ = found
        if size != (2, 2) or stride != (2, 2) or shape[1] % 2 or shape[2] % 2:
            continue
        if _is_joined(graph, node):
            continue
        half = np.array([shape[1] // 2, shape[2] // 2], np.int32)
        graph.become(
            node, "ResizeBilinear",
            [*graph.inputs(node), graph.constant(f"{node.name}/size", half)],
            align_corners=False, half_pixel_centers=True,
        )
        count += 1
    return count


def _is_joined(graph: Editing, node: Any) -> bool:
    """Says whether a concatenation takes what a node gives as it is."""
    for user in graph.users(node):
        *parts, _ = graph.inputs(user)  # the last says the axis
        if user.op == "ConcatV2" and len(set(parts)) > 1:
            return True
        if user.op in _MOVERS and _is_joined(graph, user):
            return True
    return False


def pixels(graph: Editing) -> int:
    """Writes averages of a single pixel as its product with 1."""
    count = 0
    for node in graph.of_kind("AvgPool"):
        found = _window(graph, node)
        if found is None or found[0] != (1, 1):
            continue
        (image,) = graph.inputs(node)
        pick(graph, node, image, found[1], found[3][3])
        count += 1
    return count


def pick(
    graph: Editing, node: Any, image: str, stride: tuple[int, int],
    channels: int,
) -> None:
    """Makes of a node what takes every n-th row and column.

    The delegate has no pool of 1x1 with a stride, but a convolution.
    """
    ones = np.ones((1, 1, channels, 1), np.float32)
    convolve(graph, node, image, ones, stride)


def average(graph: Editing) -> int:
    """Writes average pools as depthwise convolutions of equal weights."""
    count = 0
    for node in graph.of_kind("AvgPool"):
        found = _window(graph, node)
        if found is None:
            continue
        size, stride, padding, shape, _ = found
        taps = size[0] * size[1]
        if not 1 < taps <= MAX_TAPS:
            continue
        kernel = np.full((*size, shape[3], 1), 1 / taps, np.float32)
        args = (*graph.inputs(node), kernel, stride, (1, 1), padding)
        there = taps_inside(shape[1:3], size, stride, padding)
        if (there == taps).all():
            convolve(graph, node, *args)
        else:
            border = (taps / there).astype(np.float32)[None, :, :, None]
            factor = graph.constant(f"{node.name}/border", border)
            total = convolve(graph, f"{node.name}/sum", *args)
            graph.become(node, "Mul", [total, factor])
        count += 1
    return count


def taps_inside(
    sides: tuple[int, int], size: tuple[int, int], stride: tuple[int, int],
    padding: str,
) -> np.ndarray:
    """Returns how many taps of each window lie on the map, not beside it."""
    counts = []
    for length, taps, step in zip(sides, size, stride, strict=True):
        if padding == "VALID":
            counts.append(np.full((length - taps) // step + 1, taps))
            continue
        number = -(-length // step)
        before = max((number - 1) * step + taps - length, 0) // 2
        first = np.arange(number) * step - before
        counts.append(
            np.minimum(first + taps, length) - np.maximum(first, 0)
        )
    return np.outer(*counts)


def large_max(graph: Editing) -> int:
    """Writes large max pools as one over columns and one over rows."""
    count = 0
    for node in graph.of_kind("MaxPool"):
        found = _window(graph, node)
        if found is None:
            continue
        (height, width), (down, right), padding, _, _ = found
        if height * width <= _LARGE or 1 in (height, width):
            continue
        attrs = {"padding": padding, "data_format": "NHWC",
                 "explicit_paddings": []}
        columns = graph.add(
            f"{node.name}/columns", "MaxPool", graph.inputs(node),
            ksize=[1, height, 1, 1], strides=[1, down, 1, 1], **attrs,
        )
        graph.become(
            node, "MaxPool", [columns], ksize=[1, 1, width, 1],
            strides=[1, 1, right, 1], **attrs,
        )
        count += 1
    return count


def lone_relu(graph: Editing) -> int:
    """Puts a pool of 1x1 before activations that nothing takes in.

    The converter makes one operator of the two.
    """
    count = 0
    for node in graph.of_kind(*_CLIPS):
        (ref,) = graph.inputs(node)
        before, shape = graph.node(ref), graph.shape(ref)
        if shape is None or len(shape) != 4:
            continue
        taken = before.op in _TAKE_ACTIVATION
        if taken and graph.sole_user(before) is node:
            continue
        pool = graph.add(
            f"{node.name}/alone", "MaxPool", [ref], ksize=[1, 1, 1, 1],
            strides=[1, 1, 1, 1], padding="VALID", data_format="NHWC",
            explicit_paddings=[],
        )
        graph.become(node, node.op, [pool], T=tf.float32)
        count += 1
    return count
