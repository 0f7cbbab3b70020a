"""A `.tflite` computes what its Keras model computes, in the type asked."""

import functools
from typing import NamedTuple

import keras
import numpy as np
import pytest

from tests.export.networks import coloured_images
from tests.export.networks import random_network
from tests.export.networks import with_rounded_kernels
from tfnas import export
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export.runtime import open_interpreter

CALIBRATION = coloured_images(100, seed=2)
IMAGES = coloured_images(60, seed=3)

# Networks of each space consist of nothing else.
OPS = {
    "densenas_mbv2@32": {
        "ADD",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "MEAN",
        "PAD",
    },
    "densenas_resnet@32": {"ADD", "CONV_2D", "FULLY_CONNECTED", "MEAN", "PAD"},
}


class Network(NamedTuple):
    """A network of a space and its files."""

    space: str
    model: keras.Model
    float32: bytes
    int8: bytes


@functools.cache
def _exported(space):
    model = random_network(space, seed=1)
    return Network(
        space,
        model,
        export.to_tflite(model),
        export.to_tflite(model, "int8", CALIBRATION),
    )


@pytest.fixture(params=OPS)
def network(request):
    return _exported(request.param)


@pytest.fixture
def resnet():
    return _exported("densenas_resnet@32")


def _small_model(layer):
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(layer(image))
    return keras.Model(image, keras.layers.Dense(4)(x))


def test_float_file_equals_keras(network):
    parity = export.parity(network.model, network.float32, IMAGES)
    assert parity.max_abs < 1e-4
    assert parity.argmax_agreement == 1
    assert parity.n == len(IMAGES)
    # Or else the files would agree on nothing.
    logits = network.model(IMAGES, training=False).numpy()
    assert np.std(logits, axis=0).min() > 0.05
    assert len(set(logits.argmax(axis=-1))) > 5


def test_int8_file_is_int8_from_end_to_end(network):
    described = export.describe(network.int8)
    assert set(described["ops"]) == OPS[network.space]
    assert set(described["tensor_dtypes"]) == {"int8", "int32"}
    assert described["size_bytes"] == len(network.int8)
    export.require_int8(network.int8)


def test_whole_network_is_one_delegate_node(network):
    for blob in (network.float32, network.int8):
        assert export.describe(blob)["delegate_nodes"] == 1


def test_file_takes_one_image_at_a_time(network):
    interpreter = open_interpreter(network.int8)
    (image,) = interpreter.get_input_details()
    assert image["shape_signature"].tolist() == [1, 32, 32, 3]
    (signature,) = interpreter.get_signature_list().values()
    assert signature["inputs"] == ["image"]


def test_batch_norms_are_folded_into_convolutions(network):
    convolutions = [
        layer
        for layer in network.model.layers
        if isinstance(
            layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        )
    ]
    ops = export.describe(network.float32)["ops"]
    assert len(convolutions) == ops["CONV_2D"] + ops.get("DEPTHWISE_CONV_2D", 0)
    assert "MUL" not in ops


def test_int8_puts_most_images_into_the_same_class(resnet):
    parity = export.parity(resnet.model, resnet.int8, IMAGES)
    assert parity.argmax_agreement > 0.75  # an untrained network's margins
    logits = resnet.model(IMAGES, training=False)
    assert parity.mean_abs < 0.1 * np.std(logits)
    assert parity.max_abs > 0


def test_int8_with_float_ends_gives_the_same_logits(resnet):
    blob = export.to_tflite(resnet.model, "int8", CALIBRATION, io="float32")
    ops = export.describe(blob)["ops"]
    assert ops["QUANTIZE"] == ops["DEQUANTIZE"] == 1
    np.testing.assert_allclose(
        export.TFLiteClassifier(blob).predict(IMAGES),
        export.TFLiteClassifier(resnet.int8).predict(IMAGES),
        atol=1e-5,
    )
    export.require_int8(blob, float_io=True)
    with pytest.raises(ExportError, match="QUANTIZE: float32 input"):
        export.require_int8(blob)


