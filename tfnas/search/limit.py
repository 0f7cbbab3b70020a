"""What codes cost, and which of them cost too much."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from collections.abc import Iterable
from typing import NoReturn

import numpy as np

from tfnas.errors import InfeasibleBudget
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

_DRAWS = 100  # before draws are changed to fit
_STARTS = 4  # of each search for an extreme
_WALKS = 20  # of draws that are changed to fit a band


class Limit:
    """A hard limit on the cost of architectures.

    Costs are predicted, so asking for one is no query of a search.

    Args:
        space: The space.
        cost: The cost of canonical codes.
        max_cost: Greatest cost allowed; `None` allows any.
        unit: Unit of the cost, for messages.
        min_cost: Least cost allowed; with it the limit is a band.
    """

    def __init__(
        self, space: CodedSpace, cost: Callable[[Codes], float],
        max_cost: float | None = None, unit: str = "ms",
        min_cost: float | None = None,
    ):
        self.space, self.max_cost, self.unit = space, max_cost, unit
        self.min_cost = min_cost
        self.cost = functools.cache(cost)

    def fits(self, codes: Codes) -> bool:
        """Says whether the limit allows an architecture."""
        return self._excess(codes) == 0

    def _excess(self, codes: Codes) -> float:
        """By how much an architecture is too dear, or too cheap."""
        excess = 0.0
        if self.max_cost is not None:
            excess = max(excess, self.cost(codes) - self.max_cost)
        if self.min_cost is not None:
            excess = max(excess, self.min_cost - self.cost(codes))
        return excess

    def sample(self, rng: np.random.Generator) -> Codes:
        """Draws codes that fit.

        All that fit are as likely as the space draws them. Where hardly any
        do, the nearest of many draws is changed, each time to something
        nearer, until it fits. Where that leads nowhere, all that fit in a
        small space are equally likely.

        Args:
            rng: The stream to draw from.

        Raises:
            InfeasibleBudget: when nothing that fits was found.
        """
        for _ in range(1 if self.min_cost is None else _WALKS):
            codes = self._walk(rng)
            if self.fits(codes):
                return codes
        if not self._fitting:
            self.refuse()
        return self._fitting[int(rng.integers(len(self._fitting)))]

    @functools.cached_property
    def _fitting(self) -> list[Codes]:
        """All networks of a small space that fit; none of a large one."""
        return list(filter(self.fits, self.space.members() or []))

    def _walk(self, rng: np.random.Generator) -> Codes:
        """Draws until something fits, or changes what nearly does."""
        drawn = []
        for _ in range(_DRAWS):
            drawn.append(self.space.sample_codes(rng))
            if self.fits(drawn[-1]):
                return drawn[-1]
        codes = min(drawn, key=self._excess)
        while not self.fits(codes):
            nearer = [
                near for near in self.space.neighbors(codes)
                if self._excess(near) < self._excess(codes)
            ]
            if not nearer:
                break
            codes = nearer[int(rng.integers(len(nearer)))]
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
        low, high = self.reachable()
        if self.max_cost is not None and self.max_cost < low:
            self.refuse()
        if self.min_cost is not None and self.min_cost > high:
            self.refuse()

    def described(self) -> str:
        """Returns the limit in words, such as `58.5..61.5 madds_m`."""
        bounds = [b for b in (self.min_cost, self.max_cost) if b is not None]
        return f"{'..'.join(f'{b:.4g}' for b in bounds)} {self.unit}"

    def refuse(self) -> NoReturn:
        """Says that hardly any architecture fits.

        Raises:
            InfeasibleBudget: with the reachable range.
        """
        low, high = self.reachable()
        if self.min_cost is None:
            expected = "not lie below"
        else:
            expected = "be wide enough to hold networks, and lie in"
        raise InfeasibleBudget(
            f"the limit must {expected} the reachable range {low:.4g}.."
            f"{high:.4g} {self.unit} of the space `{self.space.name}`. "
            f"Received: {self.described()}"
        )

    @functools.cached_property
    def _reachable(self) -> tuple[float, float]:
        members = self.space.members()
        if members is not None:
            costs = list(map(self.cost, members))
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


def _starts(space: CodedSpace) -> Iterable[Codes]:
    rng = np.random.default_rng(0)
    return (space.sample_codes(rng) for _ in range(_STARTS))
