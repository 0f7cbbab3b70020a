"""Whole networks in the operators of a delegate, and what is done if not."""

import functools

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.export import networks
from tfnas import applications
from tfnas import export
from tfnas import tflite_packing
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.export import tracing
from tfnas.export.lowering.proof import doubt
from tfnas.export.runtime import open_interpreter

L = keras.layers
CALIBRATION = networks.coloured_images(40, seed=2, size=32)
IMAGES = networks.coloured_images(8, seed=3, size=32)


def _block(op, inputs, outputs, stride=1, **attrs):
    return Block(op, inputs, outputs, stride, attrs=attrs)


LARGE_KERNELS = Arch(
    (
        _block("conv", 3, 16, 2, k=3, act="hard_swish"),
        _block("mbconv", 16, 16, k=7, e=3),
        _block("mbconv_se", 16, 24, 2, k=7, e=3, act="hard_swish"),
        _block("pooled_conv", 24, 32),
        _block("classifier", 32, 10),
    ),
    (32, 32, 3),
    10,
)


@functools.cache
def several():
    """Returns a network of many patterns, one after the other."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="picture")
    x = L.Conv2D(16, 3, 2, "same", name="stem")(image)
    x = L.Activation("hard_swish", name="swish")(x)
    x = L.DepthwiseConv2D(7, padding="same", use_bias=False, name="large")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.ReLU(name="clip")(x)
    y = L.AveragePooling2D(3, 1, "same", name="pool")(x)
    x = L.Add(name="join")([x, L.ReLU(name="alone")(L.Concatenate()([
        L.Conv2D(8, 1, name="left")(y), L.Conv2D(8, 1, name="right")(x),
    ]))])
    x = L.Activation("silu", name="silu")(x)
    x = L.AveragePooling2D(2, name="half")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="double")(x)
    slopes = {"shared_axes": [1, 2], "alpha_initializer": "glorot_uniform"}
    x = L.PReLU(**slopes, name="sloped")(L.Conv2D(24, 1)(x))
    x = L.DepthwiseConv2D(6, name="map")(x)
    return keras.Model(image, L.Dense(10, name="scores")(L.Flatten()(x)))


@functools.cache
def _converted(quantize):
    images = CALIBRATION if quantize in ("int8", "int16x8") else None
    return export.convert(several(), quantize, images)


def test_many_patterns_of_one_network_are_all_found():
    assert _converted("none").lowering == {
        "backend": "xnnpack",
        "applied": {
            "depthwise_map": 1, "depth_multiplier": 1, "depthwise_rows": 1,
        },
        "plain_because": None,
    }
    assert _converted("int8").lowering["applied"] == {
        "hard_swish": 1, "prelu": 1, "depthwise_map": 1,
        "depth_multiplier": 1, "depthwise_rows": 1, "halving_pool": 1,
        "average_pool": 1, "lone_relu": 1,
    }


def test_many_patterns_of_one_network_compute_the_same():
    model = several()
    parity = export.parity(model, _converted("none").blob, IMAGES)
    assert parity.max_abs < 1e-5
    int8 = export.parity(model, _converted("int8").blob, IMAGES)
    spread = np.std(model(IMAGES, training=False))
    assert int8.mean_abs < 0.2 * spread
    for quantize in ("none", "int8"):
        described = export.describe(_converted(quantize).blob)
        assert described["delegate_nodes"] == 1


def test_lowered_files_keep_the_names_of_inputs_and_outputs():
    """The gradient of `silu` is a function that the file does not have."""
    for quantize in ("none", "int8"):
        interpreter = open_interpreter(_converted(quantize).blob)
        (signature,) = interpreter.get_signature_list().values()
        assert signature == {"inputs": ["image"], "outputs": ["logits"]}


def test_layers_of_lowered_files_are_known_by_name():
    errors = export.layer_errors(
        several(), _converted("none").blob, IMAGES
    )
    assert max(error.relative_rmse for error in errors) < 1e-4
    errors = export.layer_errors(several(), _converted("int8").blob, IMAGES)
    named = {error.layer for error in errors}
    assert {"stem", "clip", "pool", "join", "silu", "half", "scores"} <= named


def test_int8_of_large_kernels_is_one_piece():
    model = networks.random_weights(LARGE_KERNELS)
    made = export.convert(model, "int8", CALIBRATION)
    assert made.lowering["plain_because"] is None
    assert made.lowering["applied"]["depthwise_rows"] == 2
    assert export.describe(made.blob)["delegate_nodes"] == 1
    parity = export.parity(model, made.blob, IMAGES)
    spread = np.std(model(IMAGES, training=False))
    assert parity.mean_abs < 0.25 * spread


def test_int16_takes_hard_swishes():
    model = networks.random_weights(LARGE_KERNELS)
    made = export.convert(model, "int16x8", IMAGES)
    assert set(made.lowering["applied"]) == {"hard_swish"}
    export.require_integers(made.blob, "int16")
    logits = export.TFLiteClassifier(made.blob).predict(IMAGES)
    lost = np.abs(logits - model(IMAGES, training=False)).mean()
    rounded = networks.with_rounded_kernels(model)(IMAGES, training=False)
    assert np.abs(logits - rounded).mean() < 0.5 * lost


@pytest.mark.slow
@pytest.mark.parametrize(
    "space",
    [
        "densenas_mbv2@32", "densenas_resnet@32", "mobilenetv3@32",
        "autospace_proxyless@32", "autoshrink_cnn@32", "nasbench201",
    ],
)
def test_int16_takes_networks_of_every_space(space):
    model = networks.random_network(space, seed=0)
    made = export.convert(model, "int16x8", CALIBRATION[:2])
    export.require_integers(made.blob, "int16")


def test_mobilenet_v3_is_one_piece_in_int8():
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV3Small(
        (96, 96, 3), weights=None, classes=10, classifier_activation=None
    )
    networks.as_after_training(model)
    images = networks.coloured_images(4, seed=0, size=96)
    made = export.convert(model, "int8", images)
    assert made.lowering["applied"] == {"hard_swish": 19}
    assert export.describe(made.blob)["delegate_nodes"] <= 2


def test_network_with_functions_inside_is_lowered():
    """Keras puts convolutions of groups into functions of their own."""
    image = keras.Input((16, 16, 8))
    x = L.Conv2D(8, 7, padding="same", groups=8)(image)
    model = keras.Model(image, L.GlobalAveragePooling2D()(L.ReLU()(x)))
    made = export.convert(model)
    assert made.lowering["applied"] == {"grouped": 1, "depthwise_rows": 1}
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 8))
    assert export.parity(model, made.blob, images).max_abs < 1e-5


def test_rows_of_a_kernel_that_see_only_black_are_kept():
    """Pictures that are black above show no range for them."""
    image = keras.Input((7, 16, 3))
    x = L.Conv2D(8, 1, use_bias=False)(image)
    x = L.DepthwiseConv2D(7, bias_initializer="ones")(x)
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    black = np.random.default_rng(0).normal(size=(4, 7, 16, 3))
    black[:, :6] = 0
    made = export.convert(model, "int8", black)
    assert made.lowering["applied"] == {"depthwise_rows": 1, "far_scales": 1}
    assert export.describe(made.blob)["delegate_nodes"] == 1
    assert export.parity(model, made.blob, black).max_abs < 0.05
    # One that the delegate refuses is not kept.
    traced = tracing.trace(model)
    bad = schema.ModelT.InitFromObj(schema.Model.GetRootAs(made.blob))
    first = bad.subgraphs[0].operators[0].outputs[0]
    bad.subgraphs[0].tensors[first].quantization.scale = [1e-9]
    found = doubt(
        tflite_packing.pack(bad), traced, "int8", [black[:1]], lambda: b""
    )
    assert "the delegate refuses the lowered file" in found


def _small(seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, activation="relu")(image)
    return keras.Model(image, L.Dense(4)(L.GlobalAveragePooling2D()(x)))


def test_file_of_other_answers_is_doubted():
    images = networks.coloured_images(20, seed=0, size=16)
    batches = tracing.in_batches(images, 1)
    model, other = _small(0), _small(1)
    traced = tracing.trace(model)

    def never():
        raise AssertionError("the plain file is not needed")

    right, wrong = export.to_tflite(model), export.to_tflite(other)
    assert doubt(right, traced, "none", [], never) is None
    found = doubt(wrong, traced, "none", [], never)
    assert "off the float model" in found and "\n" not in found
    right = export.to_tflite(model, "int8", images)
    wrong = export.to_tflite(other, "int8", images)
    assert doubt(right, traced, "int8", batches, never) is None
    found = doubt(wrong, traced, "int8", batches, lambda: right)
    assert "the plain one 0.0" in found
    # What the plain file has as well is not the lowering's fault.
    assert doubt(wrong, traced, "int8", batches, lambda: wrong) is None


@pytest.mark.slow
def test_cells_of_lone_relus_and_pools_are_two_pieces_at_most():
    model = networks.random_network("nasbench201", seed=0)
    made = export.convert(model, "int8", CALIBRATION[:8])
    assert made.lowering["plain_because"] is None
    assert {"lone_relu", "average_pool"} <= set(made.lowering["applied"])
    assert export.describe(made.blob)["delegate_nodes"] <= 2


@pytest.mark.slow
def test_network_of_ours_is_one_piece_in_every_type():
    model = applications.TFNASSmall(weights=None)
    for quantize in ("none", "float16", "int8"):
        images = CALIBRATION if quantize == "int8" else None
        made = export.convert(model, quantize, images)
        assert made.lowering["plain_because"] is None
        assert "depthwise_rows" in made.lowering["applied"]
        assert export.describe(made.blob)["delegate_nodes"] == 1
