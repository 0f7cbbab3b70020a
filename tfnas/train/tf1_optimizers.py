"""RMSProp and Adam as TensorFlow 1 had them, one fused operator a variable.

They differ from Keras' in where epsilon stands and in how they start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnas.train.optimizers import Optimizer
from tfnas.train.schedules import Schedule


class RMSProp(Optimizer):
    """RMSProp whose average starts at 1, with epsilon inside the root.

    `s <- decay * s + (1 - decay) * g**2`;
    `m <- momentum * m + rate * g / sqrt(s + epsilon)`; `w <- w - m`.
    Keras' average starts at 0, and its momentum does not hold the rate.
    Source: Tieleman and Hinton 2012, the form of `tf.train.RMSPropOptimizer`.

    Args:
        schedule: Learning rate by step.
        decay: Of the average of squared gradients.
        momentum: Momentum, 0 for none.
        epsilon: Added to the average.
        weight_decay: Coupled L2.
    """

    slot_names = ("square", "momentum")

    def __init__(
        self, schedule: Schedule, decay: float = 0.9, momentum: float = 0.9,
        epsilon: float = 1.0, weight_decay: float = 0.0,
    ):
        super().__init__(schedule, weight_decay)
        self.decay, self.momentum, self.epsilon = decay, momentum, epsilon

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        for v in self.variables:
            square = self.slot(v, "square")
            square.assign(tf.ones(square.shape))

    def apply(self, chosen, values, gradients, step) -> None:
        rate = self.schedule(step)
        for s, value, gradient in zip(
            chosen, values, gradients, strict=True
        ):
            if self.weight_decay:
                gradient += self.weight_decay * value
            tf.raw_ops.ResourceApplyRMSProp(
                var=s.handle(),
                ms=s.handle(lambda v: self.slot(v, "square")),
                mom=s.handle(lambda v: self.slot(v, "momentum")),
                lr=rate, rho=self.decay, momentum=self.momentum,
                epsilon=self.epsilon, grad=gradient, use_locking=True,
            )


class Adam(Optimizer):
    """Adam whose epsilon is added before the bias is corrected.

    `w <- w - rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) +
    epsilon)`. Source: Kingma and Ba 2015, the remark that ends section 2.

    Args:
        schedule: Learning rate by step.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
    """

    slot_names = ("first", "second")

    def __init__(
        self, schedule: Schedule, beta1: float = 0.9, beta2: float = 0.999,
        epsilon: float = 1e-8,
    ):
        super().__init__(schedule)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def apply(self, chosen, values, gradients, step) -> None:
        rate = self.schedule(step)
        time = tf.cast(step + 1, tf.float64)
        powers = [
            tf.cast(beta**time, tf.float32)
            for beta in (self.beta1, self.beta2)
        ]
        for s, gradient in zip(chosen, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=s.handle(),
                m=s.handle(lambda v: self.slot(v, "first")),
                v=s.handle(lambda v: self.slot(v, "second")),
                beta1_power=powers[0], beta2_power=powers[1], lr=rate,
                beta1=self.beta1, beta2=self.beta2, epsilon=self.epsilon,
                grad=gradient, use_locking=True,
            )
