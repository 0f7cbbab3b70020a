"""Which ops of a mixed layer are active in a step."""

from __future__ import annotations

import tensorflow as tf


def sample_ops(
    logits: tf.Tensor, k: int, seed: int, step: tf.Tensor, salt: int
) -> tf.Tensor:
    """Draws `k` distinct ops for each row, with probability softmax(row).

    Args:
        logits: `(rows, ops)`; zeros draw uniformly.
        k: Ops to draw; all of them when there are fewer.
        seed: Seed of the search.
        step: Number of the step.
        salt: Keeps the streams of different phases and tables apart.

    Returns:
        `(rows, k)` op indices, ascending in each row.
    """
    ops = logits.shape[1]
    if k >= ops:
        return tf.tile(tf.range(ops)[None], [logits.shape[0], 1])
    # Ordering by Gumbel keys is drawing without replacement.
    stream = tf.stack([tf.constant(seed * 64 + salt, tf.int64), step])
    uniform = tf.random.stateless_uniform(logits.shape, stream, 1e-20, 1.0)
    keys = logits - tf.math.log(-tf.math.log(uniform))
    return tf.sort(tf.math.top_k(keys, k).indices, axis=-1)
