"""Keras' settings, of which none may change a network or a figure.

`keras.json` and the environment are the user's, and often another project's:
they hold the backend, the format of images, the type of numbers, epsilon and
the dtype policy. Programs set their own process to what our networks are made
for. As a library we state format and type in every layer we make, and where
others make layers for us the settings are ours meanwhile (`pinned`). The
backend cannot be changed once Keras is there: another one is refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from tfnas.errors import ConfigError

BACKEND = "tensorflow"
DATA_FORMAT = "channels_last"
DTYPE = "float32"
EPSILON = 1e-7
_OURS = (DATA_FORMAT, DTYPE, EPSILON, DTYPE)
_VARIABLE = "KERAS_BACKEND"
_LIMITS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")
# Field of `keras.json` -> what Keras and TensorFlow take, and its name.
_LEGAL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "floatx": (
        lambda value: value in ("float16", "float32", "float64"),
        "float16, float32 or float64",
    ),
    "epsilon": (
        lambda value: isinstance(value, float) and 0 <= value < math.inf,
        "a finite real number that is not negative",
    ),
    "image_data_format": (
        lambda value: value in ("channels_last", "channels_first"),
        "channels_last or channels_first",
    ),
}

# The settings belong to the process, so one thread at a time may change them.
_changing = threading.RLock()


def config_path() -> pathlib.Path:
    """Returns where Keras looks for `keras.json`."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        base = os.path.expanduser("~")
        if not os.access(base, os.W_OK):
            base = "/tmp"
        home = os.path.join(base, ".keras")
    return pathlib.Path(os.path.expanduser(os.path.join(home, "keras.json")))


def _content(path: pathlib.Path) -> dict[str, Any]:
    """Returns what `keras.json` holds; what is no JSON Keras ignores, too."""
    if not os.path.exists(path):
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return {}
    except RecursionError as error:
        raise ConfigError(
            f"{path}: expected a JSON object of few levels. Received: more "
            "levels than Keras can read"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a file that can be read, or Keras cannot be "
            f"imported. Received: {error.strerror}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object")
    return content


def check() -> None:
    """Refuses settings of Keras that nobody can change once it is there.

    Imports nothing, so that it can come before Keras.

    Raises:
        ConfigError: naming the setting, and where it stands.
    """
    config = getattr(sys.modules.get("keras"), "config", None)
    if config is not None:
        _check_backend(config.backend(), "the Keras that is imported already")
        return
    path = config_path()
    content = _content(path)
    variable = os.environ.get(_VARIABLE)
    if variable:
        _check_backend(variable, f"the environment variable {_VARIABLE}")
    else:
        _check_backend(content.get("backend", BACKEND), str(path))
    for name, (legal, expected) in _LEGAL.items():
        if name in content and not legal(content[name]):
            raise ConfigError(
                f'{path}: field "{name}": expected {expected}, as Keras needs '
                f"it. Received: {content[name]!r}"
            )
    for limit in _LIMITS:
        _check_integer(limit)


def _check_integer(variable: str) -> None:
    value = os.environ.get(variable, "0")
    try:
        int(value)
    except ValueError as error:
        raise ConfigError(
            f"The environment variable {variable} must be an integer, or "
            f"Keras cannot be imported. Received: {value!r}"
        ) from error


def _check_backend(backend: str, source: str) -> None:
    if backend != BACKEND:
        raise ConfigError(
            f"Expected the Keras backend {BACKEND}. Received: {backend!r} "
            f"from {source}; set {_VARIABLE}={BACKEND} before Keras is "
            "imported"
        )


def pin_environment() -> None:
    """Chooses the backend of a process that has not imported Keras yet."""
    os.environ[_VARIABLE] = BACKEND


def pin() -> None:
    """Sets Keras to what our networks are made for, for the whole process.

    Raises:
        ConfigError: see `check`.
    """
    check()
    import keras

    _write(keras, _OURS)


@contextlib.contextmanager
def pinned(*namespaces: Any) -> Iterator[None]:
    """Has the settings of Keras as ours for a while.

    For code of others that makes layers, such as `clone_model`. Threads take
    turns; afterwards the settings are the user's again.

    Args:
        *namespaces: `keras` (default), `tf_keras`, or both.

    Raises:
        ConfigError: see `check`.
    """
    check()
    if not namespaces:
        import keras

        namespaces = (keras,)
    with _changing:
        theirs = [_read(namespace) for namespace in namespaces]
        try:
            for namespace in namespaces:
                _write(namespace, _OURS)
            yield
        finally:
            for namespace, values in zip(namespaces, theirs, strict=True):
                _write(namespace, values)


def _read(namespace: Any) -> tuple[Any, ...]:
    # The policy first: unset, it follows from the type of numbers.
    policy = namespace.mixed_precision.global_policy()
    backend = namespace.backend
    return (
        backend.image_data_format(), backend.floatx(), backend.epsilon(),
        policy,
    )


def _write(namespace: Any, values: tuple[Any, ...]) -> None:
    data_format, dtype, epsilon, policy = values
    namespace.backend.set_image_data_format(data_format)
    namespace.backend.set_floatx(dtype)
    namespace.backend.set_epsilon(epsilon)
    namespace.mixed_precision.set_global_policy(policy)
