"""PyTorch checkpoints as named arrays; nothing in them is executed."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas.artifacts import PathLike
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

# What may be wrapped around a state dict, or stand before all its names.
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "state_dict.", "model.")
# Before this version hostile files could get around `weights_only`.
_TORCH = (2, 10)


def read(path: PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a checkpoint, `.safetensors` or `.pt`.

    The content decides which of them it is. A wrapping key (`state_dict`,
    `model`) and a leading `module.` are taken off.

    Args:
        path: The file.

    Returns:
        Each tensor by its name; floating-point ones as float32.

    Raises:
        ArtifactError: when the file is missing or damaged, or holds more
            than tensors: a pickle with code in it is refused, and nothing of
            it is executed.
        ConfigError: when it is no `.safetensors`, and PyTorch, which reads
            the others, is not installed or too old.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    # The length of a JSON header, 8 bytes, then the header.
    safe = len(head) == 9 and head[8:] == b"{"
    tensors = _read_safetensors(path) if safe else _read_torch(path)
    while tensors:
        prefix = next(
            (p for p in _PREFIXES if all(k.startswith(p) for k in tensors)),
            None,
        )
        if prefix is None:
            return tensors
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    raise ArtifactError(f"{path}: expected tensors. Received: none")


def _read_safetensors(path: PathLike) -> dict[str, np.ndarray]:
    from safetensors import numpy as files

    try:
        tensors = files.load_file(path)
    except Exception as error:  # types that numpy lacks raise nearly anything
        raise ArtifactError(
            f"{path}: not a readable .safetensors (damaged or truncated, or "
            f"of a type that numpy lacks?): {error}"
        ) from error
    return {name: _plain(value) for name, value in tensors.items()}


def _plain(value: np.ndarray) -> np.ndarray:
    """Returns floats as float32; bfloat16 is none of numpy's own."""
    name = value.dtype.name
    return value.astype(np.float32) if "float" in name else value


def _read_torch(path: PathLike) -> dict[str, np.ndarray]:
    torch = _torch(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ArtifactError(
            f"{path}: not a readable checkpoint of tensors only (damaged, "
            "or with code in it, which is not executed): "
            f"{reason[0][:300]}"
        ) from error
    state = _unwrapped(value)
    others = [
        str(name) for name, v in state.items()
        if not (isinstance(name, str) and torch.is_tensor(v))
    ]
    if others or not state:
        raise ArtifactError(
            f"{path}: expected a state dict, tensors by name, alone or under "
            f"{' or '.join(_WRAPPERS)}. Received: {others[:20] or 'nothing'}"
        )
    return {
        name: (v.float() if v.is_floating_point() else v).detach().numpy()
        for name, v in state.items()
    }


def _unwrapped(value: Any) -> Mapping[Any, Any]:
    while isinstance(value, Mapping):
        inner = [
            value[key] for key in _WRAPPERS
            if isinstance(value.get(key), Mapping)
        ]
        if not inner:
            return value
        value = inner[0]
    return {type(value).__name__: value}


def _torch(path: PathLike) -> Any:
    need = (
        f"{path} is no .safetensors; other checkpoints need the Python "
        f"package torch, {_TORCH[0]}.{_TORCH[1]} or later: pip install "
        "'torch>=2.10', or convert the file to .safetensors"
    )
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ConfigError(f"{need}. Received: no torch") from error
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if version < _TORCH:
        raise ConfigError(f"{need}. Received: torch {torch.__version__}")
    return torch