def test_int16_activations_lose_what_the_weights_lose_and_no_more(resnet):
    blob = export.to_tflite(resnet.model, "int16x8", CALIBRATION)
    export.require_integers(blob, "int16")
    logits = export.TFLiteClassifier(blob).predict(IMAGES)
    lost = np.abs(logits - resnet.model(IMAGES, training=False)).mean()
    rounded = with_rounded_kernels(resnet.model)(IMAGES, training=False)
    assert np.abs(logits - rounded).mean() < 0.1 * lost
    assert lost < export.parity(resnet.model, resnet.int8, IMAGES).mean_abs


def test_int16_files_take_int16_or_floats(resnet):
    blob = export.to_tflite(resnet.model, "int16x8", CALIBRATION[:5])
    with pytest.raises(ExportError, match="CONV_2D: int16 input"):
        export.require_int8(blob)
    floats = export.to_tflite(
        resnet.model, "int16x8", CALIBRATION[:5], io="float32"
    )
    export.require_integers(floats, "int16", float_io=True)
    with pytest.raises(ConfigError, match="io='int8'"):
        export.to_tflite(resnet.model, "int16x8", CALIBRATION[:5], io="int8")


def test_smaller_weights_make_smaller_files(resnet):
    whole = resnet.float32
    half = export.to_tflite(resnet.model, "float16")
    dynamic = export.to_tflite(resnet.model, "dynamic")
    assert len(half) < 0.55 * len(whole)
    assert len(dynamic) < 0.35 * len(whole)
    assert export.parity(resnet.model, half, IMAGES).max_abs < 0.02
    assert export.parity(resnet.model, dynamic, IMAGES).max_abs < 1
    for blob in (whole, half, dynamic):
        with pytest.raises(ExportError, match="CONV_2D: float32 input"):
            export.require_int8(blob)


def test_every_form_of_calibration_images_gives_the_same_bytes():
    model = _small_model(keras.layers.Conv2D(4, 3))
    images = np.random.default_rng(0).normal(size=(10, 8, 8, 3))
    expected = export.to_tflite(model, "int8", images)
    for representative in (
        images,
        list(images),
        [images[:7], images[7:]],
        ((batch, np.zeros(5)) for batch in np.split(images, 2)),
    ):
        assert export.to_tflite(model, "int8", representative) == expected


def test_converter_is_silent(capfd):
    model = _small_model(keras.layers.Conv2D(4, 3))
    export.describe(export.to_tflite(model, "int8", np.ones((2, 8, 8, 3))))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "representative, message",
    [
        (None, "int8 needs `representative` images"),
        ([], "at least one image"),
        (CALIBRATION[:0], "at least one image"),
        (CALIBRATION[:, :16], r"\(32, 32, 3\).*shape=\(16, 32, 3\)"),
        (CALIBRATION[..., 0], r"\(32, 32, 3\)"),
        (np.full((2, 32, 32, 3), np.nan), "finite"),
    ],
    ids=["none", "no item", "no image", "size", "channels", "nan"],
)
def test_wrong_calibration_images_are_refused(resnet, representative, message):
    with pytest.raises(ConfigError, match=message):
        export.to_tflite(resnet.model, "int8", representative)


def test_unknown_choices_are_refused(resnet):
    with pytest.raises(ConfigError, match="quantize='int4'"):
        export.to_tflite(resnet.model, "int4")
    with pytest.raises(ConfigError, match="io='int16'"):
        export.to_tflite(resnet.model, "int8", CALIBRATION, io="int16")


def test_op_that_stays_float_is_listed():
    model = _small_model(keras.ops.sin)
    with pytest.raises(ExportError, match="SIN: float32 input"):
        export.to_tflite(model, "int8", np.ones((1, 8, 8, 3)))


def test_op_that_tflite_lacks_is_named():
    with pytest.raises(ExportError, match="Erfinv"):
        export.to_tflite(_small_model(keras.ops.erfinv))


def test_model_of_two_images_is_refused():
    pool = keras.layers.GlobalAveragePooling2D()
    images = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    both = keras.Model(images, pool(keras.layers.add(images)))
    with pytest.raises(ExportError, match="expected one image as input"):
        export.to_tflite(both)


def test_damaged_file_is_refused(resnet):
    for blob in (b"", b"no model", resnet.int8[:-100]):
        with pytest.raises(ArtifactError, match="whole .tflite model"):
            export.describe(blob)
