"""A trained Keras model as the teacher of a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnas import leading_scale
from tfnas.data import Dataset
from tfnas.errors import ConfigError
from tfnas.feed import Feed
from tfnas.feed import order_of
from tfnas.model_files import load_keras
from tfnas.model_files import read_feed

_LEAST = 1e-30  # probability whose logarithm stands for 0


class Teacher:
    """Gives the logits of a trained model for a network's own images.

    The images are resized where the teacher takes others (one that was made
    larger shows no more than before), and normalised as the teacher takes
    them. Its scores are put into the order of the data's classes by their
    names, where its file knows them. A teacher that ends in a softmax gives
    the logarithms of its probabilities, which are logits as well.

    Args:
        path: The teacher, a `.keras` file.
        dataset: The images that it will be shown.
        mean: Of the channels, on the 0..255 scale, in the teacher's training;
            `None` is what its file says or its first operations imply, else
            that of the data set.
        std: Of the channels likewise. 0 and 1 are for models that take 0..255.

    Raises:
        ArtifactError: when the file is not a readable model.
        ConfigError: when it is not a classifier of such images and as many
            classes.
    """

    def __init__(
        self, path: str | os.PathLike, dataset: Dataset,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
    ):
        self.model = load_keras(path)
        self._size = _input_size(self.model, path, dataset)
        _check_classes(self.model, path, dataset)
        self._is_probability = _ends_in_softmax(self.model)
        feed = self._feed(str(path), dataset, mean, std)
        assert feed.mean is not None and feed.std is not None
        self._order = None
        if feed.labels is not None:
            places = order_of(
                feed.labels, dataset.class_names, str(path), dataset.name
            )
            if places != tuple(range(len(places))):
                self._order = tf.constant(places)
        # (image * dataset.std + dataset.mean - feed.mean) / feed.std
        theirs = [tf.constant(v, tf.float32) for v in (feed.mean, feed.std)]
        ours = [tf.constant(v) for v in (dataset.mean, dataset.std)]
        self._factor = ours[1] / theirs[1]
        self._offset = (ours[0] - theirs[0]) / theirs[1]
        self._is_other = bool(
            tf.reduce_any(self._factor != 1) or tf.reduce_any(self._offset != 0)
        )
        self._dtype = self.model.inputs[0].dtype

    def _feed(
        self, path: str, dataset: Dataset, mean: Any, std: Any
    ) -> Feed:
        """Returns how the teacher wants to be fed."""
        given = Feed(
            mean=None if mean is None else tuple(np.ravel(mean)),
            std=None if std is None else tuple(np.ravel(std)),
        )
        feed = given.filled(read_feed(path))
        own = Feed(mean=dataset.mean, std=dataset.std)
        feed = feed.filled(leading_scale.of_type(self.model.inputs[0].dtype))
        if feed.mean is None and feed.std is None:
            shape = (*self._size, dataset.image_shape[-1])
            pixels = leading_scale.statistics(dataset.train)
            feed = feed.filled(
                leading_scale.of_keras(self.model, shape, own, pixels)
            )
        return feed.filled(own)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Returns logits `(batch, classes)`; no gradient reaches them.

        Args:
            images: Normalised images of the data set.
        """
        if tuple(images.shape[1:3]) != self._size:
            images = tf.image.resize(images, self._size, antialias=True)
        if self._is_other:
            images = images * self._factor + self._offset
        if self._dtype.startswith(("int", "uint")):
            images = tf.round(images)
        images = tf.cast(images, self._dtype)
        answer = tf.cast(self.model(images, training=False), tf.float32)
        if self._order is not None:
            answer = tf.gather(answer, self._order, axis=-1)
        if self._is_probability:
            answer = tf.math.log(tf.maximum(answer, _LEAST))
        return tf.stop_gradient(answer)


def _input_size(
    model: Any, path: str | os.PathLike, dataset: Dataset
) -> tuple[int, int]:
    """Returns the height and width of the images that a teacher takes."""
    shape = model.input_shape
    channels = dataset.image_shape[-1]
    if len(shape) != 4 or shape[-1] != channels:
        raise ConfigError(
            "`train.teacher` must take images (height, width, "
            f"{channels}). Received: {path} with input_shape={shape}"
        )
    ours = dataset.image_shape[:2]
    return (shape[1] or ours[0], shape[2] or ours[1])


def _check_classes(
    model: Any, path: str | os.PathLike, dataset: Dataset
) -> None:
    shape = model.output_shape
    if not isinstance(shape, tuple) or shape != (None, dataset.classes):
        raise ConfigError(
            f"`train.teacher` must tell {dataset.classes} classes apart, as "
            f"{dataset.name} has. Received: {path} with output_shape={shape}"
        )


def _ends_in_softmax(model: Any) -> bool:
    """Says whether a model gives probabilities."""
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        return _ends_in_softmax(last)
    softmax = keras.activations.softmax
    is_layer = isinstance(last, keras.layers.Softmax)
    return is_layer or getattr(last, "activation", None) is softmax
