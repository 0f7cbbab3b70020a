"""A cosine that changes between epochs and not within them."""

from __future__ import annotations

import math

import tensorflow as tf

from tfnas.train.schedules import Schedule


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
