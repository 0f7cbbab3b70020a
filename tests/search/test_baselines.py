"""Random networks of a cost: in range, different, the same every time."""

import pytest

from tests import dense_nets
from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import InfeasibleBudget
from tfnas.search import baselines
from tfnas.search.baselines import random_at_cost

SPACE = dense_nets.space()
COSTS = LatticeCosts.from_madds(SPACE)


def cost(arch):
    return COSTS.cost(SPACE.route(arch))


def at(low, high, number, seed=0, **options):
    return random_at_cost(SPACE, cost, low, high, number, seed, **options)


def middle(seed=0):
    value = cost(SPACE.sample(seed))
    return 0.95 * value, 1.05 * value


def test_networks_are_different_and_cost_what_was_asked():
    low, high = middle()
    archs = at(low, high, 10)
    assert len({arch.id for arch in archs}) == 10
    for arch in archs:
        assert low <= cost(arch) <= high
        assert SPACE.contains(arch)


def test_the_seed_decides():
    assert at(*middle(), 5, seed=1) == at(*middle(), 5, seed=1)
    assert at(*middle(), 5, seed=1) != at(*middle(), 5, seed=2)


def test_while_draws_suffice_they_are_plain_draws():
    low, high = middle()
    draws = [SPACE.sample(3 * 400 + i) for i in range(400)]
    fitting = [arch for arch in draws if low <= cost(arch) <= high]
    assert at(low, high, 4, seed=3, max_draws=400) == fitting[:4]


@pytest.mark.parametrize("end", [0, 1])
def test_rare_costs_are_reached_by_changing_draws(end):
    value = COSTS.reachable()[end]
    low, high = 0.95 * value, 1.05 * value
    drawn = [cost(SPACE.sample(i)) for i in range(50)]
    assert not [c for c in drawn if low <= c <= high]
    (arch,) = at(low, high, 1, max_draws=50)
    assert low <= cost(arch) <= high


def test_a_range_with_few_networks_gives_few():
    least = COSTS.reachable()[0]
    archs = at(least, least, 5, max_draws=10)
    assert [cost(arch) for arch in archs] == [least]


def test_a_range_without_networks_is_refused(monkeypatch):
    monkeypatch.setattr(baselines, "_WALK_STEPS", 20)
    with pytest.raises(InfeasibleBudget, match="tiny.*must cost 1e-06..2e-06"):
        at(1e-6, 2e-6, 1, max_draws=5)


def test_none_is_none():
    assert at(*middle(), 0) == []
