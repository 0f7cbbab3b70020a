"""Which preset a model holds, so that its scale and its classes are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfnas.applications.entry import APPLICATIONS
from tfnas.applications.weights import Weights
from tfnas.errors import ArtifactError
from tfnas.feed import Feed


def feed_of(model: Any) -> Feed:
    """Returns how a model with the weights of a preset wants to be fed.

    A model that `keras.Model.save` wrote says nothing of that; its weights
    do, as long as they are exactly those of a preset.

    Args:
        model: Any Keras model.

    Returns:
        Mean and standard deviation of the application and the labels of the
        preset; an empty `Feed` for other models.

    Example:
        >>> net = tfnas.applications.TFNASSmall(weights="cifar10")
        >>> feed_of(net).labels[:2]
        ('airplane', 'automobile')
    """
    ours = {variable.path: variable for variable in model.weights}
    for entry in map(APPLICATIONS.get, APPLICATIONS.names()):
        for key, preset in entry.presets.items():
            try:
                read = preset.read()
            except ArtifactError:  # a file of the user's that is gone
                continue
            if _same(ours, read):
                return Feed(
                    mean=entry.mean, std=entry.std,
                    labels=preset.labels or None,
                ).by(f"the weights, which are {entry.name}'s {key}")
    return Feed()


def _same(ours: dict[str, Any], read: Weights) -> bool:
    """Says whether all weights of a model, the top's too, are those read."""
    return ours.keys() == read.arrays.keys() and all(
        np.array_equal(np.asarray(ours[name]), value)
        for name, value in read.arrays.items()
    )
