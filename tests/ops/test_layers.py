"""Keras layers of an op compute what NumPy computes from the definition."""

import itertools

import keras
import numpy as np
import pytest

from tfnas import ops
from tfnas.arch import Block


def _pad(x, amount):
    return np.pad(x, ((amount, amount), (amount, amount), (0, 0)))


def _taps(x, size, stride):
    """Yields (row, column, the pixels that this tap of a kernel meets)."""
    x = _pad(x, size // 2)
    height, width = ((n - size) // stride + 1 for n in x.shape[:2])
    for i, j in itertools.product(range(size), repeat=2):
        rows = slice(i, i + stride * (height - 1) + 1, stride)
        columns = slice(j, j + stride * (width - 1) + 1, stride)
        yield i, j, x[rows, columns]


def _conv(x, kernel, stride=1):
    return sum(p @ kernel[i, j] for i, j, p in _taps(x, len(kernel), stride))


def _depthwise(x, kernel, stride=1):
    return sum(
        p * kernel[i, j, :, 0] for i, j, p in _taps(x, len(kernel), stride)
    )


class _Reference:
    """NumPy layers that read their weights from a Keras model by name."""

    def __init__(self, model, eps):
        self.model, self.eps = model, eps

    def weights(self, name):
        return [np.array(w) for w in self.model.get_layer(f"b_{name}").weights]

    def norm(self, x, name):
        scale, offset, mean, variance = self.weights(f"{name}_bn")
        return (x - mean) / np.sqrt(variance + self.eps) * scale + offset

    def conv(self, x, name, stride=1):
        (kernel,) = self.weights(name)
        return self.norm(_conv(x, kernel, stride), name)

    def depthwise(self, x, name, stride=1):
        (kernel,) = self.weights(name)
        return self.norm(_depthwise(x, kernel, stride), name)


def _build(block, in_shape):
    """A model of one block whose every weight is drawn at random."""
    x = keras.Input(in_shape)
    model = keras.Model(x, ops.build(block, in_shape, keras, "b")(x))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        if weight.path.endswith(("gamma", "variance")):
            value = 0.5 + np.abs(value)
        weight.assign(value)
    return model


def _check(block, in_shape, eps, expected):
    model = _build(block, in_shape)
    x = np.random.default_rng(2).normal(0, 1, in_shape)
    y = np.array(model(x[None]))[0]
    reference = expected(_Reference(model, eps), x)
    assert y.shape == reference.shape
    np.testing.assert_allclose(y, reference, rtol=1e-4, atol=1e-4)


def _relu(x):
    return np.maximum(x, 0)


def _relu6(x):
    return np.clip(x, 0, 6)


def _hard_sigmoid(x):
    return _relu6(x + 3) / 6


def _hard_swish(x):
    return x * _hard_sigmoid(x)


def test_stride_two_pads_both_sides_alike():
    block = Block("conv", 1, 1, 2, attrs={"k": 3, "act": "linear"})
    expected = {"sym": [[4, 6], [6, 9]], "same": [[9, 6], [6, 4]]}
    for pad, sums in expected.items():
        attrs = {**block.attrs, "pad": pad}
        x = keras.Input((4, 4, 1))
        one = Block("conv", 1, 1, 2, attrs=attrs)
        model = keras.Model(x, ops.build(one, (4, 4, 1), keras, "b")(x))
        model.get_layer("b_conv").kernel.assign(np.ones((3, 3, 1, 1)))
        y = np.array(model(np.ones((1, 4, 4, 1))))[0, :, :, 0]
        np.testing.assert_allclose(y, np.array(sums) / np.sqrt(1.001), 1e-5)


@pytest.mark.parametrize(
    "act, fn",
    [
        ("relu6", _relu6),
        ("relu", _relu),
        ("linear", np.array),
        ("hard_swish", _hard_swish),
    ],
)
def test_conv_is_convolution_norm_activation(act, fn):
    attrs = {"k": 5, "act": act, "norm": {"eps": 0.1}}
    _check(
        Block("conv", 3, 4, 2, attrs=attrs),
        (7, 6, 3),
        0.1,
        lambda ref, x: fn(ref.conv(x, "conv", 2)),
    )


@pytest.mark.parametrize(
    "out, stride, e, k",
    [(4, 1, 3, 3), (4, 2, 3, 7), (6, 1, 6, 5), (6, 2, 1, 3), (4, 1, 1, 3)],
)
def test_mbconv_expands_filters_projects_and_adds(out, stride, e, k):
    def expected(ref, x):
        y = x if e == 1 else _relu6(ref.conv(x, "expand"))
        y = _relu6(ref.depthwise(y, "depthwise", stride))
        y = ref.conv(y, "project")
        return x + y if stride == 1 and out == 4 else y

    block = Block("mbconv", 4, out, stride, attrs={"k": k, "e": e})
    _check(block, (7, 6, 4), 1e-3, expected)


@pytest.mark.parametrize(
    "out, stride, e, reduced", [(8, 1, 6, 16), (8, 2, 3, 8), (16, 1, 4, 8)]
)
def test_mbconv_se_gates_the_channels_after_the_activation(
    out, stride, e, reduced
):
    def expected(ref, x):
        y = _hard_swish(ref.conv(x, "expand"))
        y = _hard_swish(ref.depthwise(y, "depthwise", stride))
        kernel, bias = ref.weights("se_reduce")
        assert kernel.shape == (1, 1, 8 * e, reduced)
        gate = _relu(y.mean((0, 1)) @ kernel[0, 0] + bias)
        kernel, bias = ref.weights("se_expand")
        gate = _hard_sigmoid(gate @ kernel[0, 0] + bias)
        y = ref.conv(y * gate, "project")
        return x + y if stride == 1 and out == 8 else y

    attrs = {"k": 5, "e": e, "act": "hard_swish"}
    block = Block("mbconv_se", 8, out, stride, attrs=attrs)
    _check(block, (7, 6, 8), 1e-3, expected)


def test_pooled_conv_averages_multiplies_and_activates():
    def expected(ref, x):
        (kernel,) = ref.weights("conv")
        y = x.mean((0, 1)) @ kernel[0, 0]
        return _hard_swish(y)[None, None]

    _check(Block("pooled_conv", 5, 7), (4, 3, 5), None, expected)


@pytest.mark.parametrize("out, stride", [(4, 1), (4, 2), (6, 1)])
def test_basic_has_two_convolutions_and_a_shortcut(out, stride):
    def expected(ref, x):
        y = _relu(ref.conv(x, "conv1", stride))
        y = ref.conv(y, "conv2")
        same = stride == 1 and out == 4
        return _relu(y + (x if same else ref.conv(x, "shortcut", stride)))

    _check(Block("basic", 4, out, stride), (7, 6, 4), 1e-5, expected)


@pytest.mark.parametrize(
    "inner, wide, stride", [(2, 1, 1), (3, 1, 1), (2, 1, 2), (2, 0, 1)]
)
def test_bottleneck_is_four_times_as_wide_outside(inner, wide, stride):
    width = 8 if wide else 2

    def expected(ref, x):
        y = _relu(ref.conv(x, "conv1"))
        y = _relu(ref.conv(y, "conv2", stride))
        y = ref.conv(y, "conv3")
        assert y.shape[-1] == 4 * inner
        same = stride == 1 and width == 4 * inner
        return _relu(y + (x if same else ref.conv(x, "shortcut", stride)))

    block = Block("bottleneck", 2, inner, stride, attrs={"wide_input": wide})
    _check(block, (5, 6, width), 1e-5, expected)


@pytest.mark.parametrize("size", [(4, 3), (1, 1)])
def test_classifier_averages_then_multiplies(size):
    def expected(ref, x):
        kernel, bias = ref.weights("dense")
        return x.mean((0, 1)) @ kernel + bias

    _check(Block("classifier", 5, 3), (*size, 5), None, expected)


def test_skip_returns_its_input():
    x = keras.Input((4, 4, 2))
    assert ops.build(Block("skip", 2, 2), (4, 4, 2), keras, "b")(x) is x


def test_layers_without_scale_and_offset_can_be_asked_for():
    attrs = {"k": 3, "e": 3, "norm": {"affine": False}}
    block = Block("mbconv", 4, 6, attrs=attrs)
    model = _build(block, (4, 4, 4))
    kernels = 4 * 12 + 9 * 12 + 12 * 6
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == kernels


@pytest.mark.parametrize(
    "block, name, deviation",
    [
        (Block("conv", 64, 32, attrs={"k": 3}), "conv", 2 / (9 * 32)),
        (
            Block("mbconv", 512, 8, attrs={"k": 5, "e": 1}),
            "depthwise",
            2 / 25,
        ),
        (Block("classifier", 400, 50), "dense", 1 / (3 * 400)),
    ],
)
def test_initial_kernels_have_the_published_variance(block, name, deviation):
    in_shape = (4, 4, block.in_channels)
    x = keras.Input(in_shape)
    model = keras.Model(x, ops.build(block, in_shape, keras, "b")(x))
    kernel = np.array(model.get_layer(f"b_{name}").weights[0])
    assert abs(kernel.mean()) < 0.05 * kernel.std()
    np.testing.assert_allclose(kernel.var(), deviation, rtol=0.05)
