"""A cell computes what NumPy computes from the definition, and counts so."""

import keras
import numpy as np
import pytest

import tfnas
from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.cell import Cell
from tfnas.spaces.autospace_files import read_space
from tfnas.spaces.autospace_specs import CHAINS

EPS = 0.05
SHAPE = (7, 6, 4)
CELLS = (
    "2.0.0.5.1.5.1.1.5", "0.1.1.2.2.5.1.2.3", "1.1.0.3.5.2.1.5.3",
    "2.0.0.7.5.2.1.2.5", "2.0.1.9.2.2.1.5.2", "0.0.0.5.2.5.1.3.5",
)


class NumPyCell:
    """The forward pass of a cell, step by step, with a model's weights.

    Args:
        model: A Keras model of one block, with layers named `b_...`.
        block: The block.
    """

    def __init__(self, model, block):
        self.model, self.block, self.a = model, block, block.attrs

    def weights(self, name):
        return [np.array(w) for w in self.model.get_layer(f"b_{name}").weights]

    def norm(self, x, name):
        scale, offset, mean, variance = self.weights(f"{name}_bn")
        return (x - mean) / np.sqrt(variance + EPS) * scale + offset

    def conv(self, x, name, stride=1):
        (kernel,) = self.weights(name)
        return self.norm(x[::stride, ::stride] @ kernel[0, 0], name)

    def depthwise(self, x, name, stride, code):
        (kernel,) = self.weights(name)
        reach = code // 2 - 1  # of the receptive field: 1, 2, 3
        step = 1
        if self.a["large_kernel"] == "dilated":
            step, shape = reach, (3, 3)
        else:
            shape = (code - 2, code - 2)
        assert kernel.shape[:2] == shape
        padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
        out = np.zeros(x[::stride, ::stride].shape)
        for i, j in np.ndindex(out.shape[:2]):
            window = padded[
                i * stride : i * stride + 2 * reach + 1 : step,
                j * stride : j * stride + 2 * reach + 1 : step,
            ]
            out[i, j] = (window * kernel[..., 0]).sum((0, 1))
        return self.norm(out, name)

    def edge(self, x, name, code, stride):
        if code == 2 and stride == 2:  # mean of what there is of 2 x 2
            rows, columns = (range(0, n, 2) for n in x.shape[:2])
            return np.array(
                [[x[i : i + 2, j : j + 2].mean((0, 1)) for j in columns]
                 for i in rows]
            )
        if code == 2:
            return x
        if code == 3:
            return np.clip(self.conv(x, name, stride), 0, 6)
        return np.clip(self.depthwise(x, name, stride, code), 0, 6)

    def merge(self, mode, inputs):
        x, *others = inputs
        for u in others:
            if mode == 0:
                x = x + u
            elif self.a["merge"] == "hadamard":
                x = x * u
            else:
                x = x / (1 + np.exp(-u.mean((0, 1), keepdims=True)))
        return x

    def __call__(self, x):
        codes = [int(c) for c in self.a["cell"].split(".")]
        _, m2, m3, e01, e02, e12, e03, e13, e23 = codes
        assert e03 == 1
        stride, n0 = self.block.stride, x
        if self.a["e"] > 1:
            n0 = np.clip(self.conv(x, "expand"), 0, 6)
        n1 = self.edge(n0, "e01", e01, stride)
        into2 = [self.edge(n1, "e12", e12, 1)]
        if e02 != 1:
            into2.insert(0, self.edge(n0, "e02", e02, stride))
        n2 = self.merge(m2, into2)
        into3 = [self.edge(n2, "e23", e23, 1)]
        if e13 != 1:
            into3.insert(0, self.edge(n1, "e13", e13, 1))
        y = self.conv(self.merge(m3, into3), "project")
        return x + y if y.shape == x.shape else y


def cell_block(text, out=4, stride=1, **attrs):
    return Block(
        "cell", SHAPE[-1], out, stride,
        attrs={
            "cell": text, "e": (1, 3, 6)[int(text[0])], "norm": {"eps": EPS},
            "merge": "channel_gate", "large_kernel": "dense", **attrs,
        },
    )


def keras_model(block, shape=SHAPE):
    """A model of one block whose every weight is drawn at random."""
    x = keras.Input(shape)
    model = keras.Model(x, ops.build(block, shape, keras, "b")(x))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        if weight.path.endswith(("gamma", "variance")):
            value = 0.5 + np.abs(value)
        weight.assign(value)
    return model


