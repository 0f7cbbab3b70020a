"""What a model's own first operations say of the pixels that it takes.

A model that begins with `Rescaling(1 / 255)`, with `Normalization`, or with
`preprocess_input` of Keras wants pixels; one that begins with a convolution
does not say. The steps before the first real layer are run on plain images:
what they make of each range that is in use shows which one they are for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfnas.feed import Feed

# Ranges that images come in, as mean and std on the 0 to 255 scale.
BYTES, UNIT, SYMMETRIC = (0.0, 1.0), (0.0, 255.0), (127.5, 127.5)
RANGES = {"0 to 255": BYTES, "0 to 1": UNIT, "-1 to 1": SYMMETRIC}
_USUAL_SPAN = 2.0  # of what a network's first layer gets
_MOST_SPAN = 300.0  # pixels without their mean, as of the first ResNets
# Operations that only move and scale numbers.
_SCALES = {
    "AddV2", "Add", "BiasAdd", "Cast", "ConcatV2", "GatherV2", "Identity",
    "Mul", "Pack", "Pad", "PadV2", "RealDiv", "ResizeBicubic",
    "ResizeBilinear", "ResizeNearestNeighbor", "ReverseV2", "Split",
    "SplitV", "StridedSlice", "Sub", "Unpack",
}
_MOVES = _SCALES - {"AddV2", "Add", "BiasAdd", "Mul", "RealDiv", "Sub"}


def of_keras(model: Any, shape: tuple[int, int, int]) -> Feed:
    """Returns mean and std, as a Keras model's first operations say.

    Args:
        model: A model of one image input.
        shape: `(height, width, channels)` of an image.

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
    return of_affine(factor, offset)


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


def of_affine(factor: np.ndarray, offset: np.ndarray) -> Feed:
    """Returns the range that a scaling is meant for.

    Args:
        factor: What the numbers are multiplied by, for each channel.
        offset: What is added then.

    Returns:
        A `Feed` with mean and std, or an empty one where no range fits, or
        nothing is scaled.
    """
    if np.allclose(factor, 1, atol=0.01) and np.allclose(offset, 0, atol=0.01):
        return Feed()
    best, name = math.inf, None
    for key, (mean, std) in RANGES.items():
        ends = [
            factor * ((pixel - mean) / std) + offset for pixel in (0.0, 255.0)
        ]
        span = float(np.abs(ends[1] - ends[0]).max())
        middle = float(np.abs(ends[0] + ends[1]).max()) / 2
        if not 0 < span <= _MOST_SPAN or middle > span:
            continue
        away = abs(math.log(span / _USUAL_SPAN))
        if away < best:
            best, name = away, key
    if name is None:
        return Feed()
    mean, std = RANGES[name]
    return Feed(mean=(mean,), std=(std,)).by(
        f"its first operations, which are for pixels of {name}"
    )
