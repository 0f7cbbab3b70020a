"""The report of layers tells the truth of any Keras model.

Its oracle is not its own: a float file has no error anywhere, a layer whose
weights are spoilt stands out, and the last error is that of the outputs.
"""

import functools

import keras
import numpy as np
import pytest

from tests.export import networks
from tests.export import strangers
from tfnas import export
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export import qat
from tfnas.export.layer_error import compare_layers
from tfnas.export.reference import layer_path
from tfnas.export.runtime import open_interpreter
from tfnas.export.tracing import output_names

L = keras.layers


def _images(model, n=4, seed=3):
    return strangers.images(n, strangers.image_shape(model), seed)


def _convert(model, quantize="none"):
    # Nothing that is compared is cut off at the end of a range.
    images = np.concatenate([_images(model), _images(model, 20, seed=1)])
    return export.to_tflite(
        model, quantize, None if quantize == "none" else images,
        image_size=strangers.image_shape(model)[:2],
    )


@functools.cache
def _exported(name):
    """Returns a model, its float file and its int8 file."""
    model = strangers.ALL[name]()
    return model, _convert(model), _convert(model, "int8")


@pytest.fixture(params=strangers.ALL)
def stranger(request):
    return _exported(request.param)


def test_float_file_has_no_error_and_no_operator_is_left_out(stranger):
    model, blob, _ = stranger
    compared = compare_layers(model, blob, _images(model), blob)
    assert len(compared.errors) == sum(export.describe(blob)["ops"].values())
    assert compared.left_out == 0
    assert max(e.relative_rmse for e in compared.errors) < 1e-5


def test_rounding_renames_nothing_beyond_recognition(stranger):
    model, float32, blob = stranger
    compared = compare_layers(model, blob, _images(model), float32)
    assert compared.left_out == 0
    errors = [error.relative_rmse for error in compared.errors]
    assert 0 < max(errors) < 0.1


