"""AutoSpace: populations of cells whose scores are trained gates.

Source: Zhou et al., "AutoSpace: Neural Architecture Search with Less Human
Interference", ICCV 2021. The paper gives the principle; formulas, sizes and
schedules are ours, and all of them are in the config.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.cost import cell_costs
from tfnas.cost.cell_costs import CellCosts
from tfnas.cost.objective import check_target
from tfnas.errors import ConfigError
from tfnas.ops.cell import Cell
from tfnas.search import chain_derive
from tfnas.search.base import SEARCHES
from tfnas.search.base import Found
from tfnas.search.base import Search
from tfnas.search.baselines import scored_at_cost
from tfnas.search.cell_training import CellTraining
from tfnas.search.population import Individual
from tfnas.search.population import Population
from tfnas.search.population import Rules
from tfnas.search.setting import Setting
from tfnas.spaces import cells
from tfnas.spaces.autospace import CellSpace
from tfnas.spaces.autospace_files import SpaceFile
from tfnas.supernets.base import stream
from tfnas.train.loop import Loop

_BAREST = Cell(0, 0, 0, 2, 1, 2, 1, 1, 2)
_PINNED = tuple(cells.REFERENCES.values())
_PULLED = 3  # features are pulled in the first third of the rounds


@dataclasses.dataclass(frozen=True)
class Prices:
    """The costs that a search for a space sees.

    Args:
        cap: Those of the hard limit of each cell, as cells evolve.
        soft: Those that the budget is for, of fused cells.
        nets: Those of networks in the result, of fused cells.
        budget: Cost of a network that the gates are pushed below, or `None`.
    """

    cap: CellCosts
    soft: CellCosts
    nets: CellCosts
    budget: float | None = None

    def reachable(self, cap_ratio: float) -> tuple[float, float]:
        """Returns the cost of the barest cells, and about that of the cap."""
        count = self.soft.positions
        least = self.soft.total([_BAREST] * count)
        fixed = self.soft.fixed
        top = self.soft.total([cells.REFERENCES["ref7"]] * count) - fixed
        return least, fixed + cap_ratio * top


class AutoSpace(Search):
    """The search for a space.

    Args:
        space: The space of all cells.
        prices: What cells and networks cost.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of everything the search draws.

    Attributes:
        populations: The cells of each position.
        training: The supernet, and what trains it.
    """

    def __init__(
        self, space: CellSpace, prices: Prices, splits: tuple[Any, Any],
        loop: Loop, config: Any, seed: int,
    ):
        self.space, self.prices, self.loop = space, prices, loop
        self.config, self.seed = config, seed
        self.unit = prices.nets.unit
        self._history: list[dict[str, Any]] = []
        self._archs: list[Found] = []
        self._baseline: list[Found] = []
        self._epoch_steps = splits[0].num_batches(config.batch_size)
        self._rng = stream(seed, "evolution")
        self.populations = [
            Population(Rules(**config.population), self._limit(i), self._rng)
            for i in range(len(space.spec.positions))
        ]
        steps = config.warmup_epochs * self._epoch_steps
        self.training = CellTraining(
            space, splits, loop, config, seed,
            steps + config.rounds * config.steps, prices.soft, prices.budget,
        )

    def _limit(self, position: int) -> Callable[[Cell], bool]:
        """Returns whether a cell is cheap enough for a position."""
        cost = self.prices.cap.cost
        most = self.config.cost.cap_ratio * cost(
            position, cells.REFERENCES["ref7"]
        )
        return lambda cell: cost(position, cell) <= most

    @property
    def units(self) -> int:
        return self.config.warmup_epochs + self.config.rounds + 1

    def unit_steps(self, unit: int) -> int:
        c = self.config
        if unit == self.units - 1:
            return (1 + c.random_archs) * self.training.score_steps()
        if unit < c.warmup_epochs:
            return self._epoch_steps
        times = c.steps // c.arch_every
        return times * (c.arch_every + 1)

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        if unit == self.units - 1:
            return self._finish()
        if unit < self.config.warmup_epochs:
            return self._warm_up(unit)
        return self._round(unit)

    def _warm_up(self, unit: int) -> list[dict[str, Any]]:
        """Trains networks of reference cells for an epoch.

        Each position draws another cell every so many steps as a round has.
        """
        records, left = [], self._epoch_steps
        while left:
            steps = min(left, self.config.steps)
            drawn = [
                _PINNED[int(self._rng.integers(len(_PINNED)))]
                for _ in self.populations
            ]
            means = self.training.train_alone(drawn, steps)
            records.append({"phase": "weights", "epoch": unit, **means})
            left -= steps
        return records

    def _round(self, unit: int) -> list[dict[str, Any]]:
        c = self.config
        number = unit - c.warmup_epochs
        end = max(1, c.rounds // _PULLED)
        pull = c.reference_weight * max(0.0, 1 - number / end)
        chosen = [p.select(number) for p in self.populations]
        gates, weight_means, gate_means = self.training.train_round(
            [[m.cell for m in row] for row in chosen],
            np.array([[m.score for m in row] for row in chosen], np.float32),
            pull,
        )
        for population, row, scores in zip(
            self.populations, chosen, gates, strict=True
        ):
            population.write_back(row, scores)
            population.retire()
        arch = self.derive()
        record = {
            "epoch": unit, "arch_id": arch.id, "cost": self.cost(arch),
            "expected_cost": gate_means["cost"], "loss": weight_means["loss"],
            "accuracy": gate_means["accuracy"],
        }
        self._history.append(record)
        best = [row[0].score for row in self.best_cells()]
        return [
            {"phase": "weights", "epoch": unit, **weight_means},
            {"phase": "gates", "epoch": unit, **gate_means},
            {"phase": "evolve", "epoch": unit, "arch_id": arch.id,
             "cost": record["cost"], "best_score": float(np.mean(best))},
        ]

    def best_cells(self) -> list[list[Individual]]:
        """Returns the best evolved cells of each position, best first."""
        c = self.config
        return [p.best(c.evolved, c.min_visits) for p in self.populations]

    def learned_space(self) -> SpaceFile:
        """Returns the space as it is now: evolved cells, then references."""
        return SpaceFile(
            tuple(
                (*(m.cell for m in row), *_PINNED)
                for row in self.best_cells()
            ),
            self.space.merge, self.space.large_kernel,
        )

    def derive(self, target: float | None = None) -> Arch:
        """Returns the network of the best-scored cells.

        Args:
            target: Cost to derive at; `None` is the best cell everywhere.
        """
        rows = self.best_cells()
        if target is None:
            return self.space.to_arch([row[0].cell for row in rows])
        rows = [[*row, *map(Individual, _PINNED)] for row in rows]
        costs = self.prices.nets
        choice = chain_derive.most_probable(
            [np.array([m.score for m in row]) for row in rows],
            [[costs.cost(i, m.cell) for m in row]
             for i, row in enumerate(rows)],
            costs.fixed, target, self.config.cost.tolerance,
        )
        return self.space.to_arch(
            [row[i].cell for row, i in zip(rows, choice, strict=True)]
        )

    def reachable(self) -> tuple[float, float]:
        """Returns the cost of the barest cells, and about that of the cap."""
        prices = dataclasses.replace(self.prices, soft=self.prices.nets)
        return prices.reachable(self.config.cost.cap_ratio)

    def cost(self, arch: Arch) -> float:
        """Returns the predicted cost of a network of the space."""
        return self.prices.nets.total(self.space.to_cells(arch))

    def score(self, arch: Arch) -> float:
        """Returns the accuracy of one network with the shared weights.

        Args:
            arch: A network of the space; its cells run before fusion.

        Returns:
            Accuracy in 0..1 on the architecture split, batch statistics.
        """
        return self.training.score(self.space.to_cells(arch))

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network; none of fused cells."""
        return self.training.net.weights_for(arch)

    def _finish(self) -> list[dict[str, Any]]:
        """Scores the best network and a random baseline of its cost."""
        best = self.derive()
        self._archs.append(Found(best, self.cost(best), self.score(best)))
        c = self.config
        self._baseline += scored_at_cost(
            self.space, self.cost, self.score, self._archs[0],
            c.random_tolerance, c.random_archs, self.seed,
        )
        scored = self._archs + self._baseline
        return [found.log_record(self.units - 1) for found in scored]

    def state(self) -> dict[str, Any]:
        return {
            "steps": dict(self.loop.steps),
            "generator": self._rng.bit_generator.state,
            "populations": [p.to_json() for p in self.populations],
            "history": self._history,
            "archs": [f.to_json() for f in self._archs],
            "baseline": [f.to_json() for f in self._baseline],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.loop.steps.update(state["steps"])
        self._rng.bit_generator.state = state["generator"]
        for population, value in zip(
            self.populations, state["populations"], strict=True
        ):
            population.restore(value)
        self._history = state["history"]
        self._archs = [Found.from_json(f, "state") for f in state["archs"]]
        self._baseline = [
            Found.from_json(f, "state") for f in state["baseline"]
        ]

    def variables(self) -> dict[str, list]:
        return self.training.variables()

    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        return self._archs, self._baseline, self._history

    def files(self) -> dict[str, Any]:
        """Returns the learned space, and the populations it is from."""
        return {
            "space.json": self.learned_space().to_json(self.space.spec.places),
            "populations.json": {
                "positions": [p.to_json() for p in self.populations]
            },
        }


def build(setting: Setting) -> AutoSpace:
    """Makes the search that a config describes.

    Args:
        setting: The config and what it names.

    Raises:
        ConfigError: for another space, or a kind of cost without its table.
        LutMiss: when the table lacks operators of the space's basis.
        InfeasibleBudget: when the budget cannot be reached.
    """
    config, space = setting.config.search, setting.space
    if not isinstance(space, CellSpace):
        raise ConfigError(
            "`autospace` evolves the spaces `autospace` and `autospace@32`. "
            f"Received: space={setting.config.space!r}"
        )
    space = CellSpace(
        space.name, space.spec, space.classes, space.input_shape,
        config.merge, config.large_kernel,
    )
    prices = _prices(setting, space)
    if prices.budget is not None:
        bounds = prices.reachable(config.cost.cap_ratio)
        check_target(prices.budget, bounds, prices.soft.unit)
    search = AutoSpace(
        space, prices, setting.splits, setting.loop, config,
        setting.config.seed,
    )
    search.target = setting.target
    return search


def _prices(setting: Setting, space: CellSpace) -> Prices:
    cost, table = setting.config.search.cost, setting.table
    if cost.kind not in cell_costs.KINDS or (
        (cost.kind == "latency") != (table is not None)
    ):
        raise ConfigError(
            "`search.cost.kind` must be `latency` with a table, `madds` or "
            f"`params` without. Received: {cost.kind!r}, "
            f"lut.path={setting.config.lut.path}"
        )
    if table is not None:
        costs = cell_costs.from_table(space, table)
        prices = Prices(costs, costs, costs)
    else:
        fused = cell_costs.from_madds(space, fused=True)
        prices = Prices(cell_costs.from_madds(space), fused, fused)
        if cost.kind == "params":
            prices = Prices(
                cell_costs.from_params(space),
                cell_costs.from_params(space, fused=True), fused,
            )
    budget = cost.budget
    if budget is None and cost.kind != "params":
        budget = setting.target
    return dataclasses.replace(prices, budget=budget)


SEARCHES.register("autospace", build)
