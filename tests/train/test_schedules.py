"""Learning rates follow the published formulas."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfnas.train import losses
from tfnas.train import schedules


def rates(schedule, steps):
    return [float(schedule(tf.constant(s, tf.int64))) for s in steps]


def test_constant_stays():
    assert rates(schedules.constant(3e-4), (0, 1, 10**6)) == [
        pytest.approx(3e-4)
    ] * 3


def test_cosine_is_the_published_formula():
    ours = rates(schedules.cosine(0.2, 40, 1e-5), range(41))
    theirs = [
        1e-5 + (0.2 - 1e-5) * (1 + math.cos(math.pi * s / 40)) / 2
        for s in range(41)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9)
    assert ours[0] == pytest.approx(0.2)
    assert ours[-1] == pytest.approx(1e-5)


def test_cosine_stays_at_its_end():
    ours = rates(schedules.cosine(0.2, 40, 1e-5), (40, 41, 80, 81, 10**6))
    np.testing.assert_allclose(ours, 1e-5, rtol=1e-5)


def test_warmup_rises_in_even_steps_to_the_full_rate():
    ours = rates(schedules.cosine(0.3, 22, 0.0, 2), range(23))
    np.testing.assert_allclose(ours[:3], [0.1, 0.2, 0.3], rtol=1e-6)
    plain = rates(schedules.cosine(0.3, 20), range(21))
    np.testing.assert_allclose(ours[2:], plain, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_the_smoothed_target(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 5)), np.arange(6) % 5
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = np.eye(5)[labels] * (1 - smoothing) + smoothing / 5
    ours = losses.cross_entropy(
        tf.constant(labels, tf.int32),
        tf.constant(logits, tf.float32),
        smoothing,
    )
    np.testing.assert_allclose(ours, -(target * log_p).sum(1), rtol=1e-5)


def test_correct_marks_the_labels_that_win():
    logits = tf.constant([[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]])
    labels = tf.constant([1, 1, 1], tf.int32)
    assert losses.correct(labels, logits).numpy().tolist() == [1, 0, 1]
