"""Sorting puts important channels first, and trained subnets stay."""

import numpy as np
import pytest
import tensorflow as tf

from tests import elastic_nets
from tfnas.supernets.elastic_sort import sort_channels

LARGE, MIDDLE = (3, 6, 9), (2, 3, 5, 6, 8, 9)  # e = 6; e = 4 and 6
X = elastic_nets.images()


@pytest.fixture(scope="module")
def shared():
    """A supernet and its weights; it is traced once."""
    net = elastic_nets.net()
    return net, [v.numpy() for v in net.variables]


@pytest.fixture
def net(shared):
    """The supernet before it is sorted."""
    net, values = shared
    for v, value in zip(net.variables, values, strict=True):
        v.assign(value)
    return net


def logits(net, codes):
    values = [v.read_value() for v in net.variables]
    return net(tf.constant(X), tf.constant(codes), values)[0].numpy()


def importance(layer, name):
    """L1 norms of the channels that a convolution reads."""
    (kernel,) = [
        v.numpy() for v in layer.weights if v.name.endswith(f"/{name}:0")
    ]
    return np.abs(kernel).sum((0, 1, 3))


@pytest.mark.parametrize("trained", [LARGE, MIDDLE])
def test_trained_subnets_compute_what_they_did(net, trained):
    rng = np.random.default_rng(0)
    subnets = [rng.choice(trained, 4) * [1, i % 2, 1, 1] for i in range(4)]
    before = [logits(net, codes) for codes in subnets]
    untrained = logits(net, (1, 0, 1, 0))
    sort_channels(net, trained)
    for codes, old in zip(subnets, before, strict=True):
        np.testing.assert_allclose(logits(net, codes), old, atol=1e-5)
    assert np.abs(logits(net, (1, 0, 1, 0)) - untrained).max() > 1e-3


def test_channels_fall_in_importance(net):
    sort_channels(net, LARGE)
    for layer in net.layers[2:6]:
        assert (np.diff(importance(layer, "project")) <= 0).all()
    for layer in net.layers[4:6]:
        assert (np.diff(importance(layer, "se_expand")) <= 0).all()


def test_channels_stay_within_the_widths_that_were_trained(net):
    layer = net.layers[2]  # 8 channels in: widths 24, 32, 48
    before = importance(layer, "project")
    sort_channels(net, MIDDLE)
    after = importance(layer, "project")
    for part in (slice(0, 32), slice(32, 48)):
        np.testing.assert_array_equal(after[part], np.sort(before[part])[::-1])


def test_fixed_layers_and_matrices_are_left_alone(net):
    before = {v.name: v.numpy() for v in net.variables}
    sort_channels(net, LARGE)
    for v in net.variables:
        place = v.name[:3]
        if "/to" in v.name or place in ("b00", "b01", "b06", "b07", "b08"):
            np.testing.assert_array_equal(v, before[v.name])
