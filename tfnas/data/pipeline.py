"""The tf.data pipeline that turns image indices into batches."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.data import augment
from tfnas.data import rand_augment
from tfnas.data.images import Pixels

_NEIGHBOURS = 2

if TYPE_CHECKING:
    from tfnas.data.dataset import Split


def build(
    split: "Split",
    indices: np.ndarray,
    draws: np.ndarray,
    words: frozenset[str],
    batch_size: int,
    drop_remainder: bool,
) -> tf.data.Dataset:
    """Returns batches of images in the given order.

    Args:
        split: where the images come from.
        indices: of the images, in the order wanted.
        draws: a row of random numbers for each; see `augment`.
        words: see `augment.parse`.
        batch_size: images in a batch.
        drop_remainder: whether a smaller last batch is left out.

    Returns:
        A data set of (images, labels).
    """
    labels = split.labels.astype(np.int32)
    if "randaugment" in words:
        rand_augment.layers()

    def finish(index, images, draw):
        images = augment.finish(images, draw, words, split.mean, split.std)
        return images, tf.gather(labels, index)

    def finish_one(index, image, draw):  # one at a time stays in the cache
        images, label = finish(index, image[None], draw[None])
        return images[0], label

    dataset = tf.data.Dataset.from_tensor_slices((indices, draws))
    if isinstance(split.images, Pixels):
        load = _from_memory(split.images, words, split.size)
        dataset = dataset.batch(batch_size, drop_remainder)
        dataset = _map(dataset, lambda *row: finish(*load(*row)))
    else:
        # Reading waits for disks and for Python; decoding goes on meanwhile.
        read = split.images
        dataset = _map(dataset, lambda index, draw: (index, read(index), draw))
        decode = _decoder(words, split.size)
        dataset = _map(dataset, lambda *row: finish_one(*decode(*row)))
        dataset = dataset.batch(batch_size, drop_remainder)
    options = tf.data.Options()
    options.deterministic = True
    # Several hosts share each batch. (Off would give each host all of it.)
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _from_memory(pixels: Pixels, words: frozenset[str], size: int):
    """Loads a whole batch: one gather, and mostly nothing to resize."""
    tensor = pixels.tensor

    def load(index, draw):
        images = tf.gather(tensor, index)
        return index, augment.frame(images, draw, words, size), draw

    return load


def _decoder(words: frozenset[str], size: int):
    """Decodes one image: they differ in size until they are cropped."""

    def decode(index, data, draw):
        image = tf.cond(
            tf.io.is_jpeg(data),
            lambda: _decode_jpeg(data, draw, words, size),
            lambda: augment.cut(
                tf.io.decode_image(data, channels=3, expand_animations=False),
                draw, words, size,
            ),
        )
        return index, tf.ensure_shape(image, (size, size, 3)), draw

    return decode


def _decode_jpeg(data, draw, words, size) -> tf.Tensor:
    """Decodes only the part that is wanted, to the values of Pillow."""
    shape = tf.io.extract_jpeg_shape(data)
    top, left, height, width = augment.box(shape[0], shape[1], draw, words)
    # Colours at the sides would be a little off without their neighbours.
    start = tf.maximum(left - _NEIGHBOURS, 0)
    stop = tf.minimum(left + width + _NEIGHBOURS, shape[1])
    part = tf.io.decode_and_crop_jpeg(
        data,
        tf.stack([top, start, height, stop - start]),
        channels=3,
        dct_method="INTEGER_ACCURATE",
    )
    return augment.resize(part[:, left - start :][:, :width], size)


def _map(dataset: tf.data.Dataset, function: Callable[..., Any]):
    # `AUTOTUNE` leaves cores idle when reading calls Python.
    return dataset.map(
        function, num_parallel_calls=os.cpu_count(), deterministic=True
    )
