"""A mixed layer runs and trains the candidate that an index names."""

import numpy as np
import pytest
import tensorflow as tf

from tests import dense_nets
from tfnas.supernets.base import Selected
from tfnas.supernets.base import one_by_one
from tfnas.supernets.mixed import LayerFunctions
from tfnas.supernets.mixed import MixedLayer
from tfnas.supernets.primitives import batch_norm

SPACE = dense_nets.space()


def stack_layer(block=1):
    spec = SPACE.spec
    return MixedLayer(
        "layer",
        [SPACE.stack(block, op) for op in spec.stack_ops],
        SPACE.shape(block),
        0,
        LayerFunctions(1),
    )


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def normalise(x, eps):
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(variance + eps)


def test_batch_norm_uses_the_statistics_of_the_batch():
    x = 3 + 2 * normal(6, 4, 4, 5)
    np.testing.assert_allclose(
        batch_norm(x, 1e-3), normalise(x, 1e-3), atol=1e-5
    )
    scale, offset = normal(2, 5)
    np.testing.assert_allclose(
        batch_norm(x, 1e-3, scale, offset),
        normalise(x, 1e-3) * scale + offset,
        atol=1e-5,
    )


@pytest.mark.parametrize("batch, parts", [(6, (3, 3)), (5, (2, 3))])
def test_groups_are_normalised_on_their_own(batch, parts):
    x = normal(batch, 4, 4, 5)
    x[0] *= 3
    x[-1] += 1
    expected = [
        normalise(part, 1e-5) for part in np.split(x, np.cumsum(parts)[:-1])
    ]
    np.testing.assert_allclose(
        batch_norm(x, 1e-5, groups=2), np.concatenate(expected), atol=1e-5
    )


def test_more_groups_than_images_still_work():
    x = normal(1, 4, 4, 5)
    with tf.GradientTape() as tape:
        tensor = tf.constant(x)
        tape.watch(tensor)
        y = batch_norm(tensor, 1e-5, groups=2)
        loss = tf.reduce_sum(y**3)
    np.testing.assert_allclose(y, normalise(x, 1e-5), atol=1e-5)
    assert np.isfinite(tape.gradient(loss, tensor)).all()


def test_the_identity_has_no_weights_and_returns_its_input():
    layer, x = stack_layer(), normal(2, 8, 8, 12)
    skip = SPACE.spec.stack_ops.index("skip_connect")
    assert layer.weights_of(skip) == []
    weights = [s.read() for s in layer.select(tf.constant(skip))]
    y = layer(x, tf.constant(skip), weights, train=True)
    np.testing.assert_array_equal(y, x)


def test_the_identity_gives_the_borrowed_weights_no_gradient():
    layer, x = stack_layer(), normal(2, 8, 8, 12)
    op = tf.constant(SPACE.spec.stack_ops.index("skip_connect"))
    chosen = layer.select(op)
    weights = [s.read() for s in chosen]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        y = layer(x, op, weights, train=True)
    for s, g in zip(chosen, tape.gradient(y, weights), strict=True):
        assert not bool(s.gate)
        assert (g.numpy() == 0).all()


@pytest.mark.parametrize("op", [0, 1])
def test_a_choice_reads_the_weights_of_its_op(op):
    layer = stack_layer()
    chosen = layer.select(tf.constant(op))
    for s, v in zip(chosen, layer.weights_of(op), strict=True):
        assert bool(s.gate)
        np.testing.assert_array_equal(s.read(), v)


def test_candidates_of_different_forms_are_refused():
    names = ("mbconv_k3_t3", "mbconv_k3_t1")
    blocks = [SPACE.head(1, 2, name) for name in names]
    with pytest.raises(ValueError, match="one form. Received: .*mbconv"):
        MixedLayer("layer", blocks, SPACE.shape(1), 0, LayerFunctions(1))


def test_layers_of_one_form_share_one_function():
    functions = LayerFunctions(1)
    layer = stack_layer()
    graphs = [g for g in layer.graphs if g.nodes]
    one, two = (functions.get(g, True, True) for g in graphs)
    assert one is two
    assert functions.get(graphs[0], False, True) is not one


def test_a_choice_of_several_shapes_reads_any_of_them():
    variables = tuple(tf.Variable(normal(k, k, 4, 1)) for k in (3, 5, 7))

    @tf.function
    def read(index):
        s = Selected(variables, index)
        value = s.read()
        assert value.shape.as_list() == [None, None, 4, 1]
        return value

    for i, v in enumerate(variables):
        np.testing.assert_array_equal(read(tf.constant(i)), v)
    assert Selected(variables).max_size == 7 * 7 * 4
    for s, v in zip(one_by_one(variables), variables, strict=True):
        np.testing.assert_array_equal(s.read(), v)
