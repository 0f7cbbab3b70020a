"""Reading and writing `.keras` files, and what they say of themselves.

Keras passes over members of the archive that it does not know: one of ours
says how the model wants to be fed, and goes wherever the file goes.
"""

from __future__ import annotations

import json
import pathlib
import zipfile
from typing import Any

from tfnas import artifacts
from tfnas import feed as feeds
from tfnas import keras_settings
from tfnas.arch import Arch
from tfnas.artifacts import PathLike
from tfnas.errors import ArtifactError
from tfnas.feed import Feed

FORMAT = "tfnas-feed/1"
_MEMBER = "tfnas_feed.json"
_MAX_BYTES = 16 << 20


def load_keras(path: PathLike) -> Any:
    """Returns the model in a `.keras` file, without its training state.

    The file cannot bring code along: lambdas are refused.

    Raises:
        ArtifactError: if the file is missing, damaged or of another kind.
        ConfigError: if Keras runs on another backend.
    """
    path = check_keras(path)
    keras_settings.check()
    import keras

    try:
        with keras_settings.pinned():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged archive can raise nearly anything
        raise ArtifactError(
            f"{path}: not a readable Keras model (damaged or truncated?): "
            f"{error}"
        ) from error


def check_keras(path: PathLike) -> pathlib.Path:
    """Refuses what is no `.keras` file at the first look, without Keras.

    Returns:
        The path of the file.

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
    if not zipfile.is_zipfile(path):
        raise ArtifactError(
            f"{path}: not a readable Keras model (damaged or truncated?): "
            "it is no archive"
        )
    return path


def save_model(model: Any, path: PathLike, feed: Feed | None = None) -> None:
    """Writes a `.keras` file, which takes the place of an old one at once.

    Args:
        model: The Keras model.
        path: The file.
        feed: How the model wants to be fed; it is read back by `read_feed`.
    """
    with artifacts.replacing(path) as temporary:
        model.save(temporary)
        if feed is not None:
            text = json.dumps({"format": FORMAT, **feed.to_json()})
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_MEMBER, text)


def read_feed(path: PathLike) -> Feed:
    """Returns what a `.keras` file says of how its model wants to be fed.

    Without a word of its own, the training of ours is asked that left
    `config.json` in the same folder, if that is a training of this model.

    Args:
        path: The file, which is readable.

    Returns:
        The facts; none of them where nobody says.

    Raises:
        ArtifactError: when there are such, but damaged ones.
    """
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if _MEMBER not in archive.namelist():
                return _of_training(archive, path)
            if archive.getinfo(_MEMBER).file_size > _MAX_BYTES:
                raise ValueError(f"over {_MAX_BYTES} bytes")
            record = json.loads(archive.read(_MEMBER))
            if record.get("format") != FORMAT:
                raise ValueError(f"not {FORMAT}")
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path}: expected {_MEMBER} of the form {FORMAT} in it. "
            f"Received: {error}"
        ) from error
    return feeds.from_json(record, str(path)).by("itself")


def _of_training(archive: zipfile.ZipFile, path: pathlib.Path) -> Feed:
    """Returns the scale that the training beside a model was set to."""
    beside = path.with_name("config.json")
    if not beside.is_file():
        return Feed()
    config = artifacts.read_json(beside)
    data, arch = config.get("data"), config.get("arch")
    name = json.loads(archive.read("config.json"))["config"].get("name", "")
    if not isinstance(data, dict) or not isinstance(arch, dict):
        return Feed()
    if name != _model_name(arch, str(beside)):
        return Feed()
    scale = {k: data[k] for k in ("mean", "std") if data.get(k) is not None}
    return feeds.from_json(scale, str(beside)).by(f"the training in {beside}")


def _model_name(arch: dict[str, Any], source: str) -> str:
    """Returns what the model of an architecture is called."""
    return f"tfnas_{Arch.from_json(arch, source).id}"
