"""SGD of the language model's recipe, against numpy."""

import numpy as np
import pytest
import tensorflow as tf

from tfnas.supernets.base import one_by_one
from tfnas.train.averaged_sgd import AveragedSGD

CLIP, DECAY = 0.5, 0.1


@pytest.fixture
def made():
    """Two variables, their optimizer and its rate."""
    variables = [tf.Variable([1.0, -2.0]), tf.Variable([[3.0]])]
    rate = tf.Variable(0.2)
    optimizer = AveragedSGD(rate, CLIP, DECAY)
    optimizer.build(variables)
    return variables, optimizer, rate


def step(made, gradients):
    variables, optimizer, _ = made
    chosen = one_by_one(variables)
    optimizer.apply(
        chosen, [s.read() for s in chosen],
        [tf.constant(g) for g in gradients], tf.constant(0, tf.int64),
    )
    return [v.numpy() for v in variables]


def test_gradients_are_clipped_before_decay_is_added(made):
    gradients = [[3.0, 0.0], [[4.0]]]  # of norm 5: clipped to a tenth
    first, second = step(made, gradients)
    np.testing.assert_allclose(
        first, [1 - 0.2 * (0.3 + 0.1), -2 - 0.2 * (0 - 0.2)], rtol=1e-6
    )
    np.testing.assert_allclose(second, [[3 - 0.2 * (0.4 + 0.3)]], rtol=1e-6)


def test_small_gradients_are_left_alone(made):
    first, _ = step(made, [[0.1, 0.0], [[0.2]]])
    assert first[0] == pytest.approx(1 - 0.2 * (0.1 + 0.1))


def test_the_rate_is_that_of_the_step(made):
    made[2].assign(0.0)
    assert step(made, [[1.0, 1.0], [[1.0]]])[0].tolist() == [1, -2]


def test_the_mean_is_over_the_steps_since_averaging_began(made):
    optimizer = made[1]
    step(made, [[1.0, 1.0], [[1.0]]])
    assert all(not m.numpy().any() for m in optimizer.means())
    optimizer.start_averaging()
    seen = [step(made, [[0.1 * k, 0.0], [[0.0]]]) for k in range(4)]
    for k, mean in enumerate(optimizer.means()):
        np.testing.assert_allclose(
            mean, np.mean([values[k] for values in seen], 0), rtol=1e-5
        )
    optimizer.start_averaging()
    last = step(made, [[0.3, 0.0], [[0.0]]])
    np.testing.assert_allclose(optimizer.means()[0], last[0], rtol=1e-6)


def test_weights_that_got_lost_do_not_spoil_a_new_mean(made):
    variables, optimizer, _ = made
    optimizer.start_averaging()
    variables[0].assign([np.nan, 1.0])
    step(made, [[0.0, 0.0], [[0.0]]])
    variables[0].assign([1.0, 1.0])
    optimizer.start_averaging()
    step(made, [[0.0, 0.0], [[0.0]]])
    assert np.isfinite(optimizer.means()[0]).all()


def test_without_averaging_lost_weights_leave_no_trace(made):
    variables, optimizer, _ = made
    variables[0].assign([np.nan, 1.0])
    step(made, [[0.0, 0.0], [[0.0]]])
    assert not optimizer.means()[0].numpy().any()


def test_a_sparse_gradient_counts_whole(made):
    variables, optimizer, _ = made
    chosen = one_by_one(variables)
    sparse = tf.IndexedSlices(
        tf.constant([0.1, 0.2]), tf.constant([1, 1]), tf.constant([2])
    )
    optimizer.apply(
        chosen, [s.read() for s in chosen], [sparse, tf.constant([[0.0]])],
        tf.constant(0, tf.int64),
    )
    np.testing.assert_allclose(
        variables[0], [1 - 0.2 * 0.1, -2 - 0.2 * (0.3 - 0.2)], rtol=1e-6
    )