@pytest.mark.parametrize("text", CELLS)
@pytest.mark.parametrize(
    "out, stride, merge, large_kernel",
    [
        (4, 1, "channel_gate", "dense"), (6, 2, "hadamard", "dense"),
        (4, 2, "channel_gate", "dilated"), (4, 1, "hadamard", "dilated"),
    ],
)
def test_a_cell_computes_its_definition(
    text, out, stride, merge, large_kernel
):
    block = cell_block(
        text, out, stride, merge=merge, large_kernel=large_kernel
    )
    model = keras_model(block)
    x = np.random.default_rng(2).normal(0, 1, SHAPE)
    y = np.array(model(x[None]))[0]
    expected = NumPyCell(model, block)(x)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def count_by_hand(codes, cin, cout, stride, side):
    """Parameters and multiply-adds of a cell, from the definition."""
    dim, _, _, e01, e02, e12, _, e13, e23 = codes
    mid, out = cin * (1, 3, 6)[dim], side // stride
    params = madds = 0
    if dim:
        params += cin * mid + 2 * mid
        madds += cin * mid * side**2
    for code in (e01, e02, e12, e13, e23):
        if code in (1, 2):
            continue
        kernel = mid * mid if code == 3 else (code - 2) ** 2 * mid
        params += kernel + 2 * mid
        madds += kernel * out**2
    params += mid * cout + 2 * cout
    madds += mid * cout * out**2
    return params, madds


def count_keras(model):
    """Parameters and multiply-adds read off the layers of a model."""
    params = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    madds = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            *_, height, width, _ = layer.output.shape
            madds += int(np.prod(kernel.shape)) * height * width
    return params, madds


def released():
    spec, path = CHAINS[""]
    for place in spec.places:
        for cell in read_space(path, spec.places).positions[place.position]:
            yield place, cell


def test_counts_of_released_cells_equal_the_hand_count():
    for place, cell in released():
        for stride in (1, 2):
            shape = (8, 8, place.in_channels)
            block = Block(
                "cell", place.in_channels, place.out_channels, stride,
                attrs={"cell": str(cell), "e": (1, 3, 6)[cell.dim]},
            )
            counts = tfnas.count(Arch((block,), shape, 1))
            assert (counts.params, counts.madds) == count_by_hand(
                cell.codes, place.in_channels, place.out_channels, stride, 8
            )


@pytest.mark.parametrize("stride", [1, 2])
def test_counts_of_released_cells_are_those_of_their_keras_layers(stride):
    for cell in dict.fromkeys(cell for _, cell in released()):
        block = Block(
            "cell", 4, 6, stride,
            attrs={"cell": str(cell), "e": (1, 3, 6)[cell.dim]},
        )
        shape = (8, 8, 4)
        counts = tfnas.count(Arch((block,), shape, 1))
        x = keras.Input(shape)
        model = keras.Model(x, ops.build(block, shape, keras, "b")(x))
        assert (counts.params, counts.madds) == count_keras(model)


def test_keys_hold_the_whole_cell():
    block = cell_block("1.1.0.7.5.2.1.5.5", 6, 2, merge="hadamard")
    key = ops.lut_key(block, (8, 8, 4))
    assert key == (
        "cell|act=relu6|cell=1.1.0.7.5.2.1.5.5|e=3|large_kernel=dense|"
        "merge=hadamard|pad=sym|s=2|8x8x4>4x4x6"
    )
    found, shape = ops.parse_lut_key(key)
    assert (ops.lut_key(found, shape), shape) == (key, (8, 8, 4))


@pytest.mark.parametrize(
    "text", ["2.0.0.5.1.5.5.1.5", "2.0.0.5.1.4.1.1.5", "2.0.0.5.1.5.1.1", "x"]
)
def test_a_block_with_an_illegal_cell_is_refused(text):
    block = Block("cell", 4, 4, attrs={"cell": text, "e": 6})
    with pytest.raises(ArtifactError, match="op `cell`: attribute `cell`"):
        ops.lower(block, (8, 8, 4))


def test_the_expansion_is_stated_not_inferred():
    block = Block("cell", 4, 4, attrs={"cell": "2.0.0.5.1.2.1.1.2", "e": 3})
    assert ops.lower(block, (8, 8, 4)).shapes["expand"] == (8, 8, 12)


def test_edges_are_listed_in_the_order_of_their_sources():
    cell = Cell.parse("0.1.0.2.5.3.1.1.5")
    assert [cell.inputs(n) for n in (1, 2, 3)] == [
        ((0, 2),), ((0, 5), (1, 3)), ((2, 5),),
    ]
    assert [cell.mix(n) for n in (1, 2, 3)] == [0, 1, 0]
