"""Evolution of a space: what a round trains, keeps and writes."""

import gc

import numpy as np
import pytest
import tensorflow as tf

from configs import autospace_cells
from tests import chain_nets
from tests.cost.lut_tables import make_table
from tests.search import resuming
from tfnas import artifacts
from tfnas.cost import cell_costs
from tfnas.cost.counting import count
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.search import autospace
from tfnas.search import cell_training
from tfnas.search.setting import Setting
from tfnas.spaces import cells
from tfnas.spaces.autospace_files import read_space
from tfnas.supernets.cells import RunningCells


def values(variables):
    return [v.numpy().copy() for v in variables]


def changed(before, variables):
    return {
        v.ref()
        for v, old in zip(variables, before, strict=True)
        if v.numpy().tobytes() != old.tobytes()
    }


def pairs(search, number=0):
    """Cells of a round, and the scores that their gates start from."""
    chosen = [p.select(number) for p in search.populations]
    rows = [[m.cell for m in row] for row in chosen]
    scores = np.array([[0.5, -0.25]] * len(rows), np.float32)
    return chosen, rows, scores


def test_a_gate_step_leaves_the_weights():
    search = chain_nets.make_evolution()
    training = search.training
    _, rows, scores = pairs(search)
    training.net.gates.assign(scores)
    before = values(training.net.variables)
    phase = training._gate_phase(RunningCells(training.net, rows))
    search.loop.run(phase, 0)
    assert not changed(before, training.net.variables)
    assert (training.net.gates.numpy() != scores).all()


def test_a_warm_up_trains_reference_cells_only():
    search = chain_nets.make_evolution()
    training = search.training
    before = values(training.net.variables)
    search.run_unit(0)
    pinned = list(cells.REFERENCES.values())
    allowed = {
        v.ref() for v in RunningCells(training.net, [pinned] * 2).variables
    }
    moved = changed(before, training.net.variables)
    frame = {v.ref() for v in training.net.frame.variables}
    assert frame < moved <= allowed


@pytest.mark.slow
def test_rounds_train_their_cells_alone_and_leave_nothing_behind(monkeypatch):
    search, traces = chain_nets.make_evolution(steps=2), []
    call = RunningCells.__call__

    def counting(self, *arguments, **words):
        traces.append(1)
        return call(self, *arguments, **words)

    monkeypatch.setattr(RunningCells, "__call__", counting)
    graphs, variables = [], search.training.net.variables
    for number in range(3):
        _, rows, scores = pairs(search, number)
        before = values(variables)
        gates, _, _ = search.training.train_round(rows, scores)
        running = RunningCells(search.training.net, rows)
        assert changed(before, variables) == {
            v.ref() for v in running.variables
        }
        del running
        # Adam's first step is the rate itself, whatever came before.
        np.testing.assert_allclose(
            np.abs(gates - scores), search.config.gates.lr, rtol=1e-2
        )
        assert len(traces) == 2 * (number + 1)  # weights and gates
        gc.collect()
        graphs.append(
            sum(isinstance(o, tf.Graph) for o in gc.get_objects())
        )
    assert graphs[2] <= graphs[1]
    # Two weight steps for each gate step.
    assert search.loop.steps == {"weights": 6, "gates": 3}


def test_the_pull_towards_the_reference_fades_out(monkeypatch):
    search, pulls = chain_nets.make_evolution(
        rounds=9, reference_weight=2.0
    ), []

    def record(rows, scores, pull):
        pulls.append(pull)
        means = {"loss": 0.0, "accuracy": 0.0, "cost": 1.0}
        return scores, means, means

    monkeypatch.setattr(search.training, "train_round", record)
    for unit in range(1, 10):
        search.run_unit(unit)
    np.testing.assert_allclose(pulls, [2, 4 / 3, 2 / 3] + [0] * 6)


def test_the_budget_favours_cheaper_cells(monkeypatch):
    monkeypatch.setattr(
        cell_training.losses, "cross_entropy",
        lambda labels, logits, *_: tf.zeros(tf.shape(labels)),
    )
    search = chain_nets.make_evolution(budget=0.05)
    _, rows, _ = pairs(search)
    gates, _, means = search.training.train_round(
        rows, np.zeros([2, 2], np.float32)
    )
    costs = [
        [search.costs.soft.cost(i, cell) for cell in row]
        for i, row in enumerate(rows)
    ]
    assert (gates.argmax(1) == np.argmin(costs, 1)).all()
    fixed = search.costs.soft.of(rows).fixed
    expected = fixed + np.mean(costs, 1).sum()
    assert means["cost"] == pytest.approx(expected, rel=0.05)
    # The loss is the penalty alone, and none below the budget.
    assert means["loss"] == pytest.approx(
        search.config.cost.factor * (means["cost"] / 0.05 - 1), rel=1e-3
    )
    wide = chain_nets.make_evolution(budget=50.0)
    phase = wide.training._gate_phase(RunningCells(wide.training.net, rows))
    assert wide.loop.run(phase, 0)["loss"] == 0


