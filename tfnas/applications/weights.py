"""Weight files: named arrays of one network, and nothing that could run.

A file is an `.npz` of plain arrays. Each variable of the network is there
under its Keras path, such as `b00_conv_conv/kernel`; `arch`, the network as
JSON, says what the arrays belong to.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas import artifacts
from tfnas import derive
from tfnas import ops
from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.ops.graph import Shape

FORMAT = "tfnas-weights/1"
_HEADER = ("format", "arch")


@dataclasses.dataclass(frozen=True)
class Weights:
    """The content of a weight file.

    Args:
        path: The file, for error messages.
        arch: The network.
        arrays: Value of each variable, by its Keras path.
    """

    path: str
    arch: Arch
    arrays: Mapping[str, np.ndarray]


def variables(arch: Arch) -> dict[str, Shape]:
    """Returns the shape of each variable of a network, by its Keras path.

    Args:
        arch: A network from images to logits.
    """
    found = {}
    for i, (block, shape) in enumerate(
        zip(arch.blocks, ops.shapes(arch), strict=False)
    ):
        graph = ops.lower(block, shape)
        for node in graph.live:
            layer = f"{derive.layer_prefix(i, block.op)}_{node.name}"
            for variable in graph.variables(node):
                found[f"{layer}/{variable.name}"] = variable.shape
    return found


def save(path: artifacts.PathLike, model: Any, arch: Arch) -> None:
    """Writes the weights of a network.

    Args:
        path: File to write; its name ends in `.npz`.
        model: A Keras model made from `arch`.
        arch: The network.
    """
    write(path, arch, {v.path: np.asarray(v) for v in model.weights})


def write(
    path: artifacts.PathLike, arch: Arch, arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes the weights of a network that are at hand as arrays.

    Args:
        path: File to write; its name ends in `.npz`.
        arch: The network.
        arrays: Value of each variable, by its Keras path.
    """
    header = {"format": FORMAT, "arch": json.dumps(arch.to_json())}
    artifacts.write_npz(
        path, **arrays, **{k: np.array(v) for k, v in header.items()}
    )


def read(path: artifacts.PathLike) -> Weights:
    """Reads a weight file.

    Raises:
        ArtifactError: when it is missing, damaged or of another kind.
    """
    arrays = artifacts.read_npz(path)
    arch = _header(path, arrays)
    values = {k: v for k, v in arrays.items() if k not in _HEADER}
    return Weights(str(path), arch, values)


def assign(weights: Weights, model: Any, skip: str | None = None) -> None:
    """Puts weights into a network.

    Args:
        weights: The weights.
        model: A network of the same blocks; it may lack the last ones, as
            without its top.
        skip: Variables whose paths start so stay as they are.

    Raises:
        ArtifactError: when a variable is missing or of another shape or
            type; the model is then as it was.
    """
    place = (
        f"{weights.path}: weights of network {weights.arch.id}, "
        f"{weights.arch.classes} classes"
    )
    values = []
    for variable in model.weights:
        if skip is not None and variable.path.startswith(skip):
            continue
        value = weights.arrays.get(variable.path)
        if value is None:
            raise ArtifactError(
                f"{place}; it has no variable {variable.path!r}"
            )
        if value.shape != tuple(variable.shape) or value.dtype.kind != "f":
            raise ArtifactError(
                f"{place}; {variable.path!r}: expected the shape "
                f"{tuple(variable.shape)}, of floats. "
                f"Received: {value.shape}, {value.dtype}"
            )
        values.append((variable, value))
    for variable, value in values:
        variable.assign(value)


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
    weights = read(path)
    assign(weights, model)
    return weights.arch


def read_arch(path: artifacts.PathLike) -> Arch:
    """Returns the network that a weight file was made from.

    Raises:
        ArtifactError: when the file is damaged or of another kind.
    """
    return read(path).arch


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
