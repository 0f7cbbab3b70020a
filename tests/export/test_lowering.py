"""Each rewriting says the same in operators that the delegate has."""

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import pytest

from tfnas import export
from tfnas.errors import ConfigError
from tfnas.export import tracing
from tfnas.export.inspection import list_ops
from tfnas.export.lowering import lower
from tfnas.export.runtime import open_interpreter
from tfnas.lowering import rewritings

L = keras.layers
ROWS = ["PAD", "SLICE", "DEPTHWISE_CONV_2D", "SLICE", "DEPTHWISE_CONV_2D",
        "ADD", "SLICE", "DEPTHWISE_CONV_2D", "ADD"]


class Apply(L.Layer):
    """A layer of any function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def network(body, shape=(12, 12, 12), closed=False):
    """Returns a convolution and what comes after, of random weights.

    What is closed ends with another one: operators between the two that the
    delegate does not run would split the file.
    """
    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    x = body(L.Conv2D(shape[2], 1)(image))
    model = keras.Model(image, L.Conv2D(6, 1)(x) if closed else x)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.6, 1.6, weight.shape))
        if weight.name == "alpha":
            weight.assign(rng.uniform(-0.2, 0.9, weight.shape))
    return model


def images_of(model):
    _, height, width, channels = model.input_shape
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, height, width, channels)).astype(np.float32)


def convert(model, quantize="none", backend="xnnpack"):
    images = images_of(model) if quantize in ("int8", "int16x8") else None
    return export.convert(model, quantize, images, lower=backend)


def ops(blob):
    """Returns the operators after the first convolution, in order."""
    plain = open_interpreter(blob, delegate=False)
    names = [op["op_name"] for op in list_ops(plain)]
    return [name for name in names if name != "DEQUANTIZE"][1:]


def error(model, blob):
    """Returns how far a file is off the Keras model, relatively."""
    images = images_of(model)
    want = model(images, training=False).numpy()
    interpreter = open_interpreter(blob)
    (given,) = interpreter.get_input_details()
    (made,) = interpreter.get_output_details()
    got = []
    for image in images:
        value = image[None]
        if scale := given["quantization"][0]:
            value = np.round(value / scale) + given["quantization"][1]
            limits = np.iinfo(given["dtype"])
            value = np.clip(value, limits.min, limits.max)
        interpreter.set_tensor(given["index"], value.astype(given["dtype"]))
        interpreter.invoke()
        value = interpreter.get_tensor(made["index"]).astype(np.float64)
        if scale := made["quantization"][0]:
            value = (value - made["quantization"][1]) * scale
        got.append(value[0])
    return np.linalg.norm(np.array(got) - want) / np.linalg.norm(want)


def relu6_gate(x, shift=3.0, scale=6.0):
    return keras.ops.relu6(x + shift) / scale


def layers_of_ours(x):
    gate = L.ReLU(6.0)(L.Rescaling(1.0, 3.0)(x))
    return L.Multiply()([x, L.Rescaling(1 / 6)(gate)])


def depthwise(**args):
    return lambda x: L.DepthwiseConv2D(**args)(x)


def depthwise_norm_relu(x):
    x = L.DepthwiseConv2D(7, padding="same", use_bias=False)(x)
    return L.ReLU(6.0)(L.BatchNormalization()(x))


def squares(x):
    """Swin's order of the four pixels of a square."""
    first, second = x[:, ::2], x[:, 1::2]
    return keras.ops.concatenate(
        [first[:, :, ::2], second[:, :, ::2], first[:, :, 1::2],
         second[:, :, 1::2]], -1,
    )


