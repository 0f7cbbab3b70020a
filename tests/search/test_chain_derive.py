"""The derivation at a target is that of an enumeration."""

import itertools

import numpy as np
import pytest

from tfnas.errors import InfeasibleBudget
from tfnas.search.chain_derive import most_probable

FIXED = 3.0


def tables(seed):
    rng = np.random.default_rng(seed)
    sizes = (3, 4, 2, 4, 3)
    logs = [np.log(rng.dirichlet(np.ones(n))) for n in sizes]
    rows = [[0.0, *rng.uniform(0.1, 3, n - 1)] for n in sizes]
    return logs, rows


def enumerate_all(logs, rows):
    """Yields (choice, log probability, cost) of everything."""
    for choice in itertools.product(*map(range, map(len, rows))):
        yield (
            choice,
            sum(log[i] for log, i in zip(logs, choice, strict=True)),
            FIXED + sum(r[i] for r, i in zip(rows, choice, strict=True)),
        )


@pytest.mark.parametrize("seed", range(8))
def test_the_most_probable_within_the_tolerance_wins(seed):
    logs, rows = tables(seed)
    everything = list(enumerate_all(logs, rows))
    costs = [cost for _, _, cost in everything]
    for target in np.quantile(costs, [0.1, 0.5, 0.9]):
        near = [e for e in everything if abs(e[2] / target - 1) <= 0.02]
        expected = max(near, key=lambda e: e[1])
        choice = most_probable(logs, rows, FIXED, float(target))
        assert choice == expected[0]


def test_far_from_everything_the_nearest_wins():
    logs, rows = tables(0)
    everything = list(enumerate_all(logs, rows))
    for target in (FIXED - 0.6, max(e[2] for e in everything) * 1.2):
        nearest = min(everything, key=lambda e: abs(e[2] - target))
        assert most_probable(logs, rows, FIXED, target) == nearest[0]


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
def test_no_target_is_refused(target):
    with pytest.raises(InfeasibleBudget, match="must be positive"):
        most_probable(*tables(0), FIXED, target)


def test_what_costs_far_more_is_refused():
    with pytest.raises(InfeasibleBudget, match="1.25 times the target"):
        most_probable([np.zeros(2)], [[4.0, 5.0]], 0.0, 1.0)
