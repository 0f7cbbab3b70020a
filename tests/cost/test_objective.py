"""The reachable range is that of all networks; the front dominates."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from tests import dense_nets
from tfnas import whole_run
from tfnas.cost.objective import check_target
from tfnas.cost.objective import pareto_front
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["MBV2", "RESNET"])
def test_the_range_is_that_of_all_networks(name, seed):
    spec = getattr(dense_nets, name)
    costs = dense_nets.integer_costs(spec, seed)
    p = dense_nets.probabilities(spec, seed)
    values = [c for _, _, c in dense_nets.assignments(spec, costs, p)]
    lattice = dense_nets.lattice_costs(dense_nets.space(spec), costs)
    assert lattice.reachable() == (min(values), max(values))


def test_a_target_outside_the_range_is_refused_with_the_range():
    for target in (5, 7.5, 10):
        check_target(target, (5.0, 10.0), "ms")
    for target in (4.99, 10.01, math.nan):
        with pytest.raises(InfeasibleBudget) as caught:
            check_target(target, (5.0, 10.0), "ms")
        assert str(caught.value) == (
            "the target must lie in the reachable range 5..10 ms. "
            f"Received: {target:.4g} ms"
        )


@pytest.mark.parametrize("name", ["target_ms", "target_madds"])
@pytest.mark.parametrize("value", ["fast", math.nan, math.inf, 0, -1.0, True])
def test_a_target_that_is_no_cost_is_refused_before_any_work(name, value):
    config = ConfigDict({"target_ms": None, "target_madds": None})
    with config.ignore_type():
        config[name] = value
    with pytest.raises(ConfigError, match=f"`{name}` must be a number above"):
        whole_run.check(config)


@pytest.mark.parametrize(
    "points, front",
    [
        ([], []),
        ([(3, 0.5)], [0]),
        # Cheaper and better, dearer and better, dominated twice.
        ([(2, 0.5), (1, 0.4), (3, 0.45), (2.5, 0.5), (4, 0.9)], [1, 0, 4]),
        # Same cost: the better; same score: the cheaper; equal: the first.
        ([(1, 0.4), (1, 0.6), (2, 0.6)], [1]),
        ([(1, 0.5), (1, 0.5)], [0]),
    ],
)
def test_the_front_holds_what_nothing_dominates(points, front):
    assert pareto_front(points) == front


def test_the_front_is_that_of_comparing_all_pairs():
    points = [
        (float(c), float(s))
        for c, s in np.random.default_rng(0).integers(0, 30, (60, 2))
    ]

    def dominated(i):
        cost, score = points[i]
        return any(
            c <= cost and s >= score and ((c, s) != (cost, score) or j < i)
            for j, (c, s) in enumerate(points)
            if j != i
        )

    front = pareto_front(points)
    assert sorted(front) == [i for i in range(60) if not dominated(i)]
    assert [points[i][0] for i in front] == sorted(
        points[i][0] for i in front
    )