@functools.cache
def _activations():
    """A network in which activations stand alone, or come in steps."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((12, 12, 3))
    for name in ("silu", "hard_silu", "relu"):
        x = L.Conv2D(8, 3, padding="same")(x)
        x = L.Add()([x, L.Activation(name, name=name)(x)])
    x = L.PReLU(
        shared_axes=[1, 2], name="prelu",
        alpha_initializer=keras.initializers.Constant(0.3),
    )(x)
    outputs = L.Dense(4)(L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("lower", ["none", "xnnpack"])
def test_activations_are_compared_however_they_are_written(lower):
    model = _activations()
    images = np.random.default_rng(0).random((8, 12, 12, 3), np.float32)
    blob = export.to_tflite(model, "int8", images, lower=lower)
    float32 = export.to_tflite(model, lower=lower)
    errors = compare_layers(model, blob, images, float32).errors
    found = {
        layer: error.relative_rmse
        for error in errors
        for layer in (error.layer, *error.fused)
    }
    names = {"silu", "hard_silu", "relu", "prelu"}
    assert names <= set(found)
    assert all(found[name] < 0.05 for name in names)  # of the right tensor


def _spoil(layer):
    """Moves the kernel of a layer by a third of its size."""
    kernel = np.array(layer.kernel)
    rng = np.random.default_rng(0)
    layer.kernel.assign(kernel + rng.normal(0, kernel.std() / 3, kernel.shape))


@pytest.mark.parametrize(
    "name, path, quantize",
    [
        ("sequential", "conv", "int8"),
        ("sequential", "scores", "none"),
        ("nested", "backbone/conv_1", "none"),
        ("nested", "backbone/depthwise", "int8"),
        ("nested", "scores", "int8"),
        ("shared", "conv", "none"),
        ("shared", "conv_1", "int8"),
        ("shared", "conv_2", "none"),
        ("several_outputs", "boxes", "int8"),
        ("list_of_outputs", "conv", "none"),
    ],
)
def test_spoilt_layer_stands_out(name, path, quantize):
    model, float32, _ = _exported(name)
    layer, before = model, model.get_weights()
    for part in path.split("/"):
        layer = layer.get_layer(part)
    _spoil(layer)
    blob = _convert(model, quantize)
    model.set_weights(before)
    errors = export.layer_errors(model, blob, _images(model), float32)
    worst = max(errors, key=lambda error: error.added)
    assert path in (worst.layer, *worst.fused)
    assert worst.added > 0.1


def test_float_file_is_made_where_none_is_given():
    model, float32, int8 = _exported("several_outputs")
    images = _images(model)
    assert export.layer_errors(model, int8, images) == export.layer_errors(
        model, int8, images, float32
    )


def test_last_error_of_each_output_is_that_by_hand(stranger):
    model, _, blob = stranger
    images = _images(model)
    outputs = keras.tree.flatten(model(images, training=False))
    runner = open_interpreter(blob, delegate=False).get_signature_runner()
    (given,) = runner.get_input_details().values()
    scale, zero = given["quantization"]
    levels = np.clip(np.round(images / scale) + zero, -128, 127)
    parts = np.split(levels.astype(np.int8), len(images) // given["shape"][0])
    received = [runner(image=part) for part in parts]
    errors = export.layer_errors(model, blob, images)
    found = np.array([error.relative_rmse for error in errors])
    for name, want in zip(output_names(model), outputs, strict=True):
        scale, zero = runner.get_output_details()[name]["quantization"]
        got = np.concatenate([part[name].astype(float) for part in received])
        noise = np.mean(((got - zero) * scale - want) ** 2)
        by_hand = np.sqrt(noise / np.mean(np.square(want)))
        assert np.abs(found / by_hand - 1).min() < 1e-5


@pytest.mark.slow
def test_layers_of_a_model_trained_for_int8_are_found_by_name():
    model = networks.random_weights(networks.SMALL, seed=1)
    digits = networks.digits(16, 32)
    tuned = qat.quantize_aware(
        model, networks.SMALL, digits,
        qat.FineTuning(epochs=1, batch_size=16, lr=1e-6),
    )
    blob = qat.to_int8(tuned)
    compared = compare_layers(model, blob, digits.test.arrays()[0])
    named = [e for e in compared.errors if e.layer.startswith("b0")]
    assert len(named) >= 0.8 * sum(export.describe(blob)["ops"].values())
    assert compared.errors[-1].layer == model.layers[-1].name
    assert max(error.relative_rmse for error in compared.errors) < 0.2


def test_operators_of_other_types_and_several_results_are_passed_over():
    image = keras.Input((8, 8, 3))
    left, right = keras.ops.split(L.Conv2D(8, 3)(image), 2, axis=-1)
    bigger = keras.ops.where(left > right, left, right)
    top, places = keras.ops.top_k(L.Flatten()(bigger), 5)
    model = keras.Model(image, [top, places])
    compared = compare_layers(model, _convert(model), _images(model))
    assert max(error.relative_rmse for error in compared.errors) < 1e-5
    ops = [error.op for error in compared.errors]
    assert "TOPK_V2" in ops and "GREATER" not in ops


def test_paths_are_told_from_what_tensorflow_makes_of_names():
    model = strangers.shared()
    for operation, path in (
        ("conv_1/Relu", "conv"), ("conv_3/Relu", "conv"),
        ("conv_1_1/BiasAdd", "conv_1"), ("conv_2_1/BiasAdd", "conv_2"),
        ("pool_1/MaxPool2d", "pool"), ("Relu", "Relu"),
    ):
        assert layer_path(model, operation) == path
    model = strangers.nested()
    path = layer_path(model, "backbone_1/conv_1_1/convolution")
    assert path == "backbone/conv_1"


def test_what_does_not_fit_is_refused():
    (model, blob, _), (other, _, _) = _exported("oblong"), _exported("grey")
    with pytest.raises(ConfigError, match="images to compare on"):
        export.layer_errors(model, blob, _images(model, 0))
    with pytest.raises(ConfigError, match=r"\(12, 20, 3\).*\(16, 16, 1\)"):
        export.layer_errors(model, blob, _images(other))
    with pytest.raises(ExportError, match="Expected a file of images"):
        export.layer_errors(other, blob, _images(other))
