"""Every network of an elastic space is a part of the one supernet."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnas
from tests import elastic_nets
from tfnas import derive
from tfnas import spaces
from tfnas.supernets.elastic import ElasticSupernet
from tfnas.supernets.elastic_layers import BATCH
from tfnas.supernets.elastic_layers import RECORDED
from tfnas.supernets.recalibrate import recalibrate


@pytest.fixture(scope="module")
def net():
    """A supernet that the tests only look at: it is traced once."""
    return elastic_nets.net()


def values(net):
    return [v.read_value() for v in net.variables]


def logits(net, codes, x, mode=BATCH):
    return net(tf.constant(x), tf.constant(codes), values(net), mode)[0]


def derived(net, arch, x):
    """The Keras network of a subnet whose statistics are those of `x`."""
    recalibrate(net, net.space.codes(arch), [(x,)])
    model = tfnas.build_model(arch)
    derive.load_weights(model, arch, net.weights_for(arch))
    return model


def keras_recalibrate(model, x):
    """Keras' own way: averages with no memory, then one training pass."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)


def assert_close(ours, theirs, scale=None):
    ours, theirs = np.array(ours), np.array(theirs)
    scale = np.abs(theirs).max() if scale is None else scale
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


def check_subnets(net, x, test, seeds):
    for seed in seeds:
        arch = net.space.sample(seed)
        model = derived(net, arch, x)
        keras_recalibrate(model, x)
        ours = logits(net, net.space.codes(arch), test, RECORDED)
        assert_close(ours, model(test, training=False))
    assert net.moments.experimental_get_tracing_count() == 1


def test_random_subnets_are_their_keras_networks(net):
    x, test = elastic_nets.images(32), elastic_nets.images(8, seed=1)
    check_subnets(net, x, test, range(4))


@pytest.mark.slow  # builds 50 Keras networks
def test_50_subnets_of_the_cifar_space_are_their_keras_networks():
    net = ElasticSupernet(spaces.get("mobilenetv3@32"), seed=0)
    elastic_nets.randomise(net)
    x = elastic_nets.images(32, 32)
    check_subnets(net, x, elastic_nets.images(8, 32, 1), range(50))


@pytest.mark.slow  # 10.7 M weights
def test_a_subnet_of_the_published_space_is_its_keras_network():
    space = spaces.get("mobilenetv3", 100, (64, 64, 3))
    net = ElasticSupernet(space, seed=0)
    x = elastic_nets.images(32, 64)
    check_subnets(net, x, elastic_nets.images(4, 64, 1), range(2))


def test_the_largest_network_has_the_published_parameters():
    net = ElasticSupernet(spaces.get("mobilenetv3"))
    matrices = [v for v in net.variables if "/to" in v.name]
    assert [v.shape[0] for v in matrices] == [25, 9] * 20
    assert all((v.numpy() == np.eye(v.shape[0])).all() for v in matrices)
    # The published number counts the matrices.
    assert sum(int(np.prod(v.shape)) for v in net.variables) == 10_715_752
    plain = tfnas.count(net.space.from_codes(net.largest)).params
    assert plain == 10_715_752 - 20 * (25**2 + 9**2)


def test_sides_are_resized_before_the_network():
    net, x = elastic_nets.net(elastic_nets.SIDES), elastic_nets.images(16)
    for codes, side in (((0, 9, 1, 5, 0), 12), ((1, 9, 1, 5, 0), 16)):
        arch = net.space.from_codes(codes)
        assert arch.input_shape == (side, side, 3)
        model = derived(net, arch, x)
        small = tf.image.resize(x, (side, side))
        assert_close(logits(net, codes, x, RECORDED), model(small))
        assert_close(logits(net, codes, x), model(small, training=True))


def test_smaller_kernels_are_centres_through_their_matrix(net):
    layer = net.layers[2]
    kernel, to5, to3 = (
        v.numpy() for v in layer.weights if "/depthwise" in v.name
        and "bn" not in v.name
    )
    five = to5 @ kernel[1:6, 1:6].reshape(25, -1)
    three = to3 @ five.reshape(5, 5, -1)[1:4, 1:4].reshape(9, -1)
    truths = {3: three.reshape(3, 3, -1), 5: five.reshape(5, 5, -1)}
    for code, (k, e) in enumerate(net.space.spec.operations):
        if not code:
            continue
        statistics = np.zeros((2, layer.channels))
        (found,) = [
            w for w in layer.weights_of(code, statistics)
            if w.ndim == 4 and w.shape[3] == 1
        ]
        truth = truths.get(k, kernel[..., 0])[..., : 8 * e]
        np.testing.assert_allclose(found[..., 0], truth, rtol=1e-5, atol=1e-6)


