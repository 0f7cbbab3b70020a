"""Weight files: named arrays of one network, and nothing that could run.

A file is an `.npz` of plain arrays. Each variable of the network is there
under its Keras path, such as `b00_conv_conv/kernel`; `arch`, the network as
JSON, says what the arrays belong to.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.errors import ArtifactError

FORMAT = "tfnas-weights/1"
_HEADER = ("format", "arch")


def save(path: artifacts.PathLike, model: Any, arch: Arch) -> None:
    """Writes the weights of a network.

    Args:
        path: File to write; its name ends in `.npz`.
        model: A Keras model made from `arch`.
        arch: The network.
    """
    arrays = {v.path: np.asarray(v) for v in model.weights}
    header = {"format": FORMAT, "arch": json.dumps(arch.to_json())}
    artifacts.write_npz(
        path, **arrays, **{k: np.array(v) for k, v in header.items()}
    )


def load(path: artifacts.PathLike, model: Any) -> Arch:
    """Puts the weights of a file into a network.

    Args:
        path: File that `save` wrote.
        model: A network of the same blocks; it may lack the last ones, as
            without its top.

    Returns:
        The network that the file was made from.

    Raises:
        ArtifactError: when the file is damaged, lacks a variable, or has one
            of another shape; the model is then as it was.
    """
    arrays = artifacts.read_npz(path)
    arch = _header(path, arrays)
    values = []
    for variable in model.weights:
        if variable.path not in arrays:
            raise ArtifactError(
                f"{path}: weights of network {arch.id}, {arch.classes} "
                f"classes; it has no variable {variable.path!r}"
            )
        value = arrays[variable.path]
        if value.shape != tuple(variable.shape):
            raise ArtifactError(
                f"{path}: weights of network {arch.id}, {arch.classes} "
                f"classes; {variable.path!r}: expected the shape "
                f"{tuple(variable.shape)}. Received: {value.shape}"
            )
        values.append(value)
    for variable, value in zip(model.weights, values, strict=True):
        variable.assign(value)
    return arch


def read_arch(path: artifacts.PathLike) -> Arch:
    """Returns the network that a weight file was made from.

    Raises:
        ArtifactError: when the file is damaged or of another kind.
    """
    return _header(path, artifacts.read_npz(path))


def _header(
    path: artifacts.PathLike, arrays: dict[str, np.ndarray]
) -> Arch:
    found = {name: str(arrays.get(name, "")) for name in _HEADER}
    if found["format"] != FORMAT:
        raise ArtifactError(
            f'{path}: field "format": expected {FORMAT!r}. '
            f"Received: {found['format']!r}"
        )
    try:
        value = json.loads(found["arch"])
    except ValueError as error:
        raise ArtifactError(f'{path}: field "arch": {error}') from error
    return Arch.from_json(value, str(path))
