"""What a model's own first operations say of the pixels that it takes.

A model that begins with `Rescaling(1 / 255)`, with `Normalization`, or with
`preprocess_input` of Keras wants pixels; one that begins with a convolution
does not say. The steps before the first real layer are run on plain images:
what they would make of the data's images, scaled in each way that is in use,
shows which one they are for. The rule is ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.data import Split
from tfnas.feed import Feed

# Scales that images come in, as mean and std on the 0 to 255 scale.
RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "pixels of 0 to 255": ((0.0,), (1.0,)),
    "pixels of 0 to 1": ((0.0,), (255.0,)),
    "pixels of -1 to 1": ((127.5,), (127.5,)),
    "pixels scaled as for ImageNet": (
        (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    ),
}
# What a whole range becomes, where the scaling is made for it.
_TARGETS = ((-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5), (1.0, 0.0))
_EXACT = 0.3  # of mean and of the logarithm of the deviation
_PLAUSIBLE = (0.1, 5.0)  # deviations that a first layer may be given
_FAR = 3.0  # deviations between a mean and 0
_IMAGES = 64  # that show what the data are like


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What the pixels of some images are like, on the 0 to 255 scale.

    Args:
        mean: Of all pixels, or of each channel.
        std: Likewise. By default as of usual photos.
        low: The darkest.
        high: The brightest.
    """

    mean: tuple[float, ...] = (118.0,)
    std: tuple[float, ...] = (64.0,)
    low: float = 0.0
    high: float = 255.0


# Operations that only move and scale numbers.
_SCALES = {
    "AddV2", "Add", "BiasAdd", "Cast", "ConcatV2", "GatherV2", "Identity",
    "Mul", "Pack", "Pad", "PadV2", "RealDiv", "ResizeBicubic",
    "ResizeBilinear", "ResizeNearestNeighbor", "ReverseV2", "Split",
    "SplitV", "StridedSlice", "Sub", "Unpack",
}
_MOVES = _SCALES - {"AddV2", "Add", "BiasAdd", "Mul", "RealDiv", "Sub"}


def of_type(dtype: str) -> Feed:
    """Returns the scale that a type of whole numbers leaves no doubt of.

    Args:
        dtype: Of an input that is not quantized.

    Returns:
        A `Feed` of bytes; an empty one for floats.
    """
    if not dtype.startswith(("int", "uint")):
        return Feed()
    zero = 128.0 if dtype == "int8" else 0.0
    return Feed(mean=(zero,), std=(1.0,)).by(f"its {dtype} input")


def statistics(split: Split) -> Statistics:
    """Returns what the pixels of a data set are like, by some images."""
    images = split.representative(_IMAGES, seed=0)
    pixels = images * np.array(split.std) + np.array(split.mean)
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    return Statistics(
        tuple(map(float, mean)), tuple(float(max(v, 1.0)) for v in std),
        float(pixels.min()), float(pixels.max()),
    )


