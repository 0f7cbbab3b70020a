"""Random search, evolution, local search, ASE-NAS without its policy."""

import itertools
import json

import numpy as np
import pytest

from tests.search import toy_codes
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.search.ase_nas import ASENAS
from tfnas.search.ase_nas_options import Options
from tfnas.search.baselines import LocalSearch
from tfnas.search.baselines import RandomSearch
from tfnas.search.baselines import RegularizedEvolution
from tfnas.search.baselines import UniformPolicy
from tfnas.search.limit import Limit
from tfnas.search.query import ask_and_tell

SPACE = toy_codes.plain(4, 3)
MIXED = toy_codes.mixed()


def rugged(codes):
    """A score of its own for every architecture."""
    return float(np.random.default_rng(list(codes)).random())


def sum_of(codes):
    return float(sum(codes))


def limit(space=SPACE, most=None):
    return Limit(space, sum_of, most)


def uniform(space, seed, most=None, edits=2):
    options = Options()
    policy = UniformPolicy(space, options.centres, edits)
    return ASENAS(space, limit(space, most), seed, options, (), policy)


MAKERS = {
    "random": lambda space, seed, most=None: RandomSearch(
        space, limit(space, most), seed
    ),
    "evolution": lambda space, seed, most=None: RegularizedEvolution(
        space, limit(space, most), seed, population=6, tournament=3
    ),
    "local": lambda space, seed, most=None: LocalSearch(
        space, limit(space, most), seed
    ),
    "uniform": uniform,
}


def asked(strategy, number):
    """Returns the codes that a strategy asks for."""
    return [q.codes for q in ask_and_tell(strategy, number, rugged, sum_of)]


