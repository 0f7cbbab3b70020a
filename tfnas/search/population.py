"""Populations of cells: tournaments, mutation, write-back, retirement.

Decides only; whoever trains hands the gates back. Source: Zhou et al.,
"AutoSpace", ICCV 2021, which gives the principle; sizes, odds and formulas
are ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.errors import InfeasibleBudget
from tfnas.ops.cell import Cell
from tfnas.spaces import cells

_TRIES = 20  # draws for a slot before a fresh cell takes it
_FRESH = 10_000  # draws of a fresh cell before the limit is blamed


@dataclasses.dataclass
class Individual:
    """A cell with its score.

    Args:
        cell: Not fused.
        score: Advantage of its gate over the reference cell's.
        visits: Rounds that it took part in.
        born: Round that made it.
        pinned: Whether it is a reference cell, which stays and scores 0.
    """

    cell: Cell
    score: float = 0.0
    visits: int = 0
    born: int = 0
    pinned: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the record of a state or a side file."""
        return {**vars(self), "cell": list(self.cell.codes)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Individual:
        """Reads what `to_json` returned."""
        return cls(**{**value, "cell": Cell.of(value["cell"])})


@dataclasses.dataclass(frozen=True)
class Rules:
    """How populations evolve.

    Args:
        size: Individuals that outlive a round.
        slots: Cells that run at once, the reference in slot 0 among them.
        tournament: Individuals of which the best is taken.
        mutate: Odds that a child takes the winner's place.
        cross: Odds that the child has a second parent.
        inherit: Share of the parent's score that a child starts with.
        rho: Weight of a new advantage, after the first.
    """

    size: int = 64
    slots: int = 4
    tournament: int = 5
    mutate: float = 0.8
    cross: float = 0.0
    inherit: float = 0.9
    rho: float = 0.5


class Population:
    """The cells of one position.

    Args:
        rules: How it evolves.
        allowed: Whether a cell may be in it, whatever it costs.
        rng: The stream of all draws.

    Attributes:
        members: The individuals, the pinned ones first.
    """

    def __init__(
        self, rules: Rules, allowed: Callable[[Cell], bool],
        rng: np.random.Generator,
    ):
        self.rules, self._allowed, self._rng = rules, allowed, rng
        self.members = [
            Individual(cell, pinned=True) for cell in cells.REFERENCES.values()
        ]
        while len(self.members) < rules.size:
            self._fresh(0)

    def _fresh(self, born: int) -> Individual:
        """Appends a random cell that is new."""
        for _ in range(_FRESH):
            cell = cells.random_cell(self._rng)
            if self._allowed(cell) and self._is_new(cell):
                self.members.append(Individual(cell, born=born))
                return self.members[-1]
        raise InfeasibleBudget(
            "hardly any cell is new and within the limit of its cost. "
            f"Received: {len(self.members)} cells, {_FRESH} draws"
        )

    def _is_new(self, cell: Cell) -> bool:
        key = cells.canonical(cell)
        return all(cells.canonical(m.cell) != key for m in self.members)

    def select(self, number: int) -> list[Individual]:
        """Chooses the cells of a round; children join the population.

        Args:
            number: Number of the round.

        Returns:
            A reference cell, another one each round, then the winners of
            tournaments or their children; no two compute the same.
        """
        pinned = [m for m in self.members if m.pinned]
        chosen = [pinned[number % len(pinned)]]
        for _ in range(1, self.rules.slots):
            chosen.append(self._candidate(chosen, number))
        return chosen

    def _candidate(
        self, chosen: Sequence[Individual], number: int
    ) -> Individual:
        taken = {cells.canonical(m.cell) for m in chosen}
        for _ in range(_TRIES):
            winner = self._tournament()
            if self._rng.random() < self.rules.mutate:
                child = self._child(winner)
                if self._allowed(child) and self._is_new(child):
                    score = self.rules.inherit * winner.score
                    self.members.append(Individual(child, score, 0, number))
                    return self.members[-1]
            elif cells.canonical(winner.cell) not in taken:
                return winner
        return self._fresh(number)

    def _tournament(self) -> Individual:
        """The best of a few; ties go to fewer visits, then to chance."""
        drawn = self._rng.permutation(len(self.members))
        few = [self.members[i] for i in drawn[: self.rules.tournament]]
        return max(few, key=lambda m: (m.score, -m.visits))

    def _child(self, parent: Individual) -> Cell:
        cell = parent.cell
        if self._rng.random() < self.rules.cross:
            other = self.members[int(self._rng.integers(len(self.members)))]
            cell = cells.crossover(cell, other.cell, self._rng)
        return cells.mutate(cell, self._rng)

    def write_back(
        self, chosen: Sequence[Individual], gates: Sequence[float]
    ) -> None:
        """Takes over the trained scores of a round.

        Advantages over the reference slot make rounds comparable.

        Args:
            chosen: What `select` returned.
            gates: The trained score of each.
        """
        for member, gate in zip(chosen, gates, strict=True):
            member.visits += 1
            if member.pinned:
                continue
            gain, rho = float(gate - gates[0]), self.rules.rho
            first = member.visits == 1
            member.score = (
                gain if first else (1 - rho) * member.score + rho * gain
            )

    def retire(self) -> None:
        """Drops the worst of those that ran until the size is right.

        Where none ran, the oldest goes.
        """
        while len(self.members) > self.rules.size:
            free = [m for m in self.members if not m.pinned]
            ran = [m for m in free if m.visits]
            if ran:
                worst = min(ran, key=lambda m: m.score)
            else:
                worst = min(free, key=lambda m: m.born)
            self.members.remove(worst)

    def best(self, number: int, min_visits: int = 2) -> list[Individual]:
        """Returns the best individuals that are no references.

        Args:
            number: How many; fewer come back from a smaller population.
            min_visits: Rounds that they must have run. Where too few have,
                those of one round less are taken in too, and so on.
        """
        free = sorted(
            (m for m in self.members if not m.pinned),
            key=lambda m: -m.score,
        )
        for visits in range(min_visits, -1, -1):
            found = [m for m in free if m.visits >= visits]
            if len(found) >= number or visits == 0:
                break
        return found[:number]

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the members as plain JSON."""
        return [m.to_json() for m in self.members]

    def restore(self, value: Sequence[dict[str, Any]]) -> None:
        """Takes back what `to_json` returned."""
        self.members = [Individual.from_json(m) for m in value]
