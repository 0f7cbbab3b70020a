"""Derivations, against the enumeration of all networks of tiny spaces."""

import itertools

import numpy as np
import pytest

from tests import dense_nets
from tfnas import spaces
from tfnas.cost.counting import count
from tfnas.cost.dense_costs import DenseCosts
from tfnas.errors import InfeasibleBudget
from tfnas.search import dense_derive
from tfnas.search.dense_derive import Probabilities
from tfnas.spaces.dense import DenseChoice

# 2000 bins up to 1.25 times this target are one whole-number cost each.
TARGET = 1600.0


def test_probabilities_are_the_softmax_of_each_row():
    spec = dense_nets.MBV2
    links = dense_nets.links(spec)
    heads = [link for link in links if link[1] != spec.tail]
    layers = dense_nets.layers(spec)
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(len(x), 3)) for x in (heads, layers)]
    paths = rng.normal(size=(spec.tail, 3))
    p = dense_derive.probabilities(dense_nets.space(), *tables, paths)
    for found, keys, table in zip(
        (p.heads, p.stacks), (heads, layers), tables, strict=True
    ):
        assert list(found) == keys
        for key, row in zip(keys, table, strict=True):
            np.testing.assert_allclose(found[key], dense_nets.softmax(row))
    assert list(p.paths) == links
    for b in range(spec.tail):
        out = spec.outgoing(b)
        np.testing.assert_allclose(
            [p.paths[b, to] for to in out],
            dense_nets.softmax(paths[b, : len(out)]),
        )


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
        arch = dense_derive.viterbi(space, p)
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
        arch = dense_derive.viterbi(space, p)
        assert arch == space.to_arch(argmax_choice(spec, p))


def test_viterbi_of_equal_parameters_is_a_shortest_path():
    space = spaces.get("densenas_mbv2")
    spec = space.spec
    links = dense_nets.links(spec)
    p = Probabilities(
        {(b, to): 1 / len(spec.outgoing(b)) for b, to in links},
        {link: np.full(6, 1 / 6) for link in links},
        {key: np.full(7, 1 / 7) for key in dense_nets.layers(spec)},
    )
    choice = space.to_choice(dense_derive.viterbi(space, p))
    assert set(choice.heads) == {"mbconv_k3_t3"}
    shortest = min(len(path) for path in dense_nets.paths(spec))
    assert len(choice.path) + 2 == shortest


@pytest.mark.parametrize("name", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_the_cost_of_a_choice_is_that_of_its_network(name):
    space = spaces.get(name)
    costs = DenseCosts.from_madds(space)
    for seed in range(5):
        arch = space.sample(seed)
        ours = dense_derive.choice_cost(space, costs, arch)
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
        found = dense_derive.most_probable(space, p, costs, target)
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
    scaled = DenseCosts(
        scale * costs.input_cost,
        {k: tuple(scale * c for c in v) for k, v in costs.heads.items()},
        {
            b: tuple(tuple(scale * c for c in row) for row in rows)
            for b, rows in costs.stacks.items()
        },
        {k: scale * c for k, c in costs.tails.items()},
        scale * costs.fc,
    )
    found = dense_derive.most_probable(space, p, scaled, TARGET, 1e-6)
    distances = [abs(scale * cost - TARGET) for _, cost in every.values()]
    ours = dense_derive.choice_cost(space, scaled, found)
    # Each of the 11 choices on a path may be half a bin of cost 1 off.
    assert abs(ours - TARGET) <= min(distances) + 5.5


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_real_costs_are_hit_by_what_is_as_probable_as_any(quantile):
    space = dense_nets.space()
    costs = DenseCosts.from_madds(space)
    p = dense_nets.probabilities(space.spec, 1)
    every = networks(space.spec, costs, p)
    target = float(np.quantile([c for _, c in every.values()], quantile))
    found = dense_derive.most_probable(space, p, costs, target)
    log, cost = every[space.to_choice(found)]
    assert abs(cost / target - 1) <= 0.02
    # Costs are rounded to bins, so the last percent may hold a better one.
    rivals = [x for x, c in every.values() if abs(c / target - 1) <= 0.015]
    assert log >= max(rivals) - 1e-9


def test_the_whole_space_is_derived_at_a_target():
    space = spaces.get("densenas_mbv2")
    costs = DenseCosts.from_madds(space)
    p = dense_nets.probabilities(space.spec, 0)
    for target in (200.0, 360.0, 600.0):
        arch = dense_derive.most_probable(space, p, costs, target)
        assert count(arch).madds / 1e6 == pytest.approx(target, rel=0.02)


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan"), 1e-3])
def test_a_target_below_reach_is_refused(target):
    space = dense_nets.space()
    costs = DenseCosts.from_madds(space)
    p = dense_nets.probabilities(space.spec, 0)
    with pytest.raises(InfeasibleBudget, match="Received"):
        dense_derive.most_probable(space, p, costs, target)
