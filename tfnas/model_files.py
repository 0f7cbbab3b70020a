"""Reading and writing `.keras` files."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import keras

from tfnas.artifacts import PathLike
from tfnas.errors import ArtifactError


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


def save_model(model: Any, path: PathLike) -> None:
    """Writes a `.keras` file, which takes the place of an old one at once."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
