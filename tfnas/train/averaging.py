"""Exponential averages of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class WeightAverage:
    """An exponential average whose decay grows with the number of steps.

    `a <- a - (1 - d) * (a - w)` with `d = min(decay, (1 + t) / (10 + t))`,
    t steps done, this one included. Source: `num_updates` of TensorFlow 1's
    moving average.

    Args:
        variables: What to average; make it in the strategy's scope.
        decay: The decay after many steps.

    Attributes:
        averages: The averages, in the order of the variables.
    """

    def __init__(self, variables: Sequence[Any], decay: float = 0.999):
        self.decay = decay
        self._variables = list(variables)
        self.averages = [
            tf.Variable(v.read_value(), trainable=False) for v in variables
        ]

    def of(self, variables: Sequence[Any]) -> list[tf.Variable]:
        """Returns the averages of those of the variables that have one."""
        places = {v.ref(): i for i, v in enumerate(self._variables)}
        return [
            self.averages[places[v.ref()]]
            for v in variables if v.ref() in places
        ]

    def update(self, steps: tf.Tensor) -> None:
        """Moves the averages towards the variables.

        Args:
            steps: Number of steps done.
        """
        done = tf.cast(steps, tf.float32)
        rest = 1 - tf.minimum(self.decay, (1 + done) / (10 + done))
        for average, variable in zip(
            self.averages, self._variables, strict=True
        ):
            gap = average.read_value() - variable.read_value()
            tf.raw_ops.AssignSubVariableOp(
                resource=average.handle, value=rest * gap
            )

    def swap(self) -> None:
        """Exchanges averages and variables; a second call undoes it."""
        for average, variable in zip(
            self.averages, self._variables, strict=True
        ):
            held = variable.numpy()
            variable.assign(average.read_value())
            average.assign(held)
