"""The pieces of ShrinkCNN's recipe against their closed forms in NumPy."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnas.errors import ConfigError
from tfnas.supernets.base import one_by_one
from tfnas.train import initial
from tfnas.train import penalty
from tfnas.train.averaging import WeightAverage
from tfnas.train.schedules import epoch_cosine
from tfnas.train.tf1_optimizers import Adam
from tfnas.train.tf1_optimizers import RMSProp


def conv_net():
    """Layers named as those of a cell."""
    layers = keras.layers
    x = image = keras.Input((8, 8, 16))
    x = layers.Conv2D(64, 3, use_bias=False, name="stem_conv")(x)
    x = layers.DepthwiseConv2D(3, use_bias=False, name="n1_depthwise")(x)
    x = layers.Conv2D(48, 1, use_bias=False, name="c_shortcut")(x)
    x = layers.BatchNormalization(name="c_shortcut_bn")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(200, name="dense")(x))


@pytest.mark.parametrize("momentum, decay", [(0.9, 0.0), (0.0, 0.02)])
def test_rmsprop_is_tensorflow_ones(momentum, decay):
    """The average starts at 1, epsilon is inside the root."""
    rng = np.random.default_rng(0)
    variables = [tf.Variable(rng.normal(size=s), dtype="float32")
                 for s in ((3, 4), (5,))]
    optimizer = RMSProp(
        lambda step: 0.1 / (1.0 + tf.cast(step, tf.float32)), 0.8, momentum,
        0.5, decay,
    )
    optimizer.build(variables)
    w = [v.numpy().astype(np.float64) for v in variables]
    square, velocity = [np.ones(x.shape) for x in w], [0.0, 0.0]
    for number in range(6):
        gradients = [rng.normal(size=x.shape) for x in w]
        optimizer.apply(
            one_by_one(variables), [v.read_value() for v in variables],
            [tf.constant(g, tf.float32) for g in gradients],
            tf.constant(number, tf.int64),
        )
        for i, gradient in enumerate(gradients):
            g = gradient + decay * w[i]
            square[i] = 0.8 * square[i] + 0.2 * g**2
            step = 0.1 / (1 + number) * g / np.sqrt(square[i] + 0.5)
            velocity[i] = momentum * velocity[i] + step
            w[i] = w[i] - velocity[i]
            np.testing.assert_allclose(variables[i], w[i], atol=1e-6)
    assert len(optimizer.slots()) == 4


def test_weights_are_averaged_with_a_growing_decay():
    variable = tf.Variable([1.0, -2.0])
    average = WeightAverage([variable], 0.35)
    truth, rng = variable.numpy().astype(np.float64), np.random.default_rng(0)
    for t in range(1, 8):
        value = rng.normal(size=2)
        variable.assign(value)
        average.update(tf.constant(t))
        decay = min(0.35, (1 + t) / (10 + t))  # 2/11, 3/12, 4/13, 0.35
        truth = decay * truth + (1 - decay) * value
        np.testing.assert_allclose(average.averages[0], truth, rtol=1e-5)
    average.swap()
    np.testing.assert_allclose(variable, truth, rtol=1e-5)
    np.testing.assert_allclose(average.averages[0], value, rtol=1e-5)
    average.swap()
    np.testing.assert_allclose(variable, value, rtol=1e-5)


def test_the_cosine_changes_with_the_epoch_only():
    schedule = epoch_cosine(0.1, 300, 10, steps_per_epoch=7)
    for e in (1, 2, 9, 10, 11, 155, 299, 300):
        expected = 0.1 * e / 10
        if e >= 10:
            expected = 0.05 * (1 + math.cos(math.pi * (e - 10) / 290))
        for step in (7 * (e - 1), 7 * e - 1):
            rate = float(schedule(tf.constant(step, tf.int64)))
            assert rate == pytest.approx(expected, abs=1e-7)
    assert float(schedule(tf.constant(7 * 300 - 1))) == 0


def test_without_warm_up_the_cosine_starts_at_once():
    schedule = epoch_cosine(1.0, 4, 0, steps_per_epoch=1)
    rates = [float(schedule(tf.constant(i))) for i in range(4)]
    expected = [(1 + math.cos(math.pi * e / 4)) / 2 for e in (1, 2, 3, 4)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)


@pytest.mark.parametrize(
    "scheme, name, variance",
    [
        # Keras counts 9 * 64 inputs and 9 outputs of a depthwise kernel.
        ("glorot_normal", "stem_conv", 2 / (9 * (16 + 64))),
        ("glorot_normal", "n1_depthwise", 2 / (9 * 65)),
        ("glorot_normal", "dense", 2 / (48 + 200)),
        ("fan_out", "stem_conv", 2 / (9 * 64)),
        ("fan_out", "c_shortcut", 2 / 48),
        ("fan_out", "n1_depthwise", 2 / 9),
        ("fan_out", "dense", 1e-4),
    ],
)
def test_first_weights_have_the_variance_of_their_scheme(
    scheme, name, variance
):
    model = conv_net()
    initial.draw(model, scheme, 1)
    kernel = np.array(model.get_layer(name).kernel)
    assert abs(kernel.mean()) < 4 * math.sqrt(variance / kernel.size)
    assert kernel.var() == pytest.approx(variance, rel=0.15)
    if name != "dense" or scheme == "glorot_normal":
        limit = 2 * math.sqrt(variance) / 0.8796
        assert 0.9 * limit < np.abs(kernel).max() <= limit * 1.0001


def test_truncated_normals_are_those_of_keras():
    rng = np.random.default_rng(0)
    ours = initial.truncated_normal((200, 200), 0.3, rng)
    theirs = keras.initializers.VarianceScaling(
        0.3**2 * 200, "fan_in", "truncated_normal", seed=0
    )((200, 200))
    for quantile in (0.01, 0.2, 0.5, 0.9):
        a, b = np.quantile(ours, quantile), np.quantile(theirs, quantile)
        assert a == pytest.approx(b, abs=0.01)


def test_first_weights_depend_on_seed_and_layer_names_alone():
    kernels = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(len(kernels))
        model = conv_net()
        model.get_layer("dense").bias.assign(np.ones(200))
        initial.draw(model, "glorot_normal", seed)
        assert not np.array(model.get_layer("dense").bias).any()
        kernels.append(np.array(model.get_layer("c_shortcut").kernel))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).all()


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ConfigError, match="one of .*Received: 'he'"):
        initial.draw(conv_net(), "he", 0)


def test_the_penalty_is_on_pointwise_and_dense_kernels_alone():
    model = conv_net()
    values = {
        name: np.array(model.get_layer(name).kernel, np.float64)
        for name in ("stem_conv", "c_shortcut", "dense")
    }
    squares = {name: (v**2).sum() for name, v in values.items()}
    expected = 0.5 * (squares["stem_conv"] + squares["dense"])
    expected += 0.25 * squares["c_shortcut"]
    assert float(penalty.l2(model, 0.5, 0.25)()) == pytest.approx(expected)
    both = float(penalty.l2(model, 0.5)())
    assert both == pytest.approx(0.5 * sum(squares.values()))
    assert len(penalty.penalised(model, 1.0)) == 3


def test_adam_is_tensorflow_ones():
    """A large epsilon shows where it stands."""
    rng = np.random.default_rng(0)
    variables = [tf.Variable(rng.normal(size=s), dtype="float32")
                 for s in ((3, 4), (5,))]
    optimizer = Adam(
        lambda step: 0.1 / (1.0 + tf.cast(step, tf.float32)), 0.8, 0.95, 0.3
    )
    optimizer.build(variables)
    w = [v.numpy().astype(np.float64) for v in variables]
    first, second = [0.0, 0.0], [0.0, 0.0]
    for number in range(6):
        gradients = [rng.normal(size=x.shape) for x in w]
        optimizer.apply(
            one_by_one(variables), [v.read_value() for v in variables],
            [tf.constant(g, tf.float32) for g in gradients],
            tf.constant(number, tf.int64),
        )
        t, rate = number + 1, 0.1 / (1 + number)
        rate *= math.sqrt(1 - 0.95**t) / (1 - 0.8**t)
        for i, g in enumerate(gradients):
            first[i] = 0.8 * first[i] + 0.2 * g
            second[i] = 0.95 * second[i] + 0.05 * g**2
            w[i] = w[i] - rate * first[i] / (np.sqrt(second[i]) + 0.3)
            np.testing.assert_allclose(variables[i], w[i], atol=1e-6)
