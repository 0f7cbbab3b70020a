"""Model files: `.keras` and `.tflite`."""

import pathlib
from typing import Any

import keras

from tfnas.artifacts import PathLike
from tfnas.errors import ArtifactError
from tfnas.export.classifiers import Classifier
from tfnas.export.classifiers import KerasClassifier
from tfnas.export.classifiers import TFLiteClassifier


def load_classifier(path: PathLike) -> Classifier:
    """Returns the network in a `.keras` or `.tflite` file.

    Raises:
        ArtifactError: if the file is missing, damaged or of another kind.
        ExportError: if it is no network from images to logits.
    """
    if pathlib.Path(path).suffix != ".tflite":
        return KerasClassifier(load_keras(path), str(path))
    try:
        blob = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    return TFLiteClassifier(blob, str(path))


def load_keras(path: PathLike) -> Any:
    """Returns the model in a `.keras` file, without its training state.

    The file cannot bring code along: lambdas are refused.

    Raises:
        ArtifactError: if the file is missing, damaged or of another kind.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise ArtifactError(
            f"{path}: expected a file that ends in .keras or .tflite. "
            f"Received: suffix={path.suffix!r}"
        )
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged archive can raise nearly anything
        raise ArtifactError(
            f"{path}: not a readable Keras model (damaged or truncated?): "
            f"{error}"
        ) from error