def distance(a, b):
    return sum(x != y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", MAKERS)
def test_seed_decides(name):
    first, second, other = (
        asked(MAKERS[name](SPACE, seed), 30) for seed in (1, 1, 2)
    )
    assert first == second != other


@pytest.mark.parametrize("name", MAKERS)
def test_all_codes_are_legal(name):
    for codes in asked(MAKERS[name](MIXED, 3), 60):
        assert MIXED.check_codes(codes) == codes


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("told", [0, 3, 17])
def test_restored_strategy_goes_on_as_if_undisturbed(name, told):
    strategy = MAKERS[name](SPACE, 5)
    ask_and_tell(strategy, told, rugged, sum_of)
    state = json.loads(json.dumps(strategy.state()))
    undisturbed = asked(strategy, 25)
    restored = MAKERS[name](SPACE, 5)
    restored.restore(state)
    assert asked(restored, 25) == undisturbed
    assert restored.best() == strategy.best()


@pytest.mark.parametrize("name", MAKERS)
def test_best_is_the_best_that_was_told(name):
    strategy = MAKERS[name](SPACE, 8)
    codes = asked(strategy, 40)
    best = max(codes, key=rugged)
    assert strategy.best() == (best, pytest.approx(rugged(best)))


@pytest.mark.parametrize("name", ["random", "evolution", "local"])
def test_nothing_beyond_the_limit_is_asked_for(name):
    codes = asked(MAKERS[name](SPACE, 0, 3.0), 30)
    assert max(map(sum_of, codes)) == 3


@pytest.mark.parametrize("name", ["random", "local"])
def test_nothing_is_asked_for_twice_while_anything_is_new(name):
    codes = asked(MAKERS[name](SPACE, 4), 75)  # of 81
    assert len(set(codes)) == 75


@pytest.mark.parametrize("name", MAKERS)
def test_an_exhausted_space_is_no_trap(name):
    assert len(asked(MAKERS[name](toy_codes.plain(2, 2), 0), 20)) == 20


def test_random_draws_are_uniform():
    first = [asked(RandomSearch(MIXED, limit(MIXED), s), 1)[0]
             for s in range(3000)]
    for position, row in enumerate(MIXED.legal):
        counts = np.bincount([c[position] for c in first], minlength=4)
        share = counts[row] / 3000
        assert not counts[~row].any()
        assert np.abs(share - 1 / row.sum()).max() < 0.04


def test_child_is_one_edit_from_the_best_of_the_living():
    size = 5
    strategy = RegularizedEvolution(
        # A sample so large that it is all of the population.
        SPACE, limit(), 0, population=size, tournament=200
    )
    codes = asked(strategy, 40)
    for i in range(size, 40):
        alive = codes[i - size : i]  # the oldest have died
        assert distance(max(alive, key=rugged), codes[i]) == 1


def test_parent_may_be_any_of_the_living():
    size, ages, space = 8, set(), toy_codes.plain(9, 4)
    for seed in range(30):
        strategy = RegularizedEvolution(
            space, limit(space), seed, size, tournament=1
        )
        codes = asked(strategy, size + 1)
        ages |= {
            i for i in range(size) if distance(codes[i], codes[-1]) == 1
        }
    assert ages == set(range(size))


@pytest.mark.parametrize("field", ["population", "tournament"])
def test_evolution_of_nobody_is_refused(field):
    with pytest.raises(ConfigError, match=f"{field}=0"):
        RegularizedEvolution(SPACE, limit(), 0, **{field: 0})


def climb(codes):
    """Checks a local search query by query; returns the optima it found."""
    known, optima, left = {}, [], list(codes)

    def ask(allowed):
        query = left.pop(0)
        assert query in allowed and query not in known
        known[query] = rugged(query)
        return query

    while left:
        centre = ask(set(itertools.product(range(3), repeat=4)))
        while centre not in optima:
            near = set(SPACE.neighbors(centre))
            best = max(near & {*known, centre} | {centre}, key=rugged)
            while best == centre and not near <= set(known):
                if not left:
                    return optima
                query = ask(near)
                if rugged(query) > rugged(centre):
                    best = query
            if best == centre:
                optima.append(centre)
            centre = best
    return optima


@pytest.mark.parametrize("seed", range(5))
def test_local_search_climbs_and_starts_again(seed):
    optima = climb(asked(LocalSearch(SPACE, limit(), seed), 60))
    assert len(optima) > 1
    for codes in optima:
        assert rugged(codes) > max(map(rugged, SPACE.neighbors(codes)))


def test_neighbours_come_in_random_order():
    firsts = set()
    for seed in range(40):
        start, first = asked(LocalSearch(SPACE, limit(), seed), 2)
        firsts.add(SPACE.neighbors(start).index(first))
    assert firsts == set(range(8))


def test_uniform_policy_prefers_nothing():
    policy = UniformPolicy(MIXED, 3, edits=2, samples=4)
    rows = [policy.sample(None, 0, step) for step in range(1500)]
    slots, pairs = zip(*map(policy.read, np.concatenate(rows)), strict=True)
    edits = list(itertools.chain(*pairs))
    assert len(edits) == 2 * len(slots) == 12_000
    assert np.abs(np.bincount(slots) / 6000 - 1 / 3).max() < 0.03
    positions = np.array([position for position, _ in edits])
    assert np.abs(np.bincount(positions) / 12_000 - 1 / 5).max() < 0.02
    for position, row in enumerate(MIXED.legal):
        codes = [code for p, code in edits if p == position]
        counts = np.bincount(codes, minlength=4)
        assert not counts[~row].any()
        share = counts[row] / len(codes)
        assert np.abs(share - 1 / row.sum()).max() < 0.04


def test_paired_seeds_start_from_the_same_centres():
    for seed in range(3):
        ours = asked(uniform(SPACE, seed), 3)
        assert ours == asked(ASENAS(SPACE, limit(), seed), 3)


def test_rare_costs_are_met():
    space = toy_codes.plain(12, 5)
    tight = Limit(space, sum_of, 3.0)
    draws = {tight.sample(np.random.default_rng(s)) for s in range(20)}
    assert len(draws) > 10
    assert max(map(sum_of, draws)) <= 3


def test_limit_that_nothing_meets_names_the_reachable_range():
    for space in (SPACE, toy_codes.plain(12, 5)):
        none = Limit(space, lambda c: 7 + sum_of(c), 6.5, "ms")
        high = 7 + space.length * (space.legal.shape[1] - 1)
        message = f"range 7..{high} ms.*Received: 6.5 ms"
        with pytest.raises(InfeasibleBudget, match=message):
            none.check()
        with pytest.raises(InfeasibleBudget, match=message):
            none.sample(np.random.default_rng(0))


def test_reachable_range_is_exact_in_a_small_space():
    def cost(codes):
        return rugged(codes) - 5 * (codes == (2, 1, 0, 2))

    low, high = Limit(SPACE, cost).reachable()
    every = [cost(c) for c in itertools.product(range(3), repeat=4)]
    assert (low, high) == (min(every), max(every))


def test_reachable_range_of_a_sum_is_exact_in_a_large_space():
    space = toy_codes.plain(20, 10)
    table = np.random.default_rng(0).random((20, 10))

    def cost(codes):
        return float(table[np.arange(20), list(codes)].sum())

    low, high = Limit(space, cost).reachable()
    assert low == pytest.approx(table.min(1).sum())
    assert high == pytest.approx(table.max(1).sum())


def test_no_limit_asks_for_no_cost():
    def fail(codes):
        raise AssertionError

    free = Limit(SPACE, fail)
    assert free.fits((0, 0, 0, 0))
    free.check()
