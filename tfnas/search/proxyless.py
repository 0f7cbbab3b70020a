"""ProxylessNAS: gradients on the gates of sampled paths, or REINFORCE.

Source: Cai, Zhu and Han, "ProxylessNAS: Direct Neural Architecture Search on
Target Task and Hardware", ICLR 2019, with the settings of its public recipe.
Ours: aiming at a target cost, and deriving at it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.cost.chain_costs import ChainCosts
from tfnas.cost.objective import check_target
from tfnas.errors import ConfigError
from tfnas.search import chain_derive
from tfnas.search.base import SEARCHES
from tfnas.search.base import Found
from tfnas.search.base import Search
from tfnas.search.baselines import scored_at_cost
from tfnas.search.gate_training import GateTraining
from tfnas.search.setting import Setting
from tfnas.spaces.candidates import CandidateSpace
from tfnas.train.loop import Loop


class ProxylessNAS(Search):
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

    goes_on_within = True

    def __init__(
        self, space: CandidateSpace, costs: ChainCosts,
        splits: tuple[Any, Any], loop: Loop, config: Any, seed: int,
        target: float | None = None,
    ):
        self.space, self.costs, self.loop = space, costs, loop
        self.config, self.seed, self.target = config, seed, target
        self.unit = costs.unit
        self._history: list[dict[str, Any]] = []
        self._archs: list[Found] = []
        self._baseline: list[Found] = []
        self.training = GateTraining(
            space, costs, splits, loop, config, seed, target
        )

    def score(self, arch: Arch) -> float:
        """Returns the accuracy of one network with the shared weights.

        Args:
            arch: A network of the space.

        Returns:
            Accuracy in 0..1 on the architecture split, batch statistics.
        """
        return self.training.score(self.space.codes(arch))

    def derive(self, target: float | None = None) -> Arch:
        """Returns the network of the present architecture parameters.

        Args:
            target: Cost to derive at; `None` takes the most probable op of
                every place, as published.
        """
        logits = self.training.logits().numpy().astype(np.float64)
        if target is None:
            return self.space.from_codes(logits.argmax(1).tolist())
        shifted = logits - logits.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        rows = self.costs.rows
        return self.space.from_codes(
            chain_derive.most_probable(
                [log[: len(row)] for log, row in zip(logs, rows, strict=True)],
                rows, self.costs.fixed, target, self.config.cost.tolerance,
            )
        )

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of any network."""
        return self.costs.reachable()

    def cost(self, arch: Arch) -> float:
        """Returns the predicted cost of a network of the space."""
        return self.costs.cost(self.space.codes(arch))

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network of the space."""
        return self.training.net.weights_for(arch)

    @property
    def units(self) -> int:
        return self.config.warmup_epochs + self.config.epochs + 1

    def unit_steps(self, unit: int) -> int:
        c, score = self.config, self.training.score_steps
        if unit == self.units - 1:
            return (c.top_archs + c.random_archs) * score
        first = c.warmup_epochs + c.arch_from_epoch
        arch = self.training.turns if unit >= first else 0
        scored = score if unit >= c.warmup_epochs else 0
        return self.training.turns * c.arch_every + arch + scored

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        c, phases = self.config, self.training.phases
        if unit == self.units - 1:
            return self._finish()
        turns = [(phases["weights"], c.arch_every)]
        if unit >= c.warmup_epochs + c.arch_from_epoch:
            turns.append((phases["arch"], 1))
        means = self.loop.alternate(turns, self.training.turns)
        records = [
            {"phase": phase.name, "epoch": unit, **m}
            for (phase, _), m in zip(turns, means, strict=True)
        ]
        if unit >= c.warmup_epochs:
            records.append(self._look(unit, means[0]))
        return records

    def _look(self, unit: int, means: dict[str, float]) -> dict[str, Any]:
        """Derives and scores a network; returns the log record."""
        arch = self.derive(self.target)
        accuracy, cost = self.score(arch), self.cost(arch)
        p = self.training.probabilities().numpy()
        entropy = -np.sum(p * np.log(np.maximum(p, 1e-30)), 1).mean()
        self._history.append(
            {"epoch": unit, "arch_id": arch.id, "cost": cost,
             "expected_cost": means["cost"], "loss": means["loss"],
             "accuracy": accuracy, "arch": arch.to_json()}
        )
        return {
            "phase": "derive", "epoch": unit, "arch_id": arch.id,
            "cost": cost, "accuracy": accuracy, "entropy": float(entropy),
        }

    def _finish(self) -> list[dict[str, Any]]:
        """Scores the last network, the best ones and a random baseline."""
        latest = {r["arch_id"]: r for r in self._history}
        last = latest.pop(self._history[-1]["arch_id"])
        others = sorted(latest.values(), key=lambda r: -r["accuracy"])
        for record in [last, *others][: self.config.top_archs]:
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
        return [found.log_record(self.units - 1) for found in scored]

    def state(self) -> dict[str, Any]:
        return {
            "words": self.space.words,
            "steps": dict(self.loop.steps),
            "history": self._history,
            "archs": [f.to_json() for f in self._archs],
            "baseline": [f.to_json() for f in self._baseline],
        }

    def restore(self, state: dict[str, Any]) -> None:
        if state["words"] != self.space.words:
            raise ConfigError(
                "expected the candidates that the checkpoint was made with. "
                f"Received: others, in space `{self.space.name}`"
            )
        self.loop.steps.update(state["steps"])
        self._history = state["history"]
        self._archs = [Found.from_json(f, "state") for f in state["archs"]]
        self._baseline = [
            Found.from_json(f, "state") for f in state["baseline"]
        ]

    def variables(self) -> dict[str, list]:
        return self.training.variables()

    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        history = [
            {k: v for k, v in record.items() if k != "arch"}
            for record in self._history
        ]
        return self._archs, self._baseline, history


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
    space, target = setting.space, setting.target
    if not isinstance(space, CandidateSpace):
        raise ConfigError(
            "`proxyless` searches a space of candidates, such as "
            "`autospace_proxyless` or `proxyless_mbconv`. "
            f"Received: space={setting.config.space!r}"
        )
    if setting.table is None:
        costs = ChainCosts.from_madds(space)
    else:
        costs = ChainCosts.from_table(space, setting.table)
    if target is not None:
        unit = "M multiply-adds" if setting.table is None else "ms"
        check_target(target, costs.reachable(), unit)
    return ProxylessNAS(
        space, costs, setting.splits, setting.loop, setting.config.search,
        setting.config.seed, target,
    )


SEARCHES.register("proxyless", build)
