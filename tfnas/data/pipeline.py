"""The tf.data pipeline that turns image indices into batches."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.data import augment
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
        words: see `augment.parse`.
        batch_size: images in a batch.
        drop_remainder: whether a smaller last batch is left out.

    Returns:
        A data set of (images, labels).
    """
    labels = split.labels.astype(np.int32)

    def finish(index, images, draw):
        images = augment.finish(images, draw, words, split.mean, split.std)
        return images, tf.gather(labels, index)

    dataset = tf.data.Dataset.from_tensor_slices((indices, draws))
    if isinstance(split.images, Pixels):
        load = _from_memory(split.images, words, split.size)
        dataset = dataset.batch(batch_size, drop_remainder)
        dataset = _map(dataset, lambda *row: finish(*load(*row)))
    else:
        load = _from_files(split.images, words, split.size)
        dataset = _map(dataset, load)
        dataset = dataset.batch(batch_size, drop_remainder)
        dataset = _map(dataset, finish)
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


def _from_files(read: Any, words: frozenset[str], size: int):
    """Loads one image: they differ in size until they are cropped."""

    def load(index, draw):
        image = tf.io.decode_image(
            read(index), channels=3, expand_animations=False
        )
        if "resized_crop" in words:
            image = augment.resized_crop(image, draw, size)
        else:
            image = augment.center_crop(image, size)
        return index, tf.ensure_shape(image, (size, size, 3)), draw

    return load


def _map(dataset: tf.data.Dataset, function: Callable[..., Any]):
    return dataset.map(
        function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
