"""The tf.data pipeline that turns image indices into batches."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.data import augment
from tfnas.data import decoder
from tfnas.data import rand_augment
from tfnas.data.images import Images
from tfnas.data.images import Pixels


def build(
    images: Images, labels: np.ndarray, indices: np.ndarray,
    draws: np.ndarray, words: frozenset[str], size: augment.Size,
    mean: tuple[float, ...], std: tuple[float, ...], exif_rotation: bool,
    batch_size: int, drop_remainder: bool,
) -> tf.data.Dataset:
    """Returns batches of images in the given order.

    Args:
        images: where they come from.
        labels: label of each of those.
        indices: of the images, in the order wanted.
        draws: a row of random numbers for each; see `augment`.
        words: see `augment_words.parse`.
        size: height and width that the network sees.
        mean: per channel, on the 0 to 255 scale.
        std: per channel, on the 0 to 255 scale.
        exif_rotation: whether files are turned as their EXIF data say.
        batch_size: images in a batch.
        drop_remainder: whether a smaller last batch is left out.

    Returns:
        A data set of (images, labels).
    """
    targets = labels.astype(np.int32)
    if "randaugment" in words:
        rand_augment.layers()

    def finish(index, pixels, draw):
        pixels = augment.finish(pixels, draw, words, mean, std)
        return pixels, tf.gather(targets, index)

    def finish_one(index, image, draw):  # one at a time stays in the cache
        images, label = finish(index, image[None], draw[None])
        return images[0], label

    dataset = tf.data.Dataset.from_tensor_slices((indices, draws))
    if isinstance(images, Pixels):
        load = _from_memory(images, words, size)
        dataset = dataset.batch(batch_size, drop_remainder)
        dataset = _map(dataset, lambda *row: finish(*load(*row)))
    else:
        # Reading waits for disks and for Python; decoding goes on meanwhile.
        read = images.read
        dataset = _map(dataset, lambda index, draw: (index, read(index), draw))
        decode = decoder.make(images, words, size, len(mean), exif_rotation)
        dataset = _map(dataset, lambda *row: finish_one(*decode(*row)))
        dataset = dataset.batch(batch_size, drop_remainder)
    options = tf.data.Options()
    options.deterministic = True
    # Several hosts share each batch. (Off would give each host all of it.)
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _from_memory(pixels: Pixels, words: frozenset[str], size: augment.Size):
    """Loads a whole batch: one gather, and mostly nothing to resize."""
    tensor = pixels.tensor

    def load(index, draw):
        images = tf.gather(tensor, index)
        return index, augment.frame(images, draw, words, size), draw

    return load


def _map(dataset: tf.data.Dataset, function: Callable[..., Any]):
    # `AUTOTUNE` leaves cores idle when reading calls Python. There is no
    # control flow in Python to convert, and looking for it takes a second.
    return dataset.map(
        tf.autograph.experimental.do_not_convert(function),
        num_parallel_calls=os.cpu_count(), deterministic=True,
    )
