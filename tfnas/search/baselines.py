"""What a search is compared with: random, evolution, local search, no policy.

`random_at_cost` draws networks of one cost, and `scored_at_cost` scores them as
a result was. The others are strategies, which `query.QuerySearch` runs.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.search.base import Found
from tfnas.search.limit import Limit
from tfnas.search.query import Strategy
from tfnas.spaces.base import Space
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

_WALKS = 3  # for each network wanted
_WALK_STEPS = 1000
_DRAWS = 100  # of codes that are new, before known ones are taken


def random_at_cost(
    space: Space, cost: Callable[[Arch], float], low: float, high: float,
    number: int, seed: int, max_draws: int = 2_000,
) -> list[Arch]:
    """Draws different networks whose cost lies in a range.

    Where the range is rare in the space, so that too few draws fall into it,
    draws are changed at random until their cost does.

    Args:
        space: Where to draw from.
        cost: The cost of a network.
        low: Least cost.
        high: Greatest cost.
        number: How many networks to return; fewer come back where the range
            holds hardly any.
        seed: Seed of the draws.
        max_draws: Draws before networks are changed.

    Raises:
        InfeasibleBudget: when there is no such network.
    """

    def excess(arch: Arch) -> float:
        value = cost(arch)
        return max(low - value, value - high, 0.0)

    found: dict[str, Arch] = {}
    for i in range(max_draws + _WALKS * number):
        if len(found) == number:
            break
        arch = space.sample(seed * max_draws + i)
        if i >= max_draws:
            arch = _descend(space, excess, arch)
        if excess(arch) == 0:
            found.setdefault(arch.id, arch)
    if number and not found:
        raise InfeasibleBudget(
            f"random networks of `{space.name}` must cost {low:.4g}.."
            f"{high:.4g}. Received: none in {max_draws} draws"
        )
    return list(found.values())


def scored_at_cost(
    space: Space, cost: Callable[[Arch], float],
    score: Callable[[Arch], float], best: Found, tolerance: float,
    number: int, seed: int,
) -> list[Found]:
    """Draws networks of the cost of a result and scores them as it was.

    Args:
        space: Where to draw from.
        cost: The cost of a network.
        score: Its score.
        best: The result.
        tolerance: How far their costs may be from its cost, as a share of it.
        number: How many networks.
        seed: Seed of the draws.

    Raises:
        InfeasibleBudget: when there is no such network.
    """
    low, high = (best.cost * (1 + s * tolerance) for s in (-1, 1))
    archs = random_at_cost(space, cost, low, high, number, seed)
    return [Found(arch, cost(arch), score(arch), "random") for arch in archs]


def _descend(
    space: Space, excess: Callable[[Arch], float], arch: Arch
) -> Arch:
    """Changes a network at random, never for the worse, until it fits."""
    left = excess(arch)
    for step in range(_WALK_STEPS):
        if left == 0:
            break
        near = space.random_neighbor(arch, step)
        more = excess(near)
        if more <= left:
            arch, left = near, more
    return arch


class _Remembering(Strategy):
    """Remembers every answer and draws from one stream of its own.

    Args:
        space: The space.
        limit: Nothing that it does not allow is asked for.
        seed: Seed of all draws.
    """

    def __init__(self, space: CodedSpace, limit: Limit, seed: int):
        self.space, self.limit = space, limit
        self._rng = np.random.default_rng(seed)
        self._scores: dict[Codes, float] = {}

    def _draw(self) -> Codes:
        """Draws an architecture, a new one unless hardly any are left."""
        for _ in range(_DRAWS):
            codes = self.limit.sample(self._rng)
            if codes not in self._scores:
                break
        return codes

    def _neighbors(self, codes: Codes) -> list[Codes]:
        """Returns the neighbours that fit, in random order."""
        near = [n for n in self.space.neighbors(codes) if self.limit.fits(n)]
        return [near[i] for i in self._rng.permutation(len(near))]

    def tell(self, codes: Codes, score: float, cost: float) -> None:
        self._scores[codes] = score
        self._learn(codes, score)

    @abc.abstractmethod
    def _learn(self, codes: Codes, score: float) -> None:
        """Makes use of an answer."""

    def best(self) -> tuple[Codes, float]:
        return max(self._scores.items(), key=lambda item: item[1])

    def state(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "scores": [[list(c), s] for c, s in self._scores.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._scores = {tuple(c): s for c, s in state["scores"]}


class RandomSearch(_Remembering):
    """Draws different architectures, all that fit equally likely."""

    def ask(self) -> Codes:
        return self._draw()

    def _learn(self, codes: Codes, score: float) -> None:
        pass


class RegularizedEvolution(_Remembering):
    """Evolution in which the oldest dies.

    Source: Real et al., "Regularized Evolution for Image Classifier
    Architecture Search", AAAI 2019, algorithm 1. The best of a random sample
    of the population has a child, which is one edit away.

    Args:
        space: The space.
        limit: Nothing that it does not allow is asked for.
        seed: Seed of all draws.
        population: Number of architectures that live; the first are random.
        tournament: Size of the sample, drawn with replacement.
    """

    def __init__(
        self, space: CodedSpace, limit: Limit, seed: int,
        population: int = 20, tournament: int = 20,
    ):
        if population < 1 or tournament < 1:
            raise ConfigError(
                "`population` and `tournament` must be at least 1. "
                f"Received: {population=}, {tournament=}"
            )
        super().__init__(space, limit, seed)
        self._size, self._tournament = population, tournament
        self._population: list[Codes] = []  # oldest first

    def ask(self) -> Codes:
        if len(self._population) < self._size:
            return self._draw()
        sample = self._rng.integers(self._size, size=self._tournament)
        parent = max(
            (self._population[i] for i in sample), key=self._scores.__getitem__
        )
        near = self._neighbors(parent)
        return near[0] if near else self._draw()

    def _learn(self, codes: Codes, score: float) -> None:
        self._population = [*self._population, codes][-self._size :]

    def state(self) -> dict[str, Any]:
        alive = [list(codes) for codes in self._population]
        return {**super().state(), "population": alive}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._population = [tuple(codes) for codes in state["population"]]


class LocalSearch(_Remembering):
    """Climbs from neighbour to neighbour; starts again at the top.

    Source: White et al., "Exploring the Loss Landscape in Neural Architecture
    Search", UAI 2021. The neighbours of a centre, all that are one edit away,
    are asked for in random order; the first that is better is the next
    centre. (To ask for all of them first and then take the best finds less
    in as many queries.) What was asked for once costs nothing again.

    Args:
        space: The space.
        limit: Nothing that it does not allow is asked for.
        seed: Seed of all draws.
    """

    def __init__(self, space: CodedSpace, limit: Limit, seed: int):
        super().__init__(space, limit, seed)
        self._height = 0.0  # score of the centre
        self._queue: list[Codes] = []  # neighbours to ask for, last first

    def ask(self) -> Codes:
        # All neighbours are known, and none is better.
        return self._queue[-1] if self._queue else self._draw()

    def _learn(self, codes: Codes, score: float) -> None:
        if not self._queue:
            self._move(codes)
            return
        self._queue.pop()
        if score > self._height:
            self._move(codes)

    def _move(self, centre: Codes) -> None:
        """Makes something the centre, or what is better around it."""
        near = self._neighbors(centre)
        known = [codes for codes in near if codes in self._scores]
        best = max([centre, *known], key=self._scores.__getitem__)
        if best != centre:
            self._move(best)
            return
        self._height = self._scores[centre]
        self._queue = [codes for codes in near if codes not in self._scores]

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "height": self._height,
            "queue": [list(codes) for codes in self._queue],
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._height = state["height"]
        self._queue = [tuple(codes) for codes in state["queue"]]


class UniformPolicy:
    """Stands in for the policy of ASE-NAS: all choices are equally likely.

    `ase_nas.ASENAS` with it is the same search without learning. Positions
    are uniform, and so are the legal codes of a position.

    Args:
        space: The space.
        centres: Number of subspaces.
        edits: Edits of a sample.
        samples: Samples that `sample` draws at once.
    """

    def __init__(
        self, space: CodedSpace, centres: int, edits: int, samples: int = 1
    ):
        self._legal = [np.flatnonzero(row) for row in space.legal]
        self._centres, self._edits, self._samples = centres, edits, samples

    def reset(self, seed: int) -> None:
        """Nothing to start anew: draws depend on their arguments only."""

    def features(
        self, centres: Sequence[Codes], scores: Sequence[float]
    ) -> np.ndarray:
        """Returns nothing: the choices do not depend on the subspaces."""
        return np.zeros(0, np.float32)

    def sample(self, features: np.ndarray, seed: int, step: int) -> np.ndarray:
        """Draws `(samples, 1 + 2 * edits)` actions."""
        rng = np.random.default_rng([seed, step])
        shape = self._samples, self._edits
        slots = rng.integers(self._centres, size=self._samples)
        positions = rng.integers(len(self._legal), size=shape)
        numbers = rng.random(shape)
        codes = [
            [self._legal[i][int(u * len(self._legal[i]))]
             for i, u in zip(*row, strict=True)]
            for row in zip(positions, numbers, strict=True)
        ]
        edits = np.stack([positions, np.array(codes)], -1)
        return np.hstack([slots[:, None], edits.reshape(len(slots), -1)])

    def read(self, actions: np.ndarray) -> tuple[int, Any]:
        """Returns the subspace and the (position, code) edits of a sample."""
        slot, *rest = (int(a) for a in actions)
        return slot, tuple(zip(rest[::2], rest[1::2], strict=True))

    def update(
        self, features: np.ndarray, actions: np.ndarray, reward: float,
        entropy_weight: float, step: int,
    ) -> dict[str, float]:
        """Learns nothing."""
        return {}

    def variables(self) -> list:
        """Returns no variables."""
        return []
