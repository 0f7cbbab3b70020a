"""ProxylessNAS: gradients on the gates of sampled paths, or REINFORCE.

Source: Cai, Zhu and Han, "ProxylessNAS: Direct Neural Architecture Search on
Target Task and Hardware", ICLR 2019, with the settings of its public recipe.
Ours: aiming at a target cost, and deriving at it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import ConfigError
from tfnas.search.derivation import Likelihood
from tfnas.search.derivation import softmax
from tfnas.search.gate_training import GateTraining
from tfnas.search.setting import Setting
from tfnas.search.supernet_search import GradientSearch
from tfnas.search.supernet_search import lattice_costs
from tfnas.spaces.candidates import CandidateSpace
from tfnas.train.loop import Loop


class ProxylessNAS(GradientSearch):
    """The search.

    Args:
        space: A space of candidates.
        costs: The cost of every candidate.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of everything the search draws.
        target: Cost to aim at, in the unit of the costs, or `None`.

    Attributes:
        training: The supernet and its phases.
    """

    def __init__(
        self, space: CandidateSpace, costs: LatticeCosts,
        splits: tuple[Any, Any], loop: Loop, config: Any, seed: int,
        target: float | None = None,
    ):
        super().__init__(space, costs, loop, config, seed, target)
        self.training = GateTraining(
            space, costs, splits, loop, config, seed, target
        )

    @property
    def epochs(self) -> int:
        return self.config.warmup_epochs + self.config.epochs

    def score(self, arch: Arch) -> float:
        return self.training.score(self.space.codes(arch))

    def score_steps(self) -> int:
        return self.training.score_steps

    def likelihood(self) -> Likelihood:
        """Returns the softmax of each place's parameters."""
        lattice = self.space.lattice
        rows = softmax(self.training.logits().numpy())
        options = {
            i: p[: len(lattice.links[i].options)]
            for i, p in zip(lattice.searched, rows, strict=True)
        }
        return Likelihood.of(lattice, options)

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network of the space."""
        return self.training.net.weights_for(arch)

    def epoch_steps(self, epoch: int) -> int:
        c, turns = self.config, self.training.turns
        arch = turns if epoch >= c.warmup_epochs + c.arch_from_epoch else 0
        scored = self.score_steps() if epoch >= c.warmup_epochs else 0
        return turns * c.arch_every + arch + scored

    def run_epoch(self, epoch: int) -> list[dict[str, Any]]:
        c, phases = self.config, self.training.phases
        turns = [(phases["weights"], c.arch_every)]
        if epoch >= c.warmup_epochs + c.arch_from_epoch:
            turns.append((phases["arch"], 1))
        means = self.loop.alternate(turns, self.training.turns)
        records = [
            {"phase": phase.name, "epoch": epoch, **m}
            for (phase, _), m in zip(turns, means, strict=True)
        ]
        if epoch >= c.warmup_epochs:
            records.append(self._look(epoch, means[0]))
        return records

    def _look(self, epoch: int, means: dict[str, float]) -> dict[str, Any]:
        """Derives and scores a network; returns the log record."""
        arch = self.derive(self.target)
        accuracy = self.score(arch)
        record = self.record(
            epoch, arch, expected_cost=means["cost"], loss=means["loss"],
            accuracy=accuracy,
        )
        p = self.training.probabilities().numpy()
        entropy = -np.sum(p * np.log(np.maximum(p, 1e-30)), 1).mean()
        return {**record, "accuracy": accuracy, "entropy": float(entropy)}

    def finalists(self) -> list[dict[str, Any]]:
        """Returns the last network, then the others by their accuracy."""
        latest = {r["arch_id"]: r for r in self.history}
        last = latest.pop(self.history[-1]["arch_id"])
        others = sorted(latest.values(), key=lambda r: -r["accuracy"])
        return [last, *others][: self.config.top_archs]

    def variables(self) -> dict[str, list]:
        return self.training.variables()


def build(setting: Setting) -> ProxylessNAS:
    """Makes the search that a config describes.

    Args:
        setting: The config and what it names. Without a latency table the
            costs are multiply-adds, in millions.

    Raises:
        ConfigError: for another kind of space, or a setting that cannot be.
        LutMiss: when the table lacks operators of the space.
        InfeasibleBudget: when the target cannot be reached.
    """
    space = setting.space
    if not isinstance(space, CandidateSpace):
        raise ConfigError(
            "`proxyless` searches a space of candidates, such as "
            "`autospace_proxyless` or `proxyless_mbconv`. "
            f"Received: space={setting.config.space!r}"
        )
    costs = lattice_costs(setting, space)
    return ProxylessNAS(
        space, costs, setting.splits, setting.loop, setting.config.search,
        setting.config.seed, setting.target,
    )
