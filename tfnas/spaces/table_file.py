"""Files of arrays that people bring, checked before they are used."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from tfnas import artifacts
from tfnas.errors import ArtifactError

_KINDS = {"i": "integers", "f": "floating-point numbers", "U": "text"}


class TableFile:
    """An .npz file whose arrays are checked before they are used."""

    def __init__(self, path: str | os.PathLike):
        self.source = str(path)
        self._arrays = artifacts.read_npz(path)

    def array(
        self, name: str, shape: tuple[int | None, ...], kind: str,
        low: float = -np.inf, high: float = np.inf,
    ) -> np.ndarray:
        """Returns an array of a shape (`None` is any) and a range."""
        if name not in self._arrays:
            raise ArtifactError(
                f'{self.source}: array "{name}" is missing. '
                f"Received: {sorted(self._arrays)}"
            )
        value = self._arrays[name]
        sizes = zip(shape, value.shape, strict=False)
        fits = len(shape) == value.ndim and all(
            size in (None, real) for size, real in sizes
        )
        if not fits or value.dtype.kind.replace("u", "i") != kind:
            raise ArtifactError(
                f'{self.source}: array "{name}" must be {_KINDS[kind]} of '
                f"shape {shape}. "
                f"Received: {value.dtype} of shape {value.shape}"
            )
        if kind != "U" and not ((value >= low) & (value <= high)).all():
            raise ArtifactError(
                f'{self.source}: array "{name}" must lie in {low:g}..'
                f"{high:g}. Received: {value.min()}..{value.max()}"
            )
        return value

    def names(self, name: str, expected: Sequence[str]) -> None:
        """Refuses an array of names other than these, in this order."""
        found = self.array(name, (None,), "U").tolist()
        if found != [*expected]:
            raise ArtifactError(
                f'{self.source}: array "{name}" must be {[*expected]}. '
                f"Received: {found}"
            )
