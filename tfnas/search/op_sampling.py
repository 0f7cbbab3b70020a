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


def with_mass_kept(
    old: tf.Tensor, new: tf.Tensor, ops: tf.Tensor, others: tf.Tensor
) -> tf.Tensor:
    """Returns new logits whose sampled ops have their old joint probability.

    So an architecture step moves probability between the sampled ops only.
    Source: ProxylessNAS (ICLR 2019), section 3.2.1; DenseNAS' release.

    Args:
        old: `(rows, ops)`: logits before the step.
        new: The same after it.
        ops: `(rows, k)`: the sampled ops.
        others: Logits that the other ops get.
    """
    before, after = (
        tf.reduce_logsumexp(
            tf.gather(t, ops, batch_dims=1), -1, keepdims=True
        )
        for t in (old, new)
    )
    sampled = tf.reduce_max(tf.one_hot(ops, new.shape[1]), 1) > 0
    return tf.where(sampled, new + (before - after), others)
