"""The tf.data pipeline that turns image indices into batches."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.data import augment
from tfnas.data import decoder
from tfnas.data import rand_augment
from tfnas.data.images import Pixels

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
        words: see `augment_words.parse`.
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
        read = split.images.read
        dataset = _map(dataset, lambda index, draw: (index, read(index), draw))
        decode = decoder.make(split, split.images, words)
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
