"""Searches that ask for the score of one architecture after another.

A `Strategy` decides what to ask for, an `Evaluator` scores, a `Ledger`
counts, a `Limit` says what is too dear. `QuerySearch` makes a resumable
search of them, with random search at as many queries beside it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from tfnas.arch import Arch
from tfnas.cost.objective import pareto_front
from tfnas.errors import InfeasibleBudget
from tfnas.search.base import Found
from tfnas.search.base import Search
from tfnas.search.evaluate import Evaluator
from tfnas.search.evaluate import Ledger
from tfnas.search.limit import Limit
from tfnas.spaces.coded import Codes


class Query(NamedTuple):
    """An architecture that a strategy asked for, and the answer.

    Args:
        codes: Canonical codes.
        score: Score, 0..1.
        cost: Predicted cost.
    """

    codes: Codes
    score: float
    cost: float


class Strategy(abc.ABC):
    """Decides which architecture to ask for next.

    It neither scores nor counts: `ask`, then `tell` the answer, and so on.
    """

    @abc.abstractmethod
    def ask(self) -> Codes:
        """Returns the canonical codes of the architecture to score next."""

    @abc.abstractmethod
    def tell(self, codes: Codes, score: float, cost: float) -> None:
        """Takes the answer to the last `ask`.

        Args:
            codes: What was asked for.
            score: Its score, 0..1.
            cost: Its predicted cost, in the unit of the limit.
        """

    @abc.abstractmethod
    def best(self) -> tuple[Codes, float]:
        """Returns the best architecture so far that fits, and its score."""

    def ranked(self, asked: Sequence[Codes]) -> list[Codes] | None:
        """Returns architectures that were asked for, the best first.

        `None` ranks them by their scores.
        """
        return None

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Returns all that the next decisions depend on, as plain JSON.

        Except for `variables`, and only between a `tell` and an `ask`.
        """

    @abc.abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""

    def variables(self) -> dict[str, list]:
        """Returns named groups of TensorFlow variables to save."""
        return {}


def ask_and_tell(
    strategy: Strategy, number: int, score: Callable[[Codes], float],
    cost: Callable[[Codes], float],
) -> list[Query]:
    """Lets a strategy spend queries.

    Args:
        strategy: Who asks.
        number: How many queries.
        score: Scores codes.
        cost: Predicts the cost of codes.

    Returns:
        The queries in order.
    """
    queries = []
    for _ in range(number):
        codes = strategy.ask()
        query = Query(codes, score(codes), cost(codes))
        strategy.tell(*query)
        queries.append(query)
    return queries


