"""Augmentations of values: colours, and a part that is erased.

Like those of `augment`, they are handed their random numbers.
"""

import math

import tensorflow as tf

_STRENGTH = 0.4
_HUE = 0.1
_GREY = (0.299, 0.587, 0.114)

# What `erase` needs of a row: whether, area, ratio, top, left, two seeds.
ERASE_DRAWS = 7
_ERASE_LEAST, _ERASE_MOST = 0.02, 0.4
_ERASE_LOG_RATIO = math.log(0.3)


def blend(
    degenerate: tf.Tensor | float, images: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    """Goes from one image to another, and on beyond it for a factor above 1.

    Args:
        degenerate: what a factor of 0 gives.
        images: what a factor of 1 gives.
        factor: how far to go.

    Returns:
        Values from 0 to 255.
    """
    return tf.clip_by_value(
        degenerate + (images - degenerate) * factor, 0.0, 255.0
    )


def grey(images: tf.Tensor) -> tf.Tensor:
    """Returns the brightness of each pixel, one channel."""
    # A product with a matrix takes half the time of a sum over channels.
    flat = tf.matmul(tf.reshape(images, (-1, 3)), tf.constant(_GREY)[:, None])
    return tf.reshape(flat, (*tf.unstack(tf.shape(images)[:-1]), 1))


def mean_grey(images: tf.Tensor) -> tf.Tensor:
    """Returns the mean brightness of each image, broadcastable to it."""
    return tf.reduce_mean(grey(images), axis=(-3, -2), keepdims=True)


def apply(
    images: tf.Tensor,
    jitter_draws: tf.Tensor | None,
    hue_draws: tf.Tensor | None,
) -> tf.Tensor:
    """Changes the colours of images of any channels.

    Args:
        images: float32 (batch, height, width, 1, 3 or 4), from 0 to 255.
        jitter_draws: see `jitter`; None leaves it out.
        hue_draws: see `hue`; None leaves it out.
    """
    colours, opacity = images[..., :3], images[..., 3:]
    if images.shape[-1] == 1:
        # Exact: three equal channels stay equal, and grey has no hue.
        colours, hue_draws = tf.image.grayscale_to_rgb(images), None
    if jitter_draws is not None:
        colours = jitter(colours, jitter_draws)
    if hue_draws is not None:
        colours = hue(colours, hue_draws)
    if images.shape[-1] == 4:
        return tf.concat([colours, opacity], -1)
    return colours[..., : images.shape[-1]]


def jitter(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation, each by 0.6 to 1.4.

    Args:
        images: float32 (batch, height, width, 3), from 0 to 255.
        draws: (batch, 3).
    """
    factors = 1 + _STRENGTH * (2 * draws - 1)
    brightness, contrast, saturation = (
        factors[:, i, None, None, None] for i in range(3)
    )
    images = blend(0.0, images, brightness)
    images = blend(mean_grey(images), images, contrast)
    return blend(grey(images), images, saturation)


def hue(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Shifts the hue by up to a tenth of the circle.

    Args:
        images: float32 (batch, height, width, 3), from 0 to 255.
        draws: (batch,).
    """
    return tf.map_fn(
        lambda pair: tf.image.adjust_hue(pair[0], pair[1]),
        (images, _HUE * (2 * draws - 1)),
        fn_output_signature=tf.TensorSpec(images.shape[1:]),
    )


def erase(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Replaces a rectangle by noise, one time in two.

    Its sides are at most those of the image, as in the release of AutoShrink.

    Args:
        images: float32 (batch, height, width, channels), from 0 to 255.
            Opacity stays as it is.
        draws: (batch, ERASE_DRAWS).
    """
    return tf.map_fn(
        lambda pair: tf.cond(
            pair[1][0] < 0.5,
            lambda: _erase(pair[0], pair[1]),
            lambda: pair[0],
        ),
        (images, draws),
        fn_output_signature=tf.TensorSpec(images.shape[1:]),
    )


def _erase(image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    area = _ERASE_LEAST + (_ERASE_MOST - _ERASE_LEAST) * draws[1]
    ratio = tf.exp((2 * draws[2] - 1) * _ERASE_LOG_RATIO)
    inside = []
    for side, place, size in (
        (tf.sqrt(area * ratio), draws[3], image.shape[0]),
        (tf.sqrt(area / ratio), draws[4], image.shape[1]),
    ):
        length = tf.minimum(tf.round(side * size), float(size))
        start = tf.floor(place * (size - length + 1))
        pixels = tf.range(size, dtype=tf.float32)
        inside.append((pixels >= start) & (pixels < start + length))
    rows, columns = inside
    # The draws have 24 bits.
    seed = tf.cast(draws[5:7] * (1 << 24), tf.int32)
    colours, opacity = image[..., :3], image[..., 3:]
    noise = tf.random.stateless_uniform(tf.shape(colours), seed, 0, 255)
    erased = rows[:, None, None] & columns[None, :, None]
    return tf.concat([tf.where(erased, noise, colours), opacity], -1)
