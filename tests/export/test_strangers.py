"""Any Keras model of one image becomes a file that computes the same."""

import keras
import numpy as np
import pytest

from tests.export import strangers
from tfnas import export
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export import report as reports
from tfnas.export.runtime import named_outputs
from tfnas.export.runtime import open_interpreter

L = keras.layers


def _images(model, n=6):
    return strangers.images(n, strangers.image_shape(model), seed=3)


def _convert(model, *arguments, **named):
    size = strangers.image_shape(model)[:2]
    return export.to_tflite(model, *arguments, image_size=size, **named)


def _run(blob, images):
    """Returns the outputs of a float file by their names."""
    runner = open_interpreter(blob).get_signature_runner()
    (given,) = runner.get_input_details().values()
    parts = np.split(images, len(images) // given["shape"][0])
    found = [runner(image=part) for part in parts]
    return {name: np.concatenate([f[name] for f in found]) for name in found[0]}


@pytest.mark.parametrize("name", strangers.ALL)
def test_float_file_gives_what_keras_gives(name):
    model = strangers.ALL[name]()
    images = _images(model, 8)
    blob = _convert(model)
    received = _run(blob, images)
    expected = keras.tree.flatten(model(images, training=False))
    names = export.tracing.output_names(model)
    assert set(received) == set(names)
    for output, want in zip(names, expected, strict=True):
        np.testing.assert_allclose(received[output], want, atol=1e-5)
    parity = export.parity(model, blob, images)
    assert parity.max_abs < 1e-5 and parity.n == 8
    assert parity.argmax_agreement == 1


@pytest.mark.parametrize("name", strangers.ALL)
def test_parity_of_an_int8_file_is_that_by_hand(name):
    model = strangers.ALL[name]()
    images = _images(model, 7)  # no whole batches
    blob = _convert(model, "int8", images, io="float32")
    filled = np.concatenate([images, images[:1]])
    received = _run(blob, filled)
    expected = keras.tree.flatten(model(images, training=False))
    differences = [
        np.abs(received[output][:7] - want).ravel()
        for output, want in zip(
            export.tracing.output_names(model), expected, strict=True
        )
    ]
    parity = export.parity(model, blob, images)
    by_hand = np.concatenate(differences)
    assert 0 < parity.max_abs == pytest.approx(by_hand.max(), rel=1e-4)
    assert parity.mean_abs == pytest.approx(by_hand.mean(), rel=1e-4)


def test_batch_of_the_model_is_that_of_the_file():
    model = strangers.batch_of_four()
    images = _images(model, 6)
    for blob in (_convert(model), _convert(model, "int8", images)):
        interpreter = open_interpreter(blob)
        (given,) = interpreter.get_input_details()
        assert given["shape"].tolist() == [4, 16, 16, 3]
    # The images that fill the last batch change no range.
    assert blob == _convert(model, "int8", np.resize(images, (8, 16, 16, 3)))


def test_size_of_a_model_of_free_size_must_be_said():
    model = strangers.free_size()
    with pytest.raises(ExportError, match="expected an image size"):
        export.to_tflite(model)
    with pytest.raises(ConfigError, match=r"\(20, 24, 3\)"):
        export.to_tflite(
            model, "int8", np.ones((2, 16, 16, 3)), image_size=(20, 24)
        )
    blob = export.to_tflite(model, image_size=(20, 24))
    images = strangers.images(2, (20, 24, 3))
    assert export.parity(model, blob, images).max_abs < 1e-5
    with pytest.raises(ExportError, match=r"\(12, 20\).*\(16, 16\)"):
        export.to_tflite(strangers.oblong(), image_size=(16, 16))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_exported_from_a_float32_copy(policy):
    keras.backend.clear_session()
    twin = strangers.nested()
    keras.backend.clear_session()  # the same names again
    try:
        keras.config.set_dtype_policy(policy)
        model = strangers.nested()
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(twin.get_weights())
    images = _images(model)
    blob = _convert(model)
    assert set(export.describe(blob)["tensor_dtypes"]) <= {"float32", "int32"}
    assert export.parity(twin, blob, images).max_abs < 1e-5
    assert export.parity(model, blob, images).max_abs < 1e-5
    assert _convert(model, "int8", images) == _convert(twin, "int8", images)


def test_image_of_bytes_becomes_one_of_floats():
    image = keras.Input((16, 16, 3), dtype="uint8")
    x = L.Conv2D(4, 3)(L.Rescaling(1 / 255)(image))
    model = keras.Model(image, L.Dense(10)(L.GlobalAveragePooling2D()(x)))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3))
    expected = model(pixels.astype(np.uint8)).numpy()
    received = _run(_convert(model), pixels.astype(np.float32))["logits"]
    np.testing.assert_allclose(received, expected, atol=1e-5)
    blob = _convert(model, "int8", pixels)
    export.require_int8(blob)
    assert export.parity(model, blob, pixels).max_abs < 0.1


@pytest.mark.parametrize("quantize", export.tflite.QUANTIZE)
def test_weights_that_are_no_numbers_are_refused_before_all_else(quantize):
    model = strangers.sequential()
    model.get_layer("conv").bias.assign([0.0] * 7 + [np.nan])
    # Not even the images are looked at.
    with pytest.raises(ExportError, match="bias=nan in layer .*conv"):
        export.to_tflite(model, quantize, [])


