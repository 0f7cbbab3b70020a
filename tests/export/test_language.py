"""A language model's `.tflite` steps through a text as Keras does."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import language_models as lm
from tfnas import export
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export import language
from tfnas.recurrent_model import build_language_model
from tfnas.recurrent_model import language_layer
from tfnas.spaces.recurrent import SHRINK_RNN

# Below 1024 elements the converter leaves a kernel alone.
WORDS, WIDTH = 200, 40


@pytest.fixture(scope="module")
def model():
    """A model of ShrinkRNN's cell, whose logits and state are no trifles."""
    model = build_language_model(
        lm.make_arch(SHRINK_RNN, WIDTH, WORDS), table_range=1.0
    )
    layer = language_layer(model)
    for kernel in layer.trainable_weights[2:]:
        kernel.assign(8 * kernel)
    layer.bias.assign(np.random.default_rng(0).normal(0, 0.3, WORDS))
    return model


@pytest.fixture(scope="module")
def words():
    return np.random.default_rng(1).integers(0, WORDS, 50)


@pytest.fixture(scope="module")
def files(model):
    return {q: language.to_step_tflite(model, q) for q in language.QUANTIZE}


def test_float_steps_equal_keras_over_fifty_words(model, files, words):
    parity = language.step_parity(model, files["none"], words)
    assert parity.n == 50
    assert parity.max_abs < 1e-4
    assert parity.argmax_agreement == 1


def test_int8_weights_stay_close_over_fifty_words(model, files, words):
    parity = language.step_parity(model, files["dynamic"], words)
    logits = language.KerasStepper(language_layer(model)).logits(words)
    assert np.ptp(logits) > 3  # what the differences are seen against
    assert parity.max_abs < 0.05
    assert parity.argmax_agreement > 0.95


def test_quantized_files_are_smaller(files):
    sizes = {q: len(blob) for q, blob in files.items()}
    assert sizes["float16"] < 0.6 * sizes["none"]
    assert sizes["dynamic"] < 0.4 * sizes["none"]
    assert "int8" in export.describe(files["dynamic"])["tensor_dtypes"]
    assert "int8" not in export.describe(files["none"])["tensor_dtypes"]


def test_steps_equal_the_formulas(model, files, words):
    layer = language_layer(model)
    kernels, table = lm.kernels_of(layer), np.array(layer.table)
    state, logits = np.zeros((1, WIDTH)), []
    for word in words[:10]:
        x = table[word][None]
        state = lm.cell_step(layer.parts.cell, kernels, x, state)
        logits.append((state @ table.T)[0] + np.array(layer.bias))
    received = language.TFLiteStepper(files["none"]).logits(words[:10])
    np.testing.assert_allclose(received, logits, atol=1e-4)


def test_perplexity_is_that_of_the_whole_sequence(model, files, words):
    state = np.zeros((1, WIDTH), np.float32)
    logits, _ = model([words[None, :-1].astype(np.int32), state])
    losses = keras.losses.sparse_categorical_crossentropy(
        words[None, 1:], logits, from_logits=True
    )
    expected = math.exp(np.mean(losses))
    steppers = [
        language.KerasStepper(language_layer(model)),
        language.TFLiteStepper(files["none"]),
    ]
    for stepper in steppers:
        assert language.perplexity(stepper, words) == pytest.approx(
            expected, rel=1e-4
        )
        # A second reading starts from zero again.
        assert language.perplexity(stepper, words) == pytest.approx(
            expected, rel=1e-4
        )


def test_perplexity_of_even_odds_is_the_number_of_words(words):
    model = build_language_model(lm.make_arch("tanh:", WIDTH, WORDS))
    layer = language_layer(model)
    layer.table.assign(tf.zeros_like(layer.table))
    stepper = language.KerasStepper(layer)
    assert language.perplexity(stepper, words) == pytest.approx(WORDS)


def test_models_are_read_back_from_their_files(tmp_path, model, files, words):
    model.save(tmp_path / "model.keras")
    (tmp_path / "model.tflite").write_bytes(files["none"])
    read = [
        language.load_language_model(tmp_path / f"model.{kind}")
        for kind in ("keras", "tflite")
    ]
    assert [r.words for r in read] == [WORDS, WORDS]
    np.testing.assert_allclose(
        read[0].logits(words[:5]), read[1].logits(words[:5]), atol=1e-4
    )


def test_other_models_are_refused(tmp_path, files):
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    network = keras.Model(image, keras.layers.Dense(4)(pooled))
    with pytest.raises(ExportError, match="expected a language model"):
        language.to_step_tflite(network)
    network.save(tmp_path / "a.keras")
    with pytest.raises(ExportError, match="a.keras: expected a language"):
        language.load_language_model(tmp_path / "a.keras")
    with pytest.raises(ExportError, match="expected a step"):
        language.TFLiteStepper(export.to_tflite(network), "a.tflite")
    (tmp_path / "half.tflite").write_bytes(files["none"][:1000])
    with pytest.raises(ArtifactError, match="half.tflite: expected a whole"):
        language.load_language_model(tmp_path / "half.tflite")
    with pytest.raises(ArtifactError, match="absent.tflite"):
        language.load_language_model(tmp_path / "absent.tflite")


def test_wrong_wishes_are_refused(model, files):
    with pytest.raises(ConfigError, match="none, float16, dynamic"):
        language.to_step_tflite(model, "int8")
    with pytest.raises(ConfigError, match="words to compare on"):
        language.step_parity(model, files["none"], np.array([], int))
    stepper = language.TFLiteStepper(files["none"])
    for words in ([3], [3, WORDS]):
        with pytest.raises(ConfigError, match="at least two words"):
            language.perplexity(stepper, np.array(words))
