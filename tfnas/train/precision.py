"""Training that computes in 16 bits and keeps its weights in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnas.supernets.base import Selected
from tfnas.train.optimizers import Optimizer
from tfnas.train.schedules import Schedule

_FIRST_SCALE = 2.0**15
_GROWTH_STEPS = 2000.0  # finite steps after which the scale doubles


@contextlib.contextmanager
def computing(layers: Sequence[Any], name: str) -> Iterator[None]:
    """Lets Keras layers compute by a dtype policy while they are traced.

    Afterwards they are as before, so that a model that trains in 16 bits is
    tested and saved as the float32 model that it is.

    Args:
        layers: Built layers with float32 variables.
        name: One of `recipe.PRECISIONS`.
    """
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = name
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def scaled(optimizer: Optimizer, name: str) -> Optimizer:
    """Returns the optimizer, with a scaled loss where the precision needs it.

    Args:
        optimizer: Not built yet.
        name: One of `recipe.PRECISIONS`; in float16 alone small gradients
            vanish.
    """
    return LossScaled(optimizer) if name == "mixed_float16" else optimizer


class LossScaled(Optimizer):
    """Gives an optimizer the gradients of a loss that was multiplied.

    The factor starts at 2^15. Where a gradient is not finite the step changes
    no weight, and the factor is halved; after 2,000 finite steps in a row it
    is doubled. Source: Micikevicius et al. 2018; Keras' `LossScaleOptimizer`.

    Args:
        inner: The optimizer, not built yet.
    """

    def __init__(self, inner: Optimizer):
        super().__init__(inner.schedule, inner.weight_decay)
        self.inner = inner

    def build(self, variables: Sequence[Any]) -> None:
        self.inner.build(variables)
        self.variables = self.inner.variables
        self.scale = tf.Variable(_FIRST_SCALE, trainable=False)
        self.finite_steps = tf.Variable(0.0, trainable=False)

    def with_schedule(self, schedule: Schedule) -> Optimizer:
        other = super().with_schedule(schedule)
        assert isinstance(other, LossScaled)
        other.inner = self.inner.with_schedule(schedule)
        return other

    def slot(self, variable: Any, name: str) -> tf.Variable:
        return self.inner.slot(variable, name)

    def slots(self) -> list[tf.Variable]:
        return [*self.inner.slots(), self.scale, self.finite_steps]

    def loss_scale(self) -> tf.Tensor:
        return self.scale.read_value()

    def apply(
        self, chosen: Sequence[Selected], values: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor], step: tf.Tensor,
    ) -> None:
        scale, steps = self.loss_scale(), self.finite_steps.read_value() + 1
        gradients = [g / scale for g in gradients]
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(g)) for g in gradients]
        )

        def update() -> tf.Tensor:
            self.inner.apply(chosen, values, gradients, step)
            return tf.constant(True)

        tf.cond(finite, update, lambda: tf.constant(False))
        grows = steps >= _GROWTH_STEPS
        larger = tf.where(grows, 2 * scale, scale)
        smaller = tf.maximum(scale / 2, 1.0)
        tf.raw_ops.AssignVariableOp(
            resource=self.scale.handle,
            value=tf.where(finite, larger, smaller),
        )
        tf.raw_ops.AssignVariableOp(
            resource=self.finite_steps.handle,
            value=tf.where(finite & ~grows, steps, 0.0),
        )
