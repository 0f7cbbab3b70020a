"""From a Keras model to a `.tflite` file, and proof that they agree."""

from tfnas.export.classifiers import Classifier
from tfnas.export.classifiers import KerasClassifier
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.export.classifiers import as_classifier
from tfnas.export.classifiers import image_shape
from tfnas.export.evaluate import accuracy
from tfnas.export.inspection import describe
from tfnas.export.inspection import require_int8
from tfnas.export.loading import load_classifier
from tfnas.export.loading import load_keras
from tfnas.export.parity import Parity
from tfnas.export.parity import parity
from tfnas.export.tflite import to_tflite

__all__ = [
    "Classifier",
    "KerasClassifier",
    "Parity",
    "TFLiteClassifier",
    "accuracy",
    "as_classifier",
    "describe",
    "image_shape",
    "load_classifier",
    "load_keras",
    "parity",
    "require_int8",
    "to_tflite",
]