@pytest.fixture(scope="module")
def whole():
    """A search that ran to its end, its records, a look after two units."""
    search = chain_nets.make_evolution()
    return search, *resuming.run_all(search, 2)


@pytest.mark.slow
def test_a_run_warms_up_evolves_and_scores(whole):
    search, records, _ = whole
    assert [[r["phase"] for r in unit] for unit in records] == [
        ["weights"], *[["weights", "gates", "evolve"]] * 3, ["score"] * 2,
    ]
    archs, baseline, history = search.outcome()
    assert [f.role for f in archs + baseline] == ["searched", "random"]
    for f in archs + baseline:
        assert f.cost == pytest.approx(count(f.arch).madds / 1e6)
        assert f.score == pytest.approx(search.score(f.arch))
        assert search.space.contains(f.arch)
    assert archs[0].arch.id == history[-1]["arch_id"] == search.derive().id
    assert len(history) == 3 and all(np.isfinite(h["loss"]) for h in history)


def test_scores_are_what_the_gates_gained(whole):
    search, *_ = whole
    for population in search.populations:
        ran = [m for m in population.members if m.visits and not m.pinned]
        assert ran and all(m.score for m in ran)
        # Two gate steps a round: nobody can have gained more.
        most = 3 * 2 * 2 * search.config.gates.lr
        assert all(abs(m.score) < most for m in ran)


def test_the_learned_space_is_a_file_that_reads_back(whole, tmp_path):
    search, *_ = whole
    files = search.files()
    artifacts.write_json(tmp_path / "space.json", files["space.json"])
    file = read_space(tmp_path / "space.json", search.space.spec.places)
    assert file == search.learned_space()
    for row in file.positions:
        assert row[-3:] == tuple(cells.REFERENCES.values())
        assert len(row) == search.config.evolved + 3
    scores = [m["score"] for m in files["populations.json"]["positions"][0]]
    assert max(scores) == search.best_cells()[0][0].score


def test_a_network_can_be_derived_at_a_cost(whole):
    search, *_ = whole
    costs = search.costs.nets
    bare = costs.total([cells.REFERENCES["ref3"]] * 2)
    arch = search.derive(bare)
    assert search.cost(arch) == pytest.approx(bare, rel=0.3)


@pytest.mark.slow
def test_a_search_goes_on_from_its_state(whole):
    search, _, held = whole
    second = chain_nets.make_evolution()
    resuming.go_on(second, held)
    assert second.state() == search.state()
    assert second.outcome() == search.outcome()


def setting(space=None, table=None, **changes):
    config = autospace_cells.get_config("local")
    config.update_from_flattened_dict(changes)
    result = Setting(config, None, table)
    vars(result)["space"] = space or chain_nets.cell_space()
    vars(result)["splits"] = ((), ())
    return result


def test_another_space_is_refused():
    with pytest.raises(ConfigError, match="evolves the spaces"):
        autospace.build(setting(chain_nets.candidate_space()))


@pytest.mark.parametrize("kind", ["latency", "energy"])
def test_a_kind_of_cost_without_its_table_is_refused(kind):
    with pytest.raises(ConfigError, match="`latency` with a table"):
        autospace.build(setting(**{"search.cost.kind": kind}))


def test_a_budget_below_the_barest_network_is_refused():
    space = chain_nets.cell_space()
    barest = cell_costs.from_madds(space).total(
        [autospace._BAREST] * 2
    )
    with pytest.raises(InfeasibleBudget, match=f"{barest:.4g}.."):
        autospace.build(setting(target_madds=0.9e6 * barest))


def test_costs_may_be_latencies_or_parameters(monkeypatch):
    made = []
    monkeypatch.setattr(
        autospace, "AutoSpace", lambda space, costs, *_: made.append(costs)
        or type("Search", (), {})()
    )
    space = chain_nets.cell_space()
    table = make_table(space.lut_keys())
    autospace.build(setting(
        space, table, target_ms=5.0, **{"search.cost.kind": "latency"}
    ))
    assert (made[0].soft.unit, made[0].nets.unit) == ("ms", "ms")
    assert made[0].target == 5.0
    autospace.build(setting(
        **{"search.cost.kind": "params", "search.cost.budget": 0.004}
    ))
    assert (made[1].soft.unit, made[1].nets.unit) == ("params_m", "madds_m")
    assert made[1].target == 0.004


def test_merges_and_kernels_of_the_config_are_written_to_the_file(
    monkeypatch,
):
    spaces_made = []
    monkeypatch.setattr(
        autospace, "AutoSpace", lambda space, *_: spaces_made.append(space)
        or type("Search", (), {})()
    )
    autospace.build(setting(
        **{"search.merge": "hadamard", "search.large_kernel": "dilated"}
    ))
    (space,) = spaces_made
    assert (space.merge, space.large_kernel) == ("hadamard", "dilated")
