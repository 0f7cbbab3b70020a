"""DenseNAS: gradients on op and path parameters of a dense supernet.

Source: Fang et al., "Densely Connected Search Space for More Flexible Neural
Architecture Search", CVPR 2020, with the schedule and the optimizer maths of
the authors' release. Ours: aiming at a target cost, and deriving at it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.arch import Arch
from tfnas.cost.dense_costs import DenseCosts
from tfnas.cost.expected import ChainedCost
from tfnas.cost.expected import log_penalty
from tfnas.cost.expected import target_penalty
from tfnas.cost.objective import check_target
from tfnas.cost.objective import reachable
from tfnas.search import dense_derive
from tfnas.search.base import SEARCHES
from tfnas.search.base import Found
from tfnas.search.base import Search
from tfnas.search.baselines import scored_at_cost
from tfnas.search.op_sampling import sample_ops
from tfnas.search.setting import Setting
from tfnas.spaces import dense
from tfnas.spaces.dense import DenseSpace
from tfnas.supernets.base import one_by_one
from tfnas.supernets.dense import ArchParameters
from tfnas.supernets.dense import DenseSupernet
from tfnas.supernets.dense import Draw
from tfnas.supernets.dense import PathWeights
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Adam

_ARCH_STEP_OPS = 2  # active ops of a row in an architecture step
_ALL_OPS = 10**6


class DenseNAS(Search):
    """The search.

    Args:
        space: A dense space.
        costs: The cost of every choice of the space.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of everything the search draws.
        target: Cost to aim at, in the unit of the costs, or `None`.
        skip_costs: The costs that the search sees, where they differ from
            `costs` by `skip_reg`.

    Attributes:
        net: The supernet.
        phases: What it does with the loop, by name: `"weights"`, `"arch"`,
            `"valid"` and `"score"`.
    """

    goes_on_within = True

    def __init__(
        self, space: DenseSpace, costs: DenseCosts, splits: tuple[Any, Any],
        loop: Loop, config: Any, seed: int, target: float | None = None,
        skip_costs: DenseCosts | None = None,
    ):
        self.space, self.costs, self.loop = space, costs, loop
        self.config, self.seed, self.target = config, seed, target
        self._expected = ChainedCost(skip_costs or costs)
        self._splits = splits
        self._history: list[dict[str, Any]] = []
        self._baseline: list[Found] = []
        self._archs: list[Found] = []
        with loop.strategy.scope():
            self.net = DenseSupernet(
                space, seed, config.temperature, config.bn_groups
            )
            self._build_optimizers()
            self._build_single_path()
        self.phases = self._make_phases()

    @property
    def units(self) -> int:
        return self.config.epochs + 1

    def _build_optimizers(self) -> None:
        c = self.config
        steps = c.epochs * (len(self._splits[0]) // c.batch_size + 1)
        rate = schedules.cosine(c.weights.lr, steps, c.weights.min_lr)
        self.weight_optimizer = SGD(
            lambda step: rate(step + 1), c.weights.momentum,
            c.weights.weight_decay, c.weights.unsampled,
        )
        self.weight_optimizer.build(self.net.variables)
        self.arch_optimizer = Adam(
            schedules.constant(c.arch.lr), c.arch.beta1, c.arch.beta2,
            weight_decay=c.arch.weight_decay,
        )
        self.arch_optimizer.build(self.net.arch.as_list())

    def _build_single_path(self) -> None:
        """Variables that hold the one network to score."""
        draw, paths = self.net.one_hot(
            self.space.to_choice(self.space.sample(0))
        )
        self._single = [
            tf.Variable(value, trainable=False) for value in (*draw, *paths)
        ]

    def _make_phases(self) -> dict[str, Phase]:
        weight_split, arch_split = self._splits
        c, batch, net = self.config, self.config.batch_size, self.net
        by_alpha = c.sample_policy == "prob"
        weights = Phase(
            "weights", weight_split, batch, self._weight_objective,
            net.select, self.weight_optimizer, augment=c.augment,
            bn_groups=c.bn_groups,
        )
        first = c.arch_update_epoch * self.loop.num_steps(weights)
        phases = [
            dataclasses.replace(
                weights,
                draw=self._drawer(
                    c.weight_sample_num, first if by_alpha else None, 0
                ),
            ),
            Phase(
                "arch", arch_split, batch, self._arch_objective,
                lambda draw: one_by_one(net.arch.as_list()),
                self.arch_optimizer, self._drawer(_ARCH_STEP_OPS, 0, 1),
                after=self._rescale,
            ),
            Phase(
                "valid", arch_split, batch, self._weight_objective,
                net.select, None, self._drawer(_ALL_OPS, None, 2),
                shuffle=False,
            ),
            Phase(
                "score", arch_split, batch, self._single_objective,
                lambda draw: net.select(draw[0]), None,
                lambda step: self._read_single(), shuffle=False,
            ),
        ]
        return {
            phase.name: dataclasses.replace(phase, bn_groups=c.bn_groups)
            for phase in phases
        }

    def _drawer(
        self, k: int, from_alpha: int | None, salt: int
    ) -> Callable[[tf.Tensor], Draw]:
        """Draws uniformly before step `from_alpha` and by alpha from it on.

        Args:
            k: Active ops of a row.
            from_alpha: First step that draws by alpha; `None` for never.
            salt: Keeps the streams of the phases apart.
        """

        def draw(step: tf.Tensor) -> Draw:
            use = 0.0
            if from_alpha is not None:
                use = tf.cast(step >= from_alpha, tf.float32)
            heads, stacks = (
                sample_ops(
                    use * v.read_value(), k, self.seed, step, 2 * salt + i
                )
                for i, v in enumerate(self.net.arch.as_list()[:2])
            )
            return Draw(heads, stacks)

        return draw

    def _arch_values(self) -> ArchParameters:
        return ArchParameters(
            *[v.read_value() for v in self.net.arch.as_list()]
        )

    def _relaxed(self, images, labels, draw, values, arch, train):
        ops, paths = (
            self.net.op_weights(arch, draw), self.net.path_weights(arch.paths)
        )
        logits = self.net(images, draw, values, ops, paths, train=train)
        cost = self._expected(
            paths.connections, (draw.heads, ops[0]), (draw.stacks, ops[1])
        )
        return logits, cost

    def _weight_objective(self, images, labels, draw, values) -> Objective:
        logits, cost = self._relaxed(
            images, labels, draw, values, self._arch_values(), train=True
        )
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
            scalars={"cost": cost},
        )

    def _arch_objective(self, images, labels, draw, values) -> Objective:
        weights = [s.read() for s in self.net.select(draw)]
        logits, cost = self._relaxed(
            images, labels, draw, weights, ArchParameters(*values),
            train=False,
        )
        return Objective(
            losses.cross_entropy(labels, logits), self._penalty(cost),
            {"accuracy": losses.correct(labels, logits)}, {"cost": cost},
        )

    def _penalty(self, cost: tf.Tensor) -> tf.Tensor:
        c = self.config.cost
        if self.target is not None:
            return target_penalty(cost, c.target_factor, self.target)
        if not c.factor:
            return tf.constant(0.0)
        return log_penalty(cost, c.factor, c.log_base)

    def _rescale(self, draw: Draw, before: Sequence[tf.Tensor]) -> None:
        """Gives the sampled ops back their joint probability (8.2)."""
        tables = zip(self.net.arch.as_list()[:2], before, draw, strict=False)
        for variable, old, ops in tables:
            new = variable.read_value()
            mass = [
                tf.reduce_logsumexp(
                    tf.gather(t, ops, batch_dims=1), -1, keepdims=True
                )
                for t in (old, new)
            ]
            sampled = tf.reduce_max(tf.one_hot(ops, new.shape[1]), 1)
            value = new + sampled * (mass[0] - mass[1])
            tf.raw_ops.AssignVariableOp(
                resource=variable.handle, value=value
            )

    def _read_single(self) -> tuple[Draw, PathWeights]:
        heads, stacks, connections, tails = (
            v.read_value() for v in self._single
        )
        return Draw(heads, stacks), PathWeights(connections, tails)

    def _single_objective(self, images, labels, draw, values) -> Objective:
        draw, paths = draw
        ones = tuple(tf.ones(ops.shape) for ops in draw)
        logits = self.net(images, draw, values, ones, paths, sparse=True)
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    def score(self, arch: Arch) -> float:
        """Returns the accuracy of one network with the shared weights.

        Args:
            arch: A network of the space.

        Returns:
            Accuracy in 0..1 on the architecture split, batch statistics.
        """
        draw, paths = self.net.one_hot(self.space.to_choice(arch))
        for variable, value in zip(
            self._single, (*draw, *paths), strict=True
        ):
            variable.assign(value)
        return self.loop.run(self.phases["score"], 0)["accuracy"]

    def derive(self, target: float | None = None) -> Arch:
        """Returns the network of the present architecture parameters.

        Args:
            target: Cost to derive at; `None` is the published rule.
        """
        p = dense_derive.probabilities(
            self.space, *(v.numpy() for v in self.net.arch.as_list())
        )
        if target is None:
            return dense_derive.viterbi(self.space, p)
        return dense_derive.most_probable(
            self.space, p, self.costs, target, self.config.cost.tolerance
        )

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of any network."""
        return reachable(self.costs)

    def cost(self, arch: Arch) -> float:
        """Returns the predicted cost of a network of the space."""
        return dense_derive.choice_cost(self.space, self.costs, arch)

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network of the space."""
        return self.net.weights_for(self.space.to_choice(arch))

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        if unit == self.config.epochs:
            return self._finish()
        records = []
        if unit >= self.config.arch_update_epoch:
            records.append(self._run("arch", unit))
        records.append(self._run("weights", unit))
        record = {"epoch": unit, "expected_cost": records[-1]["cost"],
                  "loss": records[-1]["loss"], "accuracy": None}
        if unit >= self.config.val_start_epoch:
            records.append(self._run("valid", unit))
            record["accuracy"] = records[-1]["accuracy"]
        arch = self.derive(self.target)
        record |= {"arch_id": arch.id, "cost": self.cost(arch),
                   "arch": arch.to_json()}
        self._history.append(record)
        records.append(
            {"phase": "derive", "epoch": unit, "arch_id": arch.id,
             "cost": record["cost"]}
        )
        return records

    def _run(self, name: str, epoch: int) -> dict[str, Any]:
        means = self.loop.run(self.phases[name], epoch)
        return {"phase": name, "epoch": epoch, **means}

    def _finish(self) -> list[dict[str, Any]]:
        """Scores the best networks of the history and a random baseline."""
        best = self._best_epochs()
        for record in best:
            arch = Arch.from_json(record["arch"])
            self._archs.append(
                Found(arch, record["cost"], self.score(arch),
                      epoch=record["epoch"])
            )
        c = self.config
        self._baseline += scored_at_cost(
            self.space, self.cost, self.score, self._archs[0],
            c.random_tolerance, c.random_archs, self.seed,
        )
        scored = self._archs + self._baseline
        return [found.log_record(c.epochs) for found in scored]

    def _best_epochs(self) -> list[dict[str, Any]]:
        """Epochs of different networks, best validation accuracy first.

        Epochs without validation come last, latest first.
        """
        order = sorted(
            self._history,
            key=lambda r: (
                -1.0 if r["accuracy"] is None else r["accuracy"], r["epoch"]
            ),
            reverse=True,
        )
        best: dict[str, dict[str, Any]] = {}
        for record in order:
            best.setdefault(record["arch_id"], record)
        return list(best.values())[: self.config.top_archs]

    def state(self) -> dict[str, Any]:
        return {
            "steps": dict(self.loop.steps),
            "history": self._history,
            "archs": [f.to_json() for f in self._archs],
            "baseline": [f.to_json() for f in self._baseline],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.loop.steps.update(state["steps"])
        self._history = state["history"]
        self._archs = [Found.from_json(f, "state") for f in state["archs"]]
        self._baseline = [
            Found.from_json(f, "state") for f in state["baseline"]
        ]

    def variables(self) -> dict[str, list]:
        return {
            "weights": self.net.variables,
            "arch": self.net.arch.as_list(),
            "weight_slots": self.weight_optimizer.slots(),
            "arch_slots": self.arch_optimizer.slots(),
        }

    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        history = [
            {k: v for k, v in record.items() if k != "arch"}
            for record in self._history
        ]
        return self._archs, self._baseline, history

    def unit_steps(self, unit: int) -> int:
        c, steps = self.config, self.loop.num_steps
        if unit == c.epochs:
            return (c.top_archs + c.random_archs) * steps(self.phases["score"])
        names = ["weights"]
        names += ["arch"] if unit >= c.arch_update_epoch else []
        names += ["valid"] if unit >= c.val_start_epoch else []
        return sum(steps(self.phases[name]) for name in names)


def build(setting: Setting) -> DenseNAS:
    """Makes the search that a config describes.

    Args:
        setting: The config and what it names. Without a latency table the
            costs are multiply-adds, in millions.

    Raises:
        LutMiss: when the table lacks operators of the space.
        InfeasibleBudget: when the target cannot be reached.
        ConfigError: for a space of another kind.
    """
    config, table = setting.config, setting.table
    space = dense.require(setting.space)
    regularised = config.search.cost.skip_reg
    if table is None:
        costs = DenseCosts.from_madds(space)
        seen = DenseCosts.from_madds(space, skip_reg=regularised)
    else:
        costs = DenseCosts.from_table(space, table)
        seen = DenseCosts.from_table(space, table, skip_reg=regularised)
    target = setting.target
    if target is not None:
        unit = "M multiply-adds" if table is None else "ms"
        check_target(target, reachable(costs), unit)
    search = DenseNAS(
        space, costs, setting.splits, setting.loop, config.search,
        config.seed, target, seen,
    )
    search.unit = setting.cost.unit
    return search


SEARCHES.register("densenas", build)
