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
from tfnas.search.cell_training import CellTraining
from tfnas.search.derivation import Likelihood
from tfnas.search.derivation import likeliest_at
from tfnas.search.derivation import softmax
from tfnas.search.population import Individual
from tfnas.search.population import Population
from tfnas.search.population import Rules
from tfnas.search.setting import Setting
from tfnas.search.supernet_search import SupernetSearch
from tfnas.spaces import cells
from tfnas.spaces.autospace import CellSpace
from tfnas.spaces.autospace_files import SpaceFile
from tfnas.supernets.base import stream
from tfnas.train.loop import Loop

_BAREST = Cell(0, 0, 0, 2, 1, 2, 1, 1, 2)
_PINNED = tuple(cells.REFERENCES.values())
_PULLED = 3  # features are pulled in the first third of the rounds


@dataclasses.dataclass(frozen=True)
class SearchCosts:
    """The costs that a search for a space sees.

    Args:
        cap: Those of the hard limit of each cell, as cells evolve.
        soft: Those that the target is for, of fused cells.
        nets: Those of networks in the result, of fused cells.
        target: Cost of a network that the gates are pushed below, or `None`.
    """

    cap: CellCosts
    soft: CellCosts
    nets: CellCosts
    target: float | None = None

    def reachable(self, cap_ratio: float) -> tuple[float, float]:
        """Returns the cost of the barest cells, and about that of the cap."""
        least, most = (
            self.soft.of([[cell]] * self.soft.positions)
            for cell in (_BAREST, cells.REFERENCES["ref7"])
        )
        fixed = most.fixed
        return least.reachable()[0], fixed + cap_ratio * (
            most.reachable()[0] - fixed
        )


class AutoSpace(SupernetSearch):
    """The search for a space.

    Args:
        space: The space of all cells.
        costs: What cells and networks cost.
        splits: The weight and the architecture split of the training images.
        loop: The gradient loop.
        config: The `search` section of the config.
        seed: Seed of everything the search draws.
        target: Cost that the result is said to aim at, or `None`.

    Attributes:
        populations: The cells of each position.
        training: The supernet, and what trains it.
    """

    def __init__(
        self, space: CellSpace, costs: SearchCosts, splits: tuple[Any, Any],
        loop: Loop, config: Any, seed: int, target: float | None = None,
    ):
        super().__init__(space, costs.nets.unit, loop, config, seed, target)
        self.costs = costs
        self._epoch_steps = splits[0].num_batches(config.batch_size)
        self._rng = stream(seed, "evolution")
        self.populations = [
            Population(Rules(**config.population), self._limit(i), self._rng)
            for i in range(len(space.spec.positions))
        ]
        steps = config.warmup_epochs * self._epoch_steps
        self.training = CellTraining(
            space, splits, loop, config, seed,
            steps + config.rounds * config.steps, costs.soft, costs.target,
        )

    def _limit(self, position: int) -> Callable[[Cell], bool]:
        """Returns whether a cell is cheap enough for a position."""
        cost = self.costs.cap.cost
        most = self.config.cost.cap_ratio * cost(
            position, cells.REFERENCES["ref7"]
        )
        return lambda cell: cost(position, cell) <= most

    @property
    def epochs(self) -> int:
        return self.config.warmup_epochs + self.config.rounds

    def epoch_steps(self, epoch: int) -> int:
        c = self.config
        if epoch < c.warmup_epochs:
            return self._epoch_steps
        return c.steps // c.arch_every * (c.arch_every + 1)

    def run_epoch(self, epoch: int) -> list[dict[str, Any]]:
        if epoch < self.config.warmup_epochs:
            return self._warm_up(epoch)
        return self._round(epoch)

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
        derived = self.record(
            unit, self.derive(), expected_cost=gate_means["cost"],
            loss=weight_means["loss"], accuracy=gate_means["accuracy"],
        )
        best = [row[0].score for row in self.best_cells()]
        return [
            {"phase": "weights", "epoch": unit, **weight_means},
            {"phase": "gates", "epoch": unit, **gate_means},
            {**derived, "phase": "evolve", "best_score": float(np.mean(best))},
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
        costs = self.costs.nets.of([[m.cell for m in row] for row in rows])
        scores = (np.array([m.score for m in row]) for row in rows)
        lattice = costs.lattice
        p = Likelihood.of(
            lattice,
            dict(zip(lattice.searched, map(softmax, scores), strict=True)),
        )
        route = likeliest_at(costs, p, target, self.config.cost.tolerance)
        return self.space.to_arch(
            [row[k].cell for row, (_, k) in zip(rows, route[1:], strict=False)]
        )

    def reachable(self) -> tuple[float, float]:
        """Returns the cost of the barest cells, and about that of the cap."""
        costs = dataclasses.replace(self.costs, soft=self.costs.nets)
        return costs.reachable(self.config.cost.cap_ratio)

    def cost(self, arch: Arch) -> float:
        """Returns the predicted cost of a network of the space."""
        return self.costs.nets.total(self.space.to_cells(arch))

    def score(self, arch: Arch) -> float:
        """Returns the accuracy of a network, whose cells run before fusion."""
        return self.training.score(self.space.to_cells(arch))

    def score_steps(self) -> int:
        return self.training.score_steps()

    def finalists(self) -> list[dict[str, Any]]:
        """Returns the network of the best cells."""
        return self.history[-1:]

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network; none of fused cells."""
        return self.training.net.weights_for(arch)

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "generator": self._rng.bit_generator.state,
            "populations": [p.to_json() for p in self.populations],
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._rng.bit_generator.state = state["generator"]
        for population, value in zip(
            self.populations, state["populations"], strict=True
        ):
            population.restore(value)

    def variables(self) -> dict[str, list]:
        return self.training.variables()

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
        InfeasibleBudget: when the target cannot be reached.
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
    costs = _search_costs(setting, space)
    if costs.target is not None:
        bounds = costs.reachable(config.cost.cap_ratio)
        check_target(costs.target, bounds, costs.soft.unit)
    return AutoSpace(
        space, costs, setting.splits, setting.loop, config,
        setting.config.seed, setting.target,
    )


def _search_costs(setting: Setting, space: CellSpace) -> SearchCosts:
    cost, table = setting.config.search.cost, setting.table
    if cost.kind not in cell_costs.KINDS or (
        (cost.kind == "latency") != (table is not None)
    ):
        raise ConfigError(
            "`search.cost.kind` must be `latency` with a table, `madds` or "
            f"`params` without. Received: {cost.kind!r}, "
            f"lut.path={setting.config.lut.path}"
        )
    target = cost.budget
    if target is None and cost.kind != "params":
        target = setting.target
    if table is not None:
        nets = cap = soft = cell_costs.from_table(space, table)
    else:
        nets = cell_costs.from_madds(space)
        make = {
            "madds": cell_costs.from_madds, "params": cell_costs.from_params,
        }[cost.kind]
        cap, soft = make(space, fused=False), make(space)
    return SearchCosts(cap, soft, nets, target)
