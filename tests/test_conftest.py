"""The fixtures do what the other tests rely on."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf


def _draw():
    return (
        random.random(),
        np.random.rand(),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
    )


_first = []


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_starts_from_the_same_random_state(turn):
    _first.append(_draw())
    assert _first[0] == _first[-1]


def test_there_are_two_cpu_devices():
    assert len(tf.config.list_logical_devices("CPU")) == 2