def corners(x):
    return keras.ops.concatenate(
        [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1
    )


def multiplied(x):
    x = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    return L.Conv2D(8, 1)(L.ReLU(6.0)(L.BatchNormalization()(x)))


def reflected(x):
    amounts = [[0, 0], [2, 1], [0, 2], [0, 0]]
    return keras.ops.pad(x, amounts, mode="reflect")


@dataclasses.dataclass(frozen=True)
class Case:
    """A pattern and what becomes of it.

    Args:
        name: Of the rewriting.
        body: Makes the pattern.
        ops: What the file has between two convolutions.
        most: Error of the int8 file, at most.
        shape: Of the image.
        variant: Whether the rewriting has another case.
    """

    name: str
    body: Callable
    ops: list[str]
    most: float = 0.03
    shape: tuple = (12, 12, 12)
    variant: bool = False


POOLED = ["DEPTHWISE_CONV_2D", "MUL"]
HARD = ["ADD", "MUL"]  # the converter puts 1/6 into the next convolution
CASES = {
    "rows": Case("depthwise_rows", depthwise_norm_relu, ROWS),
    "separable": Case(
        "depthwise_rows",
        lambda x: L.SeparableConv2D(8, 7, padding="same")(x),
        [*ROWS, "CONV_2D"], variant=True,
    ),
    "hard swish of ours": Case("hard_swish", layers_of_ours, HARD),
    "hard swish of Keras": Case(
        "hard_swish", L.Activation("hard_swish"), HARD
    ),
    "hard swish by hand": Case(
        "hard_swish", Apply(lambda x: x * keras.ops.relu6(x + 3) / 6), HARD,
        variant=True,
    ),
    "hard swish clipped": Case(
        "hard_swish",
        Apply(lambda x: x * keras.ops.clip(x / 6 + 0.5, 0, 1)), HARD,
        variant=True,
    ),
    "lone relu": Case(
        "lone_relu", lambda x: L.Add()([x, L.ReLU()(x)]),
        ["MAX_POOL_2D", "ADD"],
    ),
    "lone relu6": Case(
        "lone_relu",
        lambda x: L.ReLU(6.0)(L.Concatenate()([x, L.Conv2D(4, 1)(x)])),
        ["CONV_2D", "CONCATENATION", "MAX_POOL_2D"], variant=True,
    ),
    "average, same": Case(
        "average_pool", L.AveragePooling2D(3, 1, "same"), POOLED
    ),
    "average, valid": Case(
        "average_pool", L.AveragePooling2D(3, 2), POOLED[:1]
    ),
    "average of halves": Case(
        "halving_pool", L.AveragePooling2D(2), ["RESIZE_BILINEAR"]
    ),
    "average of a pixel": Case(
        "pixel_pool", L.AveragePooling2D(1, 2), POOLED[:1]
    ),
    "groups": Case(
        "grouped", lambda x: L.Conv2D(12, 3, groups=12)(x), POOLED[:1]
    ),
    "whole map": Case(
        "depthwise_map", lambda x: L.DepthwiseConv2D(7)(L.ReLU()(x)),
        ["MUL", "MEAN", "ADD"], shape=(7, 7, 12),
    ),
    "multiplier": Case(
        "depth_multiplier", multiplied,
        ["CONCATENATION", "DEPTHWISE_CONV_2D", "CONV_2D"],
    ),
    "prelu": Case(
        "prelu", lambda x: L.PReLU(shared_axes=[1, 2])(x),
        ["MUL", "MUL", "ADD"], 0.04,
    ),
    "abs": Case("abs", Apply(keras.ops.abs), ["LEAKY_RELU"]),
    "slice": Case(
        "strided_slice", Apply(lambda x: x[:, ::2, ::2]), POOLED[:1]
    ),
    "patches": Case("patches", Apply(corners), ["SPACE_TO_DEPTH"]),
    "large max": Case(
        "large_max_pool", L.MaxPooling2D(7, 1, "same"), ["MAX_POOL_2D"] * 2
    ),
    "transposed": Case(
        "transposed",
        lambda x: L.ReLU()(
            L.BatchNormalization()(L.Conv2DTranspose(6, 2, 2)(x))
        ),
        ["CONV_2D", "DEPTH_TO_SPACE"],
    ),
    "reflect": Case(
        "reflect_pad", Apply(reflected),
        [*["SLICE"] * 3, "CONCATENATION", *["SLICE"] * 2, "CONCATENATION"],
    ),
    "layer norm": Case(
        "layer_norm", lambda x: L.LayerNormalization()(x),
        ["MEAN", "MUL", "SUB", "MUL", "MEAN", "ADD", "RSQRT", "MUL", "MUL",
         "ADD", "MUL", "ADD"], 0.05,
    ),
}


@functools.cache
def _network(name):
    case = CASES[name]
    return network(case.body, case.shape, closed=True)


@functools.cache
def _lowered(name, quantize):
    """Returns the file of a case if it is one that is lowered."""
    case, model = CASES[name], _network(name)
    dtype = "float32" if quantize == "none" else quantize
    if dtype not in rewritings.XNNPACK[case.name].types:
        assert lower(tracing.trace(model), dtype, "xnnpack")[1] == {}
        return None
    made = convert(model, quantize)
    assert made.lowering["plain_because"] is None
    # Whether scales lie far apart is the weights' doing.
    applied = dict(made.lowering["applied"])
    applied.pop("far_scales", None)
    assert applied == {case.name: 1}
    assert sorted(ops(made.blob)) == sorted([*case.ops, "CONV_2D"])
    return made.blob


ALL = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if case.variant else name
        for name, case in CASES.items()
    ],
)


