"""What happens to an image between the file and the network.

A function here never draws random numbers. It is handed a row of uniform
`draws` from [0, 1) per image, so that an image looks the same whatever batch
it is in and whether or not the run was interrupted before it.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfnas.data import colour
from tfnas.data import rand_augment

# Top, left, height and width.
Box = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
Size = tuple[int, int]  # height and width that the network sees

# Columns of a row of draws.
_ATTEMPTS = 5
_AREA = slice(0, _ATTEMPTS)
_RATIO = slice(_ATTEMPTS, 2 * _ATTEMPTS)
_TOP = 2 * _ATTEMPTS
_LEFT = _TOP + 1
_FLIP = _TOP + 2
_JITTER = slice(_TOP + 3, _TOP + 6)
_BASE = _JITTER.stop
# Further columns, for words that came later, from a stream of their own: the
# others look the same with and without them.
_HUE = _BASE
_ERASE = slice(_HUE + 1, _HUE + 1 + colour.ERASE_DRAWS)
_RAND = slice(_ERASE.stop, _ERASE.stop + rand_augment.DRAWS)
DRAWS = _RAND.stop
_LATER = {"hue", "erase", "randaugment"}
_COLOURS = {"jitter", "hue"}

_LOG_RATIO = math.log(4 / 3)
# Side of an image of ImageNet, and what its shorter side is scaled to first.
_SIDE, _SHORTER, _SCALED = 224, 256, (256, 480)


def draw(
    count: int, words: frozenset[str], seeds: tuple[list[int], list[int]]
) -> np.ndarray:
    """Draws what decides over the images of an epoch.

    Args:
        count: number of images.
        words: see `parse`.
        seeds: of the epoch: for the first words that there were, and for
            those that came later.

    Returns:
        float32 (count, DRAWS), or fewer columns where no word needs them.
    """
    base, later = (np.random.default_rng(seed) for seed in seeds)
    draws = base.random((count, _BASE if words else 0), np.float32)
    if not words & _LATER:
        return draws
    more = later.random((count, DRAWS - _BASE), np.float32)
    return np.concatenate([draws, more], axis=1)


def box(
    height: tf.Tensor,
    width: tf.Tensor,
    draws: tf.Tensor,
    words: frozenset[str],
    size: Size,
) -> Box:
    """Returns which part of an image is resized to the network's size.

    Without a crop of `words` that is the middle of the image: 7/8 (224 of 256,
    as usual) of the largest part with the network's aspect ratio, which is a
    square for a square network.

    Args:
        height: of the image.
        width: of the image.
        draws: row of `DRAWS` numbers.
        words: see `parse`.
        size: of the network.

    Returns:
        Top, left, height and width, each an integer.
    """
    for word in words & set(_BOXES):
        return _BOXES[word](height, width, draws, size)
    tall, wide = _largest(height * 7 // 8, width * 7 // 8, size)
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def _largest(height, width, size: Size) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the largest sides within an image, in the network's ratio."""
    if size[0] == size[1]:
        side = tf.maximum(tf.minimum(height, width), 1)
        return side, side
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    tall = tf.minimum(height, (2 * width * size[0] + size[1]) // (2 * size[1]))
    wide = tf.minimum(width, (2 * height * size[1] + size[0]) // (2 * size[0]))
    return tuple(
        tf.cast(tf.maximum(side, 1), tf.int32) for side in (tall, wide)
    )


def _area_box(least: float) -> Callable[..., Box]:
    def crop(height, width, draws, size):
        area = tf.cast(height * width, tf.float32)
        area *= least + (1 - least) * draws[_AREA]
        ratio = tf.exp((2 * draws[_RATIO] - 1) * _LOG_RATIO)
        if size[0] != size[1]:  # the network's ratio distorts nothing
            ratio *= size[1] / size[0]
        # The first attempt that fits is taken; the last one always does.
        tall, wide = _largest(height, width, size)
        heights = tf.cast(tf.round(tf.sqrt(area / ratio)), tf.int32)
        widths = tf.cast(tf.round(tf.sqrt(area * ratio)), tf.int32)
        heights = tf.maximum(tf.concat([heights, tall[None]], 0), 1)
        widths = tf.maximum(tf.concat([widths, wide[None]], 0), 1)
        fits = (heights <= height) & (widths <= width)
        first = tf.argmax(tf.cast(fits, tf.int32))
        return _somewhere(height, width, heights[first], widths[first], draws)

    return crop


def _scaled_box(least: int, most: int) -> Callable[..., Box]:
    def crop(height, width, draws, size):
        scaled = least + (most - least) * draws[0]
        tall, wide = (
            tf.maximum(
                tf.cast(
                    tf.round(tf.cast(side, tf.float32) * _SIDE / scaled),
                    tf.int32,
                ),
                1,
            )
            for side in _largest(height, width, size)
        )
        return _somewhere(height, width, tall, wide, draws)

    return crop


def _somewhere(height, width, crop_height, crop_width, draws) -> Box:
    top = _pick(draws[_TOP], height - crop_height + 1)
    left = _pick(draws[_LEFT], width - crop_width + 1)
    return top, left, crop_height, crop_width


_BOXES = {
    "resized_crop": _area_box(0.08),
    "large_crop": _area_box(0.75),
    "scale_crop": _scaled_box(*_SCALED),
    "random_crop": _scaled_box(_SHORTER, _SHORTER),
}


def resize(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Resizes an image, antialiased.

    Args:
        image: (height, width, channels).
        size: of the result.

    Returns:
        float32 (height, width, channels).
    """
    shape = tf.shape(image)
    # Where nothing shrinks both give the same, and this is 4 times as fast.
    return tf.cond(
        (shape[0] <= size[0]) & (shape[1] <= size[1]),
        lambda: tf.image.resize(image, size),
        lambda: tf.image.resize(image, size, antialias=True),
    )


def cut(
    image: tf.Tensor, draws: tf.Tensor, words: frozenset[str], size: Size
) -> tf.Tensor:
    """Resizes a part of an image; see `box`.

    Args:
        image: (height, width, channels).
        draws: row of `DRAWS` numbers.
        words: see `parse`.
        size: of the result.

    Returns:
        float32 (height, width, channels).
    """
    shape = tf.shape(image)
    top, left, height, width = box(shape[0], shape[1], draws, words, size)
    return resize(image[top : top + height, left : left + width], size)


def frame(
    images: tf.Tensor, draws: tf.Tensor, words: frozenset[str], size: Size
) -> tf.Tensor:
    """Brings a batch from memory to the network's size.

    Args:
        images: uint8 (batch, height, width, channels).
        draws: (batch, DRAWS).
        words: see `parse`.
        size: of the result.

    Returns:
        (batch, height, width, channels): uint8 where nothing had to be resized.
    """
    channels = images.shape[-1]
    if words & set(_BOXES):
        return tf.map_fn(
            lambda pair: cut(pair[0], pair[1], words, size),
            (images, draws),
            fn_output_signature=tf.TensorSpec((*size, channels)),
        )
    if images.shape[1:3] == size:
        return images
    return tf.image.resize(images, size, antialias=True)


def finish(
    images: tf.Tensor,
    draws: tf.Tensor,
    words: frozenset[str],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tf.Tensor:
    """Augments and normalises a batch that has the network's size.

    Args:
        images: (batch, height, width, channels), from 0 to 255; one channel
            becomes three where `mean` has three.
        draws: (batch, DRAWS).
        words: see `parse`.
        mean: per channel, on the 0 to 255 scale.
        std: per channel, on the 0 to 255 scale.

    Returns:
        float32 (batch, height, width, channels).
    """
    if "pad_crop" in words:
        images = _pad_crop(images, draws)
    if "flip" in words:
        images = _flip(images, draws[:, _FLIP] < 0.5)
    channels = len(mean)
    if images.shape[-1] == 1 and channels == 3:
        images = tf.image.grayscale_to_rgb(images)
    images = tf.cast(images, tf.float32)
    if "randaugment" in words:
        images = rand_augment.apply(images, draws[:, _RAND])
    if words & _COLOURS:
        images = colour.apply(
            images,
            draws[:, _JITTER] if "jitter" in words else None,
            draws[:, _HUE] if "hue" in words else None,
        )
    if "erase" in words:
        images = colour.erase(images, draws[:, _ERASE])
    return (images - tf.constant(mean)) / tf.constant(std)


def _flip(images: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    # A slice with a step of -1 would take three times as long.
    there = tf.range(images.shape[2])[None]
    columns = tf.where(mirrored[:, None], there[:, ::-1], there)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _pad_crop(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    sides = images.shape[1:3]
    down, across = (side // 8 for side in sides)
    padded = tf.pad(images, ((0, 0), (down, down), (across, across), (0, 0)))
    rows, columns = (
        _pick(draws[:, column], 2 * pad + 1)[:, None] + tf.range(side)
        for column, pad, side in zip(
            (_TOP, _LEFT), (down, across), sides, strict=True
        )
    )
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)


def _pick(draw: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """Turns a draw into one of 0 .. count - 1."""
    index = tf.cast(draw * tf.cast(count, tf.float32), tf.int32)
    # A draw just below 1 times `count` can round up to `count`.
    return tf.minimum(index, count - 1)
