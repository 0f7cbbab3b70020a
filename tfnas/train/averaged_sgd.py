"""SGD on clipped gradients that can turn into averaged SGD."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfnas.supernets.base import Selected
from tfnas.train.optimizers import Optimizer


class AveragedSGD(Optimizer):
    """SGD whose weights can be averaged over its steps.

    The order is that of AutoShrink's recipe for language models (and of
    Merity et al. 2018): gradients are clipped by their global norm, then
    `weight_decay * w` is added, then `w <- w - rate * g`.

    Args:
        rate: Learning rate of the step in progress, a variable.
        clip: Largest global norm of the gradients.
        weight_decay: Coupled L2.

    Attributes:
        averaging: 1 once `start_averaging` was called, else 0. Only then do
            the slots `mean` hold anything.
        averaged: Number of steps in the mean.
    """

    slot_names = ("mean",)

    def __init__(
        self, rate: tf.Variable, clip: float, weight_decay: float = 0.0
    ):
        super().__init__(lambda step: rate.read_value(), weight_decay)
        self.clip = clip
        self.averaging = tf.Variable(0.0, trainable=False)
        self.averaged = tf.Variable(0.0, trainable=False)

    def slots(self) -> list[tf.Variable]:
        return [*super().slots(), self.averaging, self.averaged]

    def means(self) -> list[tf.Variable]:
        """Returns the mean of each variable over the averaged steps."""
        return [self.slot(v, "mean") for v in self.variables]

    def start_averaging(self) -> None:
        """Averages over the steps from the next one on."""
        for mean in self.means():
            mean.assign(tf.zeros_like(mean))
        self.averaging.assign(1.0)
        self.averaged.assign(0.0)

    def apply(
        self, chosen: Sequence[Selected], values: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor], step: tf.Tensor,
    ) -> None:
        rate, averaging = self.schedule(step), self.averaging.read_value()
        dense = [tf.convert_to_tensor(g) for g in gradients]
        clipped, _ = tf.clip_by_global_norm(dense, self.clip)
        count = self.averaged.assign_add(averaging)
        share = tf.math.divide_no_nan(averaging, count)
        for s, value, gradient in zip(chosen, values, clipped, strict=True):
            new = value - rate * (gradient + self.weight_decay * value)
            tf.raw_ops.AssignVariableOp(resource=s.handle(), value=new)
            mean = s.handle(lambda v: self.slot(v, "mean"))
            old = tf.raw_ops.ReadVariableOp(resource=mean, dtype=tf.float32)
            change = tf.math.multiply_no_nan(new - old, share)
            tf.raw_ops.AssignVariableOp(resource=mean, value=old + change)
