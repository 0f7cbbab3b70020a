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

import tensorflow as tf

from tfnas.cost.expected import ExpectedCost
from tfnas.cost.expected import log_penalty
from tfnas.cost.expected import target_penalty
from tfnas.cost.lattice import LatticeCosts
from tfnas.search.lattice_search import LatticeSearch
from tfnas.search.op_sampling import sample_ops
from tfnas.search.op_sampling import with_mass_kept
from tfnas.search.setting import Setting
from tfnas.search.supernet_search import lattice_costs
from tfnas.spaces import lattice
from tfnas.spaces.lattice import LatticeSpace
from tfnas.supernets.base import one_by_one
from tfnas.supernets.lattice import ArchParameters
from tfnas.supernets.lattice import Draw
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Adam

_ARCH_STEP_OPS = 2  # active ops of a row in an architecture step
_ALL_OPS = 10**6


class DenseNAS(LatticeSearch):
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
        super().__init__(
            space, costs, splits, loop, config, seed, target,
            config.temperature, config.bn_groups,
        )
        seen = costs.with_skips_priced() if config.cost.skip_reg else costs
        self._expected = ExpectedCost(seen, self.net.tables)

    def make_optimizers(self, images: Any) -> tuple[SGD, Adam]:
        c = self.config
        steps = c.epochs * (len(images) // c.batch_size + 1)
        rate = schedules.cosine(c.weights.lr, steps, c.weights.min_lr)
        return (
            SGD(
                lambda step: rate(step + 1), c.weights.momentum,
                c.weights.weight_decay,
            ),
            Adam(
                schedules.constant(c.arch.lr), c.arch.beta1, c.arch.beta2,
                weight_decay=c.arch.weight_decay,
            ),
        )

    def make_phases(self, weight_split: Any, arch_split: Any) -> list[Phase]:
        c, batch, net = self.config, self.config.batch_size, self.net
        by_alpha = c.sample_policy == "prob"
        weights = Phase(
            "weights", weight_split, batch, self._weight_objective,
            net.select, self.weight_optimizer, augment=c.augment,
            bn_groups=c.bn_groups,
        )
        first = c.arch_update_epoch * self.loop.num_steps(weights)
        draw = self._drawer(c.weight_sample_num, first if by_alpha else None, 0)
        return [
            dataclasses.replace(weights, draw=draw),
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
        ]

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

    def phase_names(self, epoch: int) -> list[str]:
        c = self.config
        arch = ["arch"] if epoch >= c.arch_update_epoch else []
        valid = ["valid"] if epoch >= c.val_start_epoch else []
        return [*arch, "weights", *valid]


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
