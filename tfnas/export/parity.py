"""How far a `.tflite` file is from the model it was made from."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.errors import ConfigError
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.export.classifiers import as_classifier


@dataclasses.dataclass(frozen=True)
class Parity:
    """The difference between the logits of two networks.

    Attributes:
        max_abs: largest difference of two logits.
        mean_abs: mean difference.
        argmax_agreement: share of the images that both put into one class.
        n: number of images.
    """

    max_abs: float
    mean_abs: float
    argmax_agreement: float
    n: int


def parity(model: Any, blob: bytes, images: np.ndarray) -> Parity:
    """Compares a Keras model with its `.tflite`, in float32.

    Args:
        model: the Keras model.
        blob: content of the `.tflite` file.
        images: float32 `(n, height, width, channels)`, normalised.

    Returns:
        A `Parity`.

    Raises:
        ConfigError: if there are no images, or of another shape than the
            model takes.
    """
    if not len(images):
        raise ConfigError("Expected images to compare on. Received: none")
    with _full_precision():
        expected = as_classifier(model).predict(images)
    received = TFLiteClassifier(blob).predict(images)
    difference = np.abs(expected - received)
    same = np.argmax(expected, axis=-1) == np.argmax(received, axis=-1)
    return Parity(
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        argmax_agreement=float(same.mean()),
        n=len(images),
    )


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Keeps a GPU from rounding factors to the 10 bits of TensorFloat-32."""
    precision = tf.config.experimental
    allowed = precision.tensor_float_32_execution_enabled()
    precision.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        precision.enable_tensor_float_32_execution(allowed)
