"""Networks from images to logits, whatever runs them."""

import abc
import os
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export.runtime import open_interpreter

_CHUNK = 256  # images that a Keras model sees at once, for memory
_MAX_THREADS = 4  # one image at a time keeps no more of them busy


class Classifier(abc.ABC):
    """A network from images to logits.

    Attributes:
        input_shape: `(height, width, channels)` of an image.
        classes: number of logits.
    """

    input_shape: tuple[int, ...]
    classes: int

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of some images.

        Args:
            images: float32 `(n, height, width, channels)`, normalised.

        Returns:
            float32 `(n, classes)`.

        Raises:
            ConfigError: if the images have another shape.
        """
        images = np.asarray(images, np.float32)
        if images.shape[1:] != self.input_shape:
            raise ConfigError(
                f"The network takes images of shape {self.input_shape}. "
                f"Received: shape={images.shape[1:]}"
            )
        return self._logits(images)

    @abc.abstractmethod
    def _logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of images that have the right shape."""


class KerasClassifier(Classifier):
    """A Keras model.

    Args:
        model: a model of one image input and one `(batch, classes)` output.
        source: its name, for error messages.

    Raises:
        ExportError: if it is another kind of model.
    """

    def __init__(self, model: Any, source: str = "model"):
        self.input_shape = image_shape(model, source)
        self.classes = model.output_shape[-1]
        self._model = model  # the traced function does not keep it alive
        self._run = tf.function(
            lambda images: model(images, training=False), autograph=False
        ).get_concrete_function(tf.TensorSpec((None, *self.input_shape)))

    def _logits(self, images: np.ndarray) -> np.ndarray:
        chunks = np.split(images, range(_CHUNK, len(images), _CHUNK))
        return np.concatenate([self._run(tf.constant(c)) for c in chunks])


class TFLiteClassifier(Classifier):
    """A `.tflite` model, run by LiteRT; int8 is converted at both ends.

    Args:
        blob: content of a `.tflite` file of one image input and one output.
        source: its name, for error messages.

    Raises:
        ArtifactError: if the bytes are no model that can be run.
        ExportError: if the model has other inputs or outputs.
    """

    def __init__(self, blob: bytes, source: str = "model"):
        threads = min(os.cpu_count() or 1, _MAX_THREADS)
        self._interpreter = open_interpreter(blob, source, threads=threads)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shapes = [tuple(map(int, t["shape"])) for t in (*inputs, *outputs)]
        if [len(shape) for shape in shapes] != [4, 2] or len(inputs) != 1:
            raise ExportError(
                f"{source}: expected one image as input and logits as output. "
                f"Received: shapes={shapes}"
            )
        self._input, self._output = inputs[0], outputs[0]
        self.input_shape = shapes[0][1:]
        self.classes = shapes[1][-1]

    def _logits(self, images: np.ndarray) -> np.ndarray:
        logits = np.empty((len(images), self.classes), np.float32)
        for i, image in enumerate(quantize(images, self._input)):
            self._interpreter.set_tensor(self._input["index"], image[None])
            self._interpreter.invoke()
            output = self._interpreter.get_tensor(self._output["index"])
            logits[i] = dequantize(output[0], self._output)
        return logits


def as_classifier(model: Any) -> Classifier:
    """Returns a Keras model, or the bytes of a `.tflite`, as a classifier."""
    if isinstance(model, Classifier):
        return model
    if isinstance(model, bytes):
        return TFLiteClassifier(model)
    return KerasClassifier(model)


def image_shape(model: Any, source: str = "model") -> tuple[int, ...]:
    """Returns `(height, width, channels)` of a Keras model's input.

    Args:
        model: a Keras model.
        source: its name, for error messages.

    Raises:
        ExportError: unless the model takes one image of a fixed size and
            gives `(batch, classes)`.
    """
    shapes = [tuple(t.shape) for t in (*model.inputs, *model.outputs)]
    ranks = [len(shape) for shape in shapes]
    if ranks != [4, 2] or None in shapes[0][1:]:
        raise ExportError(
            f"{source}: expected one image of a fixed size as input and logits "
            f"as output. Received: shapes={shapes}"
        )
    return shapes[0][1:]


def quantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Returns real numbers as the type of a tensor holds them.

    Args:
        values: float32.
        details: What an interpreter says of the tensor.
    """
    dtype = details["dtype"]
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    levels = np.round(values / scale) + zero_point
    return np.clip(levels, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Returns the real numbers that a tensor holds; see `quantize`."""
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
