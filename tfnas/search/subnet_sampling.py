"""Which subnets of an elastic space a step trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfnas.errors import ConfigError
from tfnas.spaces.coded import Codes
from tfnas.spaces.elastic import ElasticSpace


@dataclasses.dataclass(frozen=True)
class Choices:
    """What layers may be while shared weights are trained.

    Args:
        kernels: Kernel sizes.
        expansions: Expansion ratios.
        depths: Layers of a unit.
    """

    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    depths: tuple[int, ...]

    def check(self, space: ElasticSpace, name: str) -> None:
        """Refuses what a space does not have.

        Args:
            space: The space.
            name: What the choices are part of, for the message.

        Raises:
            ConfigError: naming the field.
        """
        spec = space.spec
        depths = tuple(range(spec.min_layers, spec.layers + 1))
        for field, legal in (
            ("kernels", spec.kernels), ("expansions", spec.expansions),
            ("depths", depths),
        ):
            values = getattr(self, field)
            if not values or not set(values) <= set(legal):
                raise ConfigError(
                    f"`{name}.{field}` must be some of {legal}. "
                    f"Received: {values}"
                )

    def extreme(
        self, space: ElasticSpace, pick: Callable[..., int]
    ) -> Codes:
        """Returns the codes of the smallest or the largest subnet.

        Args:
            space: The space.
            pick: `min` or `max`.
        """
        spec, depth = space.spec, pick(self.depths)
        pair = (pick(self.kernels), pick(self.expansions))
        code = spec.operations.index(pair)
        sides = range(len(spec.resolutions))
        return (
            *([pick(sides)] if sides else []),
            *(
                code if slot % spec.layers < depth else 0
                for slot in range(spec.slots)
            ),
        )


class SubnetSampler:
    """Draws subnets uniformly, as a function of the step alone.

    Kernel size and expansion ratio are drawn for each layer, the depth for
    each unit, and the side of the image where it is a choice of the space.

    Args:
        space: The space.
        choices: What layers may be.
        subnets: Subnets drawn for a step.
        sandwich: Whether the largest and the smallest subnet of the choices
            come first, before those drawn.
        seed: Seed of the search.
        salt: Keeps the streams of different phases apart.
    """

    def __init__(
        self, space: ElasticSpace, choices: Choices, subnets: int,
        sandwich: bool, seed: int, salt: int,
    ):
        self._spec, self._subnets = space.spec, subnets
        self._stream = seed * 64 + salt
        self._depths = np.array(choices.depths, np.int32)
        self._codes = np.array(
            [
                space.spec.operations.index((k, e))
                for k in choices.kernels for e in choices.expansions
            ],
            np.int32,
        )
        self._ends = np.array(
            [choices.extreme(space, pick) for pick in (max, min)], np.int32
        )[: 2 * sandwich]

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns codes `(subnets, length)` for a step."""
        spec, units = self._spec, len(self._spec.units)
        sides = len(spec.resolutions)
        stream = tf.stack([tf.constant(self._stream, tf.int64), step])
        widths = [spec.slots, units, int(sides > 0)]
        uniform = tf.random.stateless_uniform(
            [self._subnets, sum(widths)], stream
        )
        layer, unit, side = tf.split(uniform, widths, axis=1)
        codes = _choose(self._codes, layer)
        depths = _choose(self._depths, unit)
        present = tf.range(spec.layers) < depths[:, :, None]
        codes = tf.where(tf.reshape(present, tf.shape(codes)), codes, 0)
        side = _choose(np.arange(max(sides, 1), dtype=np.int32), side)
        return tf.concat([self._ends, tf.concat([side, codes], 1)], 0)


def _choose(values: np.ndarray, uniform: tf.Tensor) -> tf.Tensor:
    """One of the values for each number in 0..1, 1 excluded."""
    return tf.gather(values, tf.cast(uniform * len(values), tf.int32))
