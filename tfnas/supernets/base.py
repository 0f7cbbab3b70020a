"""Variables that a step chooses among, and how to initialise them."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Selected:
    """One of several variables, chosen by an index at run time.

    Reading and updating go through the chosen variable's resource handle, so
    that a step touches the sampled parameters only: the others are neither
    copied nor given gradients.

    Args:
        variables: Candidates; their shapes may differ, their ranks may not.
        index: Scalar integer tensor, or `None` when there is one candidate.
        gate: Scalar boolean tensor: whether the variable takes part in the
            step at all; `None` means always.
    """

    variables: tuple[Any, ...]
    index: tf.Tensor | None = None
    gate: tf.Tensor | None = None

    def handle(self, of: Callable[[Any], Any] = lambda v: v) -> tf.Tensor:
        """Returns the resource handle of the chosen variable.

        Args:
            of: Maps each candidate to the variable wanted in its place, such
                as its momentum slot.
        """
        handles = [of(v).handle for v in self.variables]
        if self.index is None:
            return handles[0]
        return tf.gather(tf.stack(handles), self.index)

    def read(self) -> tf.Tensor:
        """Returns the value of the chosen variable."""
        value = tf.raw_ops.ReadVariableOp(
            resource=self.handle(), dtype=tf.float32
        )
        shapes = [v.shape for v in self.variables]
        value.set_shape(
            [
                sizes[0] if len(set(sizes)) == 1 else None
                for sizes in zip(*shapes, strict=True)
            ]
        )
        return value

    @property
    def max_size(self) -> int:
        """Elements of the largest candidate."""
        return max(math.prod(v.shape) for v in self.variables)


def one_by_one(variables: Iterable[Any]) -> list[Selected]:
    """Returns each variable as a choice without alternatives."""
    return [Selected((v,)) for v in variables]


def stream(seed: int, name: str) -> np.random.Generator:
    """Returns the named random stream of a seed."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
