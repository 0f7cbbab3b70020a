"""Whether a lowered file is as good as the plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.errors import ExportError
from tfnas.export.file_tensors import FileTensors
from tfnas.export.reference import full_precision
from tfnas.export.runtime import delegate_fault
from tfnas.export.tracing import reason_of

_BATCHES = 8  # that are compared, spread over all
_SAME = 1e-4  # of float32, relatively
# The error of another type that is not asked about, and how much larger than
# the plain file's a larger one may be.
_FINE = 0.1
_WORSE = 1.5


def doubt(
    blob: bytes,
    traced: Any,
    quantize: str,
    batches: list[np.ndarray],
    plain: Callable[[], bytes],
) -> str | None:
    """Says what speaks against a lowered file.

    It has to be loaded by the delegate, give finite numbers, and answer as
    the float model does. The error is the root mean square of the difference
    by that of the float answers, over up to 8 batches. In float32 it may be
    1e-4. In the other types rounding has a part in it: up to 0.1 it is taken;
    only above is the plain file made too, and the error may be 1.5 times that
    one's, or anything where there is none.

    Args:
        blob: Content of the lowered file.
        traced: The function before it was lowered.
        quantize: How the file computes, one of `tflite.QUANTIZE`.
        batches: Images as the network sees them; without any, noise.
        plain: Gives the content of the file that is not lowered.

    Returns:
        The reason in one line, or `None` where there is none.
    """
    if fault := delegate_fault(blob):
        return f"the delegate refuses the lowered file: {fault}"
    chosen = _some(batches) or _noise(traced)
    with full_precision():
        expected = [
            _answers(traced(tf.constant(images))) for images in chosen
        ]
    if not all(np.isfinite(value).all() for value in expected):
        return None  # noise that the model has no answer to shows nothing
    try:
        error = _error(blob, traced, chosen, expected)
    except (RuntimeError, ValueError) as failure:
        return f"the lowered file does not run: {reason_of(failure)}"
    if not np.isfinite(error):
        return "the lowered file gives numbers that are not finite"
    if quantize == "none":
        if error <= _SAME:
            return None
        return (
            f"the lowered file is {error:.1e} off the float model, at most "
            f"{_SAME:.0e} is expected"
        )
    if error <= _FINE:
        return None
    try:
        other = _error(plain(), traced, chosen, expected)
    except ExportError:
        return None  # only the lowering makes such a file possible
    if error <= _WORSE * other:
        return None
    return (
        f"the lowered file is {error:.3f} off the float model, the plain one "
        f"{other:.3f}"
    )


def _some(batches: list[np.ndarray]) -> list[np.ndarray]:
    step = max(1, len(batches) // _BATCHES)
    return [batch.astype(np.float32) for batch in batches[::step][:_BATCHES]]


def _noise(traced: Any) -> list[np.ndarray]:
    given = traced.inputs[0]
    rng = np.random.default_rng(0)
    return [rng.standard_normal(given.shape, np.float32)]


def _answers(outputs: dict[str, Any]) -> np.ndarray:
    values = [np.ravel(outputs[name]) for name in sorted(outputs)]
    return np.concatenate(values).astype(np.float64)


def _error(
    blob: bytes, traced: Any, batches: list[np.ndarray],
    expected: list[np.ndarray],
) -> float:
    """Returns how far a file's answers are off, relatively."""
    file = FileTensors(blob, inside=False)
    names = list(traced.structured_outputs)
    found = file.outputs
    if set(found) != set(names) and len(found) == len(names) == 1:
        found = {names[0]: next(iter(found.values()))}
    noise = signal = 0.0
    for images, wanted in zip(batches, expected, strict=True):
        file.run(images)
        got = _answers({name: file.value(found[name]) for name in names})
        noise += float(np.sum((got - wanted) ** 2))
        signal += float(np.sum(wanted**2))
    return float(np.sqrt(noise / signal)) if signal else float(noise > 0)
