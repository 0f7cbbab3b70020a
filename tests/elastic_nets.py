"""A tiny elastic space, its supernet with spread-out weights, and noise."""

import dataclasses

import numpy as np

from tfnas.data import Split
from tfnas.data.images import Pixels
from tfnas.spaces.elastic import ElasticSpace
from tfnas.spaces.elastic_specs import ElasticSpec
from tfnas.spaces.elastic_specs import Unit
from tfnas.supernets.elastic import ElasticSupernet

SPEC = ElasticSpec(
    input_size=16,
    classes=4,
    stem=8,
    stem_stride=1,
    units=(
        Unit(8, 2, "relu", se=False), Unit(16, 2, "hard_swish", se=True),
    ),
    last=24,
    mix=16,
    layers=2,
    min_layers=1,
    width=1.0,
)
SIDES = dataclasses.replace(SPEC, resolutions=(12, 16))


def space(spec=SPEC):
    """Returns a space of two units of one or two layers."""
    return ElasticSpace("tiny", spec)


def net(spec=SPEC, seed=1):
    """Returns a supernet in which no two weights play the same part."""
    result = ElasticSupernet(space(spec), seed)
    randomise(result)
    return result


def randomise(supernet):
    """Moves scales, offsets, biases and matrices away from ones and zeros."""
    rng = np.random.default_rng(0)
    for v in supernet.variables:
        if v.shape.rank < 4:
            v.assign_add(0.1 * rng.normal(size=v.shape))


def images(batch=8, side=16, seed=0):
    """Returns normally distributed images."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, side, side, 3)).astype("float32")


def split(examples, seed=0, side=16, classes=4):
    """Returns a split of random images, labels in turn."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (examples, side, side, 3), np.uint8)
    return Split(
        Pixels(pixels), np.arange(examples) % classes, np.arange(examples),
        (side, side), (127.5,) * 3, (64.0,) * 3,
    )
