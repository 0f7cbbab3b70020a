"""Classifiers from model files: `.keras` and `.tflite`."""

import pathlib

from tfnas import model_files
from tfnas.artifacts import PathLike
from tfnas.errors import ArtifactError
from tfnas.export.classifiers import Classifier
from tfnas.export.classifiers import KerasClassifier
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.model_files import load_keras

__all__ = ["load_classifier", "load_keras"]


def load_classifier(path: PathLike, *, apart: bool = False) -> Classifier:
    """Returns the network in a `.keras` or `.tflite` file.

    Args:
        path: The file.
        apart: Whether a `.tflite` runs in a process of its own.

    Raises:
        ArtifactError: if the file is missing, damaged or of another kind.
        ExportError: if it is no network from images to scores of classes.
    """
    path = pathlib.Path(path)
    if path.suffix != ".tflite":
        model = load_keras(path)
        return KerasClassifier(model, str(path), model_files.read_feed(path))
    try:
        if path.exists() and not path.is_file():
            raise ArtifactError(f"{path}: expected a regular file")
        blob = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    return TFLiteClassifier(blob, str(path), apart=apart)
