"""Ops are drawn without replacement, as softmax says, from named streams."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.dense_nets import softmax
from tfnas.search.op_sampling import sample_ops

LOGITS = np.array([0.0, 1.0, -1.0, 0.5, 2.0])
ROWS = 20_000


def draw(logits, k, seed=0, step=0, salt=0):
    step = tf.constant(step, tf.int64)
    logits = tf.constant(logits, tf.float32)
    return sample_ops(logits, k, seed, step, salt).numpy()


def set_probabilities(p, k):
    """Probability of each set of `k`, drawn one after another."""
    result: dict[tuple[int, ...], float] = {}
    for order in itertools.permutations(range(len(p)), k):
        left, value = 1.0, 1.0
        for op in order:
            value *= p[op] / left
            left -= p[op]
        key = tuple(sorted(order))
        result[key] = result.get(key, 0.0) + value
    return result


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("logits", [LOGITS, 0 * LOGITS])
def test_sets_are_as_frequent_as_drawing_one_after_another(logits, k):
    drawn = draw(np.tile(logits, (ROWS, 1)), k)
    counts: dict[tuple[int, ...], int] = {}
    for row in drawn.tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    expected = set_probabilities(softmax(logits), k)
    assert set(counts) <= set(expected)  # ascending and distinct
    for key, p in expected.items():
        sigma = np.sqrt(ROWS * p * (1 - p))
        assert abs(counts.get(key, 0) - ROWS * p) < 4.5 * sigma


@pytest.mark.parametrize("k", [5, 6, 10**6])
def test_no_fewer_than_all_ops_are_all_of_them(k):
    drawn = draw(np.tile(LOGITS, (3, 1)), k)
    assert drawn.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_seed_step_and_salt_decide():
    logits = np.zeros((200, 6))
    first = draw(logits, 1, seed=3, step=7, salt=1)
    np.testing.assert_array_equal(
        first, draw(logits, 1, seed=3, step=7, salt=1)
    )
    others = [
        draw(logits, 1, seed=4, step=7, salt=1),
        draw(logits, 1, seed=3, step=8, salt=1),
        draw(logits, 1, seed=3, step=7, salt=2),
    ]
    for other in others:
        # Independent draws of six ops agree in one row of six.
        assert 10 < (first == other).sum() < 65


def test_steps_draw_afresh_inside_one_graph():
    logits = tf.zeros([50, 6])

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
    def traced(step):
        return sample_ops(logits, 2, 0, step, 0)

    one, two = traced(1).numpy(), traced(2).numpy()
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, draw(np.zeros((50, 6)), 2, step=1))


def test_ops_of_huge_weight_are_always_drawn():
    drawn = draw(np.tile([0.0, 80.0, 0.0, 80.0], (500, 1)), 2)
    assert (drawn == [1, 3]).all()
