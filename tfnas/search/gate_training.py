"""The steps of ProxylessNAS: weights of one path, gates of a few.

Source: Cai, Zhu and Han, ICLR 2019, sections 3.2 and 3.3, with the settings
of the public recipe. The `target` loss is ours, and so is that a place whose
active op is a skip keeps its update.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow as tf

from tfnas.cost.expected import ExpectedCost
from tfnas.cost.expected import target_penalty
from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import ConfigError
from tfnas.search.op_sampling import sample_ops
from tfnas.search.op_sampling import with_mass_kept
from tfnas.spaces.candidates import CandidateSpace
from tfnas.supernets.base import one_by_one
from tfnas.supernets.choice import ChoiceSupernet
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Adam

MODES = ("two_path", "reinforce")
LOSSES = ("mul_log", "add_linear", "target", "none")


class Pair(NamedTuple):
    """The ops of an architecture step at each place.

    Args:
        active: `(places,)`: the op that runs.
        other: `(places,)`: the op that is looked at.
    """

    active: tf.Tensor
    other: tf.Tensor


class GateTraining:
    """A supernet of candidates, and the phases that train it.

    Args:
        space: A space of candidates.
        costs: The cost of every candidate.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of all draws.
        target: Cost to aim at, in the unit of the costs, or `None`.

    Attributes:
        net: The supernet.
        phases: What the loop runs, by name: `"weights"`, `"arch"` and
            `"score"`.

    Raises:
        ConfigError: for a mode or a loss that is unknown or cannot be.
    """

    def __init__(
        self, space: CandidateSpace, costs: LatticeCosts,
        splits: tuple[Any, Any], loop: Loop, config: Any, seed: int,
        target: float | None = None,
    ):
        self.config, self._costs, self._seed = config, costs, seed
        self._space, self._splits, self._loop = space, splits, loop
        self._reference = target or config.cost.reference
        self._check()
        self._expected = ExpectedCost(costs, [space.lattice.searched])
        (self._cost_table,) = self._expected.tables
        with loop.strategy.scope():
            self.net = ChoiceSupernet(
                space, seed, config.bn_groups, config.share_weights
            )
            self._build_optimizers()
            self._single = tf.Variable(
                tf.zeros([len(space.candidates)], tf.int32), trainable=False
            )
            # Mean reward so far; none yet while negative.
            self._mean_reward = tf.Variable(-1.0, trainable=False)
        self.phases = self._make_phases()

    def _check(self) -> None:
        c, least = self.config, self._costs.reachable()[0]
        if c.mode not in MODES or c.cost.loss not in LOSSES:
            raise ConfigError(
                f"`search.mode` must be one of {MODES} and `search.cost.loss` "
                f"one of {LOSSES}. Received: {c.mode!r}, {c.cost.loss!r}"
            )
        if c.cost.loss != "none" and self._reference is None:
            raise ConfigError(
                f"the loss {c.cost.loss!r} compares with a cost: a target, or "
                "`search.cost.reference`. Received: neither"
            )
        if c.cost.loss == "mul_log" and least * self._per_unit <= 1:
            raise ConfigError(
                "the loss 'mul_log' takes costs above 1 ms. Received: a "
                f"network of {least:.4g} ms"
            )

    @property
    def _per_unit(self) -> float:
        """`mul_log` takes milliseconds or plain multiply-adds."""
        return {"ms": 1.0, "madds_m": 1e6}[self._costs.unit]

    def _build_optimizers(self) -> None:
        c = self.config
        self.weight_optimizer = SGD(
            self._rate(), c.weights.momentum, c.weights.weight_decay,
            nesterov=True,
        )
        self.weight_optimizer.build(self.net.variables)
        self.arch_optimizer = Adam(
            schedules.constant(c.arch.lr), c.arch.beta1, c.arch.beta2
        )
        self.arch_optimizer.build([self.net.alphas])

    def _rate(self) -> schedules.Schedule:
        """A cosine for the warm-up, then another for the search."""
        c, epoch = self.config, self.turns * self.config.arch_every
        first = c.warmup_epochs * epoch
        warmup = schedules.cosine(c.weights.warmup_lr, max(1, first))
        search = schedules.cosine(c.weights.lr, max(1, c.epochs * epoch))
        return lambda step: tf.where(
            step < first, warmup(step), search(step - first)
        )

    @property
    def turns(self) -> int:
        """Turns of an epoch: some weight steps, then an architecture step."""
        steps = self._splits[0].num_batches(self.config.batch_size)
        return math.ceil(steps / self.config.arch_every)

    def _make_phases(self) -> dict[str, Phase]:
        c, net = self.config, self.net
        weights, choices = self._splits
        objectives = {
            "two_path": self._two_path_objective,
            "reinforce": self._reinforce_objective,
        }
        draws = {
            "two_path": self._draw_pair,
            "reinforce": self._draw_nets,
        }
        phases = [
            Phase(
                "weights", weights, c.batch_size, self._weight_objective,
                net.select, self.weight_optimizer,
                lambda step: self._draw(step, 0), augment=c.augment,
            ),
            Phase(
                "arch", choices, c.batch_size, objectives[c.mode],
                lambda draw: one_by_one([net.alphas]), self.arch_optimizer,
                draws[c.mode],
                after=self._keep_mass if c.mode == "two_path" else None,
            ),
            Phase(
                "score", choices, c.batch_size, self._single_objective,
                net.select, None, lambda step: self._single.read_value(),
                shuffle=False,
            ),
        ]
        return {
            p.name: dataclasses.replace(p, bn_groups=c.bn_groups)
            for p in phases
        }

    def logits(self) -> tf.Tensor:
        """Returns the present parameters, ruling out what is no candidate."""
        return self.net.logits(self.net.alphas.read_value())

    def _draw(self, step: tf.Tensor, salt: int) -> tf.Tensor:
        """Draws an op for each place by its probability."""
        return sample_ops(self.logits(), 1, self._seed, step, salt)[:, 0]

    def _draw_pair(self, step: tf.Tensor) -> Pair:
        """Draws two ops for each place; one of them is active.

        The active one is drawn by the probabilities among the two.
        """
        logits = self.logits()
        pairs = sample_ops(logits, 2, self._seed, step, 1)
        own = tf.gather(logits, pairs, batch_dims=1)
        first = sample_ops(own, 1, self._seed, step, 2)
        active, other = (
            tf.gather(pairs, i, batch_dims=1)[:, 0] for i in (first, 1 - first)
        )
        return Pair(active, other)

    def _draw_nets(self, step: tf.Tensor) -> tf.Tensor:
        """Draws the networks of a REINFORCE update, `(networks, places)`."""
        number = self.config.reinforce.networks
        return tf.stack(
            [self._draw(step * number + i, 3) for i in range(number)]
        )

    def _weight_objective(self, images, labels, draw, values) -> Objective:
        logits = self.net(images, draw, values, train=True)
        smoothing = self.config.label_smoothing
        return Objective(
            losses.cross_entropy(labels, logits, smoothing),
            sums={"accuracy": losses.correct(labels, logits)},
            scalars={"cost": self._expected([(None, self.probabilities())])},
        )

    def probabilities(self) -> tf.Tensor:
        """Returns the present probabilities, `(places, most candidates)`."""
        return self.net.probabilities(self.net.alphas.read_value())

    def _two_path_objective(self, images, labels, draw, values) -> Objective:
        (alphas,) = values
        pair = tf.stack([draw.active, draw.other], 1)
        shares = tf.nn.softmax(tf.gather(alphas, pair, batch_dims=1))
        logits = self.net.two_paths(images, draw.active, draw.other, shares)
        cost = self._expected([(pair, shares)])
        return self._arch_objective(labels, logits, cost)

    def _arch_objective(self, labels, logits, cost) -> Objective:
        loss = losses.cross_entropy(labels, logits)
        factor, extra = self._cost_terms(cost)
        return Objective(
            factor * loss, extra,
            {"accuracy": losses.correct(labels, logits)}, {"cost": cost},
        )

    def _cost_terms(self, cost: tf.Tensor) -> tuple[Any, Any]:
        """Returns what multiplies the loss, and what is added to it.

        `mul_log`: `a CE (log E / log ref)^b` (the paper's release);
        `add_linear`: `CE + lam (E - ref) / ref` (equation 6, relative);
        `target`: `CE + factor |E / target - 1|` (ours).
        """
        c, unit = self.config.cost, self._per_unit
        if c.loss == "none":
            return 1.0, 0.0
        if c.loss == "mul_log":
            scale = tf.math.log(cost * unit) / math.log(self._reference * unit)
            return c.alpha * scale**c.beta, 0.0
        if c.loss == "add_linear":
            excess = cost / self._reference - 1.0
            return 1.0, c.factor * excess
        return 1.0, target_penalty(cost, c.target_factor, self._reference)

    def _reinforce_objective(self, images, labels, draw, values) -> Objective:
        """`-sum_nets (reward - mean) log p(net) / nets` (section 3.3)."""
        rewards = self._rewards(images, labels, draw)
        mean = tf.reduce_mean(rewards)
        old = self._mean_reward.read_value()
        new = tf.where(
            old < 0, mean, old + self.config.reinforce.rate * (mean - old)
        )
        tf.raw_ops.AssignVariableOp(
            resource=self._mean_reward.handle, value=new
        )
        p = self.net.probabilities(values[0])
        logs = tf.math.log(tf.maximum(p, 1e-30))
        extra = -tf.reduce_mean((rewards - new) * _picked(logs, draw))
        return Objective(
            tf.zeros(tf.shape(labels)), extra,
            scalars={"reward": mean, "cost": self._expected([(None, p)])},
        )

    def _rewards(self, images, labels, nets) -> tf.Tensor:
        """Returns `accuracy * (ref / cost)^w` of each network."""

        def accuracy(codes: tf.Tensor) -> tf.Tensor:
            values = [s.read() for s in self.net.select(codes)]
            logits = self.net(images, codes, values)
            return tf.reduce_mean(losses.correct(labels, logits))

        found = tf.map_fn(
            accuracy, nets, parallel_iterations=1,
            fn_output_signature=tf.float32,
        )
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            found = context.all_reduce(tf.distribute.ReduceOp.MEAN, found)
        found = tf.stop_gradient(found)
        if self.config.cost.loss == "none":
            return found
        cost = tf.map_fn(
            lambda codes: self._expected([(codes[:, None], 1.0)]), nets,
            fn_output_signature=tf.float32,
        )
        return found * (self._reference / cost) ** self.config.reinforce.weight

    def _keep_mass(self, draw: Pair, before: Sequence[tf.Tensor]) -> None:
        """Lets a step move nothing but the two sampled probabilities.

        Their sum stays, and with it every other probability; the others'
        parameters, which Adam's moments may have moved, go back.
        """
        new, (old,) = self.net.alphas.read_value(), before
        tf.raw_ops.AssignVariableOp(
            resource=self.net.alphas.handle,
            value=with_mass_kept(old, new, tf.stack(draw, 1), old),
        )

    def _single_objective(self, images, labels, draw, values) -> Objective:
        logits = self.net(images, draw, values)
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    @property
    def score_steps(self) -> int:
        """Steps that a score takes."""
        return self._loop.num_steps(self.phases["score"])

    def score(self, codes: Sequence[int]) -> float:
        """Returns the accuracy of one network with the shared weights.

        Args:
            codes: The index of each place's candidate.

        Returns:
            Accuracy in 0..1 on the architecture split, batch statistics.
        """
        self._single.assign(codes)
        return self._loop.run(self.phases["score"], 0)["accuracy"]

    def variables(self) -> dict[str, list]:
        """Returns named groups of all variables."""
        return {
            "weights": self.net.variables,
            "arch": [self.net.alphas, self._mean_reward],
            "weight_slots": self.weight_optimizer.slots(),
            "arch_slots": self.arch_optimizer.slots(),
        }


def _picked(table: tf.Tensor, nets: tf.Tensor) -> tf.Tensor:
    """Sums, for each row of codes, one entry of each row of a table."""
    one_hot = tf.one_hot(nets, table.shape[1])
    return tf.reduce_sum(one_hot * table, [1, 2])
