"""SGD and Adam, on variables chosen at run time.

The maths is that of the published searches, which differs from Keras' in two
places: weight decay is part of the gradient (before momentum, and before
Adam's moments), and SGD's velocity does not hold the learning rate. `AdamW`,
for training alone, decays as Keras does.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnas.supernets.base import Selected
from tfnas.train.schedules import Schedule


class Optimizer(abc.ABC):
    """Updates chosen variables in place.

    Args:
        schedule: Learning rate by step.
        weight_decay: Coupled L2: `g + weight_decay * w` is the gradient.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(self, schedule: Schedule, weight_decay: float = 0.0):
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.variables: list[Any] = []
        self._slots: dict[Any, dict[str, tf.Variable]] = {}

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the slots of all variables; call in the strategy's scope."""
        self.variables = list(variables)
        for v in self.variables:
            self._slots[v.ref()] = {
                name: tf.Variable(tf.zeros(v.shape), trainable=False)
                for name in self.slot_names
            }

    def with_schedule(self, schedule: Schedule) -> Optimizer:
        """Returns an optimizer of another rate that shares this one's state.

        Args:
            schedule: Learning rate by step.
        """
        other = copy.copy(self)
        other.schedule = schedule
        return other

    def slot(self, variable: Any, name: str) -> tf.Variable:
        """Returns the slot of a variable."""
        return self._slots[variable.ref()][name]

    def slots(self) -> list[tf.Variable]:
        """Returns all state, in the order of the variables."""
        return [
            self.slot(v, name) for v in self.variables
            for name in self.slot_names
        ]

    def loss_scale(self) -> tf.Tensor | None:
        """Returns what multiplies the gradients that `apply` takes."""
        return None

    @abc.abstractmethod
    def apply(
        self, chosen: Sequence[Selected], values: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor], step: tf.Tensor,
    ) -> None:
        """Updates the chosen variables.

        Args:
            chosen: What the step chose.
            values: Their values before the step.
            gradients: Their gradients, summed over replicas.
            step: Number of this step of the phase, from 0.
        """


def _where(gate: tf.Tensor | None, on: Any, off: float) -> tf.Tensor:
    """`on` where the gate lets the update through, else `off`."""
    on = tf.convert_to_tensor(on, tf.float32)
    return on if gate is None else tf.where(gate, on, off)


def _bias_correction(beta: float, step: tf.Tensor) -> tf.Tensor:
    """In float64 as `1 - 0.999` has few digits in float32."""
    time = tf.cast(step + 1, tf.float64)
    return tf.cast(1 / (1 - beta**time), tf.float32)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    `v <- momentum * v + g + weight_decay * w; w <- w - rate * v`. With Nesterov
    momentum `g + weight_decay * w + momentum * v` takes the place of the last
    `v`. Variables that a step did not choose are left alone.

    Args:
        schedule: Learning rate by step.
        momentum: Momentum, 0 for none.
        weight_decay: Coupled L2.
        nesterov: Whether the momentum is Nesterov's.
        clip_norm: Largest norm of all gradients together, before decay;
            `None` does not clip.
        decay_vectors: Whether scales, offsets and biases decay too.
    """

    slot_names = ("momentum",)

    def __init__(
        self, schedule: Schedule, momentum: float = 0.9,
        weight_decay: float = 0.0, nesterov: bool = False,
        clip_norm: float | None = None, decay_vectors: bool = True,
    ):
        super().__init__(schedule, weight_decay)
        self.momentum = momentum
        self.nesterov, self.clip_norm = nesterov, clip_norm
        self._least_rank = 0 if decay_vectors else 2  # of what decays

    def apply(self, chosen, values, gradients, step) -> None:
        rate = self.schedule(step)
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        for s, value, gradient in zip(
            chosen, values, gradients, strict=True
        ):
            if self.weight_decay and len(value.shape) >= self._least_rank:
                decay = _where(s.gate, self.weight_decay, 0.0)
                gradient += decay * value
            tf.raw_ops.ResourceApplyMomentum(
                var=s.handle(),
                accum=s.handle(lambda v: self.slot(v, "momentum")),
                lr=_where(s.gate, rate, 0.0),
                grad=gradient,
                momentum=_where(s.gate, self.momentum, 1.0),
                use_locking=True, use_nesterov=self.nesterov,
            )


class Adam(Optimizer):
    """Adam with bias correction and coupled decay (Kingma and Ba 2015).

    Args:
        schedule: Learning rate by step.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
        weight_decay: Coupled L2.
    """

    slot_names = ("first", "second")

    def __init__(
        self, schedule: Schedule, beta1: float = 0.5, beta2: float = 0.999,
        epsilon: float = 1e-8, weight_decay: float = 0.0,
    ):
        super().__init__(schedule, weight_decay)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def apply(self, chosen, values, gradients, step) -> None:
        rate = self.schedule(step)
        first_scale = _bias_correction(self.beta1, step)
        second_scale = _bias_correction(self.beta2, step)
        for s, value, gradient in zip(
            chosen, values, gradients, strict=True
        ):
            gradient += self.weight_decay * value
            first = self._decay(s, "first", self.beta1, gradient)
            second = self._decay(s, "second", self.beta2, gradient**2)
            root = tf.sqrt(second * second_scale) + self.epsilon
            tf.raw_ops.AssignSubVariableOp(
                resource=s.handle(), value=rate * first * first_scale / root
            )

    def _decay(
        self, s: Selected, name: str, beta: float, new: tf.Tensor
    ) -> tf.Tensor:
        handle = s.handle(lambda v: self.slot(v, name))
        old = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        mean = beta * old + (1 - beta) * new
        tf.raw_ops.AssignVariableOp(resource=handle, value=mean)
        return mean


class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov and Hutter 2019).

    `w <- w - rate * (first / (sqrt(second) + epsilon) + weight_decay * w)`,
    the moments with their bias corrected.

    Args:
        schedule: Learning rate by step.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
        weight_decay: Decoupled decay, times the rate.
        decay_vectors: Whether scales, offsets and biases decay too.
    """

    def __init__(
        self, schedule: Schedule, beta1: float = 0.9, beta2: float = 0.999,
        epsilon: float = 1e-8, weight_decay: float = 0.0,
        decay_vectors: bool = True,
    ):
        super().__init__(schedule, beta1, beta2, epsilon)
        self.decoupled_decay = weight_decay
        self._least_rank = 0 if decay_vectors else 2  # of what decays

    def apply(self, chosen, values, gradients, step) -> None:
        share = self.schedule(step) * self.decoupled_decay
        for s, value in zip(chosen, values, strict=True):
            if self.decoupled_decay and len(value.shape) >= self._least_rank:
                tf.raw_ops.AssignSubVariableOp(
                    resource=s.handle(), value=share * value
                )
        super().apply(chosen, values, gradients, step)
