"""Tensors of an int8 file that a concatenation behind a pool clips.

The runtime averages and joins without a change of scale, so the converter
gives the range of what is joined to all that goes into it, through pools as
well. What is averaged is small, and what it is the average of no longer fits.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfnas import tflite_packing
from tfnas.export.file_graph import FileGraph
from tfnas.export.file_tensors import FileTensors
from tfnas.export.tracing import in_batches
from tfnas.lowering.rewritings import MAX_TAPS

_JOINS = ("CONCATENATION", "PACK")
_AVERAGES = ("AVERAGE_POOL_2D", "RESIZE_BILINEAR")
# These leave the scale as it is, and so do the averages.
_MOVERS = (
    *_AVERAGES, "MAX_POOL_2D", "RESHAPE", "TRANSPOSE", "PAD", "PADV2",
    "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "SQUEEZE",
    "EXPAND_DIMS", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE", "GATHER", "TILE", "UNPACK",
)
_NOTICED = 0.005  # of the values; in a range of their own it is 0.001 at most
_LIMITS = {"int8": (-128, 127), "int16": (-32768, 32767)}
_ACTS = schema.ActivationFunctionType


@dataclasses.dataclass(frozen=True)
class Clipped:
    """A tensor whose range is that of a concatenation behind a pool.

    Args:
        tensor: Its name.
        pool: Name of the averages of it.
        join: Name of what they are joined to.
        share: Of its values, those at the ends of the range.
        mended: Whether a file that is lowered for XNNPACK has a range of its
            own there.
    """

    tensor: str
    pool: str
    join: str
    share: float
    mended: bool


def clipped_tensors(blob: bytes, images: np.ndarray) -> list[Clipped]:
    """Returns the tensors that are clipped, those that lose most first.

    Args:
        blob: Content of a `.tflite` file of one image.
        images: Images as the network sees them.
    """
    graph = FileGraph(blob)
    suspects = [
        (tensor, op, join)
        for op in graph.ops
        if graph.name(op) in _AVERAGES
        for tensor in [_origin(graph, int(op.Inputs(0)))]
        for join in _joins(graph, int(op.Outputs(0)))
        if _range(graph, tensor) == _range(graph, join) is not None
    ]
    if not suspects:
        return []
    shares = _shares(blob, graph, {t for t, *_ in suspects}, images)
    found = {
        tensor: Clipped(
            _name(graph, tensor), _name(graph, int(op.Outputs(0))),
            _name(graph, join), shares[tensor], _is_mended(graph, op),
        )
        for tensor, op, join in reversed(suspects)
        if shares[tensor] >= _NOTICED
    }
    return sorted(found.values(), key=lambda each: -each.share)


def _origin(graph: FileGraph, tensor: int) -> int:
    """Returns the tensor that an operator computed in the same scale."""
    while (op := graph.maker(tensor)) and graph.name(op) in _MOVERS:
        tensor = int(op.Inputs(0))
    return tensor


def _joins(graph: FileGraph, tensor: int) -> list[int]:
    """Returns what a tensor is joined to without a change of scale."""
    found, todo, seen = [], [tensor], set()
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for op in graph.users(current):
            outputs = [int(i) for i in op.OutputsAsNumpy()]
            if graph.name(op) in _JOINS:
                found += outputs[:1]
            elif graph.name(op) in _MOVERS:
                todo += outputs
    return found


def _range(
    graph: FileGraph, tensor: int
) -> tuple[float, int, int, int] | None:
    """Returns scale, zero point and the ends of the integers of a tensor."""
    told = graph.graph.Tensors(tensor)
    found, dtype = told.Quantization(), tflite_packing.TYPES[told.Type()]
    limits = _LIMITS.get(dtype)
    if limits is None or found is None or found.ScaleLength() != 1:
        return None
    return (float(found.Scale(0)), int(found.ZeroPoint(0)), *limits)


def _shares(
    blob: bytes, graph: FileGraph, tensors: set[int], images: np.ndarray
) -> dict[int, float]:
    """Returns which share of the values lies at the ends of the range."""
    file = FileTensors(blob)
    counts = {tensor: np.zeros(2) for tensor in tensors}
    for batch in in_batches(images, file.batch):
        file.run(batch)
        for tensor, count in counts.items():
            values = file.value(tensor)
            if values is not None:
                ends = _ends(graph, tensor)
                outside = np.zeros(values.shape, bool)
                for end, sign in zip(ends, (-1, 1), strict=True):
                    if end is not None:
                        outside |= sign * values >= sign * end
                count += outside.sum(), values.size
    return {
        tensor: float(hit / max(n, 1)) for tensor, (hit, n) in counts.items()
    }


def _ends(
    graph: FileGraph, tensor: int
) -> tuple[float | None, float | None]:
    """Returns from where on values are clipped; `None` where they end anyway.

    An activation ends at 0, some at 6 too, and to be there is no loss.
    """
    told = _range(graph, tensor)
    assert told is not None
    scale, zero, least, most = told
    low: float | None = (least - zero + 0.25) * scale
    high: float | None = (most - zero - 0.25) * scale
    op = graph.maker(tensor)
    act = _activation(graph, op) if op else _ACTS.NONE
    if act in (_ACTS.RELU, _ACTS.RELU6) and zero == least:
        low = None
    if act == _ACTS.RELU6 and (most - zero + 1) * scale >= 6:
        high = None
    return low, high


def _activation(graph: FileGraph, op: Any) -> int:
    if graph.name(op) in ("RELU", "RELU6"):
        return getattr(_ACTS, graph.name(op))
    return getattr(_options(op), "fusedActivationFunction", _ACTS.NONE)


def _is_mended(graph: FileGraph, op: Any) -> bool:
    """Says whether the lowering writes a pool as a convolution."""
    if graph.name(op) != "AVERAGE_POOL_2D":
        return False
    told = _options(op)
    window = (told.filterHeight, told.filterWidth)
    return window[0] * window[1] <= MAX_TAPS


def _options(op: Any) -> Any:
    return schema.OperatorT.InitFromObj(op).builtinOptions


def _name(graph: FileGraph, tensor: int) -> str:
    name = graph.graph.Tensors(tensor).Name() or b""
    return name.decode(errors="replace").split(";")[0]
