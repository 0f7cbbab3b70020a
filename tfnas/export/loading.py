"""Classifiers from model files: `.keras` and `.tflite`."""

import pathlib

from tfnas.artifacts import PathLike
from tfnas.errors import ArtifactError
from tfnas.export.classifiers import Classifier
from tfnas.export.classifiers import KerasClassifier
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.model_files import load_keras

__all__ = ["load_classifier", "load_keras"]


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