@ALL
def test_float_file_answers_as_keras(name):
    if blob := _lowered(name, "none"):
        assert error(_network(name), blob) < 1e-5
        assert export.describe(blob)["delegate_nodes"] == 1


@ALL
def test_int8_file_is_one_piece_of_the_operators_of_the_spec(name):
    blob = _lowered(name, "int8")
    assert error(_network(name), blob) < CASES[name].most
    if name != "layer norm":  # the delegate has no RSQRT in int8
        assert export.describe(blob)["delegate_nodes"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_files_that_are_not_lowered_answer_alike(name):
    model = _network(name)
    assert error(model, convert(model, backend="none").blob) < 1e-5
    plain = error(model, convert(model, "int8", "none").blob)
    # The figures of the spec, of larger maps, with room.
    assert error(model, _lowered(name, "int8")) < 3 * plain + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int16x8"])
@pytest.mark.parametrize("name", CASES)
def test_other_types_stay_near_the_float_model(name, quantize):
    if blob := _lowered(name, quantize):
        assert error(_network(name), blob) < 0.02


KERNELS = [
    (kernel, stride, padding)
    for kernel in (5, 7, 9) for stride in (1, 2)
    for padding in ("same", "valid", "symmetric")
]


@pytest.mark.parametrize(
    "kernel, stride, padding",
    [
        case if case[:2] == (7, 2) else pytest.param(
            *case, marks=pytest.mark.slow
        )
        for case in KERNELS
    ],
)
def test_depthwise_of_any_window_is_the_same(kernel, stride, padding):
    def body(x):
        if padding == "symmetric":
            x = L.ZeroPadding2D(kernel // 2)(x)
        return L.DepthwiseConv2D(
            kernel, stride, "same" if padding == "same" else "valid"
        )(x)

    model = network(body, (13, 12, 11))
    made = convert(model)
    assert error(model, made.blob) < 1e-5
    parts = len(rewritings.row_parts(kernel, kernel)) if kernel > 5 else 1
    names = ops(made.blob)
    assert names.count("DEPTHWISE_CONV_2D") == parts
    if kernel > 5:  # else the converter has its own ways
        assert names.count("PAD") == (padding != "valid")
    assert names.count("ADD") == parts - 1


@pytest.mark.parametrize(
    "padding", ["same", pytest.param("valid", marks=pytest.mark.slow)]
)
def test_dilated_depthwise_is_the_same(padding):
    body = depthwise(kernel_size=7, dilation_rate=2, padding=padding)
    model = network(body, (15, 14, 10))
    for quantize, most in (("none", 1e-5), ("int8", 0.05)):
        made = convert(model, quantize)
        assert made.lowering["applied"] == {"depthwise_rows": 1}
        assert sorted(ops(made.blob)) == sorted(
            ROWS[padding == "valid":]
        )
        assert error(model, made.blob) < most


def test_windows_that_are_not_square_are_split_where_they_are_large():
    model = network(depthwise(kernel_size=(9, 3), padding="same"))
    assert ops(convert(model).blob).count("DEPTHWISE_CONV_2D") == 2
    model = network(depthwise(kernel_size=(3, 9), padding="same"))
    assert ops(convert(model).blob).count("DEPTHWISE_CONV_2D") == 2
    model = network(depthwise(kernel_size=(1, 25), padding="same"))
    assert convert(model).lowering["applied"] == {}


@pytest.mark.parametrize("explicit", [False, True])
def test_rows_that_see_only_padding_are_left_out(explicit):
    def body(x):
        x = L.ZeroPadding2D(3)(x) if explicit else x
        return L.DepthwiseConv2D(7, padding="valid" if explicit else "same")(x)

    model = network(body, (2, 5, 8))
    for quantize, most in (("none", 1e-5), ("int8", 0.03)):
        made = convert(model, quantize)
        assert made.lowering["plain_because"] is None
        assert ops(made.blob).count("DEPTHWISE_CONV_2D") == 2
        assert error(model, made.blob) < most


def test_kernel_without_bias_and_batch_norm_is_split():
    body = depthwise(kernel_size=7, padding="same", use_bias=False)
    model = network(body)
    made = convert(model)
    assert error(model, made.blob) < 1e-5
    assert sorted(ops(made.blob)) == sorted(ROWS)


def test_norm_that_others_read_too_is_not_lost():
    """A tensor between convolution and norm has to be there."""

    def body(x):
        x = L.DepthwiseConv2D(7, padding="same")(x)
        return L.Add()([x, L.BatchNormalization()(x)])

    model = network(body)
    assert error(model, convert(model).blob) < 1e-5


@pytest.mark.parametrize("size", [(12, 12), (11, 13)])
@pytest.mark.parametrize("pool", [(2, 2), (3, 2), ((2, 3), 1), (5, 1)])
@pytest.mark.slow
def test_average_pools_of_any_window_are_the_same(pool, size):
    for padding in ("same", "valid"):
        model = network(L.AveragePooling2D(*pool, padding), (*size, 6))
        made = convert(model, "int8")
        assert sum(made.lowering["applied"].values()) == 1
        assert error(model, made.blob) < 0.03


SLICES = {
    "from 0": lambda x: x[:, ::2, ::2],
    "from 1": lambda x: x[:, 1::2, 1::2],
    "to the middle": lambda x: x[:, 1:8:3, :7:3],
    "from behind": lambda x: x[:, -7::2, 2:-1:2],
    "one axis": lambda x: x[:, ::2],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLICES)
def test_slices_with_steps_take_the_same_pixels(name):
    model = network(Apply(SLICES[name]), (12, 11, 4))
    made = convert(model)
    assert made.lowering["applied"] == {"strided_slice": 1}
    assert error(model, made.blob) < 1e-6


@pytest.mark.parametrize("body", [squares, corners])
def test_squares_of_pixels_in_any_order_are_the_same(body):
    model = network(Apply(body))
    made = convert(model)
    assert "STRIDED_SLICE" not in ops(made.blob)
    assert error(model, made.blob) < 1e-6


def shared_gate(x):
    gate = Apply(relu6_gate)(x)
    return L.Concatenate()([L.Multiply()([x, gate]), gate])


RESEMBLE = {
    "another shift": Apply(lambda x: x * relu6_gate(x, shift=2.0)),
    "another scale": Apply(lambda x: x * relu6_gate(x, scale=5.0)),
    "another tensor": lambda x: L.Multiply()(
        [L.Conv2D(12, 1)(x), Apply(relu6_gate)(x)]
    ),
    "a gate that is read twice": shared_gate,
    "ReLU of a convolution": L.ReLU(),
    "channels that are sliced": Apply(lambda x: x[..., ::2]),
    "a multiplier that no convolution follows": depthwise(
        kernel_size=3, depth_multiplier=2
    ),
    "groups of several channels": lambda x: L.Conv2D(12, 3, groups=6)(x),
    "a window of 25 taps": depthwise(kernel_size=5),
    "a pool of 36 taps": L.AveragePooling2D(6),
    "a max pool of 25 taps": L.MaxPooling2D(5),
    "a symmetric border": L.ZeroPadding2D(2),
    "a transposed convolution that overlaps": lambda x: L.Conv2DTranspose(
        4, 3, 2
    )(x),
    "a mean": lambda x: L.GlobalAveragePooling2D()(x),
}


@pytest.mark.parametrize("name", RESEMBLE)
def test_what_only_resembles_is_left_alone(name):
    traced = tracing.trace(network(RESEMBLE[name]))
    for dtype in ("float32", "int8"):
        assert lower(traced, dtype, "xnnpack") == (traced, {})


def test_sixth_of_a_hard_swish_stays_where_no_convolution_takes_it():
    model = network(L.Activation("hard_swish"))
    assert ops(convert(model, "int8").blob) == ["ADD", "MUL", "MUL"]


def test_slopes_above_one_are_left_alone():
    model = network(lambda x: L.PReLU(shared_axes=[1, 2])(x))
    model.layers[-1].alpha.assign(np.linspace(0, 1.1, 12)[None, None])
    assert "prelu" not in lower(tracing.trace(model), "int8", "xnnpack")[1]


def test_slopes_of_zero_are_a_relu():
    model = network(lambda x: L.PReLU(shared_axes=[1, 2])(x))
    model.layers[-1].alpha.assign(np.zeros((1, 1, 12)))
    made = convert(model, "int8")
    assert made.lowering["applied"] == {"prelu": 1}
    assert ops(made.blob) == []


def test_none_leaves_everything_to_the_converter():
    model = network(depthwise_norm_relu)
    traced = tracing.trace(model)
    assert lower(traced, "int8", "none") == (traced, {})
    made = convert(model, backend="none")
    assert made.lowering == {
        "backend": "none", "applied": {}, "plain_because": None,
    }
    assert ops(made.blob) == ["DEPTHWISE_CONV_2D"]
    with pytest.raises(ConfigError, match="xnnpack or none.*'gpu'"):
        convert(model, backend="gpu")
