"""Statistics of a subnet are means over batches of training images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnas
from tests import elastic_nets
from tfnas import derive
from tfnas.supernets.elastic_layers import RECORDED
from tfnas.supernets.recalibrate import recalibrate


@pytest.fixture(scope="module")
def net():
    return elastic_nets.net()


def norms(model):
    return [
        layer for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def keras_moments(model, x):
    """Mean and variance of each normalisation's input, by Keras."""
    for layer in norms(model):
        layer.momentum = 0.0
    model(x, training=True)
    return [
        np.array([layer.moving_mean, layer.moving_variance])
        for layer in norms(model)
    ]


def test_batches_weigh_by_their_size(net):
    arch = net.space.sample(3)
    batches = [elastic_nets.images(n, seed=n) for n in (16, 4)]
    recalibrate(net, net.space.codes(arch), [(x, None) for x in batches])
    model = tfnas.build_model(arch)
    derive.load_weights(model, arch, net.weights_for(arch))
    ours = [
        np.array([layer.moving_mean, layer.moving_variance])
        for layer in norms(model)
    ]
    first, second = (keras_moments(model, x) for x in batches)
    for found, a, b in zip(ours, first, second, strict=True):
        truth = (16 * a + 4 * b) / 20
        atol = 1e-5 * np.abs(truth).max()
        np.testing.assert_allclose(found, truth, rtol=0, atol=atol)


def test_statistics_belong_to_one_subnet(net):
    x = elastic_nets.images(16)
    one, other = (9, 0, 1, 0), (1, 2, 3, 4)

    def outputs(codes):
        values = [v.read_value() for v in net.variables]
        return net(tf.constant(x), tf.constant(codes), values, RECORDED)[0]

    recalibrate(net, one, [(x,)])
    before = outputs(one)
    recalibrate(net, other, [(x,)])
    recalibrate(net, one, [(x,)])
    np.testing.assert_array_equal(outputs(one), before)


def test_weights_stay_as_they_are(net):
    before = [v.numpy() for v in net.variables]
    recalibrate(net, net.largest, [(elastic_nets.images(),)])
    for v, old in zip(net.variables, before, strict=True):
        np.testing.assert_array_equal(v, old)


def test_no_image_is_an_error(net):
    with pytest.raises(ValueError, match="Received: no batch"):
        recalibrate(net, net.largest, [])
