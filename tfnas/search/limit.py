"""What codes cost, and which of them cost too much."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import numpy as np

from tfnas.errors import InfeasibleBudget
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

_ENUMERATED = 20_000  # spaces of no more codes are looked through whole
_DRAWS = 100  # before draws are changed to fit
_STARTS = 4  # of each search for an extreme


class Limit:
    """A hard limit on the cost of architectures.

    Costs are predicted, so asking for one is no query of a search.

    Args:
        space: The space.
        cost: The cost of canonical codes.
        max_cost: Greatest cost allowed; `None` allows any.
        unit: Unit of the cost, for messages.
    """

    def __init__(
        self, space: CodedSpace, cost: Callable[[Codes], float],
        max_cost: float | None = None, unit: str = "ms",
    ):
        self.space, self.max_cost, self.unit = space, max_cost, unit
        self.cost = functools.cache(cost)

    def fits(self, codes: Codes) -> bool:
        """Says whether the limit allows an architecture."""
        return self.max_cost is None or self.cost(codes) <= self.max_cost

    def sample(self, rng: np.random.Generator) -> Codes:
        """Draws codes that fit.

        All that fit are as likely as the space draws them. Where hardly any
        do, the cheapest of many draws is changed, each time to something
        cheaper, until it fits.

        Args:
            rng: The stream to draw from.

        Raises:
            InfeasibleBudget: when nothing that fits was found.
        """
        drawn = []
        for _ in range(_DRAWS):
            drawn.append(self.space.sample_codes(rng))
            if self.fits(drawn[-1]):
                return drawn[-1]
        codes = min(drawn, key=self.cost)
        while not self.fits(codes):
            cheaper = [
                near for near in self.space.neighbors(codes)
                if self.cost(near) < self.cost(codes)
            ]
            if not cheaper:
                raise self._infeasible()
            codes = cheaper[int(rng.integers(len(cheaper)))]
        return codes

    def check(self) -> None:
        """Refuses a limit that no architecture of the space meets.

        Raises:
            InfeasibleBudget: with the reachable range.
        """
        rng = np.random.default_rng(0)
        # The exact range takes time; mostly some draw fits.
        if any(self.fits(self.space.sample_codes(rng)) for _ in range(_DRAWS)):
            return
        if self.max_cost is not None and self.max_cost < self.reachable()[0]:
            raise self._infeasible()

    def _infeasible(self) -> InfeasibleBudget:
        low, high = self.reachable()
        return InfeasibleBudget(
            f"the limit must not lie below the reachable range {low:.4g}.."
            f"{high:.4g} {self.unit} of the space `{self.space.name}`. "
            f"Received: {self.max_cost:.4g} {self.unit}"
        )

    @functools.cached_property
    def _reachable(self) -> tuple[float, float]:
        choices = self.space.legal.sum(1)
        if math.prod(int(n) for n in choices) <= _ENUMERATED:
            costs = [self.cost(codes) for codes in _all_codes(self.space)]
            return min(costs), max(costs)
        starts = list(_starts(self.space))
        least = min(self._descend(codes, 1.0) for codes in starts)
        greatest = max(-self._descend(codes, -1.0) for codes in starts)
        return least, greatest

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of the space.

        Exact in spaces of at most 20,000 codes, which are enumerated. In
        larger ones each position in turn takes its cheapest (dearest) code
        until none changes: exact where the cost is a sum over positions, as
        multiply-adds and latency tables nearly are.
        """
        return self._reachable

    def _descend(self, codes: Codes, sign: float) -> float:
        """Returns the least `sign * cost` that single changes lead to."""
        value = math.inf
        while sign * self.cost(codes) < value:
            value = sign * self.cost(codes)
            for position, row in enumerate(self.space.legal):
                codes = min(
                    (
                        self.space.canonical(
                            (*codes[:position], int(c), *codes[position + 1 :])
                        )
                        for c in np.flatnonzero(row)
                    ),
                    key=lambda x: sign * self.cost(x),
                )
        return value


def _all_codes(space: CodedSpace) -> Iterator[Codes]:
    rows = [np.flatnonzero(row).tolist() for row in space.legal]
    return map(space.canonical, itertools.product(*rows))


def _starts(space: CodedSpace) -> Iterable[Codes]:
    rng = np.random.default_rng(0)
    return (space.sample_codes(rng) for _ in range(_STARTS))