def test_counting_operators_may_stand_in_an_int8_file():
    image = keras.Input((8, 8, 3))
    x = L.Flatten()(L.Conv2D(4, 3)(image))
    top, places = keras.ops.top_k(x, 3)
    model = keras.Model(image, {"top": top, "places": places})
    images = strangers.images(8, (8, 8, 3))
    for io in ("int8", "float32"):
        blob = export.to_tflite(model, "int8", images, io=io)
        export.require_int8(blob, float_io=io == "float32")
        outputs = named_outputs(open_interpreter(blob))
        assert set(outputs) == {"top", "places"}


@pytest.mark.parametrize(
    "layer",
    [L.LayerNormalization, L.RMSNormalization, lambda: L.GroupNormalization(4)],
    ids=["layer", "rms", "group"],
)
def test_normalisations_compute_in_int8_though_tflite_squares_no_int8(layer):
    image = keras.Input((8, 8, 3))
    x = layer()(L.Conv2D(8, 3)(image))
    model = keras.Model(image, L.Dense(10)(L.Flatten()(x)))
    images = strangers.images(20, (8, 8, 3))
    blob = export.to_tflite(model, "int8", images)
    export.require_int8(blob)
    scores = model(images, training=False).numpy()
    parity = export.parity(model, blob, images)
    assert parity.mean_abs < 0.05 * np.std(scores)
    # The float file is as the graph is.
    ops = export.describe(export.to_tflite(model))["ops"]
    assert {"NEG", "SQUARE"} & set(ops)


def test_exact_gelu_stays_one_operator():
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, activation="gelu")(image)
    x = -L.LayerNormalization()(x)
    model = keras.Model(image, L.Flatten()(x))
    blob = export.to_tflite(model, "int8", strangers.images(8, (8, 8, 3)))
    assert export.describe(blob)["ops"]["GELU"] == 1
    with pytest.raises(ExportError, match="cannot run .*SquaredDifference"):
        export.to_tflite(model, "int16x8", strangers.images(8, (8, 8, 3)))


def test_loops_are_refused_in_integers():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.LSTM(4)(L.Reshape((8, 24))(image)))
    images = strangers.images(8, (8, 8, 3))
    assert export.parity(model, export.to_tflite(model), images).max_abs < 1e-5
    with pytest.raises(ExportError, match="no loops.*lstm"):
        export.to_tflite(model, "int8", images)  # the converter would crash


def test_names_that_tensorflow_refuses_are_named():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Flatten(name="the flat one")(image))
    with pytest.raises(ExportError, match="names of layers.*'the flat one'"):
        export.to_tflite(model)


def test_what_tflite_lacks_is_said_in_one_line():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.ops.erfinv(keras.ops.erf(image)))
    with pytest.raises(ExportError) as caught:
        export.to_tflite(model)
    assert str(caught.value) == (
        "TFLite cannot hold this model: it has no operator for Erf, Erfinv"
    )
    model = keras.Model(image, L.Flatten()(keras.ops.sin(image)))
    with pytest.raises(ExportError) as caught:
        export.to_tflite(model, "int8", np.ones((1, 8, 8, 3)))
    assert "\n" not in str(caught.value) and "SIN" in str(caught.value)


@pytest.mark.parametrize("name", ["several_outputs", "batch_of_four"])
def test_report_is_whole_for_strangers(name):
    model = strangers.ALL[name]()
    images, float32 = _images(model), _convert(model)
    blob = _convert(model, "int8", images)
    report = export.make_report(model, float32, blob, images)
    assert not [key for key in report if key.endswith("missing")]
    assert len(report["layers"]) == sum(report["ops"].values())
    assert report["layers_left_out"] == 0


def test_diagnosis_that_fails_leaves_the_other_figures(monkeypatch):
    model = strangers.grey()
    images, blob = _images(model), _convert(model)

    def fails(*arguments):
        raise RuntimeError("out of luck\nand of words")

    monkeypatch.setattr(reports, "compare_layers", fails)
    report = export.make_report(model, blob, blob, images)
    assert report["layers"] == []
    assert report["layers_missing"] == "RuntimeError: out of luck"
    assert report["parity"]["n"] == len(images)
    assert "no layers: RuntimeError: out of luck" in export.format_report(
        report
    )
    # Nor can a file of another model stop its own report.
    monkeypatch.undo()
    other = _convert(strangers.oblong())
    report = export.make_report(model, blob, other, images)
    assert report["parity"] is None and report["layers"] == []
    assert "(12, 20, 3)" in report["parity_missing"]
    assert report["size_bytes"]["file"] == len(other)
    assert "no parity: " in export.format_report(report)


def test_no_accuracy_is_no_small_drop():
    with pytest.raises(ExportError, match="none .no classifier.*nothing is"):
        export.check_drop(
            {"accuracy": None, "accuracy_missing": "no classifier"}, 1.0
        )


def test_agreement_needs_to_know_which_output_says_the_class():
    image = keras.Input((8, 8, 3))
    flat = L.Flatten()(image)
    model = keras.Model(image, {"a": L.Dense(3)(flat), "b": L.Dense(4)(flat)})
    blob, images = export.to_tflite(model), strangers.images(4, (8, 8, 3))
    assert export.parity(model, blob, images).argmax_agreement is None
    assert export.parity(model, blob, images, "b").argmax_agreement == 1


def test_file_of_other_outputs_is_refused():
    model, other = strangers.several_outputs(), strangers.sequential()
    with pytest.raises(ExportError, match="outputs of the model.*boxes"):
        export.parity(model, _convert(other), _images(model))
