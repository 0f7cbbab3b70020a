"""The shrink search: what goes first, what never wins, what is kept."""

import json
import math
import types

import numpy as np
import pytest
from ml_collections import config_dict

from tfnas import spaces
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.search import autoshrink
from tfnas.search import shrink_metrics
from tfnas.search.autoshrink import AutoShrink
from tfnas.search.evaluate import Evaluator

WHOLE = spaces.get("autoshrink_cnn@32")


class Worth(Evaluator):
    """Quality from the edges that are left, each with a worth of its own."""

    def __init__(self, space, worth, start=0.5):
        self.space, self.worth, self.start = space, worth, start
        self.asked = []

    def score(self, arch):
        edges = self.space.to_dag(arch).edges
        self.asked.append(edges)
        return self.start + sum(self.worth.get(e, 0) for e in edges) / 100


class Constant:
    """A cost that plays no part in the metric: its logarithm is 0."""

    unit = "madds_m"

    def cost(self, arch):
        return 1.0


class ByEdge(Constant):
    """Ten times as much for every edge, from one for none."""

    def cost(self, arch):
        return 10.0 ** WHOLE.to_dag(arch).num_edges


def make(
    nodes=4, worth=None, cost=None, metric=None, evaluator=None, seed=0,
    **config,
):
    space = WHOLE.drawn(nodes, 0)
    settings = {
        "candidates": 100, "keep_fraction": 0.01, "workers": 1,
        "random_archs": 0, "random_tolerance": 0.1,
    }
    return AutoShrink(
        space, evaluator or Worth(space, worth or {}), cost or Constant(),
        metric or shrink_metrics.get("accuracy", 0.1),
        config_dict.ConfigDict({**settings, **config}), seed,
    )


def run(search, units=None):
    records = []
    for unit in range(search.units if units is None else units):
        records += search.run_unit(unit)
    return records


def removed(search):
    _, _, history = search.outcome()
    return [
        (tuple(r["removed"]), [tuple(e) for e in r["pruned"]])
        for r in history
    ]


def test_the_edge_that_is_missed_least_goes():
    """Worked out by hand: an edge costs its worth and what it cuts off."""
    search = make(
        worth={(0, 1): 5, (0, 2): 1, (0, 3): 2, (1, 2): 4, (1, 3): 6,
               (2, 3): 3}
    )
    run(search)
    assert removed(search) == [
        ((0, 2), []),  # 1; the next, 0-3, would cost 2
        ((0, 3), []),  # 2; node 3 has others before it
        ((2, 3), []),  # 3; 1-2 would cost 4 + 3, for node 2 needs it now
        ((1, 2), []),  # 4
        ((1, 3), []),  # 6; 0-1 would cost 5 + 6
        ((0, 1), []),
    ]
    _, _, history = search.outcome()
    assert [r["edges"] for r in history] == [5, 4, 3, 2, 1, 0]
    assert [r["kept"] for r in history] == [0.83, 0.67, 0.5, 0.33, 0.17, 0.0]
    assert [r["accuracy"] for r in history] == pytest.approx(
        [0.7, 0.68, 0.65, 0.61, 0.55, 0.5]
    )


def test_what_is_cut_off_goes_in_the_same_round():
    search = make(
        worth={(0, 1): -3, (0, 2): 1, (0, 3): 2, (1, 2): 1, (1, 3): 1,
               (2, 3): 3}
    )
    run(search)
    assert removed(search) == [
        ((0, 1), [(1, 2), (1, 3)]),  # -3 + 1 + 1
        ((0, 3), []),  # 2; 0-2 would cost 1 + 3
        ((2, 3), []),
        ((0, 2), []),
    ]
    assert search.units == 6 + 5 + 4 + 3 + 2 + 1
    assert len(search.evaluator.asked) == 6 + 3 + 2 + 1  # then nothing to do


def test_an_edge_may_go_because_it_is_dear():
    """0-1 is worth 0.02, and with 1-2 costs two decades of 0.1."""
    search = make(nodes=3, worth={(0, 1): 2, (0, 2): 1}, cost=ByEdge())
    run(search, 3)
    assert removed(search) == [((0, 1), [(1, 2)])]
    best = search.outcome()[2][0]
    assert best["score"] == pytest.approx(0.51 - 0.1 * 1)
    scores = [c["score"] for c in best["candidates"]]
    assert sorted(scores) == pytest.approx([0.32, 0.33, 0.41])


