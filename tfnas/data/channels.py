"""From the channels that an image has to those that the network sees.

One channel is brightness, as Pillow counts it; the fourth is opacity, 255
where nothing shows through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

OPAQUE = 255
# Of red, green and blue, in 65536 parts: ITU-R BT.601, as Pillow rounds it.
_PARTS = (19595, 38470, 7471)
_WEIGHTS = (0.299, 0.587, 0.114)
_ALPHA = 127.5
_CHUNK = 1000


def brightness(images: Any) -> Any:
    """Returns the one channel that Pillow's mode "L" has, as int32.

    Args:
        images: int32 (..., 3 or 4), an array or a tensor, from 0 to 255.
    """
    red, green, blue = (images[..., i : i + 1] for i in range(3))
    parts = _PARTS[0] * red + _PARTS[1] * green + _PARTS[2] * blue
    return (parts + 32768) // 65536


def of_array(images: np.ndarray, channels: int) -> np.ndarray:
    """Returns images in memory with other channels.

    Grey images that are to become RGB stay as they are, to save memory.

    Args:
        images: uint8 (images, height, width, 1, 3 or 4).
        channels: 1, 3 or 4.
    """
    held = images.shape[-1]
    if held == channels or (held, channels) == (1, 3):
        return images
    if channels == 1:
        pieces = [
            brightness(images[i : i + _CHUNK].astype(np.int32))
            for i in range(0, len(images), _CHUNK)
        ]
        return np.concatenate(pieces).astype(np.uint8)
    if channels == 3:
        return images[..., :3]
    opaque = np.full((*images.shape[:3], 1), OPAQUE, np.uint8)
    colours = [images] * (3 if held == 1 else 1)
    return np.concatenate([*colours, opaque], axis=-1)


def of_tensor(image: tf.Tensor, channels: int) -> tf.Tensor:
    """Returns a decoded image, uint8, as 1 channel or as 3 or 4 it has."""
    import tensorflow as tf

    if channels > 1:
        return image
    return tf.cast(brightness(tf.cast(image, tf.int32)), tf.uint8)


def statistics(
    values: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    """Returns the mean or the deviation of other channels than RGB.

    That of brightness is the weighted sum over red, green and blue: exact for
    the mean, an upper bound for the deviation. Opacity is scaled to -1 and 1.

    Args:
        values: of red, green and blue.
        channels: 1, 3 or 4.
    """
    if channels == 1:
        pairs = zip(_WEIGHTS, values, strict=True)
        return (sum(weight * value for weight, value in pairs),)
    return (*values, _ALPHA)[:channels]
