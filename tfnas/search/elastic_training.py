"""Training the shared weights of an elastic supernet, phase by phase.

The schedule is data: each phase names the choices that its steps draw from.
The published one shrinks progressively: first the largest network, then
smaller kernels, depths and widths as well. Sources: Cai et al. 2020
(Once-for-All), section 3; Yu et al. 2020 (BigNAS) for the sandwich rule and
for distillation within a step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnas.errors import ConfigError
from tfnas.search.subnet_sampling import Choices
from tfnas.search.subnet_sampling import SubnetSampler
from tfnas.spaces.elastic import ElasticSpace
from tfnas.supernets.elastic import ElasticSupernet
from tfnas.supernets.elastic_sort import sort_channels
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD

DISTILL = ("none", "teacher", "in_place")


@dataclasses.dataclass(frozen=True)
class ElasticPhase:
    """One phase of the schedule.

    Args:
        name: Name of the phase.
        choices: What its steps draw from.
        epochs: Length.
        first: Number of its first epoch in the whole schedule.
        sorted_for: Expansion ratios trained before it, where the phase brings
            smaller ones; the channels are then sorted first.
    """

    name: str
    choices: Choices
    epochs: int
    first: int
    sorted_for: tuple[int, ...]


def read_schedule(config: Any, space: ElasticSpace) -> list[ElasticPhase]:
    """Returns the phases of a config.

    Args:
        config: The `search.supernet` section; `phases` names parts of it.
        space: The space that they draw from.

    Raises:
        ConfigError: when a phase is not there, has choices that the space
            has not, or does nothing.
    """
    schedule: list[ElasticPhase] = []
    first, trained = 0, set[int]()
    for name in config.phases:
        where = f"search.supernet.{name}"
        if name not in config:
            raise ConfigError(
                "`search.supernet.phases` must name sections beside it. "
                f"Received: {name!r}, and there is no `{where}`"
            )
        part = config[name]
        choices = Choices(
            tuple(part.kernels), tuple(part.expansions), tuple(part.depths)
        )
        choices.check(space, where)
        if part.epochs < 1 or part.subnets + part.sandwich < 1:
            raise ConfigError(
                f"`{where}` must have `epochs` >= 1, and `subnets` >= 1 or a "
                f"sandwich. Received: {part.epochs} and {part.subnets}"
            )
        new = set(choices.expansions) - trained
        schedule.append(
            ElasticPhase(
                name, choices, part.epochs, first,
                tuple(sorted(trained)) if new else (),
            )
        )
        first, trained = first + part.epochs, trained | new
    if not schedule:
        raise ConfigError(
            "`search.supernet.phases` must name a phase. Received: none"
        )
    return schedule


class ElasticTraining:
    """Epochs of all phases as units of work.

    Momentum and rate start anew in every phase. The loss of a step is the
    sum over its subnets.

    Args:
        space: The space.
        split: The images that train the weights.
        loop: The gradient loop.
        config: The `search.supernet` section of the config.
        seed: Seed of the initial weights and of what is drawn.

    Attributes:
        net: The supernet.
        schedule: The phases of the schedule.

    Raises:
        ConfigError: for a schedule or a distillation that cannot be.
    """

    goes_on_within = True

    def __init__(
        self, space: ElasticSpace, split: Any, loop: Loop, config: Any,
        seed: int,
    ):
        self.space, self.loop, self.config = space, loop, config
        self.schedule = read_schedule(config, space)
        _check_distillation(config)
        with loop.strategy.scope():
            self.net = ElasticSupernet(space, seed, config.bn_groups)
            self._optimizer = SGD(
                schedules.constant(0.0), config.momentum,
                config.weight_decay, nesterov=config.nesterov,
            )
            self._optimizer.build(self.net.variables)
            self._teacher = (
                [tf.Variable(v, trainable=False) for v in self.net.variables]
                if config.distill == "teacher"
                else []
            )
        self.phases = [
            self._make_phase(number, split, seed)
            for number in range(len(self.schedule))
        ]

    def _make_phase(self, number: int, split: Any, seed: int) -> Phase:
        c, entry = self.config, self.schedule[number]
        part = c[entry.name]
        phase = Phase(
            f"supernet_{entry.name}", split, c.batch_size,
            functools.partial(self._objective, number > 0), self.net.select,
            draw=SubnetSampler(
                self.space, entry.choices, part.subnets, part.sandwich,
                seed, number,
            ),
            augment=c.augment, bn_groups=c.bn_groups,
        )
        steps = self.loop.num_steps(phase)
        rate = schedules.cosine(
            part.lr, entry.epochs * steps,
            warmup_steps=part.warmup_epochs * steps,
        )
        optimizer = self._optimizer.with_schedule(rate)
        return dataclasses.replace(phase, optimizer=optimizer)

    def _objective(
        self, taught: bool, images: tf.Tensor, labels: tf.Tensor,
        draw: tf.Tensor, values: Sequence[tf.Tensor],
    ) -> Objective:
        c, teacher = self.config, None
        if taught and c.distill == "teacher":
            teacher, _ = self.net(
                images, tf.constant(self.net.largest),
                [v.read_value() for v in self._teacher],
            )
        total, correct, subnets = tf.zeros([]), 0.0, draw.shape[0]
        for i in range(subnets):
            with tf.control_dependencies([total]):
                inputs = tf.identity(images)
            loss, logits = _gradient_at_once(
                functools.partial(
                    self._subnet_loss, inputs, labels, draw[i], teacher
                ),
                values,
            )
            total += loss
            correct += losses.correct(labels, logits) / subnets
            if not i and c.distill == "in_place":
                teacher = logits
        return Objective(total, sums={"accuracy": correct})

    def _subnet_loss(
        self, images: tf.Tensor, labels: tf.Tensor, codes: tf.Tensor,
        teacher: tf.Tensor | None, values: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Losses `(batch,)` of one subnet, and its logits."""
        c = self.config
        logits, _ = self.net(images, codes, values)
        if teacher is None:
            return self._label_loss(labels, logits), logits
        soft = losses.distillation(teacher, logits)
        if c.distill == "in_place":
            return soft, logits
        hard = self._label_loss(labels, logits)
        return hard + c.distill_weight * soft, logits

    def _label_loss(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Cross-entropy; the wrong classes alone share `label_smoothing`."""
        classes = self.space.classes
        share = self.config.label_smoothing * classes / (classes - 1)
        return losses.cross_entropy(labels, logits, share)

    @property
    def units(self) -> int:
        """Number of epochs of all phases."""
        return sum(entry.epochs for entry in self.schedule)

    def number_of(self, unit: int) -> int:
        """Returns the number of the phase that an epoch belongs to."""
        return sum(entry.first <= unit for entry in self.schedule) - 1

    def is_last(self, unit: int) -> bool:
        """Says whether an epoch is the last of its phase."""
        entry = self.schedule[self.number_of(unit)]
        return unit + 1 == entry.first + entry.epochs

    def unit_steps(self, unit: int) -> int:
        """Returns the number of steps of an epoch."""
        return self.loop.num_steps(self.phases[self.number_of(unit)])

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Trains for an epoch."""
        number = self.number_of(unit)
        entry = self.schedule[number]
        if unit == entry.first:
            self._begin(number)
        means = self.loop.run(self.phases[number], unit)
        return [
            {"phase": "weights", "epoch": unit, "stretch": entry.name,
             **means}
        ]

    def _begin(self, number: int) -> None:
        """Makes ready for a phase."""
        if number == 1:
            for teacher, v in zip(
                self._teacher, self.net.variables, strict=False
            ):
                teacher.assign(v)
        entry = self.schedule[number]
        if entry.sorted_for:
            operations = self.space.spec.operations
            sort_channels(
                self.net,
                [
                    code for code, (_, e) in enumerate(operations)
                    if e in entry.sorted_for
                ],
            )
        for slot in self._optimizer.slots():
            slot.assign(tf.zeros(slot.shape))

    def state(self) -> dict[str, Any]:
        """Returns the counters of the loop."""
        return {"steps": dict(self.loop.steps)}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""
        self.loop.steps.update(state["steps"])

    def variables(self) -> dict[str, list]:
        """Returns the weights, the optimizer's state and the teacher's."""
        return {
            "weights": self.net.variables,
            "weight_slots": self._optimizer.slots(),
            "teacher": self._teacher,
        }


def _gradient_at_once(
    function: Callable[..., tuple[tf.Tensor, tf.Tensor]],
    values: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes losses and, before anything else may go on, their gradient.

    So what one subnet holds for its gradient is free before the next one
    runs: a step needs the memory of one, however many it trains.

    Args:
        function: `f(values)` to losses `(batch,)` and logits.
        values: What it is differentiated by. The loop weighs all examples
            alike, so the gradient of the sum is all that it needs.

    Returns:
        The losses, and the logits without a gradient.
    """

    @tf.custom_gradient
    def run(*values: tf.Tensor) -> Any:
        # Out of sight of the tape around: two of them double the work.
        values = tuple(tf.stop_gradient(v) for v in values)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss, logits = function(values)
        gradients = tape.gradient(
            loss, values,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        with tf.control_dependencies(gradients):
            loss = tf.identity(loss)

        def backward(weights: tf.Tensor, _: tf.Tensor) -> list[tf.Tensor]:
            weight = tf.reduce_max(weights)
            return [weight * gradient for gradient in gradients]

        return (loss, tf.stop_gradient(logits)), backward

    return run(*values)


def _check_distillation(config: Any) -> None:
    if config.distill not in DISTILL:
        raise ConfigError(
            f"`search.supernet.distill` must be one of {DISTILL}. "
            f"Received: {config.distill!r}"
        )
    alone = [name for name in config.phases if not config[name].sandwich]
    if config.distill == "in_place" and alone:
        raise ConfigError(
            "`search.supernet.distill = 'in_place'` needs a sandwich in every "
            f"phase: its largest subnet teaches. Received: none in {alone}"
        )
