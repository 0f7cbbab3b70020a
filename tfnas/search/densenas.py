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
from tfnas.cost.expected import ExpectedCost
from tfnas.cost.expected import log_penalty
from tfnas.cost.expected import target_penalty
from tfnas.cost.lattice import LatticeCosts
from tfnas.search.derivation import Likelihood
from tfnas.search.derivation import softmax
from tfnas.search.op_sampling import sample_ops
from tfnas.search.op_sampling import with_mass_kept
from tfnas.search.setting import Setting
from tfnas.search.supernet_search import GradientSearch
from tfnas.search.supernet_search import lattice_costs
from tfnas.spaces import lattice
from tfnas.spaces.lattice import LatticeSpace
from tfnas.supernets.base import one_by_one
from tfnas.supernets.lattice import ArchParameters
from tfnas.supernets.lattice import Draw
from tfnas.supernets.lattice import LatticeSupernet
from tfnas.supernets.lattice import PathWeights
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Adam

_ARCH_STEP_OPS = 2  # active ops of a row in an architecture step
_ALL_OPS = 10**6


class DenseNAS(GradientSearch):
    """The search.

    Args:
        space: A space with a lattice.
        costs: The cost of every option of the space.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of everything the search draws.
        target: Cost to aim at, in the unit of the costs, or `None`.

    Attributes:
        net: The supernet.
        phases: What it does with the loop, by name: `"weights"`, `"arch"`,
            `"valid"` and `"score"`.
    """

    def __init__(
        self, space: LatticeSpace, costs: LatticeCosts,
        splits: tuple[Any, Any], loop: Loop, config: Any, seed: int,
        target: float | None = None,
    ):
        super().__init__(space, costs, loop, config, seed, target)
        self._splits = splits
        with loop.strategy.scope():
            self.net = LatticeSupernet(
                space, seed, config.temperature, config.bn_groups
            )
            self._build_optimizers()
            self._build_single_path()
        seen = costs.with_skips_priced() if config.cost.skip_reg else costs
        self._expected = ExpectedCost(seen, self.net.tables)
        self.phases = self._make_phases()

    @property
    def epochs(self) -> int:
        return self.config.epochs

    def _build_optimizers(self) -> None:
        c = self.config
        steps = c.epochs * (len(self._splits[0]) // c.batch_size + 1)
        rate = schedules.cosine(c.weights.lr, steps, c.weights.min_lr)
        self.weight_optimizer = SGD(
            lambda step: rate(step + 1), c.weights.momentum,
            c.weights.weight_decay,
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
            self.space.route(self.space.sample(0))
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
            return tuple(
                sample_ops(
                    use * v.read_value(), k, self.seed, step,
                    len(self.net.arch.ops) * salt + i,
                )
                for i, v in enumerate(self.net.arch.ops)
            )

        return draw

    def _arch_values(self) -> ArchParameters:
        return ArchParameters.of(
            [v.read_value() for v in self.net.arch.as_list()]
        )

    def _relaxed(self, images, labels, draw, values, arch, train):
        ops, paths = (
            self.net.op_weights(arch, draw), self.net.path_weights(arch.paths)
        )
        logits = self.net(images, draw, values, ops, paths, train=train)
        cost = self._expected(
            list(zip(draw, ops, strict=True)), paths.links
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
            images, labels, draw, weights, ArchParameters.of(values),
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
        tables = zip(self.net.arch.ops, before, draw, strict=False)
        for variable, old, ops in tables:
            new = variable.read_value()
            tf.raw_ops.AssignVariableOp(
                resource=variable.handle,
                value=with_mass_kept(old, new, ops, new),
            )

    def _read_single(self) -> tuple[Draw, PathWeights]:
        *draw, links, meets = (v.read_value() for v in self._single)
        return tuple(draw), PathWeights(links, meets)

    def _single_objective(self, images, labels, draw, values) -> Objective:
        draw, paths = draw
        ones = tuple(tf.ones(ops.shape) for ops in draw)
        logits = self.net(images, draw, values, ones, paths, sparse=True)
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    def score(self, arch: Arch) -> float:
        draw, paths = self.net.one_hot(self.space.route(arch))
        for variable, value in zip(
            self._single, (*draw, *paths), strict=True
        ):
            variable.assign(value)
        return self.loop.run(self.phases["score"], 0)["accuracy"]

    def score_steps(self) -> int:
        return self.loop.num_steps(self.phases["score"])

    def likelihood(self) -> Likelihood:
        """Returns the softmax of all parameters, at temperature 1."""
        net = self.net
        options = {
            i: row
            for table, values in zip(net.tables, net.arch.ops, strict=True)
            for i, row in zip(table, softmax(values.numpy()), strict=True)
        }
        paths: list[float] = []
        if net.lattice.weighed:
            logits = np.where(net.path_mask, net.arch.paths.numpy(), -np.inf)
            paths = softmax(logits)[net.path_mask].tolist()
        return Likelihood.of(self.space.lattice, options, paths)

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network of the space."""
        return self.net.weights_for(self.space.route(arch))

    def run_epoch(self, epoch: int) -> list[dict[str, Any]]:
        names, accuracy = self._names(epoch), None
        records = [
            {"phase": name, "epoch": epoch, **self.loop.run(
                self.phases[name], epoch)}
            for name in names
        ]
        means = dict(zip(names, records, strict=True))
        if "valid" in means:
            accuracy = means["valid"]["accuracy"]
        derived = self.record(
            epoch, self.derive(self.target),
            expected_cost=means["weights"]["cost"],
            loss=means["weights"]["loss"], accuracy=accuracy,
        )
        return [*records, derived]

    def _names(self, epoch: int) -> list[str]:
        """Returns the phases of an epoch, in order."""
        c = self.config
        arch = ["arch"] if epoch >= c.arch_update_epoch else []
        valid = ["valid"] if epoch >= c.val_start_epoch else []
        return [*arch, "weights", *valid]

    def epoch_steps(self, epoch: int) -> int:
        return sum(
            self.loop.num_steps(self.phases[name])
            for name in self._names(epoch)
        )

    def finalists(self) -> list[dict[str, Any]]:
        """Returns one record for each network, best validation first.

        Epochs without validation come last, latest first.
        """
        order = sorted(
            self.history,
            key=lambda r: (
                -1.0 if r["accuracy"] is None else r["accuracy"], r["epoch"]
            ),
            reverse=True,
        )
        best: dict[str, dict[str, Any]] = {}
        for record in order:
            best.setdefault(record["arch_id"], record)
        return list(best.values())[: self.config.top_archs]

    def variables(self) -> dict[str, list]:
        return {
            "weights": self.net.variables,
            "arch": self.net.arch.as_list(),
            "weight_slots": self.weight_optimizer.slots(),
            "arch_slots": self.arch_optimizer.slots(),
        }


def build(setting: Setting) -> DenseNAS:
    """Makes the search that a config describes.

    Args:
        setting: The config and what it names. Without a latency table the
            costs are multiply-adds, in millions.

    Raises:
        LutMiss: when the table lacks operators of the space.
        InfeasibleBudget: when the target cannot be reached.
        ConfigError: for a space without a lattice.
    """
    config, space = setting.config, lattice.require(setting.space)
    costs = lattice_costs(setting, space)
    return DenseNAS(
        space, costs, setting.splits, setting.loop, config.search,
        config.seed, setting.target,
    )
