"""SGD and Adam are PyTorch's, re-implemented here in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfnas.supernets.base import Selected
from tfnas.supernets.base import one_by_one
from tfnas.train import schedules
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Adam

SHAPES = [(3, 3, 2, 1), (5, 5, 2, 1), (7, 7, 2, 1)]
MOMENTUM, DECAY = 0.9, 0.02


def rate(step):
    """A rate that changes: the velocity must not hold it."""
    return 0.1 / (1.0 + tf.cast(step, tf.float32))


def make(nesterov=False):
    """Three candidates, a variable that is always there, and the optimizer."""
    rng = np.random.default_rng(0)
    variables = [
        tf.Variable(rng.normal(size=s), dtype=tf.float32) for s in SHAPES
    ]
    variables.append(tf.Variable(rng.normal(size=4), dtype=tf.float32))
    optimizer = SGD(rate, MOMENTUM, DECAY, nesterov)
    optimizer.build(variables)
    return variables, optimizer


def make_step(variables, optimizer):
    """One traced step on the candidate `index`, gated, and the fourth."""
    flat = tf.TensorSpec([None])

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool), flat,
            tf.TensorSpec([4]), tf.TensorSpec([], tf.int64),
        ]
    )
    def step(index, gate, gradient, other, number):
        chosen = [
            Selected(tuple(variables[:3]), index, gate),
            Selected((variables[3],)),
        ]
        values = [s.read() for s in chosen]
        gradients = [tf.reshape(gradient, tf.shape(values[0])), other]
        optimizer.apply(chosen, values, gradients, number)

    return step


class Torch:
    """SGD of PyTorch 2: variables without a new gradient are left alone.

    Args:
        values: Initial values.
        nesterov: Whether the momentum is Nesterov's.
    """

    def __init__(self, values, nesterov=False):
        self.nesterov = nesterov
        self.w = [np.array(v, np.float64) for v in values]
        self.v = [np.zeros(w.shape) for w in self.w]

    def step(self, gradients, number):
        for i, w in enumerate(self.w):
            if i not in gradients:
                continue
            total = DECAY * w + gradients[i].reshape(w.shape)
            self.v[i] = MOMENTUM * self.v[i] + total
            move = total + MOMENTUM * self.v[i] if self.nesterov else self.v[i]
            self.w[i] = w - 0.1 / (1 + number) * move


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_pytorchs_over_random_choices(nesterov):
    variables, optimizer = make(nesterov)
    step, rng = make_step(variables, optimizer), np.random.default_rng(1)
    truth = Torch(variables, nesterov)
    for number, index in enumerate([0, 1, 0, 0, 1, 1, 0]):  # never 2
        gate = number != 4
        gradient = rng.normal(size=np.prod(SHAPES[index])) * gate
        other = rng.normal(size=4)
        step(index, gate, gradient.astype("f"), other.astype("f"), number)
        truth.step({3: other} | ({index: gradient} if gate else {}), number)
        for i, v in enumerate(variables):
            np.testing.assert_allclose(v, truth.w[i], rtol=1e-4, atol=1e-6)
            velocity = optimizer.slot(v, "momentum")
            np.testing.assert_allclose(
                velocity, truth.v[i], rtol=1e-4, atol=1e-6
            )


def state(variables, optimizer):
    slots = [optimizer.slot(v, "momentum") for v in variables]
    return [v.numpy() for v in variables + slots]


def changed(before, after):
    return [
        i for i, (a, b) in enumerate(zip(before, after, strict=True))
        if a.tobytes() != b.tobytes()
    ]


def test_what_was_not_chosen_is_left_bit_by_bit():
    variables, optimizer = make()
    step = make_step(variables, optimizer)
    ones = [np.ones(np.prod(s), np.float32) for s in SHAPES]
    for number, index in enumerate([0, 2, 1, 2]):
        before = state(variables, optimizer)
        step(index, True, ones[index], np.ones(4, np.float32), number)
        # Values 0..3, then their velocities.
        expected = [index, 3, 4 + index, 7]
        assert changed(before, state(variables, optimizer)) == expected


def test_a_closed_gate_leaves_the_borrowed_candidate_bit_by_bit():
    variables, optimizer = make()
    step = make_step(variables, optimizer)
    one, zero = np.ones(18, np.float32), np.zeros(18, np.float32)
    step(0, True, one, np.ones(4, np.float32), 0)  # so momentum is not 0
    before = state(variables, optimizer)
    step(0, False, zero, np.ones(4, np.float32), 1)
    assert changed(before, state(variables, optimizer)) == [3, 7]


def test_two_ops_of_a_row_are_both_updated():
    variables, optimizer = make()
    truth = Torch(variables)

    @tf.function
    def step(indices, numbers):
        candidates = tuple(variables[:3])
        chosen = [Selected(candidates, i) for i in tf.unstack(indices)]
        values = [s.read() for s in chosen]
        optimizer.apply(chosen, values, [2 * v for v in values], numbers)

    for number in range(3):
        gradients = {i: 2 * truth.w[i] for i in (0, 2)}
        step(tf.constant([0, 2]), tf.constant(number, tf.int64))
        truth.step(gradients, number)
    for v, w in zip(variables, truth.w, strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-5, atol=1e-6)


def test_an_op_that_a_skip_borrows_may_be_chosen_too():
    variables, optimizer = make()
    truth = Torch(variables)

    @tf.function
    def step(numbers):
        candidates = tuple(variables[:3])
        chosen = [
            Selected(candidates, tf.constant(0), tf.constant(gate))
            for gate in (True, False)
        ]
        values = [s.read() for s in chosen]
        gradients = [2 * values[0], tf.zeros_like(values[1])]
        optimizer.apply(chosen, values, gradients, numbers)

    for number in range(3):
        gradient = 2 * truth.w[0]
        step(tf.constant(number, tf.int64))
        truth.step({0: gradient}, number)
    np.testing.assert_allclose(variables[0], truth.w[0], rtol=1e-5, atol=1e-6)


def test_adam_is_pytorchs_with_coupled_decay():
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=s) for s in [(4, 3), (2, 7)]]
    variables = [tf.Variable(t, dtype=tf.float32) for t in tables]
    optimizer = Adam(
        schedules.constant(0.03), beta1=0.5, beta2=0.999, epsilon=1e-8,
        weight_decay=DECAY,
    )
    optimizer.build(variables)

    @tf.function
    def step(gradients, number):
        chosen = one_by_one(variables)
        values = [s.read() for s in chosen]
        optimizer.apply(chosen, values, gradients, number)

    m, v = ([np.zeros(t.shape) for t in tables] for _ in range(2))
    for number in range(4):
        gradients = [rng.normal(size=t.shape) for t in tables]
        step(
            [tf.constant(g, tf.float32) for g in gradients],
            tf.constant(number, tf.int64),
        )
        for i, g in enumerate(gradients):
            g = g + DECAY * tables[i]
            m[i] = 0.5 * m[i] + 0.5 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            first = m[i] / (1 - 0.5 ** (number + 1))
            second = v[i] / (1 - 0.999 ** (number + 1))
            tables[i] = tables[i] - 0.03 * first / (np.sqrt(second) + 1e-8)
            np.testing.assert_allclose(variables[i], tables[i], atol=5e-7)


def test_another_rate_goes_on_with_the_same_state():
    variables, optimizer = make()
    slow = optimizer.with_schedule(lambda step: 0.01)
    ones = [np.ones(np.prod(s), np.float32) for s in SHAPES]
    for one in (optimizer, slow):
        before = variables[3].numpy()
        make_step(variables, one)(0, True, ones[0], np.ones(4, "f"), 0)
        moved = before - variables[3].numpy()
        velocity = optimizer.slot(variables[3], "momentum").numpy()
        expected = {id(optimizer): 0.1, id(slow): 0.01}[id(one)] * velocity
        np.testing.assert_allclose(moved, expected, rtol=1e-4)
    assert slow.slots()[0] is optimizer.slots()[0]