def drawn(seed, round_, edges, number):
    rng = np.random.default_rng([seed, round_])
    picked = rng.choice(len(edges), number, replace=False)
    return [edges[i] for i in picked]


def test_of_equals_the_first_drawn_goes():
    for seed in range(5):
        search = make(seed=seed)
        first = drawn(seed, 0, search.space.complete.edges, 6)[0]
        run(search, 6)
        assert removed(search)[0][0] == first


def test_candidates_are_different_edges_that_can_be_reached():
    search = make(nodes=6, candidates=4, seed=3)
    records = run(search)
    dag = search.space.complete
    for number, record in enumerate(search.outcome()[2]):
        tried = [tuple(c["edge"]) for c in record["candidates"]]
        assert len(set(tried)) == len(tried) == min(4, dag.num_edges)
        assert tried == drawn(3, number, dag.live_edges, len(tried))
        dag = dag.without(tuple(record["removed"])).pruned()
        assert dag.encode() == record["graph"]
    assert dag.num_edges == 0
    assert [r["epoch"] for r in records if r["phase"] == "round"] == list(
        range(len(search.outcome()[2]))
    )


@pytest.mark.parametrize(
    "nodes, keep, last, evaluations", [(8, 0.01, 0, 235), (6, 0.25, 4, 95)]
)
def test_as_many_evaluations_as_published(nodes, keep, last, evaluations):
    """Where each edge is worth the same, no round cuts off a second one."""
    search = make(nodes, candidates=10, keep_fraction=keep)
    search.evaluator.worth = dict.fromkeys(search.space.complete.edges, 1)
    assert search.units == evaluations
    run(search)
    assert len(search.evaluator.asked) == evaluations
    assert search.outcome()[2][-1]["edges"] == last


@pytest.mark.parametrize("broken", [-math.inf, math.nan, math.inf])
def test_a_candidate_that_diverged_never_wins(broken):
    class Diverging(Worth):
        def score(self, arch):
            edges = self.space.to_dag(arch).edges
            good = (0, 1) not in edges or (0, 2) not in edges
            return super().score(arch) if good else broken

    search = make(evaluator=Diverging(WHOLE.drawn(4, 0), {(0, 1): 1}))
    run(search, 6)
    record = search.outcome()[2][0]
    assert record["removed"] == [0, 2]
    assert [c["score"] is None for c in record["candidates"]].count(True) == 4
    assert record["mean_accuracy"] == pytest.approx(0.505)
    json.dumps(search.state(), allow_nan=False)


def test_when_all_diverged_the_first_drawn_goes():
    class Hopeless(Evaluator):
        def score(self, arch):
            return -math.inf

    search = make(evaluator=Hopeless(), random_archs=1)
    run(search)
    first = drawn(0, 0, search.space.complete.edges, 6)[0]
    assert removed(search)[0][0] == first
    assert search.outcome()[2][0]["mean_score"] is None
    assert search.outcome()[0][0].score == 0


def random_worth(nodes, seed=0):
    rng = np.random.default_rng(seed)
    edges = WHOLE.drawn(nodes, 0).complete.edges
    return {edge: float(rng.normal()) for edge in edges}


def test_killed_after_any_unit_it_ends_the_same():
    def fresh():
        return make(
            5, random_worth(5), ByEdge(), candidates=3, random_archs=2,
            keep_fraction=0.3,
        )

    whole = fresh()
    records = run(whole)
    for units in range(0, whole.units, 3):
        first, second = fresh(), fresh()
        done = run(first, units)
        second.restore(json.loads(json.dumps(first.state())))
        for unit in range(units, whole.units):
            done += second.run_unit(unit)
        assert done == records
        assert second.outcome() == whole.outcome()


def test_any_number_of_workers_finds_the_same():
    results = []
    for workers in (1, 2, 7):
        search = make(
            5, random_worth(5), candidates=5, workers=workers, random_archs=3
        )
        run(search)
        results.append(search.outcome())
        assert len(search.outcome()[1]) == 3
    assert results[0] == results[1] == results[2]


def test_the_trail_can_be_picked_from():
    search = make(5, random_worth(5, 2), ByEdge())
    assert search.derive() == search.at_step(0)
    run(search)
    found, _, history = search.outcome()
    assert search.derive() == found[0].arch
    best = max(history, key=lambda r: r["score"])
    assert search.space.encode(search.derive()) == best["graph"]
    for record in history:
        arch = search.at_step(record["step"])
        assert search.space.encode(arch) == record["graph"]
        assert arch.id == record["arch_id"]
        assert search.cost(arch) == record["cost"]
    assert {f.arch.id for f in found} == {r["arch_id"] for r in history}
    with pytest.raises(ConfigError, match=f"0..{len(history)}, the rounds"):
        search.at_step(len(history) + 1)


