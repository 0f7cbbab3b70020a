"""From a Keras model to a `.tflite` file, and proof that they agree.

`tfnas.export.qat` (training for int8, pruning, clustering) is imported by
name: it brings legacy Keras along.

Example:
    >>> arch = tfnas.spaces.get("nasbench_macro").sample(seed=0)
    >>> digits = tfnas.data.load({"name": "digits"})
    >>> model = tfnas.build_model(arch)
    >>> blob = tfnas.export.to_tflite(model, "int8", digits)
    >>> tfnas.export.describe(blob)["size_bytes"] == len(blob)
    True
"""

from tfnas import keras_checked as _keras_checked
from tfnas.export.classifiers import Classifier
from tfnas.export.classifiers import KerasClassifier
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.export.classifiers import as_classifier
from tfnas.export.evaluate import accuracy
from tfnas.export.feeding import better_scale
from tfnas.export.feeding import complete
from tfnas.export.feeding import feed_of
from tfnas.export.feeding import fit
from tfnas.export.feeding import remarks
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
from tfnas.export.layer_error import LayerErrors
from tfnas.export.layer_error import compare_layers
from tfnas.export.layer_error import layer_errors
from tfnas.export.loading import load_classifier
from tfnas.export.loading import load_keras
from tfnas.export.metadata import Metadata
from tfnas.export.metadata import read_feed
from tfnas.export.metadata import read_metadata
from tfnas.export.metadata import with_metadata
from tfnas.export.parity import Parity
from tfnas.export.parity import parity
from tfnas.export.report import check_drop
from tfnas.export.report import check_pieces
from tfnas.export.report import format_report
from tfnas.export.report import make_report
from tfnas.export.tflite import Conversion
from tfnas.export.tflite import convert
from tfnas.export.tflite import to_tflite
from tfnas.feed import Feed
from tfnas.labels import read_labels

_FIRST = (_keras_checked,)  # imported for what it refuses

__all__ = [
    "Classifier",
    "Conversion",
    "Feed",
    "KerasClassifier",
    "KerasStepper",
    "LayerError",
    "LayerErrors",
    "Metadata",
    "Parity",
    "Stepper",
    "TFLiteClassifier",
    "TFLiteStepper",
    "accuracy",
    "as_classifier",
    "better_scale",
    "check_drop",
    "check_pieces",
    "compare_layers",
    "complete",
    "convert",
    "describe",
    "feed_of",
    "fit",
    "format_report",
    "is_language_model",
    "layer_errors",
    "load_classifier",
    "load_keras",
    "load_language_model",
    "make_report",
    "parity",
    "perplexity",
    "read_feed",
    "read_labels",
    "read_metadata",
    "remarks",
    "require_int8",
    "require_integers",
    "step_parity",
    "to_step_tflite",
    "to_tflite",
    "with_metadata",
]