class _Account:
    """A strategy, its ledger, and a record of each query that it spent."""

    def __init__(
        self, role: str, strategy: Strategy, ledger: Ledger, limit: Limit
    ):
        self.role, self.strategy = role, strategy
        self.ledger, self.limit = ledger, limit
        self.history: list[dict[str, Any]] = []

    def _score(self, codes: Codes) -> float:
        # A network whose training diverged is as good as always wrong.
        return max(0.0, self.ledger.score(self.limit.space.from_codes(codes)))

    def advance(self) -> dict[str, Any]:
        """Spends a query; returns its record."""
        (query,) = ask_and_tell(self.strategy, 1, self._score, self.limit.cost)
        best = self.history[-1]["best"] if self.history else None
        if self.limit.fits(query.codes):
            best = max(best or 0.0, query.score)
        self.history.append(
            {"phase": self.role, "epoch": len(self.history),
             "arch_id": self.ledger.records[-1][0],
             "codes": list(query.codes), "cost": query.cost,
             "accuracy": query.score, "best": best,
             "unique": self.ledger.unique}
        )
        return self.history[-1]

    def ranked(self) -> list[dict[str, Any]]:
        """Returns the records of different networks that fit, best first.

        The strategy says which is best.
        """
        first: dict[str, dict[str, Any]] = {}
        for record in self.history:
            if self.limit.fits(tuple(record["codes"])):
                first.setdefault(record["arch_id"], record)
        records = sorted(first.values(), key=lambda r: -r["accuracy"])
        by_codes = {tuple(record["codes"]): record for record in records}
        order = self.strategy.ranked([*by_codes])
        return records if order is None else [by_codes[c] for c in order]

    def found(self, number: int) -> list[Found]:
        """Returns the best networks, then the others of the Pareto front."""
        ranked = self.ranked()
        front = pareto_front([(r["cost"], r["accuracy"]) for r in ranked])
        places = [*range(min(number, len(ranked)))]
        places += sorted(i for i in front if i >= number)
        return [
            Found(self.limit.space.from_codes(r["codes"]), r["cost"],
                  r["accuracy"], self.role, r["epoch"])
            for r in (ranked[i] for i in places)
        ]

    def state(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy.state(),
            "ledger": self.ledger.state(),
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.strategy.restore(state["strategy"])
        self.ledger.restore(state["ledger"])
        self.history = state["history"]


class QuerySearch(Search):
    """A strategy as a search, with random search beside it.

    The units of work are first those of the evaluator, such as the epochs of
    a supernet, then the queries of the strategy, then those of random search.

    Args:
        strategy: Who asks.
        rival: Random search; it asks as often.
        evaluator: Who scores.
        limit: Costs, and the hard limit on them.
        queries: Charged queries of either.
        unit_queries: Queries between two checkpoints.
        top_archs: Best networks of either that the result lists, beside
            those of their Pareto fronts.
        advance: Told after every query, to move a progress bar on by one;
            an evaluator that uses the loop moves it itself.

    Raises:
        InfeasibleBudget: when no architecture meets the limit.
    """

    def __init__(
        self, strategy: Strategy, rival: Strategy, evaluator: Evaluator,
        limit: Limit, queries: int, unit_queries: int = 1,
        top_archs: int = 10, advance: Callable[[int], None] = lambda n: None,
    ):
        limit.check()
        self.space, self.limit, self.target = limit.space, limit, limit.max_cost
        super().__init__()
        self.cost_unit = limit.unit
        self.evaluator, self._top_archs = evaluator, top_archs
        self._advance = advance
        starts = range(0, queries, unit_queries)
        self._counts = [min(unit_queries, queries - start) for start in starts]
        scores: dict[str, float] = {}  # an architecture is scored once
        self._accounts = [
            _Account(role, who, Ledger(evaluator, scores), limit)
            for role, who in (("searched", strategy), ("random", rival))
        ]

    @property
    def units(self) -> int:
        return self.evaluator.units + 2 * len(self._counts)

    def _account(self, unit: int) -> tuple[_Account, int]:
        """Returns who works in a unit, and how many queries it spends."""
        which, i = divmod(unit - self.evaluator.units, len(self._counts))
        return self._accounts[which], self._counts[i]

    def unit_steps(self, unit: int) -> int:
        if unit < self.evaluator.units:
            return self.evaluator.unit_steps(unit)
        return self._account(unit)[1] * (self.evaluator.query_steps or 1)

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        if unit < self.evaluator.units:
            return self.evaluator.run_unit(unit)
        account, number = self._account(unit)
        records = []
        for _ in range(number):
            records.append(account.advance())
            if not self.evaluator.query_steps:
                self._advance(1)
        return records

    def state(self) -> dict[str, Any]:
        return {
            "evaluator": self.evaluator.state(),
            **{account.role: account.state() for account in self._accounts},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.evaluator.restore(state["evaluator"])
        for account in self._accounts:
            account.restore(state[account.role])

    def variables(self) -> dict[str, list]:
        groups = {
            f"evaluator_{k}": v for k, v in self.evaluator.variables().items()
        }
        for account in self._accounts:
            for name, group in account.strategy.variables().items():
                groups[f"{account.role}_{name}"] = group
        return groups

    def derive(self, target: float | None = None) -> Arch:
        """Returns the best network so far.

        Args:
            target: Its greatest cost; `None` is the limit of the search.

        Raises:
            InfeasibleBudget: when none that was scored is so cheap.
        """
        ranked = self._accounts[0].ranked()
        for record in ranked:
            if target is None or record["cost"] <= target:
                return self.space.from_codes(record["codes"])
        costs = [record["cost"] for record in ranked]
        raise InfeasibleBudget(
            f"the search has scored networks of {min(costs, default=0):.4g}.."
            f"{max(costs, default=0):.4g} {self.cost_unit} so far. "
            f"Received: {target}"
        )

    def reachable(self) -> tuple[float, float]:
        return self.limit.reachable()

    def cost(self, arch: Arch) -> float:
        return self.limit.cost(self.space.codes(arch))

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        return self.evaluator.weights_for(arch)

    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        searched, random = self._accounts
        history = [
            {k: v for k, v in record.items() if k != "phase"}
            for record in searched.history
        ]
        top = self._top_archs
        return searched.found(top), random.found(top), history
