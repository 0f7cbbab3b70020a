"""Depthwise convolutions in windows that the delegate has kernels for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.export.lowering.cutting import cut
from tfnas.export.lowering.editing import Editing
from tfnas.export.lowering.folding import Folded
from tfnas.export.lowering.folding import fold
from tfnas.export.lowering.folding import per_channel
from tfnas.lowering.rewritings import MAX_TAPS
from tfnas.lowering.rewritings import row_parts

_OP = "DepthwiseConv2dNative"
# Weights of fewer numbers stay float in a file of type `dynamic`. The others
# go to kernels of the runtime that know no cliff at `MAX_TAPS`.
_FEW = 1024
_UNARY = ("Relu", "Relu6", "LeakyRelu", "Tanh", "Sigmoid", "Elu")


@dataclasses.dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution, however it is written.

    Args:
        last: The node that gives its result.
        image: The tensor that it reads.
        kernel: `(height, width, channels, multiplier)`.
        pads: Zeros before and after, of the rows and of the columns.
        stride: Of rows and columns.
        dilation: Of rows and columns.
    """

    last: Any
    image: str
    kernel: np.ndarray
    pads: tuple[tuple[int, int], tuple[int, int]]
    stride: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def channels(self) -> int:
        """Of the image."""
        return self.kernel.shape[2]


def find(graph: Editing) -> list[Depthwise]:
    """Returns the depthwise convolutions of a graph."""
    found = (_read(graph, node) for node in graph.of_kind(_OP))
    return [conv for conv in found if conv is not None]


def _read(graph: Editing, node: Any) -> Depthwise | None:
    image, weights = graph.inputs(node)
    kernel, shape = graph.value(weights), graph.shape(image)
    if kernel is None or shape is None or node.attr["data_format"].s != b"NHWC":
        return None
    stride = tuple(node.attr["strides"].list.i)[1:3]
    dilation = tuple(node.attr["dilations"].list.i)[1:3] or (1, 1)
    padding = node.attr["padding"].s
    if padding == b"VALID":
        if (spread := _spread(graph, node, image)) is not None:
            last, image, pads, dilation = spread
            return Depthwise(last, image, kernel, pads, stride, dilation)
        return Depthwise(
            node, image, kernel, ((0, 0), (0, 0)), stride, dilation
        )
    if padding != b"SAME":
        return None
    rows, columns = (
        same_pads(shape[1 + i], kernel.shape[i], stride[i], dilation[i])
        for i in range(2)
    )
    return Depthwise(node, image, kernel, (rows, columns), stride, dilation)


