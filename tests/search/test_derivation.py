"""Derivations, against the enumeration of all networks of tiny lattices."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests import dense_nets
from tfnas import spaces
from tfnas.cost.counting import count
from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import InfeasibleBudget
from tfnas.search.derivation import Likelihood
from tfnas.search.derivation import likeliest
from tfnas.search.derivation import likeliest_at
from tfnas.search.derivation import softmax
from tfnas.spaces.dense import DenseChoice
from tfnas.spaces.lattice import Lattice
from tfnas.spaces.lattice import Link

# 2000 bins up to 1.25 times this target are one whole-number cost each.
TARGET = 1600.0


def derived(space, p):
    """The published derivation of probabilities by place."""
    route = likeliest(space.lattice, dense_nets.likelihood(space, p))
    return space.from_route(route)


def derived_at(space, p, costs, target, tolerance=0.02):
    """The derivation at a target of probabilities by place."""
    odds = dense_nets.likelihood(space, p)
    return space.from_route(likeliest_at(costs, odds, target, tolerance))


def test_the_softmax_is_that_of_the_definition():
    logits = np.random.default_rng(0).normal(size=(4, 3)) * 50
    np.testing.assert_allclose(softmax(logits), dense_nets.softmax(logits))
    assert softmax(np.array([[0, -np.inf]])).tolist() == [[1, 0]]


def best_path(spec, p):
    """The likeliest of all paths; of equal ones the nearest predecessors."""

    def value(path):
        return np.prod([p.paths[link] for link in itertools.pairwise(path)])

    return max(dense_nets.paths(spec), key=lambda x: (value(x), x[::-1]))


def argmax_choice(spec, p):
    path = best_path(spec, p)
    heads, stacks = [], []
    for link in list(itertools.pairwise(path))[:-1]:
        row = list(p.heads[link])
        heads.append(spec.head_ops[row.index(max(row))])
    for b in path[1:-1]:
        rows = [list(p.stacks[b, j]) for j in range(spec.layers[b])]
        ops = [spec.stack_ops[row.index(max(row))] for row in rows]
        stacks.append(tuple(op for op in ops if op != "skip_connect"))
    return DenseChoice(path[1:-1], tuple(heads), tuple(stacks))


@pytest.mark.parametrize("name", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_viterbi_takes_the_likeliest_of_all_paths(name):
    space = spaces.get(name)
    found = set()
    for seed in range(20):
        p = dense_nets.probabilities(space.spec, seed)
        arch = derived(space, p)
        assert arch == space.to_arch(argmax_choice(space.spec, p))
        found.add(space.to_choice(arch).path)
    assert len(found) > 5


def test_viterbi_breaks_ties_by_the_nearest_block_and_the_first_op():
    space = spaces.get("densenas_mbv2@32")
    spec = space.spec
    for seed in range(40):
        rng = np.random.default_rng(seed)
        p = dense_nets.probabilities(spec, seed)
        # Powers of two multiply exactly, so equal products are equal.
        for link in p.paths:
            p.paths[link] = 0.5 ** int(rng.integers(0, 3))
        for rows in (p.heads, p.stacks):
            for key, row in rows.items():
                rows[key] = 0.5 ** rng.integers(1, 3, len(row))
        arch = derived(space, p)
        assert arch == space.to_arch(argmax_choice(spec, p))


def test_viterbi_of_equal_parameters_is_a_shortest_path():
    space = spaces.get("densenas_mbv2")
    spec = space.spec
    links = dense_nets.links(spec)
    p = dense_nets.Probabilities(
        {(b, to): 1 / len(spec.outgoing(b)) for b, to in links},
        {
            link: np.full(6, 1 / 6) for link in links
            if link[1] != spec.tail
        },
        {key: np.full(7, 1 / 7) for key in dense_nets.layers(spec)},
    )
    choice = space.to_choice(derived(space, p))
    assert set(choice.heads) == {"mbconv_k3_t3"}
    shortest = min(len(path) for path in dense_nets.paths(spec))
    assert len(choice.path) + 2 == shortest


def test_a_target_is_hit_where_a_network_costs_less_than_its_operators():
    """A calibration may find a time that is less than nothing beside them."""
    space = spaces.get("proxyless_mbconv@32")
    counted = LatticeCosts.from_madds(space)
    least, most = counted.reachable()
    costs = dataclasses.replace(counted, base=-0.9 * least)
    p = Likelihood.of(
        space.lattice,
        {i: softmax(np.zeros(len(k.options)))
         for i, k in enumerate(space.lattice.links) if k.searched},
    )
    for share in (0.0, 0.3, 1.0):
        target = costs.base + least + share * (most - least)
        found = costs.cost(likeliest_at(costs, p, target))
        assert found == pytest.approx(target, rel=0.02)


def test_a_target_is_hit_whatever_probabilities_came_to_nothing():
    space = spaces.get("proxyless_mbconv@32")
    costs = LatticeCosts.from_madds(space)
    p = Likelihood.of(
        space.lattice,
        {i: np.eye(len(k.options))[0]
         for i, k in enumerate(space.lattice.links) if k.searched},
    )
    for target in (*costs.reachable(), np.mean(costs.reachable())):
        found = costs.cost(likeliest_at(costs, p, target))
        assert found == pytest.approx(target, rel=0.02)


@pytest.mark.parametrize("name", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_the_cost_of_a_choice_is_that_of_its_network(name):
    space = spaces.get(name)
    costs = LatticeCosts.from_madds(space)
    for seed in range(5):
        arch = space.sample(seed)
        ours = costs.cost(space.route(arch))
        assert ours == pytest.approx(count(arch).madds / 1e6)


def networks(spec, costs, p):
    """Choice to (largest log probability, cost), over where skips stand."""
    best: dict[DenseChoice, tuple[float, float]] = {}
    for choice, log, cost in dense_nets.assignments(spec, costs, p):
        best[choice] = max(best.get(choice, (-np.inf, cost)), (log, cost))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_most_probable_network_of_a_cost_is_found(seed):
    space = dense_nets.space()
    costs = dense_nets.integer_costs(space.spec, seed, high=300)
    p = dense_nets.probabilities(space.spec, seed)
    every = networks(space.spec, costs, p)
    # At half of the target bins are half as wide, and as exact.
    for target in (TARGET / 2, TARGET):
        inside = {
            choice: log
            for choice, (log, cost) in every.items()
            if abs(cost / target - 1) <= 0.02
        }
        if target == TARGET / 2:
            assert len(inside) > 5
        elif not inside:
            continue
        best = max(inside, key=lambda choice: inside[choice])
        lattice = dense_nets.lattice_costs(space, costs)
        found = derived_at(space, p, lattice, target)
        assert space.to_choice(found) == best


@pytest.mark.parametrize("seed", range(3))
def test_where_none_is_in_the_window_the_nearest_is_found(seed):
    space = dense_nets.space()
    costs = dense_nets.integer_costs(space.spec, seed, high=400)
    p = dense_nets.probabilities(space.spec, seed)
    every = networks(space.spec, costs, p)
    # A gap of the costs: no network in a narrow window around its middle.
    values = sorted({cost for _, cost in every.values()})
    pairs = [(b - a, a) for a, b in itertools.pairwise(values) if b < 2000]
    gap, low = max(pairs)
    scale = TARGET / (low + 0.4 * gap)
    lattice = dense_nets.lattice_costs(space, costs)
    scaled = dataclasses.replace(
        lattice,
        rows=tuple(tuple(scale * c for c in row) for row in lattice.rows),
    )
    found = derived_at(space, p, scaled, TARGET, 1e-6)
    distances = [abs(scale * cost - TARGET) for _, cost in every.values()]
    ours = scaled.cost(space.route(found))
    # Each of the 14 links of a route may be half a bin of cost 1 off.
    assert abs(ours - TARGET) <= min(distances) + 7


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_real_costs_are_hit_by_what_is_as_probable_as_any(quantile):
    space = dense_nets.space()
    costs = LatticeCosts.from_madds(space)
    p = dense_nets.probabilities(space.spec, 1)
    every = networks(space.spec, dense_nets.tables(space, costs), p)
    target = float(np.quantile([c for _, c in every.values()], quantile))
    found = derived_at(space, p, costs, target)
    log, cost = every[space.to_choice(found)]
    assert abs(cost / target - 1) <= 0.02
    # Costs are rounded to bins, each of which holds one network.
    rivals = [x for x, c in every.values() if abs(c / target - 1) <= 0.018]
    assert log >= max(rivals) - 1e-9


def test_the_whole_space_is_derived_at_a_target():
    space = spaces.get("densenas_mbv2")
    costs = LatticeCosts.from_madds(space)
    p = dense_nets.probabilities(space.spec, 0)
    for target in (200.0, 360.0, 600.0):
        arch = derived_at(space, p, costs, target)
        assert count(arch).madds / 1e6 == pytest.approx(target, rel=0.02)


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan"), 1e-3])
def test_a_target_below_reach_is_refused(target):
    space = dense_nets.space()
    costs = LatticeCosts.from_madds(space)
    p = dense_nets.probabilities(space.spec, 0)
    with pytest.raises(InfeasibleBudget, match="Received"):
        derived_at(space, p, costs, target)


FIXED = 3.0


def most_probable(logs, rows, fixed, target):
    """The derivation at a target on a line of links."""
    links = [
        Link(f"block{i}", i, i + 1, ((),) * len(row), (1, 1, 1))
        for i, row in enumerate(rows)
    ]
    costs = LatticeCosts(
        Lattice(tuple(links)), tuple(map(tuple, rows)), "ms", fixed
    )
    odds = {i: np.exp(log) for i, log in enumerate(logs)}
    route = likeliest_at(costs, Likelihood.of(costs.lattice, odds), target)
    return tuple(k for _, k in route)


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
def test_on_a_line_the_likeliest_within_the_tolerance_wins(seed):
    logs, rows = tables(seed)
    everything = list(enumerate_all(logs, rows))
    costs = [cost for _, _, cost in everything]
    for target in np.quantile(costs, [0.1, 0.5, 0.9]):
        near = [e for e in everything if abs(e[2] / target - 1) <= 0.02]
        expected = max(near, key=lambda e: e[1])
        choice = most_probable(logs, rows, FIXED, float(target))
        assert choice == expected[0]


def test_on_a_line_the_nearest_wins_far_from_everything():
    logs, rows = tables(0)
    everything = list(enumerate_all(logs, rows))
    for target in (FIXED - 0.6, max(e[2] for e in everything) * 1.2):
        nearest = min(everything, key=lambda e: abs(e[2] - target))
        assert most_probable(logs, rows, FIXED, target) == nearest[0]


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
def test_a_line_has_no_such_target(target):
    with pytest.raises(InfeasibleBudget, match="must be positive"):
        most_probable(*tables(0), FIXED, target)


def test_what_costs_far_more_is_refused():
    with pytest.raises(InfeasibleBudget, match="1.25 times the target"):
        most_probable([np.zeros(2)], [[4.0, 5.0]], 0.0, 1.0)
