"""Language models as `.tflite` files: a step, its state in and out."""

import abc
import math
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfnas.artifacts import PathLike
from tfnas.cli import quiet
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export.loading import load_keras
from tfnas.export.parity import Parity
from tfnas.export.runtime import THREADS
from tfnas.export.runtime import open_interpreter
from tfnas.export.tflite import check_choice
from tfnas.export.tflite import run_converter
from tfnas.recurrent_model import LanguageModel
from tfnas.recurrent_model import language_layer

# Integers from end to end would add up rounding errors in the state.
QUANTIZE = ("none", "float16", "dynamic")
_PROGRESS = 1000  # words between two states of the progress bar


class Stepper(abc.ABC):
    """A language model that reads a word at a time.

    Attributes:
        words: Size of the vocabulary.
        state: `(1, width)`; zeros before a text.
    """

    words: int
    state: np.ndarray

    def start(self) -> None:
        """Forgets what was read."""
        self.state = np.zeros_like(self.state)

    @abc.abstractmethod
    def step(self, word: int) -> np.ndarray:
        """Reads a word; returns the logits of the next, `(words,)`."""

    def logits(self, words: np.ndarray) -> np.ndarray:
        """Reads words from the start; returns all logits, `(n, words)`."""
        self.start()
        return np.stack([self.step(int(word)) for word in words])

    def loss(self, words: np.ndarray) -> float:
        """Returns the mean loss of each word of a text but the first."""
        self.start()
        total = 0.0
        bar = tqdm(
            total=len(words) - 1, desc="evaluate", unit="word", leave=False,
            disable=None, miniters=_PROGRESS,  # shown on a terminal only
        )
        with bar:
            for word, after in zip(words[:-1], words[1:], strict=True):
                logits = self.step(int(word)).astype(np.float64)
                top = logits.max()
                total += top + np.log(np.exp(logits - top).sum())
                total -= logits[after]
                bar.update()
        return total / (len(words) - 1)


class KerasStepper(Stepper):
    """The step model of a trained language model, run by TensorFlow.

    Args:
        layer: The language model.
    """

    def __init__(self, layer: LanguageModel):
        self.words = layer.parts.words
        self.state = np.zeros((1, layer.parts.width), np.float32)
        self._run = _step_function(layer)

    def step(self, word: int) -> np.ndarray:
        result = self._run(
            word=tf.constant([word], tf.int32), state=tf.constant(self.state)
        )
        self.state = result["state"].numpy()
        return result["logits"].numpy()[0]


class TFLiteStepper(Stepper):
    """A `.tflite` file of `to_step_tflite`, run by LiteRT.

    Args:
        blob: Content of the file.
        source: Its name, for error messages.

    Raises:
        ArtifactError: if the bytes are no model that can be run.
        ExportError: if it is no such step.
    """

    def __init__(self, blob: bytes, source: str = "model"):
        interpreter = open_interpreter(blob, source, threads=THREADS)
        signatures = interpreter.get_signature_list()
        names = [
            {key: sorted(value) for key, value in signature.items()}
            for signature in signatures.values()
        ]
        expected = {
            "inputs": ["state", "word"], "outputs": ["logits", "state"],
        }
        if names != [expected]:
            raise ExportError(
                f"{source}: expected a step of a language model, {expected}. "
                f"Received: {names}"
            )
        self._step = interpreter.get_signature_runner()
        self.state = np.zeros(
            self._step.get_input_details()["state"]["shape"], np.float32
        )
        shape = self._step.get_output_details()["logits"]["shape"]
        self.words = int(shape[-1])

    def step(self, word: int) -> np.ndarray:
        result = self._step(word=np.array([word], np.int32), state=self.state)
        self.state = result["state"]
        return result["logits"][0]


def _step_function(layer: LanguageModel) -> Any:
    """Traces a step for one word, with the weights as constants."""
    model = layer.step_model()
    weights = [np.asarray(v) for v in model.trainable_variables]

    @tf.function(autograph=False)
    def step(word, state):
        outputs, *_ = model.stateless_call(
            weights, [], [word, state], training=False
        )
        return {"logits": outputs[0], "state": outputs[1]}

    return step.get_concrete_function(
        word=tf.TensorSpec((1,), tf.int32, name="word"),
        state=tf.TensorSpec(
            (1, layer.parts.width), tf.float32, name="state"
        ),
    )


def is_language_model(model: Any) -> bool:
    """Says whether a Keras model is a trained language model."""
    return language_layer(model) is not None


def require_language_model(
    model: Any, source: str = "model"
) -> LanguageModel:
    """Returns the layer of a trained language model.

    Raises:
        ExportError: when it is another kind of model.
    """
    layer = language_layer(model)
    if layer is None:
        raise ExportError(
            f"{source}: expected a language model of tfnas-train. "
            f"Received: {type(model).__name__}"
        )
    return layer


def to_step_tflite(model: Any, quantize: str = "none") -> bytes:
    """Converts a language model to the content of a `.tflite` file.

    The file holds one step: from `word` `(1,)` int32 and `state` `(1,
    width)` float32 to `logits` `(1, words)` and the next `state`. It holds
    the table of words twice, to look up and to decode.

    Args:
        model: A model of `build_language_model`.
        quantize: `"none"`; `"float16"` stores the weights in half the
            space; `"dynamic"` stores them as int8 and computes partly in
            float.

    Returns:
        The bytes of the file.

    Raises:
        ConfigError: for another `quantize`.
        ExportError: if it is no language model.
    """
    check_choice("quantize", quantize, QUANTIZE)
    with quiet():
        step = _step_function(require_language_model(model))
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [step], tf.Module()
        )
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return run_converter(converter)


def step_parity(model: Any, blob: bytes, words: np.ndarray) -> Parity:
    """Compares a language model with its `.tflite` over some steps.

    Each carries its own state, so differences may grow.

    Args:
        model: The Keras model.
        blob: Content of the `.tflite` file.
        words: The words to read, `(n,)`.

    Returns:
        The differences of the logits.

    Raises:
        ConfigError: if there are no words.
    """
    if not len(words):
        raise ConfigError("Expected words to compare on. Received: none")
    expected = KerasStepper(require_language_model(model)).logits(words)
    received = TFLiteStepper(blob).logits(words)
    difference = np.abs(expected - received)
    same = expected.argmax(-1) == received.argmax(-1)
    return Parity(
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        argmax_agreement=float(same.mean()),
        n=len(words),
    )


def load_language_model(path: PathLike) -> Stepper:
    """Returns the language model in a `.keras` or `.tflite` file.

    Raises:
        ArtifactError: if the file is missing, damaged or of another kind.
        ExportError: if it is no language model.
    """
    if pathlib.Path(path).suffix != ".tflite":
        model = load_keras(path)
        return KerasStepper(require_language_model(model, str(path)))
    try:
        blob = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    return TFLiteStepper(blob, str(path))


def perplexity(model: Stepper, words: np.ndarray) -> float:
    """Returns the perplexity of a text, read word by word.

    Args:
        model: The language model.
        words: Numbers of the words, `(n,)`.

    Raises:
        ConfigError: if there is nothing to predict, or a word that the
            model does not know.
    """
    if len(words) < 2 or words.max() >= model.words:
        raise ConfigError(
            "expected at least two words, all of the model's "
            f"{model.words}. Received: {len(words)} words"
        )
    loss = model.loss(words)
    return math.exp(loss) if loss < 700 else math.inf
