"""A gradient search that trains the supernet of a lattice.

What is left to say of a new one is what its steps optimise: its optimizers,
its phases, and which of them an epoch runs.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.arch import Arch
from tfnas.cost.lattice import LatticeCosts
from tfnas.search.derivation import Likelihood
from tfnas.search.derivation import softmax
from tfnas.search.supernet_search import GradientSearch
from tfnas.spaces.lattice import LatticeSpace
from tfnas.supernets.lattice import Draw
from tfnas.supernets.lattice import LatticeSupernet
from tfnas.supernets.lattice import PathWeights
from tfnas.train import losses
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import Optimizer


class LatticeSearch(GradientSearch):
    """A search on a `LatticeSupernet`.

    Args:
        space: A space with a lattice.
        costs: The cost of every option of the space.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config; `epochs`, `batch_size`,
            `cost.tolerance`, and what `SupernetSearch` reads are read here.
        seed: Seed of everything the search draws.
        target: Cost to aim at, in the unit of the costs, or `None`.
        temperature: See `LatticeSupernet`.
        bn_groups: See `LatticeSupernet`.

    Attributes:
        net: The supernet.
        phases: What it does with the loop, by name: those of `make_phases`,
            and `"score"`.
    """

    def __init__(
        self, space: LatticeSpace, costs: LatticeCosts,
        splits: tuple[Any, Any], loop: Loop, config: Any, seed: int,
        target: float | None = None, temperature: float = 1.0,
        bn_groups: int = 1,
    ):
        super().__init__(space, costs, loop, config, seed, target)
        with loop.strategy.scope():
            self.net = LatticeSupernet(space, seed, temperature, bn_groups)
            self.weight_optimizer, self.arch_optimizer = self.make_optimizers(
                splits[0]
            )
            self.weight_optimizer.build(self.net.variables)
            self.arch_optimizer.build(self.net.arch.as_list())
            draw, paths = self.net.one_hot(space.route(space.sample(0)))
            self._single = [  # the one network to score
                tf.Variable(v, trainable=False) for v in (*draw, *paths)
            ]
        score = Phase(
            "score", splits[1], config.batch_size, self._single_objective,
            lambda draw: self.net.select(draw[0]), None,
            lambda step: self._read_single(), shuffle=False,
        )
        self.phases = {
            phase.name: dataclasses.replace(phase, bn_groups=bn_groups)
            for phase in [*self.make_phases(*splits), score]
        }

    @abc.abstractmethod
    def make_optimizers(self, images: Any) -> tuple[Optimizer, Optimizer]:
        """Returns the optimizers of weights and architecture parameters.

        Args:
            images: The weight split, whose length may set a schedule.
        """

    @abc.abstractmethod
    def make_phases(self, weight_split: Any, arch_split: Any) -> list[Phase]:
        """Returns the phases; `"weights"` reports its cost as `"cost"`."""

    @abc.abstractmethod
    def phase_names(self, epoch: int) -> list[str]:
        """Returns the phases of an epoch in order, `"weights"` among them.

        The accuracy of one called `"valid"` says which epochs are best.
        """

    @property
    def epochs(self) -> int:
        return self.config.epochs

    def epoch_steps(self, epoch: int) -> int:
        return sum(
            self.loop.num_steps(self.phases[name])
            for name in self.phase_names(epoch)
        )

    def run_epoch(self, epoch: int) -> list[dict[str, Any]]:
        means = {
            name: self.loop.run(self.phases[name], epoch)
            for name in self.phase_names(epoch)
        }
        records = [
            {"phase": name, "epoch": epoch, **m} for name, m in means.items()
        ]
        derived = self.record(
            epoch, self.derive(self.target),
            expected_cost=means["weights"]["cost"],
            loss=means["weights"]["loss"],
            accuracy=means.get("valid", {}).get("accuracy"),
        )
        return [*records, derived]

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

    def score(self, arch: Arch) -> float:
        draw, paths = self.net.one_hot(self.space.route(arch))
        for variable, value in zip(
            self._single, (*draw, *paths), strict=True
        ):
            variable.assign(value)
        return self.loop.run(self.phases["score"], 0)["accuracy"]

    def score_steps(self) -> int:
        return self.loop.num_steps(self.phases["score"])

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

    def variables(self) -> dict[str, list]:
        return {
            "weights": self.net.variables,
            "arch": self.net.arch.as_list(),
            "weight_slots": self.weight_optimizer.slots(),
            "arch_slots": self.arch_optimizer.slots(),
        }
