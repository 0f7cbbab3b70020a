"""What a `.tflite` without metadata says of the pixels that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfnas import leading_scale
from tfnas.errors import ArtifactError
from tfnas.feed import Feed

_OPS = {
    value: name for name, value in vars(schema.BuiltinOperator).items()
    if not name.startswith("_")
}
_SCALES = ("MUL", "DIV", "ADD", "SUB")
_PASSES = ("CAST", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "PAD", "PADV2",
           "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_LONGEST = 20  # operators that are looked at
# Shares that the range of the input and that of the images have in common.
_CLOSE, _AS_GOOD = 0.6, 0.9


def of_operators(blob: bytes, source: str = "model") -> Feed:
    """Returns mean and std, as the first operators of a file say.

    Args:
        blob: Content of the file; it is not run.
        source: Its name, for messages.

    Returns:
        A `Feed` with `mean` and `std`, or an empty one.

    Raises:
        ArtifactError: when the file is damaged.
    """
    try:
        model = schema.Model.GetRootAs(blob)
        factor, offset = _leading(model)
    except Exception as error:  # damaged offsets raise nearly anything
        raise ArtifactError(
            f"{source}: expected a whole .tflite model. Received: "
            f"{len(blob)} bytes ({type(error).__name__}: {error})"
        ) from error
    return leading_scale.of_affine(factor, offset)


def _leading(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the first operators multiply by, and what they add."""
    graph = model.Subgraphs(0)
    current = graph.Inputs(0)
    factor, offset = np.ones(1), np.zeros(1)
    for _ in range(_LONGEST):
        users = [
            op for i in range(graph.OperatorsLength())
            if current in (op := graph.Operators(i)).InputsAsNumpy()
        ]
        if len(users) != 1:
            break
        (op,) = users
        code = model.OperatorCodes(op.OpcodeIndex())
        name = _OPS.get(
            max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), ""
        )
        if name in _SCALES:
            values = _constant(model, graph, op, current)
            first = op.Inputs(0) == current
            if values is None or (name == "DIV" and not first):
                break
            factor, offset = _applied(name, first, values, factor, offset)
        elif name not in _PASSES:
            break
        current = op.Outputs(0)
    return factor, offset


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


def _constant(
    model: Any, graph: Any, op: Any, current: int
) -> np.ndarray | None:
    """Returns the float constant beside a tensor, one for each channel."""
    others = [int(i) for i in op.InputsAsNumpy() if i != current]
    if len(others) != 1:
        return None
    tensor = graph.Tensors(others[0])
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    if tensor.Type() != schema.TensorType.FLOAT32 or isinstance(data, int):
        return None
    values = np.frombuffer(data.tobytes(), np.float32).astype(np.float64)
    return values if len(values) in (1, 3, 4) else None


def of_range(
    scale: float, zero_point: int, dtype: str, mean: Sequence[float],
    std: Sequence[float],
) -> Feed:
    """Returns mean and std, as the range of a quantized input says.

    The range was seen in calibration: it is that of the images, scaled as the
    network takes them.

    Args:
        scale: Of the input.
        zero_point: Of the input.
        dtype: Of the input.
        mean: How the images of the data set are scaled.
        std: How they are scaled.

    Returns:
        An empty `Feed` where the data set's own scale fits, or no usual one
        fits better.
    """
    limits = np.iinfo(dtype)
    held = [(level - zero_point) * scale for level in (limits.min, limits.max)]
    ours = _overlap(held, mean, std)
    shares = {
        name: _overlap(held, [m], [s])
        for name, (m, s) in leading_scale.RANGES.items()
    }
    best = max(shares, key=shares.__getitem__)
    if shares[best] < _CLOSE or ours >= _AS_GOOD * shares[best]:
        return Feed()
    m, s = leading_scale.RANGES[best]
    return Feed(mean=(m,), std=(s,)).by(
        f"the range of its {dtype} input, which is that of pixels of {best}"
    )


def _overlap(
    held: Sequence[float], mean: Sequence[float], std: Sequence[float]
) -> float:
    """Returns the share of two ranges together that both have."""
    low = min((0 - m) / s for m, s in zip(mean, std, strict=True))
    high = max((255 - m) / s for m, s in zip(mean, std, strict=True))
    common = min(high, held[1]) - max(low, held[0])
    return max(common, 0.0) / (max(high, held[1]) - min(low, held[0]))
