"""What happens to an image between the file and the network.

A function here never draws random numbers. It is handed a row of uniform
`draws` from [0, 1) per image, so that an image looks the same whatever batch
it is in and whether or not the run was interrupted before it.
"""

import math

import tensorflow as tf

from tfnas.errors import ConfigError

WORDS = ("resized_crop", "pad_crop", "flip", "jitter")

# Columns of a row of draws.
_ATTEMPTS = 5
_AREA = slice(0, _ATTEMPTS)
_RATIO = slice(_ATTEMPTS, 2 * _ATTEMPTS)
_TOP = 2 * _ATTEMPTS
_LEFT = _TOP + 1
_FLIP = _TOP + 2
_JITTER = _TOP + 3
DRAWS = _JITTER + 3

_MIN_AREA = 0.08
_LOG_RATIO = math.log(4 / 3)
_JITTER_STRENGTH = 0.4
_GREY = (0.299, 0.587, 0.114)


def parse(text: str) -> frozenset[str]:
    """Reads the name of an augmentation, e.g. "pad_crop+flip".

    Args:
        text: "none", or words joined by "+":
            `resized_crop`: a random part of 0.08 to 1 of the area, with an
                aspect ratio of 3/4 to 4/3, resized;
            `pad_crop`: a random crop after padding by an eighth of the size;
            `flip`: mirrored left to right, one time in two;
            `jitter`: brightness, contrast and saturation, each times 0.6 to
                1.4.

    Raises:
        ConfigError: if a word is unknown or both crops are asked for.
    """
    words = frozenset(text.split("+")) - {"none"}
    if not words <= set(WORDS) or {"resized_crop", "pad_crop"} <= words:
        raise ConfigError(
            f'`augment` must be "none" or some of {", ".join(WORDS)} joined '
            f'by "+", with one kind of crop. Received: augment={text!r}'
        )
    return words


def center_crop(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes the middle of an image for evaluation.

    The square has 7/8 of the shorter side (224 of 256, as usual).

    Args:
        image: (height, width, channels).
        size: height and width of the result.

    Returns:
        float32 (size, size, channels).
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.maximum(tf.minimum(height, width) * 7 // 8, 1)
    top, left = (height - side) // 2, (width - side) // 2
    return _cut(image, top, left, side, side, size)


def resized_crop(image: tf.Tensor, draws: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes a random part of an image; see `parse`.

    Args:
        image: (height, width, channels).
        draws: row of `DRAWS` numbers.
        size: height and width of the result.

    Returns:
        float32 (size, size, channels).
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    area = tf.cast(height * width, tf.float32)
    area *= _MIN_AREA + (1 - _MIN_AREA) * draws[_AREA]
    ratio = tf.exp((2 * draws[_RATIO] - 1) * _LOG_RATIO)
    # The first attempt that fits is taken; the last one always does.
    square = tf.minimum(height, width)[None]
    heights = tf.cast(tf.round(tf.sqrt(area / ratio)), tf.int32)
    widths = tf.cast(tf.round(tf.sqrt(area * ratio)), tf.int32)
    heights = tf.maximum(tf.concat([heights, square], 0), 1)
    widths = tf.maximum(tf.concat([widths, square], 0), 1)
    fits = (heights <= height) & (widths <= width)
    first = tf.argmax(tf.cast(fits, tf.int32))
    crop_height, crop_width = heights[first], widths[first]
    top = _pick(draws[_TOP], height - crop_height + 1)
    left = _pick(draws[_LEFT], width - crop_width + 1)
    return _cut(image, top, left, crop_height, crop_width, size)


def frame(
    images: tf.Tensor, draws: tf.Tensor, words: frozenset[str], size: int
) -> tf.Tensor:
    """Brings a batch from memory to the network's size.

    Args:
        images: uint8 (batch, height, width, channels).
        draws: (batch, DRAWS).
        words: see `parse`.
        size: height and width of the result.

    Returns:
        (batch, size, size, channels): uint8 where nothing had to be resized.
    """
    channels = images.shape[-1]
    if "resized_crop" in words:
        return tf.map_fn(
            lambda pair: resized_crop(pair[0], pair[1], size),
            (images, draws),
            fn_output_signature=tf.TensorSpec((size, size, channels)),
        )
    if images.shape[1:3] == (size, size):
        return images
    return tf.image.resize(images, (size, size), antialias=True)


def finish(
    images: tf.Tensor,
    draws: tf.Tensor,
    words: frozenset[str],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tf.Tensor:
    """Augments and normalises a batch that has the network's size.

    Args:
        images: (batch, size, size, 1 or 3), from 0 to 255.
        draws: (batch, DRAWS).
        words: see `parse`.
        mean: per channel, on the 0 to 255 scale.
        std: per channel, on the 0 to 255 scale.

    Returns:
        float32 (batch, size, size, 3).
    """
    if "pad_crop" in words:
        images = _pad_crop(images, draws)
    if "flip" in words:
        mirrored = draws[:, _FLIP] < 0.5
        images = tf.where(
            mirrored[:, None, None, None], images[:, :, ::-1], images
        )
    if images.shape[-1] == 1:
        images = tf.image.grayscale_to_rgb(images)
    images = tf.cast(images, tf.float32)
    if "jitter" in words:
        images = _jitter(images, draws[:, _JITTER:])
    return (images - tf.constant(mean)) / tf.constant(std)


def _pad_crop(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    size = images.shape[1]
    pad = size // 8
    padded = tf.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows = _pick(draws[:, _TOP], 2 * pad + 1)[:, None] + tf.range(size)
    columns = _pick(draws[:, _LEFT], 2 * pad + 1)[:, None] + tf.range(size)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)


def _jitter(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    factors = 1 + _JITTER_STRENGTH * (2 * draws - 1)
    brightness, contrast, saturation = (
        factors[:, i, None, None, None] for i in range(3)
    )
    images = tf.clip_by_value(images * brightness, 0, 255)
    grey = tf.reduce_sum(images * _GREY, axis=-1, keepdims=True)
    mean = tf.reduce_mean(grey, axis=(1, 2), keepdims=True)
    images = tf.clip_by_value(mean + (images - mean) * contrast, 0, 255)
    grey = tf.reduce_sum(images * _GREY, axis=-1, keepdims=True)
    return tf.clip_by_value(grey + (images - grey) * saturation, 0, 255)


def _pick(draw: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """Turns a draw into one of 0 .. count - 1."""
    index = tf.cast(draw * tf.cast(count, tf.float32), tf.int32)
    # A draw just below 1 times `count` can round up to `count`.
    return tf.minimum(index, count - 1)


def _cut(image, top, left, height, width, size) -> tf.Tensor:
    part = image[top : top + height, left : left + width]
    return tf.image.resize(part, (size, size), antialias=True)
