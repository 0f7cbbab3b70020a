"""From parameters of a lattice to the likeliest network.

`likeliest` is the published rule of DenseNAS and ProxylessNAS. The other is
ours: it finds, for every cost at once, the likeliest network of that cost, so
that a target is hit and another target costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import InfeasibleBudget
from tfnas.spaces.lattice import Lattice
from tfnas.spaces.lattice import Route

_BINS = 2000  # of the cost axis, which ends at _HEADROOM times the target
_HEADROOM = 1.25
_LEAST = np.finfo(np.float64).tiny  # a probability of 0 rules nothing out
_NEAREST = 50  # bins whose exact cost is looked at where none is near


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Probabilities of the links and options of a lattice.

    Args:
        links: That of each link; 1 where it is not weighed.
        options: Those of each link's options.
    """

    links: Sequence[float]
    options: Sequence[np.ndarray]

    @classmethod
    def of(
        cls, lattice: Lattice, options: dict[int, np.ndarray],
        paths: Sequence[float] = (),
    ) -> Likelihood:
        """Returns the probabilities where all but these are 1.

        Args:
            lattice: The lattice.
            options: Those of searched links' options, by the link's number.
            paths: Those of `lattice.weighed`.
        """
        links = np.ones(len(lattice.links))
        links[lattice.weighed] = paths
        return cls(
            links.tolist(),
            [options.get(i, np.ones(1)) for i in range(len(links))],
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax of the last axis, in float64."""
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def likeliest(lattice: Lattice, p: Likelihood) -> Route:
    """Returns the published derivation (DenseNAS, section 3.4).

    The path of the largest product of path probabilities, then the argmax of
    every row of options on it; ties go to the nearest predecessor and the
    first option.

    Args:
        lattice: The lattice.
        p: The probabilities of its links and options.
    """
    first, *later = lattice.nodes
    best: dict[Any, float] = {first: 1.0}
    came: dict[Any, int] = {}
    for node in later:
        values = [
            best[lattice.links[i].source] * p.links[i]
            for i in lattice.incoming[node]
        ]
        best[node] = max(values)
        came[node] = lattice.incoming[node][values.index(best[node])]
    route, node = [], lattice.nodes[-1]
    while node != first:
        i = came[node]
        route.append((i, int(np.argmax(p.options[i]))))
        node = lattice.links[i].source
    return tuple(reversed(route))


def likeliest_at(
    costs: LatticeCosts, p: Likelihood, target: float, tolerance: float = 0.02
) -> Route:
    """Returns the likeliest network whose cost is the target's.

    A dynamic program over nodes and cost bins keeps the likeliest way there
    of every cost. Of the networks within the tolerance the likeliest one
    wins; where there is none, the one nearest to the target.

    Args:
        costs: The cost of every option.
        p: The probabilities of links and options.
        target: Cost wanted, in the unit of the costs.
        tolerance: Largest relative distance from the target.

    Raises:
        InfeasibleBudget: when the target is not positive, or every network
            costs far more.
    """
    if not target > 0:
        raise InfeasibleBudget(
            f"a target cost must be positive. Received: {target}"
        )
    # Less than nothing beside the operators leaves more for them.
    width = (_HEADROOM * target - min(costs.base, 0)) / _BINS
    score, steps = _best_of_each_bin(costs, p, width)
    bins = np.flatnonzero(np.isfinite(score))
    if not len(bins):
        raise InfeasibleBudget(
            f"no network is as cheap as {_HEADROOM} times the target. "
            f"Received: {target:.4g}"
        )
    errors = np.abs((costs.base + bins * width) / target - 1)
    # Each cost on a route is rounded to a bin.
    slack = len(costs.lattice.nodes) * width / 2 / target
    likely = bins[errors <= tolerance + slack]
    likely = likely[np.argsort(-score[likely], kind="stable")]
    found = []
    for bin_ in [*likely, *bins[np.argsort(errors, kind="stable")][:_NEAREST]]:
        route = _trace_back(costs.lattice, steps, int(bin_))
        error = abs(costs.cost(route) / target - 1)
        if error <= tolerance:  # this one is exact
            return route
        found.append((error, route))
    return min(found)[1]


def _best_of_each_bin(
    costs: LatticeCosts, p: Likelihood, width: float
) -> tuple[np.ndarray, dict[Any, Any]]:
    """Returns the best log probability of each total cost, and the steps."""
    lattice = costs.lattice
    start = np.full(_BINS, -np.inf)
    start[0] = 0.0
    best, steps = {lattice.nodes[0]: start}, {}
    logs = [
        np.log(max(link, _LEAST)) + np.log(np.maximum(options, _LEAST))
        for link, options in zip(p.links, p.options, strict=True)
    ]
    for node in lattice.nodes[1:]:
        ways = [
            _options(
                best[lattice.links[i].source], logs[i], costs.rows[i], width
            )
            for i in lattice.incoming[node]
        ]
        values = np.stack([value for value, _, _ in ways])
        best[node] = values.max(0)
        steps[node] = (values.argmax(0), ways)
    return best[lattice.nodes[-1]], steps


def _options(
    table: np.ndarray, logs: np.ndarray, costs: Sequence[float], width: float
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Takes one of several options at every entry of a table.

    Args:
        table: Best log probability of each cost bin so far, `(bins,)`; `-inf`
            where nothing has that cost.
        logs: Log probability of each option.
        costs: Cost of each option.
        width: Cost of a bin.

    Returns:
        The new table, the option taken in each bin, and each option's bins.
    """
    shifts = [round(cost / width) for cost in costs]
    rows = np.full((len(shifts), len(table)), -np.inf)
    for row, log, shift in zip(rows, logs, shifts, strict=True):
        if shift < len(table):
            row[shift:] = table[: len(table) - shift] + log
    return rows.max(0), rows.argmax(0), shifts


def _trace_back(lattice: Lattice, steps: dict[Any, Any], bin_: int) -> Route:
    route, node = [], lattice.nodes[-1]
    while node != lattice.nodes[0]:
        came, ways = steps[node]
        way = int(came[bin_])
        _, choice, shifts = ways[way]
        i, option = lattice.incoming[node][way], int(choice[bin_])
        route.append((i, option))
        bin_ -= shifts[option]
        node = lattice.links[i].source
    return tuple(reversed(route))
