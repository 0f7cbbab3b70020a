"""What a `.tflite` without metadata says of the pixels that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfnas import leading_scale
from tfnas.errors import ArtifactError
from tfnas.export.file_graph import FileGraph
from tfnas.feed import Feed
from tfnas.leading_scale import Statistics

_SCALES = ("MUL", "DIV", "ADD", "SUB")
_PASSES = ("CAST", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "PAD", "PADV2",
           "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_FLOATS = {
    schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16
}
_INTEGERS = {
    schema.TensorType.INT8: "int8", schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT16: "int16",
}
_LONGEST = 20  # operators that are looked at
# Shares that the range of the input and that of the images have in common.
_CLOSE, _AS_GOOD = 0.6, 0.9


def of_operators(
    blob: bytes, own: Feed, pixels: Statistics, source: str = "model"
) -> Feed:
    """Returns mean and std, as the first operators of a file say.

    Args:
        blob: Content of the file, which takes floats; it is not run.
        own: How the data set is scaled.
        pixels: Of the images of the data set.
        source: Its name, for messages.

    Returns:
        A `Feed` with `mean` and `std`, or an empty one.

    Raises:
        ArtifactError: when the file is damaged.
    """
    try:
        file = FileGraph(blob)
        rounding = _rounding(file)
        factor, offset = _leading(file)
    except Exception as error:  # damaged offsets raise nearly anything
        raise ArtifactError(
            f"{source}: expected a whole .tflite model. Received: "
            f"{len(blob)} bytes ({type(error).__name__}: {error})"
        ) from error
    if rounding is not None:
        return of_range(*rounding, own, pixels)
    return leading_scale.of_affine(factor, offset, own, pixels)


def _rounding(file: FileGraph) -> tuple[float, int, str] | None:
    """Returns scale, zero point and type that the image is rounded to."""
    users = file.users(file.graph.Inputs(0))
    if len(users) != 1 or file.name(users[0]) != "QUANTIZE":
        return None
    tensor = file.graph.Tensors(users[0].Outputs(0))
    dtype = _INTEGERS.get(tensor.Type())
    held = tensor.Quantization()
    if dtype is None or held is None or held.ScaleLength() != 1:
        return None
    return float(held.Scale(0)), int(held.ZeroPoint(0)), dtype


def _leading(file: FileGraph) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the first operators multiply by, and what they add."""
    current = file.graph.Inputs(0)
    factor, offset = np.ones(1), np.zeros(1)
    for _ in range(_LONGEST):
        users = file.users(current)
        if len(users) != 1:
            break
        (op,) = users
        name = file.name(op)
        if name in _SCALES:
            values = _constant(file, op, current)
            first = op.Inputs(0) == current
            if values is None or (name == "DIV" and not first):
                break
            factor, offset = _applied(name, first, values, factor, offset)
        elif name not in _PASSES:
            break
        current = op.Outputs(0)
    return factor, offset


def _constant(file: FileGraph, op: Any, current: int) -> np.ndarray | None:
    """Returns the constant beside a tensor, one for each channel."""
    others = [int(i) for i in op.InputsAsNumpy() if i != current]
    if len(others) != 1:
        return None
    (index,) = others
    maker = file.maker(index)
    if maker is not None and file.name(maker) == "DEQUANTIZE":
        index = maker.Inputs(0)  # of constants in half the space
    tensor = file.graph.Tensors(index)
    data = file.model.Buffers(tensor.Buffer()).DataAsNumpy()
    dtype = _FLOATS.get(tensor.Type())
    if dtype is None or isinstance(data, int):
        return None
    values = np.frombuffer(data.tobytes(), dtype).astype(np.float64)
    return values if len(values) in (1, 3, 4) else None


def _applied(
    name: str, first: bool, values: np.ndarray, factor: np.ndarray,
    offset: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    if name == "MUL":
        return factor * values, offset * values
    if name == "DIV":
        return factor / values, offset / values
    if name == "ADD":
        return factor, offset + values
    return (factor, offset - values) if first else (-factor, values - offset)


def of_range(
    scale: float, zero_point: int, dtype: str, own: Feed, pixels: Statistics
) -> Feed:
    """Returns mean and std, as the range of a quantized image says.

    The range was seen in calibration: it is that of the images, scaled as the
    network takes them, and has 0 in it.

    Args:
        scale: Of the quantized image.
        zero_point: Of it.
        dtype: Of it.
        own: How the data set is scaled: that stays where it fits.
        pixels: Of the images of the data set.

    Returns:
        An empty `Feed` where the data set's own scale fits, or no usual one
        fits better.
    """
    limits = np.iinfo(dtype)
    held = [(level - zero_point) * scale for level in (limits.min, limits.max)]
    ours = 0.0
    if own.mean and own.std:
        ours = _overlap(held, own.mean, own.std, pixels)
    shares = {
        name: _overlap(held, *scale, pixels)
        for name, scale in leading_scale.RANGES.items()
    }
    best = max(shares, key=shares.__getitem__)
    if shares[best] < _CLOSE or ours >= _AS_GOOD * shares[best]:
        return Feed()
    return Feed(*leading_scale.RANGES[best]).by(
        f"the range of its {dtype} image, which is that of {best}"
    )


def _overlap(
    held: Sequence[float], mean: Sequence[float], std: Sequence[float],
    pixels: Statistics,
) -> float:
    """Returns the share of two ranges together that both have."""
    ends = [
        (pixel - m) / s
        for pixel in (pixels.low, pixels.high)
        for m, s in zip(mean, std, strict=True)
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    common = min(high, held[1]) - max(low, held[0])
    return max(common, 0.0) / (max(high, held[1]) - min(low, held[0]))
