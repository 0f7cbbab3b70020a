"""What stands before and after an application: pixels in, names out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import artifacts
from tfnas.applications.entry import Application
from tfnas.applications.entry import find
from tfnas.errors import ConfigError

_IMAGENET = 1000
_BACKGROUND = ("background", "background")


def preprocess_input(images: Any, name: str | Application) -> Any:
    """Scales images as a registered network takes them.

    It works on arrays, and on tensors, also inside `tf.data.Dataset.map`.
    What it is given stays as it is.

    Args:
        images: `(batch, height, width, 3)` or `(height, width, 3)`, in
            0..255.
        name: Name of the application.

    Returns:
        Float32 images, normalised by channel.
    """
    entry = find(name)
    mean, std = (np.array(v, np.float32) for v in (entry.mean, entry.std))
    if isinstance(images, (np.ndarray, list, tuple)):
        return (np.asarray(images, np.float32) - mean) / std
    from keras import ops as tensors

    return (tensors.cast(images, "float32") - mean) / std


def class_names(name: str | Application, preset: str) -> tuple[str, ...]:
    """Returns the names of the classes that a preset tells apart.

    Args:
        name: Name of the application.
        preset: Name of its weights.

    Returns:
        One name for each class, for `decode_predictions`; empty where
        whoever published the weights gave none.

    Raises:
        ConfigError: for an unknown preset.
    """
    entry = find(name)
    if preset not in entry.presets:
        raise ConfigError(
            f"`preset` must be one that {entry.name} has: "
            f"{sorted(entry.presets) or 'none'}. Received: {preset!r}"
        )
    return entry.presets[preset].labels


def decode_predictions(
    predictions: Any, top: int = 5,
    labels: Sequence[str] | str | os.PathLike | None = None,
) -> list[list[tuple[str, str, float]]]:
    """Names the most probable classes of each image.

    Args:
        predictions: `(batch, classes)` probabilities.
        top: How many classes to name.
        labels: Name of each class, such as `class_names` gives, or a text
            file with one on each line. By default those of ImageNet, which
            Keras fetches; of 1001 classes the first is then the background.

    Returns:
        For each image `(id, name, probability)`, most probable first.

    Raises:
        ConfigError: when there is not one label for each class.
        ArtifactError: when the file of the labels cannot be read.
    """
    values = np.asarray(predictions)
    if values.ndim != 2:
        raise ConfigError(
            "`predictions` must be (batch, classes). "
            f"Received: shape={values.shape}"
        )
    names = _names(labels, values.shape[-1])
    order = np.argsort(-values, axis=-1, kind="stable")[:, :top]
    return [
        [(*names[i], float(row[i])) for i in best]
        for row, best in zip(values, order, strict=True)
    ]


def _names(
    labels: Sequence[str] | str | os.PathLike | None, classes: int
) -> list[tuple[str, str]]:
    """Returns id and name of each class."""
    if labels is None:
        return _imagenet(classes)
    if isinstance(labels, (str, os.PathLike)):
        labels = artifacts.read_text(labels).strip().splitlines()
    if len(labels) != classes:
        raise ConfigError(
            f"`labels` must name {classes} classes. Received: {len(labels)}"
        )
    return [(str(i), label) for i, label in enumerate(labels)]


def _imagenet(classes: int) -> list[tuple[str, str]]:
    if classes not in (_IMAGENET, _IMAGENET + 1):
        raise ConfigError(
            f"`labels` must name {classes} classes: only those of ImageNet "
            f"({_IMAGENET}, or one more) are known. Received: labels=None"
        )
    from keras.applications import imagenet_utils

    # Of a unit matrix each row names its own class.
    rows = imagenet_utils.decode_predictions(np.eye(_IMAGENET), top=1)
    names = [(row[0][0], row[0][1]) for row in rows]
    return names if classes == _IMAGENET else [_BACKGROUND, *names]
