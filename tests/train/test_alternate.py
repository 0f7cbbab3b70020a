"""Phases that take turns go through their data as if each ran alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.train import toy
from tfnas.errors import TfnasError
from tfnas.supernets.base import one_by_one
from tfnas.train import schedules
from tfnas.train.optimizers import SGD


def weights(net):
    return np.stack([net.w.numpy(), net.b.numpy()])


def two_phases(net):
    """The training phase, and another that trains the offsets faster."""
    other = SGD(schedules.constant(0.3))
    other.build([net.b])

    def objective(images, labels, draw, values):
        return net.objective(images, labels, draw, [net.w, *values])

    return net.train, dataclasses.replace(
        net.train, name="other", optimizer=other, objective=objective,
        select=lambda draw: one_by_one([net.b]), batch_size=4,
    )


@pytest.mark.parametrize("strategy", ["default", "mirrored"])
def test_turns_of_one_phase_are_its_passes(strategy):
    # 22 examples in batches of 8: three steps make a pass.
    one, two = (toy.Regression(strategy, bn_groups=None) for _ in range(2))
    passes = [one.loop.run(one.train, epoch) for epoch in range(2)]
    (means,) = two.loop.alternate([(two.train, 3)], 2)
    np.testing.assert_allclose(weights(two), weights(one), rtol=1e-6)
    for name in ("loss", "accuracy"):
        expected = np.mean([p[name] for p in passes])
        assert means[name] == pytest.approx(expected, rel=1e-5)
    assert two.loop.traces("train") == 1


def test_a_phase_goes_on_in_the_middle_of_a_pass():
    one, two = toy.Regression(), toy.Regression()
    one.loop.alternate([(one.train, 7)], 1)
    for steps in (2, 4, 1):
        two.loop.alternate([(two.train, steps)], 1)
    np.testing.assert_array_equal(weights(two), weights(one))
    assert one.loop.steps == two.loop.steps == {"train": 7}


def test_phases_take_turns_in_order():
    one, two = toy.Regression(), toy.Regression()
    a, b = two_phases(one)
    one.loop.alternate([(a, 2), (b, 1)], 3)
    a, b = two_phases(two)
    for _ in range(3):
        two.loop.alternate([(a, 2)], 1)
        two.loop.alternate([(b, 1)], 1)
    np.testing.assert_array_equal(weights(two), weights(one))
    assert one.loop.steps == {"train": 6, "other": 3}


def test_a_forgotten_phase_is_traced_anew():
    net = toy.Regression()
    net.loop.alternate([(net.train, 1)], 1)
    still = dataclasses.replace(
        net.train, objective=lambda *arguments: dataclasses.replace(
            net.objective(*arguments), extra=tf.constant(100.0)
        ),
    )
    (means,) = net.loop.alternate([(still, 1)], 1)
    assert means["loss"] < 100  # the traced function is that of the name
    net.loop.forget("train")
    (means,) = net.loop.alternate([(still, 1)], 1)
    assert means["loss"] > 100
    net.loop.forget("train")
    net.loop.forget("train")


def test_a_phase_without_batches_is_refused():
    net = toy.Regression(examples=0)
    with pytest.raises(TfnasError, match="needs at least one batch"):
        net.loop.alternate([(net.train, 1)], 1)


def apply(gradients, values, **settings):
    """One step of SGD without momentum; returns what the values lose."""
    optimizer = SGD(schedules.constant(1.0), momentum=0.0, **settings)
    variables = [tf.Variable(v) for v in values]
    optimizer.build(variables)
    optimizer.apply(
        one_by_one(variables), [v.read_value() for v in variables],
        [tf.constant(g) for g in gradients], tf.constant(0, tf.int64),
    )
    return [
        old - v.numpy() for old, v in zip(values, variables, strict=True)
    ]


def test_gradients_are_clipped_by_their_norm_together():
    gradients = [np.array([3.0, 0.0], "f"), np.array([[4.0]], "f")]
    values = [np.zeros(2, "f"), np.zeros([1, 1], "f")]
    steps = apply(gradients, values, clip_norm=2.5)
    np.testing.assert_allclose(steps[0], [1.5, 0])
    np.testing.assert_allclose(steps[1], [[2.0]])
    steps = apply(gradients, values, clip_norm=6.0)
    np.testing.assert_allclose(steps[0], [3.0, 0])


def test_scales_and_offsets_may_be_spared_from_decay():
    gradients = [np.zeros(2, "f"), np.zeros([1, 1], "f")]
    values = [np.ones(2, "f"), np.ones([1, 1], "f")]
    steps = apply(gradients, values, weight_decay=0.1, decay_vectors=False)
    assert [float(s.max()) for s in steps] == pytest.approx([0.0, 0.1])
    steps = apply(gradients, values, weight_decay=0.1)
    assert [float(s.max()) for s in steps] == pytest.approx([0.1, 0.1])
