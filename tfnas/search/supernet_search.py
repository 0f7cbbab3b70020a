"""What searches on a weight-sharing supernet have in common.

Such a search trains weights and architecture parameters, derives a network
after each epoch, and at the end scores the best of them with the shared
weights, beside random networks of the same cost. A subclass says what its
steps optimise.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import json
from typing import Any

from tfnas.arch import Arch
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.objective import check_target
from tfnas.errors import ConfigError
from tfnas.results import Found
from tfnas.search import derivation
from tfnas.search.base import Search
from tfnas.search.baselines import scored_at_cost
from tfnas.search.derivation import Likelihood
from tfnas.search.setting import Setting
from tfnas.spaces.base import Space
from tfnas.spaces.lattice import LatticeSpace
from tfnas.train.loop import Loop


class SupernetSearch(Search):
    """A search that scores networks with shared weights.

    Args:
        space: The space.
        cost_unit: Unit of the costs.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of everything the search draws.
        target: Cost to aim at, in the unit of the costs, or `None`.
    """

    def __init__(
        self, space: Space, cost_unit: str, loop: Loop, config: Any,
        seed: int, target: float | None = None,
    ):
        super().__init__()
        self.space: Any = space
        self.cost_unit, self.loop = cost_unit, loop
        self.config, self.seed, self.target = config, seed, target

    @property
    @abc.abstractmethod
    def epochs(self) -> int:
        """Number of units of work before the last, which scores networks."""

    @abc.abstractmethod
    def run_epoch(self, epoch: int) -> list[dict[str, Any]]:
        """Trains for an epoch and returns the log records."""

    @abc.abstractmethod
    def epoch_steps(self, epoch: int) -> int:
        """Returns about how many steps an epoch takes."""

    @abc.abstractmethod
    def score(self, arch: Arch) -> float:
        """Returns the accuracy of one network with the shared weights.

        Args:
            arch: A network of the space.

        Returns:
            Accuracy in 0..1 on the architecture split, batch statistics.
        """

    @abc.abstractmethod
    def score_steps(self) -> int:
        """Returns the number of steps that a score takes."""

    @abc.abstractmethod
    def finalists(self) -> list[dict[str, Any]]:
        """Returns the records of the history to score, the best first."""

    @property
    def units(self) -> int:
        return self.epochs + 1

    def unit_steps(self, unit: int) -> int:
        if unit < self.epochs:
            return self.epoch_steps(unit)
        c = self.config
        number = c.get("top_archs", 1) + c.random_archs
        return number * self.score_steps()

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        if unit < self.epochs:
            return self.run_epoch(unit)
        return self._finish()

    def record(self, epoch: int, arch: Arch, **facts: Any) -> dict[str, Any]:
        """Notes the network of an epoch in the history.

        Args:
            epoch: The epoch.
            arch: The network.
            **facts: What else to note: `loss`, `expected_cost`, `accuracy`.

        Returns:
            What the log says of it.
        """
        cost = self.cost(arch)
        self.history.append(
            {"epoch": epoch, "arch_id": arch.id, "cost": cost, **facts,
             "arch": arch.to_json()}
        )
        return {
            "phase": "derive", "epoch": epoch, "arch_id": arch.id,
            "cost": cost,
        }

    def _finish(self) -> list[dict[str, Any]]:
        """Scores the best networks of the history and a random baseline."""
        for record in self.finalists():
            arch = Arch.from_json(record["arch"])
            self.archs.append(
                Found(
                    arch, record["cost"], self.score(arch),
                    epoch=record["epoch"],
                )
            )
        c = self.config
        self.baseline += scored_at_cost(
            self.space, self.cost, self.score, self.archs[0],
            c.random_tolerance, c.random_archs, self.seed,
        )
        scored = self.archs + self.baseline
        return [found.log_record(self.epochs) for found in scored]

    def state(self) -> dict[str, Any]:
        return {
            "space": self._fingerprint,
            "steps": dict(self.loop.steps),
            "history": self.history,
            "archs": [f.to_json() for f in self.archs],
            "baseline": [f.to_json() for f in self.baseline],
        }

    def restore(self, state: dict[str, Any]) -> None:
        if "space" not in state:
            raise ConfigError(
                "expected a checkpoint of this version of tfnas. Received: "
                "one of an earlier version, which this one does not go on "
                "with; finish it there, or start in a new --workdir"
            )
        if state["space"] != self._fingerprint:
            raise ConfigError(
                "expected the candidates that the checkpoint was made with. "
                f"Received: others, in space `{self.space.name}`"
            )
        self.loop.steps.update(state["steps"])
        self.history = state["history"]
        self.archs, self.baseline = (
            [Found.from_json(f, "state") for f in state[name]]
            for name in ("archs", "baseline")
        )

    @functools.cached_property
    def _fingerprint(self) -> str:
        """Tells spaces of one name apart: their files may change."""
        blocks = [[b.to_json(), s] for b, s in self.space.blocks()]
        return hashlib.sha256(json.dumps(blocks).encode()).hexdigest()

    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        history = [
            {k: v for k, v in record.items() if k != "arch"}
            for record in self.history
        ]
        return self.archs, self.baseline, history


class GradientSearch(SupernetSearch):
    """A search whose architecture parameters are those of a lattice.

    Args:
        space: A space with a lattice.
        costs: The cost of every option.
        loop: See `SupernetSearch`.
        config: See `SupernetSearch`.
        seed: See `SupernetSearch`.
        target: See `SupernetSearch`.
    """

    goes_on_within = True

    def __init__(
        self, space: LatticeSpace, costs: LatticeCosts, loop: Loop,
        config: Any, seed: int, target: float | None = None,
    ):
        super().__init__(space, costs.unit, loop, config, seed, target)
        self.costs = costs

    @abc.abstractmethod
    def likelihood(self) -> Likelihood:
        """Returns the probabilities of the present parameters."""

    def derive(self, target: float | None = None) -> Arch:
        """Returns the network of the present architecture parameters.

        Args:
            target: Cost to derive at; `None` is the published rule.
        """
        p = self.likelihood()
        if target is None:
            route = derivation.likeliest(self.space.lattice, p)
        else:
            route = derivation.likeliest_at(
                self.costs, p, target, self.config.cost.tolerance
            )
        return self.space.from_route(route)

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of any network."""
        return self.costs.reachable()

    def cost(self, arch: Arch) -> float:
        """Returns the predicted cost of a network of the space."""
        return self.costs.cost(self.space.route(arch))


def lattice_costs(setting: Setting, space: LatticeSpace) -> LatticeCosts:
    """Returns the costs that a setting gives a space.

    Without a latency table they are multiply-adds, in millions.

    Raises:
        LutMiss: when the table lacks operators of the space.
        InfeasibleBudget: when the target cannot be reached.
    """
    if setting.table is None:
        costs, unit = LatticeCosts.from_madds(space), "M multiply-adds"
    else:
        costs, unit = LatticeCosts.from_table(space, setting.table), "ms"
    if setting.target is not None:
        check_target(setting.target, costs.reachable(), unit)
    return costs
