"""From a Keras model to a `.tflite` file, and proof that they agree.

`tfnas.export.qat` (training for int8, pruning, clustering) is imported by
name: it brings legacy Keras along.
"""

from tfnas.export.classifiers import Classifier
from tfnas.export.classifiers import KerasClassifier
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.export.classifiers import as_classifier
from tfnas.export.classifiers import image_shape
from tfnas.export.evaluate import accuracy
from tfnas.export.inspection import describe
from tfnas.export.inspection import require_int8
from tfnas.export.inspection import require_integers
from tfnas.export.language import KerasStepper
from tfnas.export.language import Stepper
from tfnas.export.language import TFLiteStepper
from tfnas.export.language import is_language_model
from tfnas.export.language import load_language_model
from tfnas.export.language import perplexity
from tfnas.export.language import step_parity
from tfnas.export.language import to_step_tflite
from tfnas.export.layer_error import LayerError
from tfnas.export.layer_error import layer_errors
from tfnas.export.loading import load_classifier
from tfnas.export.loading import load_keras
from tfnas.export.metadata import Metadata
from tfnas.export.metadata import read_labels
from tfnas.export.metadata import read_metadata
from tfnas.export.metadata import with_metadata
from tfnas.export.parity import Parity
from tfnas.export.parity import parity
from tfnas.export.report import check_drop
from tfnas.export.report import format_report
from tfnas.export.report import make_report
from tfnas.export.tflite import to_tflite

__all__ = [
    "Classifier",
    "KerasClassifier",
    "KerasStepper",
    "LayerError",
    "Metadata",
    "Parity",
    "Stepper",
    "TFLiteClassifier",
    "TFLiteStepper",
    "accuracy",
    "as_classifier",
    "check_drop",
    "describe",
    "format_report",
    "image_shape",
    "is_language_model",
    "layer_errors",
    "load_classifier",
    "load_keras",
    "load_language_model",
    "make_report",
    "parity",
    "perplexity",
    "read_labels",
    "read_metadata",
    "require_int8",
    "require_integers",
    "step_parity",
    "to_step_tflite",
    "to_tflite",
    "with_metadata",
]
