"""Tiny networks of AutoShrink's convolutional space."""

import dataclasses

import numpy as np

from tfnas.data import Split
from tfnas.data.images import Pixels
from tfnas.spaces.dag import ShrinkSpace
from tfnas.spaces.dag_specs import SPECS

SPEC = dataclasses.replace(
    SPECS["autoshrink_cnn@32"], channel_scale=0.25, scales=(1, 1),
    replicates=(2, 1), pools=(2, 2),
)


ONE_CELL = dataclasses.replace(
    SPEC, scales=(1,), replicates=(1,), pools=(2,)
)


def space(size=32, nodes=("sep", "conv", "sep", "conv"), spec=SPEC):
    """Returns a space of 8 filters in the stem and 4 in a node."""
    return ShrinkSpace("tiny", spec, 10, (size, size, 3), nodes)


def randomise(model, seed=0):
    """Draws every weight of a model at random."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        if weight.path.endswith(("gamma", "variance")):
            value = 0.5 + np.abs(value)
        weight.assign(value)


def split(number, seed=0):
    """Returns images of 8 x 8 pixels, a colour and noise for each label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 10
    colours = np.random.default_rng(9).integers(50, 200, (10, 1, 1, 3))
    noise = rng.integers(-40, 40, (number, 8, 8, 3))
    pixels = (colours[labels] + noise).astype(np.uint8)
    return Split(
        Pixels(pixels), labels, np.arange(number), (8, 8),
        (127.5,) * 3, (64.0,) * 3,
    )