def same_pads(
    size: int, window: int, stride: int, dilation: int = 1
) -> tuple[int, int]:
    """Returns the zeros before and after that `SAME` stands for."""
    reach = (window - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _spread(graph: Editing, node: Any, image: str) -> tuple | None:
    """Returns what a dilated convolution is that is written with batches.

    TensorFlow moves every n-th pixel into an image of its own, and back.
    """
    before, after = graph.node(image), graph.sole_user(node)
    if before.op != "SpaceToBatchND" or after is None:
        return None
    if after.op != "BatchToSpaceND":
        return None
    source, *given = graph.inputs(before)
    back = graph.inputs(after)[1:]
    block, pads, same_block, crops = (
        graph.value(ref) for ref in (*given, *back)
    )
    if block is None or pads is None or same_block is None or crops is None:
        return None
    if block.shape != (2,) or (block != same_block).any():
        return None
    net = pads - crops
    if (net < 0).any():
        return None
    (top, bottom), (left, right) = net.tolist()
    rows, columns = block.tolist()
    return after, source, ((top, bottom), (left, right)), (rows, columns)


def rows(graph: Editing) -> int:
    """Writes windows of too many taps over the rows of their kernels."""
    count = 0
    for conv in find(graph):
        height, width, channels, multiplier = conv.kernel.shape
        if height * width <= MAX_TAPS or multiplier != 1:
            continue
        if width > MAX_TAPS or min(conv.stride) != max(conv.stride):
            continue
        if graph.shape(conv.last.name) is None:
            continue
        most = max(number for _, number in row_parts(height, width))
        if graph.dtype == "dynamic" and most * width * channels >= _FEW:
            continue
        if not _parts(graph, conv):
            continue
        _over_rows(graph, conv, fold(graph, conv.last, channels))
        count += 1
    return count


def _over_rows(graph: Editing, conv: Depthwise, folded: Folded) -> None:
    """Sums convolutions over some rows of a kernel each."""
    name, last = folded.last.name, folded.last
    out = graph.shape(conv.last.name)
    shape = graph.shape(conv.image)
    assert out is not None and shape is not None
    padded, image = _padded(graph, name, conv)
    kernel = (conv.kernel[..., 0] * folded.scale)[..., None]
    total, parts = "", _parts(graph, conv)
    for i, (first, rows_in, start, taken) in enumerate(parts):
        sliced = cut(
            graph, f"{name}/rows_{i}", image, [0, start, 0, 0],
            [shape[0], taken, padded, shape[3]],
        )
        alone = len(parts) == 1 and folded.bias is None
        part = convolve(
            graph, last if alone else f"{name}/part_{i}", sliced,
            kernel[first:first + rows_in], conv.stride, conv.dilation,
        )
        if i == 0 and folded.bias is not None:
            where = last if len(parts) == 1 else f"{name}/part_0/biased"
            part = add_bias(graph, where, part, folded.bias)
        if 0 < i == len(parts) - 1:
            graph.become(last, "AddV2", [total, part])
        elif i:
            total = graph.add(f"{name}/sum_{i}", "AddV2", [total, part])
        else:
            total = part


def _parts(graph: Editing, conv: Depthwise) -> list[tuple[int, int, int, int]]:
    """Returns the parts of a kernel that see and hold more than zeros.

    What is always 0 has no range to calibrate.

    Returns:
        Of each its first row and their number, and the same of the rows that
        it reads of the padded image.
    """
    out, shape = graph.shape(conv.last.name), graph.shape(conv.image)
    assert out is not None and shape is not None
    top, bottom = conv.pads[0]
    size = shape[1] + top + bottom
    before = graph.node(conv.image)
    if before.op == "Pad":  # a layer of its own
        amounts = graph.value(graph.inputs(before)[1])
        if amounts is not None:
            top, bottom = top + int(amounts[1, 0]), bottom + int(amounts[1, 1])
    parts = []
    for first, count in row_parts(*conv.kernel.shape[:2]):
        start = first * conv.dilation[0]
        taken = (out[1] - 1) * conv.stride[0]
        taken += (count - 1) * conv.dilation[0] + 1
        seen = start < size - bottom and start + taken > top
        if seen and conv.kernel[first:first + count].any():
            parts.append((first, count, start, taken))
    return parts


def _padded(graph: Editing, name: str, conv: Depthwise) -> tuple[int, str]:
    """Returns the columns of an image with its zeros, and its tensor."""
    shape = graph.shape(conv.image)
    assert shape is not None
    columns = shape[2] + sum(conv.pads[1])
    if not any(map(any, conv.pads)):
        return columns, conv.image
    amounts = np.array([(0, 0), *conv.pads, (0, 0)], np.int32)
    pads = graph.constant(f"{name}/pads", amounts)
    padded = graph.add(
        f"{name}/padded", "Pad", [conv.image, pads], Tpaddings=tf.int32
    )
    return columns, padded


def convolve(
    graph: Editing, node: Any, image: str, kernel: np.ndarray,
    stride: tuple[int, int], dilation: tuple[int, int] = (1, 1),
    padding: str = "VALID",
) -> str:
    """Makes a depthwise convolution of a node, or a new one of a name.

    Returns:
        Its tensor.
    """
    name = node if isinstance(node, str) else node.name
    weights = graph.constant(f"{name}/kernel", kernel)
    write = graph.add if isinstance(node, str) else graph.become
    write(
        node, _OP, [image, weights], strides=[1, *stride, 1],
        dilations=[1, *dilation, 1], padding=padding, data_format="NHWC",
        explicit_paddings=[],
    )
    return name


def add_bias(graph: Editing, node: Any, image: str, bias: np.ndarray) -> str:
    """Makes a bias of a node, or a new one of a name; returns its tensor."""
    name = node if isinstance(node, str) else node.name
    values = graph.constant(f"{name}/bias", bias)
    write = graph.add if isinstance(node, str) else graph.become
    write(node, "BiasAdd", [image, values], data_format="NHWC")
    return name


def grouped(graph: Editing) -> int:
    """Writes convolutions of as many groups as channels as depthwise ones."""
    count = 0
    for node in graph.of_kind("Conv2D"):
        image, weights = graph.inputs(node)
        kernel, shape = graph.value(weights), graph.shape(image)
        if kernel is None or shape is None or shape[3] == 1:
            continue
        if node.attr["data_format"].s != b"NHWC" or kernel.shape[2] != 1:
            continue
        if kernel.shape[3] != shape[3]:
            continue
        attrs = _window_of(node)
        values = kernel.transpose(0, 1, 3, 2)
        weights = graph.constant(f"{node.name}/kernel", values)
        graph.become(node, _OP, [image, weights], **attrs)
        count += 1
    return count


def _window_of(node: Any) -> dict[str, Any]:
    """Returns the attributes that convolutions of all kinds share."""
    return {
        key: _copy(node.attr[key]) for key in (
            "strides", "dilations", "padding", "data_format",
            "explicit_paddings",
        )
    }


def whole_map(graph: Editing) -> int:
    """Writes kernels as large as their map as a product and its mean."""
    count = 0
    for conv in find(graph):
        height, width, channels, multiplier = conv.kernel.shape
        shape = graph.shape(conv.image)
        if shape is None or multiplier != 1 or any(map(any, conv.pads)):
            continue
        if shape[1:3] != (height, width) or max(conv.dilation) > 1:
            continue
        if height * width <= MAX_TAPS:
            continue
        folded = fold(graph, conv.last, channels)
        name = folded.last.name
        kernel = conv.kernel[..., 0] * folded.scale * (height * width)
        weights = graph.constant(f"{name}/kernel", kernel[None])
        product = graph.add(f"{name}/product", "Mul", [conv.image, weights])
        axes = graph.constant(f"{name}/axes", np.array([1, 2], np.int32))
        mean = {"keep_dims": True, "Tidx": tf.int32}
        if folded.bias is None:
            graph.become(folded.last, "Mean", [product, axes], **mean)
        else:
            total = graph.add(f"{name}/mean", "Mean", [product, axes], **mean)
            bias = graph.constant(f"{name}/bias", folded.bias)
            graph.become(folded.last, "AddV2", [total, bias])
        count += 1
    return count


def multiplier(graph: Editing) -> int:
    """Writes a depth multiplier as a plain convolution of a wider image.

    The image is joined with itself, so the channels come in another order: a
    convolution after it, which must be there, takes its weights in that.
    """
    count = 0
    for conv in find(graph):
        channels, times = conv.kernel.shape[2:]
        if times == 1 or channels == 1 or conv.last.op != _OP:
            continue
        order = np.arange(channels * times).reshape(channels, times).T.ravel()
        if not _reorder(graph, conv.last, order):
            continue
        name, node = conv.last.name, conv.last
        axis = graph.constant(f"{name}/axis", np.array(3, np.int32))
        wide = graph.add(
            f"{name}/wide", "ConcatV2", [*[conv.image] * times, axis],
            N=times, Tidx=tf.int32,
        )
        height, width = conv.kernel.shape[:2]
        kernel = conv.kernel.reshape(height, width, -1)[..., order, None]
        attrs = _window_of(node)
        weights = graph.constant(f"{name}/kernel", kernel)
        graph.become(node, _OP, [wide, weights], **attrs)
        count += 1
    return count


def _copy(attr: Any) -> Any:
    copy = type(attr)()
    copy.CopyFrom(attr)
    return copy


def _reorder(graph: Editing, node: Any, order: np.ndarray) -> bool:
    """Gives all weights after a node another order of its channels.

    Returns:
        Whether there is a convolution that ends it. If not, nothing is
        changed.
    """
    changes: list[tuple[Any, int, np.ndarray]] = []
    while (after := graph.sole_user(node)) is not None:
        refs = graph.inputs(after)
        if after.op == "Conv2D" and refs[0] == node.name:
            kernel = graph.value(refs[1])
            if kernel is None or kernel.shape[2] != order.size:
                return False
            changes.append((after, 1, kernel[:, :, order]))
            for user, place, ordered in changes:
                name = f"{user.name}/ordered"
                user.input[place] = graph.constant(name, ordered)
            return True
        if after.op in ("Mul", "AddV2", "Add", "Sub", "BiasAdd", "RealDiv"):
            place = int(refs[0] == node.name)
            value = graph.value(refs[place])
            values = per_channel(value, order.size)
            if values is None:
                return False
            changes.append((after, place, values[order].astype(np.float32)))
        elif after.op not in _UNARY:
            return False
        node = after
    return False
