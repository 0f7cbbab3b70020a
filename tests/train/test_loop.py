"""The gradient loop: means, traces, devices, errors, progress."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.train import toy
from tfnas.errors import ConfigError
from tfnas.errors import TfnasError
from tfnas.supernets.base import Selected
from tfnas.train import distribute
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD


@pytest.mark.parametrize("strategy", ["default", "mirrored"])
def test_each_phase_is_traced_once(strategy):
    # 22 examples in batches of 8: every pass has a last smaller batch.
    net = toy.Regression(strategy, bn_groups=None)
    for epoch in range(3):
        net.loop.run(net.train, epoch)
        net.loop.run(net.test, epoch)
    assert net.loop.traces("train") == net.loop.traces("test") == 1


@pytest.mark.parametrize("strategy", ["default", "mirrored"])
@pytest.mark.parametrize("examples", [16, 22, 17])
def test_means_are_over_examples(strategy, examples):
    # Of the last batch of 17 examples one of two devices gets nothing.
    net = toy.Regression(strategy, examples, bn_groups=None)
    means = net.loop.run(net.test, 0)
    assert (means["loss"], means["accuracy"]) == pytest.approx(net.truth())


def test_step_is_gradient_descent_on_the_mean_loss():
    net = toy.Regression(examples=8)
    images, labels = net.split.arrays()
    x = images[:, 0, 0, :1]
    logits = x * net.w.numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (p - np.eye(toy.CLASSES)[labels]) / 8
    expected = net.w.numpy() - 0.1 * (x * error).sum(0)
    net.loop.run(net.train, 0)
    np.testing.assert_allclose(net.w.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(net.b.numpy(), -0.1 * error.sum(0), rtol=1e-5)


def test_evaluation_changes_nothing():
    net = toy.Regression()
    before = net.w.numpy()
    net.loop.run(net.test, 0)
    np.testing.assert_array_equal(net.w.numpy(), before)
    assert net.loop.steps == {"test": 0}


def test_steps_go_on_over_epochs():
    net = toy.Regression()
    net.loop.run(net.train, 0)
    net.loop.run(net.train, 1)
    assert net.loop.steps == {"train": 6}


@pytest.mark.parametrize("examples", [24, 22])
def test_two_devices_do_what_one_does(examples):
    nets = [
        toy.Regression(name, examples, bn_groups=None)
        for name in ("default", "mirrored")
    ]
    for epoch in range(2):
        one, two = (net.loop.run(net.train, epoch) for net in nets)
        assert two == pytest.approx(one, rel=1e-5)
    np.testing.assert_allclose(nets[1].w.numpy(), nets[0].w.numpy(), rtol=1e-5)


class Lottery:
    """Each step trains one of three variables of different shapes."""

    def __init__(self, strategy):
        self.loop = Loop(distribute.strategy(strategy), 0, progress=False)
        with self.loop.strategy.scope():
            self.variables = [
                tf.Variable(tf.fill([n, 2], 0.1 * n)) for n in (1, 3, 2)
            ]
            self.optimizer = SGD(schedules.constant(0.1))
            self.optimizer.build(self.variables)
        self.phase = Phase(
            "lottery", toy.split(24), 4, self.objective,
            lambda index: [Selected(tuple(self.variables), index)],
            self.optimizer, self.draw,
        )

    def draw(self, step):
        key = tf.stack([tf.constant(7, tf.int64), step])
        return tf.random.stateless_uniform([], key, 0, 3, tf.int32)

    def objective(self, images, labels, index, values):
        losses = images[:, 0, 0, 0] * tf.reduce_sum(values[0] ** 2)
        return Objective(losses, scalars={"index": tf.cast(index, tf.float32)})


def test_devices_draw_the_same_and_sum_gradients_of_any_shape():
    one, two = Lottery("default"), Lottery("mirrored")
    means = [net.loop.run(net.phase, 0) for net in (one, two)]
    assert means[0]["index"] not in (0, 1, 2)  # several were drawn
    assert means[1] == pytest.approx(means[0], rel=1e-5)
    for v, w in zip(one.variables, two.variables, strict=True):
        first, second = toy.copies(two.loop.strategy, w)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, v.numpy(), rtol=1e-5)


def test_variables_that_devices_keep_apart_are_averaged():
    strategy = distribute.strategy("mirrored")
    loop = Loop(strategy, progress=False)
    with strategy.scope():
        variable = tf.Variable([0.0, 10.0])

    def apart():
        context = tf.distribute.get_replica_context()
        number = tf.cast(context.replica_id_in_sync_group, tf.float32)
        tf.raw_ops.AssignAddVariableOp(
            resource=variable.handle, value=[number, 3 * number]
        )

    tf.function(lambda: strategy.run(apart))()
    loop.average([variable])
    for copy in toy.copies(strategy, variable):
        np.testing.assert_allclose(copy, [0.5, 11.5])


def test_extra_loss_counts_once_whatever_the_devices():
    def objective(images, labels, draw, values):
        zeros = tf.zeros_like(images[:, 0, 0, 0])
        return Objective(zeros, extra=tf.reduce_sum(values[0]))

    for strategy in ("default", "mirrored"):
        net = toy.Regression(strategy, 8, objective=objective)
        before = net.w.numpy()
        means = net.loop.run(net.train, 0)
        assert means["loss"] == pytest.approx(before.sum(), abs=1e-6)
        np.testing.assert_allclose(net.w.numpy(), before - 0.1, rtol=1e-6)


@pytest.mark.parametrize("name", ["train", "test"])
def test_loss_that_is_not_finite_names_phase_and_epoch(name):
    net = toy.Regression()
    net.w.assign([1e38, -1e38, 1e38, -1e38])
    with pytest.raises(TfnasError, match=rf"`{name}`, epoch 5: .*finite"):
        net.loop.run(getattr(net, name), 5)


@pytest.mark.parametrize(
    "strategy, examples", [("default", 0), ("mirrored", 7)]
)
def test_split_without_a_batch_is_an_error(strategy, examples):
    net = toy.Regression(strategy, examples)
    with pytest.raises(
        TfnasError, match=rf"Received: {examples} examples, batch_size=8"
    ):
        net.loop.run(net.train, 0)


@pytest.mark.parametrize(
    "strategy, groups, parts", [("mirrored", 1, 2), ("default", 2, 2)]
)
def test_batch_that_cannot_be_dealt_evenly_is_refused(strategy, groups, parts):
    net = toy.Regression(strategy, batch_size=7, bn_groups=groups)
    with pytest.raises(ConfigError, match=f"multiple of {parts}, .*size=7"):
        net.loop.run(net.train, 0)


@pytest.mark.parametrize(
    "strategy, groups, steps",
    [("default", 1, 3), ("default", 2, 2), ("mirrored", 1, 2)],
)
def test_parts_of_a_batch_are_never_uneven(strategy, groups, steps):
    net = toy.Regression(strategy, examples=22, bn_groups=groups)
    assert net.loop.num_steps(net.train) == steps
    net.loop.run(net.train, 0)
    assert net.loop.steps["train"] == steps


def test_progress_goes_on_where_an_earlier_process_was(capsys):
    net = toy.Regression()
    net.loop = Loop(net.loop.strategy, progress=True)
    net.loop.expect(100, 97, "search")
    net.loop.run(net.train, 0)
    net.loop.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert re.match(r"search: 100%.* 100/100 ", last)


def test_progress_hardly_grows_a_log_file(capsys):
    net = toy.Regression(examples=800)
    net.loop = Loop(net.loop.strategy, progress=True)
    net.loop.expect(100, 0, "search")
    net.loop.run(net.train, 0)
    net.loop.close()
    assert capsys.readouterr().err.count("\r") <= 3
