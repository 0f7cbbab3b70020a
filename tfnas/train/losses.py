"""Losses of one example."""

from __future__ import annotations

import tensorflow as tf


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Returns the cross-entropy of each example, `(batch,)`.

    Args:
        labels: `(batch,)` integers.
        logits: `(batch, classes)`.
        label_smoothing: Share of the target spread over all classes.
    """
    classes = logits.shape[-1]
    target = tf.one_hot(labels, classes) * (1 - label_smoothing)
    return tf.nn.softmax_cross_entropy_with_logits(
        target + label_smoothing / classes, logits
    )


def correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns 1 for each example whose largest logit is its label's."""
    best = tf.argmax(logits, -1, output_type=labels.dtype)
    return tf.cast(tf.equal(best, labels), tf.float32)


def distillation(
    teacher: tf.Tensor, logits: tf.Tensor, temperature: float = 1.0
) -> tf.Tensor:
    """Returns the cross-entropy with a teacher's classes, `(batch,)`.

    It is multiplied with the square of the temperature, so that the gradient
    keeps its size (Hinton et al. 2015). No gradient reaches the teacher.

    Args:
        teacher: Logits `(batch, classes)` of the network to learn from.
        logits: Logits `(batch, classes)` of the one that learns.
        temperature: Both logits are divided by it.
    """
    target = tf.nn.softmax(tf.stop_gradient(teacher) / temperature)
    return temperature**2 * tf.nn.softmax_cross_entropy_with_logits(
        target, logits / temperature
    )
