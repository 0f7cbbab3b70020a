"""Training of cells side by side: what AutoSpace's rounds do with the loop."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.cost.cell_costs import CellCosts
from tfnas.cost.expected import ExpectedCost
from tfnas.ops.cell import Cell
from tfnas.spaces.autospace import CellSpace
from tfnas.supernets.base import one_by_one
from tfnas.supernets.cells import CellSupernet
from tfnas.supernets.cells import RunningCells
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Adam


class RoundAdam(Adam):
    """Adam that starts afresh when it is told to."""

    first_step = 0

    def restart(self, step: int) -> None:
        """Forgets its moments; `step` is the next one of its phase.

        The step function must be traced anew.
        """
        self.first_step = step
        for slot in self.slots():
            slot.assign(tf.zeros(slot.shape))

    def apply(self, chosen, values, gradients, step) -> None:
        super().apply(chosen, values, gradients, step - self.first_step)


class CellTraining:
    """A supernet of cells, and the steps that train weights and gates.

    The cells of a call are part of the traced functions, which live no
    longer than the call.

    Args:
        space: The space.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of the initial weights.
        steps: Weight steps of the whole search.
        costs: What the gates are weighed by.
        target: Cost that they are pushed below, or `None`.

    Attributes:
        net: The supernet.
    """

    def __init__(
        self, space: CellSpace, splits: tuple[Any, Any], loop: Loop,
        config: Any, seed: int, steps: int, costs: CellCosts,
        target: float | None = None,
    ):
        self._splits, self._loop, self._config = splits, loop, config
        self._costs, self._target = costs, target
        c = config
        with loop.strategy.scope():
            self.net = CellSupernet(
                space, c.population.slots, seed, c.bn_groups
            )
            rate = schedules.cosine(c.weights.lr, steps, c.weights.min_lr)
            self._weight_optimizer = SGD(
                rate, c.weights.momentum, c.weights.weight_decay,
                nesterov=True, clip_norm=c.weights.clip_norm,
            )
            self._weight_optimizer.build(self.net.variables)
            self._gate_optimizer = RoundAdam(
                schedules.constant(c.gates.lr), c.gates.beta1, c.gates.beta2
            )
            self._gate_optimizer.build([self.net.gates])

    def variables(self) -> dict[str, list]:
        """Returns what a round leaves behind; gates start anew."""
        return {
            "weights": self.net.variables,
            "weight_slots": self._weight_optimizer.slots(),
        }

    def train_alone(
        self, chosen: Sequence[Cell], steps: int
    ) -> dict[str, float]:
        """Trains the network of one cell at each position.

        Args:
            chosen: The cells.
            steps: Weight steps.

        Returns:
            The means over the steps.
        """
        running = RunningCells(self.net, [[cell] for cell in chosen])
        phase = self._weight_phase(running, None)
        (means,) = self._alternate([(phase, steps)], 1)
        return means

    def train_round(
        self, chosen: Sequence[Sequence[Cell]], scores: np.ndarray,
        pull: float = 0.0,
    ) -> tuple[np.ndarray, dict[str, float], dict[str, float]]:
        """Trains cells side by side, and their gates in turn.

        Args:
            chosen: The cells of each position.
            scores: `(positions, slots)`: what the gates start from.
            pull: Weight of the distance from the first cell's features.

        Returns:
            The trained gates, and the means of weight and of gate steps.
        """
        c = self._config
        running = RunningCells(self.net, chosen)
        self.net.gates.assign(scores)
        self._gate_optimizer.restart(self._loop.steps.get("gates", 0))
        weights, gates = self._alternate(
            [
                (self._weight_phase(running, self.net.gates, pull),
                 c.arch_every),
                (self._gate_phase(running), 1),
            ],
            c.steps // c.arch_every,
        )
        return self.net.gates.numpy(), weights, gates

    def score(self, chosen: Sequence[Cell]) -> float:
        """Returns the accuracy of the network of one cell at each position.

        Args:
            chosen: The cells.

        Returns:
            Accuracy in 0..1 on the architecture split, batch statistics.
        """
        running = RunningCells(self.net, [[cell] for cell in chosen])

        def objective(images, labels, draw, values) -> Objective:
            logits = running(images, values).logits
            return Objective(
                losses.cross_entropy(labels, logits),
                sums={"accuracy": losses.correct(labels, logits)},
            )

        phase = self._phase("score", 1, objective, running, None)
        self._loop.forget(phase.name)
        accuracy = self._loop.run(phase, 0)["accuracy"]
        self._free([phase.name])
        return accuracy

    def score_steps(self) -> int:
        """Returns the number of steps that a score takes."""
        return self._splits[1].num_batches(self._config.batch_size)

    def _alternate(
        self, turns: list[tuple[Phase, int]], times: int
    ) -> list[dict[str, float]]:
        for phase, _ in turns:
            self._loop.forget(phase.name)
        means = self._loop.alternate(turns, times)
        self._free([phase.name for phase, _ in turns])
        return means

    def _free(self, names: Sequence[str]) -> None:
        """Frees the traced functions, which refer to themselves."""
        for name in names:
            self._loop.forget(name)
        gc.collect()

    def _phase(self, name, split, objective, running, optimizer) -> Phase:
        c = self._config
        return Phase(
            name, self._splits[split], c.batch_size, objective,
            lambda draw: running.select(), optimizer,
            augment="none" if optimizer is None else c.augment,
            shuffle=optimizer is not None, bn_groups=c.bn_groups,
        )

    def _weight_phase(
        self, running: RunningCells, gates: tf.Variable | None,
        pull: float = 0.0,
    ) -> Phase:
        smoothing = self._config.label_smoothing

        def objective(images, labels, draw, values) -> Objective:
            shares = None
            if gates is not None:
                shares = self._shares(gates.read_value())
            out = running(images, values, shares)
            return Objective(
                losses.cross_entropy(labels, out.logits, smoothing),
                pull * out.distance,
                {"accuracy": losses.correct(labels, out.logits)},
            )

        return self._phase(
            "weights", 0, objective, running, self._weight_optimizer
        )

    def _shares(self, gates: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(gates / self._config.tau)

    def _gate_phase(self, running: RunningCells) -> Phase:
        costs = self._costs.of(running.chosen)
        expected = ExpectedCost(costs, [costs.lattice.searched])

        def objective(images, labels, draw, values) -> Objective:
            (gates,) = values
            weights = [s.read() for s in running.select()]
            logits = running(images, weights, self._shares(gates)).logits
            cost = expected([(None, tf.nn.softmax(gates))])
            return Objective(
                losses.cross_entropy(labels, logits), self._penalty(cost),
                {"accuracy": losses.correct(labels, logits)}, {"cost": cost},
            )

        return Phase(
            "gates", self._splits[1], self._config.batch_size, objective,
            lambda draw: one_by_one([self.net.gates]), self._gate_optimizer,
            bn_groups=self._config.bn_groups,
        )

    def _penalty(self, cost: tf.Tensor) -> tf.Tensor | float:
        """`factor * max(0, cost / target - 1)`."""
        if self._target is None:
            return 0.0
        excess = tf.nn.relu(cost / self._target - 1.0)
        return self._config.cost.factor * excess