def of_keras(
    model: Any, shape: tuple[int, int, int], own: Feed | None = None,
    pixels: Statistics | None = None,
) -> Feed:
    """Returns mean and std, as a Keras model's first operations say.

    Args:
        model: A model of one image input.
        shape: `(height, width, channels)` of an image.
        own: How the data set is scaled; see `of_affine`.
        pixels: Of the images of the data set.

    Returns:
        A `Feed` with `mean` and `std`, or an empty one.
    """
    import tensorflow as tf

    (image,) = model.inputs
    whole = (image.shape[0] or 1, *shape)

    @tf.function(autograph=False)
    def first(images):
        model(images, training=False)
        end = _before_first_layer(images)
        if end is None or end.shape.rank != 4:
            return tf.zeros(0)
        # The middle: at the sides there may be a border.
        middle = end[0, end.shape[1] // 2, end.shape[2] // 2]
        return tf.cast(middle, tf.float64)

    found = [
        first(tf.cast(tf.fill(whole, level), image.dtype)).numpy()
        for level in (0.0, 1.0, 2.0)
    ]
    if not found[0].size:
        return Feed()
    offset, once, twice = found
    factor = once - offset
    if not np.allclose(twice - once, factor, rtol=1e-3, atol=1e-6):
        return Feed()
    return of_affine(factor, offset, own, pixels)


def _before_first_layer(given: Any) -> Any:
    """Returns the tensor that the first layer gets, if it is not the image."""
    tensor, scaled = given, False
    while True:
        users = [op for op in tensor.consumers() if op.type != "NoOp"]
        kinds = {op.type for op in users}
        if not users or not kinds <= _SCALES:
            return tensor if scaled else None
        if len(users) > 1:  # the channels go apart, and must come together
            meeting = _meeting(users)
            if meeting is None:
                return tensor if scaled else None
            scaled = scaled or bool(kinds - _MOVES)
            tensor = meeting
            continue
        scaled = scaled or users[0].type not in _MOVES
        if len(users[0].outputs) != 1:
            meeting = _meeting([
                op for t in users[0].outputs for op in t.consumers()
            ])
            if meeting is None:
                return tensor if scaled else None
            tensor = meeting
            continue
        tensor = users[0].outputs[0]


def _meeting(ops: list[Any]) -> Any:
    """Returns where branches that only move numbers come together."""
    ends = set()
    for op in ops:
        while op.type not in ("ConcatV2", "Pack"):
            after = [user for t in op.outputs for user in t.consumers()]
            if op.type not in _SCALES or len(after) != 1:
                return None
            (op,) = after
        ends.add(op.outputs[0].ref())
    return ends.pop().deref() if len(ends) == 1 else None


def of_affine(
    factor: np.ndarray, offset: np.ndarray, own: Feed | None = None,
    pixels: Statistics | None = None,
) -> Feed:
    """Returns the scale that a first scaling is meant for.

    One after which the images are as a first layer likes them: a range in
    use becomes -1 to 1 or 0 to 1 exactly, or mean and standard deviation are
    about 0 and 1, as after a trained normalisation. Without such, the data
    set's own scale stays if it is plausible.

    Args:
        factor: What the numbers are multiplied by, for each channel.
        offset: What is added then.
        own: How the data set is scaled: it is tried first.
        pixels: Of the images of the data set.

    Returns:
        A `Feed` with mean and std; an empty one where nothing is scaled, or
        the scale of the data set stays.
    """
    if np.allclose(factor, 1, atol=0.01) and np.allclose(offset, 0, atol=0.01):
        return Feed()
    pixels = pixels or Statistics()
    named = dict(RANGES)
    if np.size(factor) not in (1, 3):
        named.popitem()  # that of ImageNet is for three channels
    if own is not None and own.mean and own.std:
        mean, std = _after(factor, offset, own.mean, own.std, pixels)
        if _is_exact(mean, std) or _fits(factor, offset, own.mean, own.std):
            return Feed()
    else:
        mean, std = np.inf, 0.0
    marks = {
        name: _mark(factor, offset, scale, pixels)
        for name, scale in named.items()
    }
    best = min(marks, key=marks.__getitem__)
    low, high = _PLAUSIBLE
    stays = low <= std <= high and mean <= _FAR * std
    if marks[best] > 0 and (stays or math.isinf(marks[best])):
        return Feed()
    return Feed(*named[best]).by(f"its first operations, for {best}")


def _after(
    factor: np.ndarray, offset: np.ndarray, mean: Sequence[float],
    std: Sequence[float], pixels: Statistics,
) -> tuple[float, float]:
    """Returns mean (without sign) and deviation of what a layer is given."""
    middle = factor * (np.subtract(pixels.mean, mean) / std) + offset
    spread = np.abs(factor) * np.divide(pixels.std, std)
    return float(np.abs(middle).max()), float(np.mean(spread))


def _is_exact(mean: float, std: float) -> bool:
    return std > 0 and mean <= _EXACT and abs(math.log(std)) <= _EXACT


def _fits(
    factor: np.ndarray, offset: np.ndarray, mean: Sequence[float],
    std: Sequence[float],
) -> bool:
    """Says whether all of a range becomes all of a usual one."""
    ends = [
        factor * (np.subtract(pixel, mean) / std) + offset
        for pixel in (0.0, 255.0)
    ]
    return any(
        np.allclose(ends[0], low, atol=0.02)
        and np.allclose(ends[1], high, atol=0.02) for low, high in _TARGETS
    )


def _mark(
    factor: np.ndarray, offset: np.ndarray, scale: Any, pixels: Statistics
) -> float:
    """Returns how well a scale goes with a first scaling.

    Negative is exact, less is better; infinite is out of the question.
    """
    mean, std = _after(factor, offset, scale[0], scale[1], pixels)
    if not std or mean > _FAR * std:
        return math.inf
    away = math.log(std) ** 2 + (mean / std) ** 2
    if _fits(factor, offset, scale[0], scale[1]):
        return -2.0
    return -1 / (1 + away) if _is_exact(mean, std) else away