def test_nothing_is_read_beyond_the_subnet():
    """What a subnet has not is set to NaN, and does not matter."""
    net, x = elastic_nets.net(), elastic_nets.images()
    codes = (1, 0, 5, 7)  # widths 3, -, 4 and 3 times the input
    before = logits(net, codes, x)
    for layer, width in ((2, 24), (3, 0), (4, 32), (5, 48)):
        for v in net.layers[layer].weights:
            value = v.numpy()
            for axis in range(value.ndim):
                if value.shape[axis] == (48, 48, 48, 96)[layer - 2]:
                    part = [slice(None)] * value.ndim
                    part[axis] = slice(width, None)
                    value[tuple(part)] = np.nan
            v.assign(value if width else value * np.nan)
    np.testing.assert_array_equal(logits(net, codes, x), before)
    assert np.isnan(logits(net, (3, 0, 5, 7), x)).all()


def test_gradients_are_those_of_the_keras_network_and_else_zero(net):
    x = elastic_nets.images(16)
    labels = np.arange(16) % 4
    codes = (8, 0, 9, 4)
    arch = net.space.from_codes(codes)

    def loss(outputs):
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)
        )

    weights = values(net)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        ours = loss(net(tf.constant(x), tf.constant(codes), weights)[0])
    gradients = tape.gradient(
        ours, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    model = derived(net, arch, x)
    with tf.GradientTape() as tape:
        theirs = loss(model(x, training=True))
    expected = tape.gradient(theirs, model.trainable_variables)
    scale = max(np.abs(g).max() for g in expected)
    found = iter(zip(net.variables, gradients, strict=True))
    for variable, truth in zip(
        model.trainable_variables, expected, strict=True
    ):
        while True:  # past the absent layer and the matrices
            v, gradient = next(found)
            if "/to" not in v.name and not v.name.startswith("b03"):
                break
            if v.name.startswith("b03"):
                assert not gradient.numpy().any()
        if variable.path.endswith("depthwise/kernel"):
            continue  # goes through the matrices
        inside = tuple(slice(0, n) for n in truth.shape)
        assert_close(gradient[inside], truth, scale)
        rest = gradient.numpy()
        rest[inside] = 0
        assert not rest.any()


def test_the_gradient_of_a_smaller_kernel_goes_through_its_matrices(net):
    x = elastic_nets.images()
    names = [v.name for v in net.variables]
    place = names.index("b02_mbconv/depthwise:0")
    weights = values(net)

    def touched(code):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            codes = tf.constant((code, 0, 1, 0))
            out = tf.reduce_sum(net(tf.constant(x), codes, weights)[0] ** 2)
        kernel, to5, to3 = tape.gradient(out, weights)[place : place + 3]
        return [
            np.abs(g).sum() > 0 for g in (kernel[0, 0], kernel[1, 1], to5, to3)
        ]

    assert touched(7) == [True, True, False, False]
    assert touched(4) == [False, True, True, False]
    assert touched(1) == [False, True, True, True]


def test_layers_that_no_subnet_has_are_gated(net):
    chosen = net.select(tf.constant([(1, 0, 2, 0), (3, 0, 4, 5)]))
    gates = {
        v.name.split("/")[0]: None if s.gate is None else bool(s.gate)
        for v, s in zip(net.variables, chosen, strict=True)
    }
    optional = {name: g for name, g in gates.items() if g is not None}
    assert optional == {"b03_mbconv": False, "b05_mbconv_se": True}


def test_layers_of_one_form_share_their_trace():
    net = ElasticSupernet(spaces.get("mobilenetv3@32"))
    get = net.layers[0]._functions.get
    one, two = (get(net.layers[i].plan, True, BATCH) for i in (8, 9))
    assert one is two


def test_weights_are_refused_without_their_statistics():
    net, x = elastic_nets.net(), elastic_nets.images()
    arch = net.space.sample(0)
    with pytest.raises(ValueError, match="must be recorded first"):
        net.weights_for(arch)
    recalibrate(net, net.largest, [(x,)])
    with pytest.raises(ValueError, match="Received: those of"):
        net.weights_for(arch)


def test_the_seed_decides_the_weights():
    one, same, other = (
        ElasticSupernet(elastic_nets.space(), seed) for seed in (1, 1, 2)
    )
    for a, b, c in zip(
        one.variables, same.variables, other.variables, strict=True
    ):
        np.testing.assert_array_equal(a, b)
        if a.shape.rank == 4:
            assert not np.array_equal(a, c)
