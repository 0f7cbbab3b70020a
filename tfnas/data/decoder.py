"""Decodes and crops an image file within a tf.data pipeline.

The part that the network sees is chosen in the upright image, and only that
part of a JPEG is decoded, wherever it lies in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfnas.data import augment
from tfnas.data import channels
from tfnas.data import decoding

if TYPE_CHECKING:
    from tfnas.data.images import Encoded

_NEIGHBOURS = 2
# Orientations as in EXIF. First rows become columns, then it is mirrored.
_TRANSPOSED = np.array([False] * 5 + [True] * 4)
_LEFT_RIGHT, _UP_DOWN = (
    np.array([turn in turns for turn in range(9)])
    for turns in ((2, 3, 6, 7), (3, 4, 7, 8))
)


def make(
    images: Encoded, words: frozenset[str], size: augment.Size, wanted: int,
    exif_rotation: bool,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]:
    """Returns a function that decodes one image: they differ in size.

    It takes the number of an image, the bytes of its file and its row of
    random numbers, and returns number, image and row.

    Args:
        images: where they come from.
        words: see `augment_words.parse`.
        size: height and width that the network sees.
        wanted: channels that it sees.
        exif_rotation: whether files are turned as their EXIF data say.
    """
    colours = max(wanted, 3)

    def decode(index, data, draw):
        turn = orientation(index, data)

        def cut(image, turn):
            image = channels.of_tensor(image, wanted)
            return augment.cut(_upright(image, turn), draw, words, size)

        def by_pillow():
            image = tf.numpy_function(
                lambda data: decoding.by_pillow(data, colours, exif_rotation),
                [data], tf.uint8, stateful=False,
            )
            return cut(tf.ensure_shape(image, (None, None, colours)), None)

        def png():
            return cut(tf.io.decode_png(data, channels=3), turn)

        # What is too large goes to Pillow as well, and is refused there.
        def jpeg():
            shape = tf.io.extract_jpeg_shape(data)
            return tf.cond(
                _fits(shape),
                lambda: _part_of_jpeg(
                    data, shape, turn, draw, words, size, wanted
                ),
                by_pillow,
            )

        def others():
            if wanted == 4:
                return by_pillow()
            is_png = tf.strings.substr(data, 0, 8) == decoding.PNG
            return tf.cond(
                is_png,
                lambda: tf.cond(_fits(_png_shape(data)), png, by_pillow),
                by_pillow,
            )

        image = tf.cond(tf.io.is_jpeg(data), jpeg, others)
        return index, tf.ensure_shape(image, (*size, wanted)), draw

    orientation = _orientation(images, exif_rotation)
    return decode


def _orientation(
    images: Encoded, rotate: bool
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor | None]:
    """Returns a function that gives the orientation of an image.

    It gives None where all images are upright.
    """
    turns = images.orientations
    if not rotate or (turns is not None and np.all(turns == 1)):
        return lambda index, data: None
    if turns is not None:
        held = turns.astype(np.int32)
        return lambda index, data: tf.gather(held, index)

    def look(index, data):
        turn = tf.numpy_function(
            lambda data: np.int32(decoding.orientation(data)),
            [data], tf.int32, stateful=False,
        )
        return tf.ensure_shape(turn, ())

    return look


def _upright(image: tf.Tensor, turn: tf.Tensor | None) -> tf.Tensor:
    if turn is None:
        return image

    def turned():
        out = tf.cond(
            tf.gather(_TRANSPOSED, turn),
            lambda: tf.transpose(image, (1, 0, 2)),
            lambda: image,
        )
        mirrored = (
            tf.gather(_UP_DOWN, turn), tf.gather(_LEFT_RIGHT, turn), False
        )
        return tf.reverse(out, tf.where(tf.stack(mirrored))[:, 0])

    return tf.cond(turn == 1, lambda: image, turned)


def _part_of_jpeg(
    data, shape, turn, draw, words, size, wanted: int
) -> tf.Tensor:
    """Decodes only the part that is wanted, to the values of Pillow."""
    if turn is None:
        box = augment.box(shape[0], shape[1], draw, words, size)
    else:
        box = _box_in_file(shape, turn, draw, words, size)
    top, left, height, width = box
    # Colours at the sides would be a little off without their neighbours.
    start = tf.maximum(left - _NEIGHBOURS, 0)
    stop = tf.minimum(left + width + _NEIGHBOURS, shape[1])
    part = tf.io.decode_and_crop_jpeg(
        data,
        tf.stack([top, start, height, stop - start]),
        channels=3,
        dct_method="INTEGER_ACCURATE",
    )
    part = part[:, left - start :][:, :width]
    part = channels.of_tensor(part, wanted)
    image = augment.resize(_upright(part, turn), size)
    if wanted < 4:
        return image
    opaque = tf.fill((*size, 1), float(channels.OPAQUE))
    return tf.concat([image, opaque], -1)


def _box_in_file(shape, turn, draw, words, size) -> augment.Box:
    """Returns where the part that is wanted lies before it is turned."""
    transposed = tf.gather(_TRANSPOSED, turn)
    height = tf.where(transposed, shape[1], shape[0])
    width = tf.where(transposed, shape[0], shape[1])
    top, left, tall, wide = augment.box(height, width, draw, words, size)
    top = tf.where(tf.gather(_UP_DOWN, turn), height - top - tall, top)
    left = tf.where(tf.gather(_LEFT_RIGHT, turn), width - left - wide, left)
    return (
        tf.where(transposed, left, top),
        tf.where(transposed, top, left),
        tf.where(transposed, wide, tall),
        tf.where(transposed, tall, wide),
    )


def _png_shape(data: tf.Tensor) -> tf.Tensor:
    """Returns height and width that the header of a PNG promises."""
    sides = tf.strings.substr(data, 16, 8)
    return tf.io.decode_raw(sides, tf.int32, little_endian=False)


def _fits(shape: tf.Tensor) -> tf.Tensor:
    sides = tf.cast(shape[:2], tf.int64)
    return sides[0] * sides[1] <= decoding.MAX_PIXELS