def test_a_target_picks_the_most_accurate_that_meets_it():
    search = make(5, random_worth(5, 2), ByEdge())
    run(search)
    history = search.outcome()[2]
    fitting = [r for r in history if r["cost"] <= 1000]
    best = max(fitting, key=lambda r: r["accuracy"])
    assert search.derive(1000).id == best["arch_id"]
    assert search.reachable() == (1.0, 10.0**10)
    with pytest.raises(InfeasibleBudget, match="graphs of 1..1e.10 so far"):
        search.derive(0.5)


def test_of_equal_scores_the_graph_with_fewer_leaves_is_the_result():
    search = make(4)
    run(search)
    leaves = [
        len(search.space.to_dag(f.arch).leaves) for f in search.outcome()[0]
    ]
    assert leaves == sorted(leaves)


def test_random_graphs_cost_what_the_result_costs():
    search = make(
        6, random_worth(6), ByEdge(), candidates=2, random_archs=5, workers=2,
        keep_fraction=0.4,
    )
    records = run(search)
    found, baseline, _ = search.outcome()
    assert len({other.arch.id for other in baseline}) == 5
    for other in baseline:
        assert other.role == "random"
        assert other.cost == pytest.approx(found[0].cost, rel=0.1)
        assert other.score == search.evaluator.score(other.arch)
    assert [r["arch_id"] for r in records if r["phase"] == "score"] == [
        other.arch.id for other in baseline
    ]


def test_where_no_random_graph_costs_as_little_the_nearest_are_taken():
    search = make(3, cost=ByEdge(), random_archs=2)
    run(search)
    found, baseline, _ = search.outcome()
    assert found[0].cost == 1  # no edges; draws have one at least
    assert [other.cost for other in baseline] == [10.0, 10.0]


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"keep_fraction": 1.0}, "keep_fraction=1.0"),
        ({"candidates": 0}, "candidates=0"),
    ],
)
def test_nothing_to_do_is_refused(changes, problem):
    with pytest.raises(ConfigError, match=problem):
        make(**changes)


def test_a_space_without_graphs_is_refused():
    setting = types.SimpleNamespace(
        config=config_dict.ConfigDict({"search": {}}),
        space=spaces.get("densenas_mbv2@32"),
    )
    with pytest.raises(ConfigError, match="needs a space of graphs"):
        autoshrink.build(setting)


def test_metrics_are_the_published_ones():
    accuracy = shrink_metrics.get("accuracy", 0.1)
    assert accuracy(0.6, 1.0) == 0.6  # 1e6 multiply-adds
    assert accuracy(0.9, 100.0) == pytest.approx(0.9 - 0.1 * (8 - 6))
    perplexity = shrink_metrics.get("perplexity", 1.0)
    assert perplexity(1 / 200, 1.0) == pytest.approx(0)
    flops = 9 * 100 * 100
    assert perplexity(1 / 150.0, flops / 1e6) == pytest.approx(
        0.25 * (200 - 150) - (math.log10(flops) - 6)
    )


def test_below_its_target_a_latency_is_free():
    metric = shrink_metrics.get("target", 0.5, 20.0)
    assert metric(0.8, 5.0) == metric(0.8, 20.0) == 0.8
    assert metric(0.8, 30.0) == pytest.approx(0.8 - 0.5 * 0.5)


def test_what_has_no_logarithm_is_worth_nothing():
    for name in ("accuracy", "perplexity"):
        metric = shrink_metrics.get(name, 1.0)
        assert metric(0.5, 0.0) == -math.inf
        assert metric(math.nan, 1.0) == metric(-math.inf, 1.0) == -math.inf
    assert shrink_metrics.get("perplexity", 1.0)(0.0, 1.0) == -math.inf
    assert shrink_metrics.get("accuracy", 1.0)(0.0, 1.0) == 0


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (("wat", 1.0), "one of .*Received: 'wat'"),
        (("target", 1.0), "needs `target_ms`"),
        (("target", 1.0, 0.0), "target=0.0"),
    ],
)
def test_wrong_metrics_are_refused(arguments, problem):
    with pytest.raises(ConfigError, match=problem):
        shrink_metrics.get(*arguments)
