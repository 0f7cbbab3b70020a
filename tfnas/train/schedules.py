"""Learning-rate schedules: functions from a step to a rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

Schedule = Callable[[tf.Tensor], tf.Tensor]


def constant(rate: float) -> Schedule:
    """Returns the schedule that always gives `rate`."""
    return lambda step: tf.constant(rate, tf.float32)


def cosine(
    rate: float, steps: int, min_rate: float = 0.0, warmup_steps: int = 0
) -> Schedule:
    """Returns a cosine from `rate` to `min_rate`, per step.

    `min_rate + (rate - min_rate) * (1 + cos(pi * s / steps)) / 2`, and
    `min_rate` after the last step; a linear warm-up may come before.

    Args:
        rate: The rate at step 0, after the warm-up.
        steps: Steps of the cosine, warm-up included.
        min_rate: The rate at the end.
        warmup_steps: Steps of linear growth from 0.
    """

    def schedule(step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        length = max(1, steps - warmup_steps)
        turn = tf.clip_by_value((step - warmup_steps) / length, 0.0, 1.0)
        wave = (1 + tf.cos(math.pi * turn)) / 2
        rise = tf.minimum(1.0, (step + 1) / (warmup_steps + 1))
        return (min_rate + (rate - min_rate) * wave) * rise

    return schedule


def epoch_cosine(
    rate: float, epochs: int, warmup_epochs: int, steps_per_epoch: int
) -> Schedule:
    """Returns the schedule that ShrinkCNN was trained with.

    In epoch e = 1..epochs the rate is `rate * e / warmup` before the end of
    the warm-up, then `rate / 2 * (1 + cos(pi * (e - warmup) / (epochs -
    warmup)))`, so it is 0 in the last epoch.

    Args:
        rate: The highest rate.
        epochs: Epochs, warm-up included.
        warmup_epochs: Epochs of linear growth.
        steps_per_epoch: Steps of an epoch.
    """

    def schedule(step: tf.Tensor) -> tf.Tensor:
        epoch = tf.cast(step // steps_per_epoch + 1, tf.float32)
        turn = (epoch - warmup_epochs) / max(epochs - warmup_epochs, 1)
        wave = (1 + tf.cos(math.pi * tf.clip_by_value(turn, 0.0, 1.0))) / 2
        rise = epoch / max(warmup_epochs, 1)
        return rate * tf.where(epoch < warmup_epochs, rise, wave)

    return schedule
