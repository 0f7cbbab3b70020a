"""Slices, mirrored borders and steps up, without runtime kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.export.lowering.cutting import cut
from tfnas.export.lowering.editing import Editing
from tfnas.export.lowering.folding import fold
from tfnas.export.lowering.pools import pick

_SLICES = ("StridedSlice",)
_MASKS = ("begin_mask", "end_mask")
_CLIPS = ("Relu", "Relu6")
_MOST = 8  # rows of a mirrored border, which are sliced one by one


def _ranges(graph: Editing, node: Any) -> list[range] | None:
    """Returns which indices of each axis a strided slice takes."""
    image, *given = graph.inputs(node)
    shape = graph.shape(image)
    begin, end, steps = (graph.value(ref) for ref in given)
    masks = {name: node.attr[name].i for name in node.attr}
    if shape is None or len(shape) != 4 or masks.get("shrink_axis_mask"):
        return None
    if masks.get("new_axis_mask") or masks.get("ellipsis_mask"):
        return None
    if begin is None or end is None or steps is None or (steps < 1).any():
        return None
    taken = []
    for axis, size in enumerate(shape):
        if axis >= len(begin):
            taken.append(range(size))
            continue
        first, last = (
            None if masks.get(mask, 0) >> axis & 1 else int(bound[axis])
            for mask, bound in zip(_MASKS, (begin, end), strict=True)
        )
        taken.append(range(size)[first:last:int(steps[axis])])
    return taken


def strided_slice(graph: Editing) -> int:
    """Writes slices that leave rows and columns out as convolutions."""
    count = 0
    for node in graph.of_kind(*_SLICES):
        taken = _ranges(graph, node)
        shape = graph.shape(graph.inputs(node)[0])
        if taken is None or shape is None or not all(taken):
            continue
        steps = [axis.step for axis in taken]
        if max(steps[1:3]) == 1 or steps[0] != 1 or steps[3] != 1:
            continue
        (image, *_), name = graph.inputs(node), node.name
        first = [axis.start for axis in taken]
        span = [axis[-1] - axis.start + 1 for axis in taken]
        # It gives ceil(size / stride) rows whatever is left behind them.
        reach = [
            size if 0 == begin and -(-size // axis.step) == len(axis) else part
            for size, begin, axis, part in zip(
                shape, first, taken, span, strict=True
            )
        ]
        if reach != list(shape):
            image = cut(graph, f"{name}/cut", image, first, reach)
        pick(graph, node, image, (steps[1], steps[2]), shape[3])
        count += 1
    return count


def patches(graph: Editing) -> int:
    """Writes slices of every n-th pixel that are joined as space-to-depth."""
    count = 0
    for node in graph.of_kind("ConcatV2"):
        *parts, axis = graph.inputs(node)
        shape = graph.shape(node.name)
        where = graph.value(axis)
        if shape is None or where is None or int(where) not in (3, -1):
            continue
        slices = [graph.node(ref) for ref in parts]
        if {part.op for part in slices} != {"StridedSlice"}:
            continue
        order = _block_order(graph, slices)
        if order is None:
            continue
        _space_to_depth(graph, node, graph.inputs(slices[0])[0], order)
        count += 1
    return count


def _block_order(
    graph: Editing, slices: list[Any]
) -> tuple[int, list[int]] | None:
    """Returns the size of a block, and which pixel of it each slice takes."""
    images = {graph.inputs(part)[0] for part in slices}
    found = [_ranges(graph, part) for part in slices]
    if len(images) != 1 or any(taken is None for taken in found):
        return None
    shape = graph.shape(images.pop())
    assert shape is not None
    block, order = round(len(slices) ** 0.5), []
    for taken in found:
        assert taken is not None
        rows, columns = taken[1:3]
        whole = [
            axis == range(size)
            for axis, size in ((taken[0], shape[0]), (taken[3], shape[3]))
        ]
        if not all(whole) or any(
            axis.step != block or size % block or len(axis) != size // block
            for axis, size in ((rows, shape[1]), (columns, shape[2]))
        ):
            return None
        order.append(rows.start * block + columns.start)
    if block < 2 or sorted(order) != list(range(block * block)):
        return None
    return block, order


def _space_to_depth(
    graph: Editing, node: Any, image: str, blocks: tuple[int, list[int]]
) -> None:
    block, order = blocks
    attrs = {"block_size": block, "data_format": "NHWC"}
    if order == sorted(order):
        graph.become(node, "SpaceToDepth", [image], **attrs)
        return
    name, shape = node.name, graph.shape(node.name)
    assert shape is not None
    whole = graph.add(f"{name}/blocks", "SpaceToDepth", [image], **attrs)
    width = shape[3] // len(order)
    parts = [
        cut(
            graph, f"{name}/pixel_{i}", whole, [0, 0, 0, place * width],
            [*shape[:3], width],
        )
        for i, place in enumerate(order)
    ]
    join(graph, name, parts, 3, node)


def join(
    graph: Editing, name: str, parts: list[str], axis: int, node: Any = None
) -> str:
    """Joins tensors, in a new node or in one that is rewritten."""
    where = graph.constant(f"{name}/axis", np.array(axis, np.int32))
    attrs = {"N": len(parts), "Tidx": tf.int32}
    if node is None:
        return graph.add(name, "ConcatV2", [*parts, where], **attrs)
    graph.become(node, "ConcatV2", [*parts, where], **attrs)
    return node.name


def mirrored(graph: Editing) -> int:
    """Writes a mirrored border as joined slices of one row or column."""
    count = 0
    for node in graph.of_kind("MirrorPad"):
        image, amounts = graph.inputs(node)
        shape, pads = graph.shape(image), graph.value(amounts)
        if shape is None or pads is None or len(shape) != 4:
            continue
        if pads[[0, 3]].any() or not 0 < pads.max() <= _MOST:
            continue
        edge = int(node.attr["mode"].s == b"REFLECT")
        axes = [axis for axis in (1, 2) if pads[axis].any()]
        size = list(shape)
        for axis in axes:
            last = axis == axes[-1]
            image = _mirror(
                graph, node, image, size, axis, pads[axis].tolist(), edge, last
            )
            size[axis] += int(pads[axis].sum())
        count += 1
    return count


def _mirror(
    graph: Editing, node: Any, image: str, size: list[int], axis: int,
    pads: list[int], edge: int, last: bool,
) -> str:
    name = f"{node.name}/axis_{axis}"
    before = [edge + i for i in reversed(range(pads[0]))]
    after = [size[axis] - 1 - edge - i for i in range(pads[1])]

    def line(index: int) -> str:
        begin, one = [0] * 4, list(size)
        begin[axis], one[axis] = index, 1
        return cut(graph, f"{name}/line_{index}", image, begin, one)

    parts = [*map(line, before), image, *map(line, after)]
    return join(graph, name, parts, axis, node if last else None)


def doubling(graph: Editing) -> int:
    """Writes transposed convolutions of 2x2 in steps of 2 as 1x1 ones.

    Each pixel gives four, which then go where they belong; an activation
    comes before that, where the convolution takes it in.
    """
    count = 0
    for node in graph.of_kind("Conv2DBackpropInput"):
        _, weights, image = graph.inputs(node)
        kernel = graph.value(weights)
        shape, result = graph.shape(image), graph.shape(node.name)
        if kernel is None or shape is None or result is None:
            continue
        if kernel.shape[:2] != (2, 2) or node.attr["data_format"].s != b"NHWC":
            continue
        if list(node.attr["strides"].list.i) != [1, 2, 2, 1] or (
            result[1:3] != (2 * shape[1], 2 * shape[2])
        ):
            continue
        _by_pixels(graph, node, image, kernel)
        count += 1
    return count


def _by_pixels(
    graph: Editing, node: Any, image: str, kernel: np.ndarray
) -> None:
    outputs, inputs = kernel.shape[2:]
    folded = fold(graph, node, outputs)
    name = folded.last.name
    # (2, 2, out, in) -> (1, 1, in, 4 * out)
    wide = (kernel * folded.scale[:, None]).transpose(3, 0, 1, 2)
    weights = graph.constant(
        f"{name}/kernel", wide.reshape(1, 1, inputs, 4 * outputs)
    )
    pixels = graph.add(
        f"{name}/pixels", "Conv2D", [image, weights], strides=[1, 1, 1, 1],
        dilations=[1, 1, 1, 1], padding="VALID", data_format="NHWC",
        explicit_paddings=[], use_cudnn_on_gpu=True,
    )
    if folded.bias is not None:
        bias = graph.constant(f"{name}/bias", np.tile(folded.bias, 4))
        pixels = graph.add(
            f"{name}/biased", "BiasAdd", [pixels, bias], data_format="NHWC"
        )
    last = folded.last
    after = graph.sole_user(last)
    if after is not None and after.op in _CLIPS:
        pixels = graph.add(f"{name}/clipped", after.op, [pixels])
        last = after
    graph.become(
        last, "DepthToSpace", [pixels], block_size=2, data_format="NHWC"
    )
