"""The DenseNAS search: what each phase does, and what comes out."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tfnas
from configs import densenas_mbv2
from tests import dense_nets
from tests.cost.lut_tables import make_table
from tests.search.tiny_search import BATCH
from tests.search.tiny_search import make_search
from tfnas import derive
from tfnas import spaces
from tfnas.cost.counting import count
from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.errors import LutMiss
from tfnas.search import densenas
from tfnas.search import lattice_search
from tfnas.search.setting import Setting
from tfnas.spaces.dense import DenseChoice


def draw_of(phase, step=0):
    return phase.draw(tf.constant(step, tf.int64))


def values(variables):
    return [v.numpy() for v in variables]


def changed(before, variables):
    return {
        v.ref()
        for v, old in zip(variables, before, strict=True)
        if v.numpy().tobytes() != old.tobytes()
    }


def sampled(search, draw):
    """The variables that a draw makes active, with their velocities."""
    weights = {
        s.variables[0 if s.index is None else int(s.index)].ref()
        for s in search.net.select(draw)
        if s.gate is None or bool(s.gate)
    }
    slot = search.weight_optimizer.slot
    return weights | {slot(w.deref(), "momentum").ref() for w in weights}


def test_a_weight_step_changes_what_it_sampled_and_nothing_else():
    search = make_search()
    optimizer = search.weight_optimizer
    variables = [
        *search.net.variables,
        *[optimizer.slot(v, "momentum") for v in search.net.variables],
        *search.net.arch.as_list(), *search.arch_optimizer.slots(),
    ]
    for step in range(2):
        draw = draw_of(search.phases["weights"], step)
        before = values(variables)
        search.loop.run(search.phases["weights"], step)
        assert changed(before, variables) == sampled(search, draw)
    assert search.loop.traces("weights") == 1


def test_an_architecture_step_leaves_the_weights():
    search = make_search()
    fixed = [*search.net.variables, *search.weight_optimizer.slots()]
    before, tables = values(fixed), search.net.arch.as_list()
    arch = values(tables)
    search.loop.run(search.phases["arch"], 0)
    assert not changed(before, fixed)
    assert changed(arch, tables) == {v.ref() for v in tables}


def test_sampled_ops_keep_their_mass_and_paths_are_free():
    search = make_search()
    draw = draw_of(search.phases["arch"])
    heads, stacks, paths = search.net.arch.as_list()
    before = values([heads, stacks, paths])
    search.loop.run(search.phases["arch"], 0)
    for table, old, ops in zip((heads, stacks), before, draw, strict=False):
        rows = np.arange(len(old))[:, None]
        new = table.numpy()
        assert not np.allclose(new[rows, ops], old[rows, ops], atol=1e-4)
        np.testing.assert_allclose(
            np.exp(new[rows, ops]).sum(1), np.exp(old[rows, ops]).sum(1),
            rtol=1e-5,
        )
    # Adam's first step is the rate itself, which a rescaling would change.
    mask = search.net.path_mask
    free = mask & (mask.sum(1, keepdims=True) > 1)
    moved = np.abs(paths.numpy() - before[2])[free]
    np.testing.assert_allclose(moved, search.config.arch.lr, rtol=1e-2)


@pytest.fixture(scope="module")
def shared():
    """A search for tests that leave it as it is."""
    return make_search(images=(3 * BATCH, BATCH))


def set_heads(search, row):
    heads = search.net.arch.ops[0]
    old = heads.numpy()
    heads.assign(np.tile(np.float32(row), (len(old), 1)))
    return lambda: heads.assign(old)


def test_weight_steps_draw_uniformly_and_later_by_alpha(shared):
    undo = set_heads(shared, [0, 90, 0])
    phase = shared.phases["weights"]
    first = shared.loop.num_steps(phase) * shared.config.arch_update_epoch
    assert first == 3
    early = [draw_of(phase, s)[0].numpy() for s in range(first)]
    late = draw_of(phase, first)[0].numpy()
    pairs = draw_of(shared.phases["arch"], 0)[0].numpy()
    undo()
    assert {d.shape[1] for d in early} == {1}
    assert len(np.unique(early)) == 3
    assert (late == 1).all()
    assert pairs.shape[1] == 2
    assert (pairs == 1).any(1).all()


def test_validation_uses_all_ops(shared):
    draw = draw_of(shared.phases["valid"])
    spec = shared.space.spec
    assert draw[0].shape[1] == len(spec.head_ops)
    assert draw[1].shape[1] == len(spec.stack_ops)


def test_the_uniform_policy_never_asks_alpha():
    search = make_search(sample_policy="uniform")
    set_heads(search, [0, 90, 0])
    drawn = [
        draw_of(search.phases["weights"], step)[0].numpy()
        for step in range(5, 10)
    ]
    assert len(np.unique(drawn)) == 3


def test_the_rate_is_the_published_cosine():
    search = make_search(images=(3 * BATCH + 1, BATCH), epochs=5)
    steps = 5 * (3 + 1)  # epochs * (images // batch + 1)
    c = search.config.weights
    for step in (0, 7, steps - 1, steps + 3):
        s = min(step + 1, steps)  # advanced before the step
        wave = (1 + np.cos(np.pi * s / steps)) / 2
        rate = c.min_lr + (c.lr - c.min_lr) * wave
        ours = search.weight_optimizer.schedule(tf.constant(step, tf.int64))
        assert float(ours) == pytest.approx(rate, rel=1e-4)


def test_a_network_scores_like_its_keras_model_on_batch_statistics():
    search = make_search(images=(BATCH, 3 * BATCH))
    for seed in range(2):
        arch = search.space.sample(seed)
        model = tfnas.build_model(arch)
        derive.load_weights(model, arch, search.weights_for(arch))
        images, labels = search.phases["score"].split.arrays()
        logits = [
            np.array(model(x, training=True))
            for x in np.split(images, len(images) // BATCH)
        ]
        accuracy = np.mean(np.concatenate(logits).argmax(1) == labels)
        assert search.score(arch) == pytest.approx(accuracy, abs=1e-6)
    assert search.loop.traces("score") == 1


def test_derivations_follow_the_parameters_and_the_target(shared):
    madds = [
        count(shared.space.sample(seed)).madds / 1e6 for seed in range(20)
    ]
    for target in np.quantile(madds, [0.2, 0.5, 0.8]):
        arch = shared.derive(float(target))
        assert count(arch).madds / 1e6 == pytest.approx(target, rel=0.02)
        assert shared.cost(arch) == pytest.approx(count(arch).madds / 1e6)
    undo = set_heads(shared, [0, 0, 5])
    choice = shared.space.to_choice(shared.derive())
    undo()
    assert set(choice.heads) == {shared.space.spec.head_ops[2]}


def whole_run(search):
    """Runs all units; returns the records and the steps of each."""
    records, steps, run = [], [], search.loop.run

    def counting(phase, epoch):
        steps[-1] += search.loop.num_steps(phase)
        return run(phase, epoch)

    search.loop.run = counting
    for unit in range(search.units):
        steps.append(0)
        records.append(search.run_unit(unit))
    return records, steps


def test_a_run_takes_the_published_phases_and_scores_a_baseline():
    search = make_search(target=1.0, images=(3 * BATCH, 2 * BATCH))
    records, steps = whole_run(search)
    assert [[r["phase"] for r in unit] for unit in records] == [
        ["weights", "derive"],
        ["arch", "weights", "valid", "derive"],
        ["score"] * 3,
    ]
    assert steps == [search.unit_steps(unit) for unit in range(3)]
    archs, baseline, history = search.outcome()
    assert [f.role for f in archs + baseline] == ["searched"] + ["random"] * 2
    for f in archs + baseline:
        assert f.cost == pytest.approx(count(f.arch).madds / 1e6)
        assert 0 <= f.score <= 1
        assert f.score == pytest.approx(search.score(f.arch))
    assert archs[0].cost == pytest.approx(1.0, rel=0.02)
    width = search.config.random_tolerance
    for f in baseline:
        assert abs(f.cost / archs[0].cost - 1) <= width
    assert archs[0].arch.id == history[1]["arch_id"]
    assert history[0]["accuracy"] is None
    assert history[1]["accuracy"] == records[1][2]["accuracy"]
    assert history[1]["expected_cost"] == records[1][1]["cost"]
    assert all(np.isfinite(h["loss"]) for h in history)

    state = json.loads(json.dumps(search.state()))
    other = make_search(target=1.0)
    other.restore(state)
    assert other.outcome() == search.outcome()
    assert other.loop.steps == search.loop.steps


def test_the_results_are_the_epochs_of_the_best_validation(shared):
    def record(epoch, seed, accuracy):
        arch = shared.space.sample(seed)
        return {"epoch": epoch, "arch_id": arch.id, "accuracy": accuracy}

    records = [
        record(0, 0, None), record(1, 1, 0.3), record(2, 2, 0.6),
        record(3, 1, 0.5), record(4, 2, 0.4),
    ]
    for number in (1, 2, 3, 9):
        shared.config.top_archs = number
        shared.history = records
        best = [r["epoch"] for r in shared.finalists()]
        assert best == [2, 3, 0][:number]
    shared.history = [record(e, e, None) for e in range(3)]
    assert [r["epoch"] for r in shared.finalists()] == [2, 1, 0]
    shared.history, shared.config.top_archs = [], 1


def test_variables_of_a_checkpoint_are_all_there_are(shared):
    groups = shared.variables()
    assert [len(g) for g in groups.values()] == [
        len(shared.net.variables), 3, len(shared.net.variables), 6,
    ]
    assert groups["arch"] == shared.net.arch.as_list()


def full_config(**changes):
    config = densenas_mbv2.get_config("local")
    config.update(changes)
    return config


def a_setting(config, table=None):
    """A setting of the tiny space, with no images in it."""
    setting = Setting(config, None, table)
    vars(setting)["space"] = dense_nets.space()
    vars(setting)["splits"] = ((), ())
    return setting


@pytest.fixture
def no_supernet(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a supernet was built")

    monkeypatch.setattr(lattice_search, "LatticeSupernet", refuse)


def test_a_table_that_misses_keys_is_refused_first(no_supernet):
    space = dense_nets.space()
    keys = space.lut_keys()
    with pytest.raises(LutMiss) as caught:
        densenas.build(a_setting(full_config(), make_table(keys[2:-1])))
    assert caught.value.keys == (*keys[:2], keys[-1])
    for key in caught.value.keys:
        assert key in str(caught.value)


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_an_unreachable_latency_is_refused_first(share, no_supernet):
    space = dense_nets.space()
    table = make_table(space.lut_keys())
    low, high = LatticeCosts.from_table(space, table).reachable()
    target = share * (low if share < 1 else high)
    with pytest.raises(InfeasibleBudget) as caught:
        densenas.build(a_setting(full_config(target_ms=target), table))
    assert f"{low:.4g}..{high:.4g} ms" in str(caught.value)


def test_an_unreachable_number_of_multiply_adds_is_refused(no_supernet):
    space = dense_nets.space()
    madds = [
        count(space.to_arch(choice)).madds / 1e6
        for choice in some_choices(space.spec)
    ]
    with pytest.raises(InfeasibleBudget) as caught:
        densenas.build(a_setting(full_config(target_madds=1e9)))
    expected = f"{min(madds):.4g}..{max(madds):.4g} M multiply-adds"
    assert expected in str(caught.value)


def test_a_space_of_another_kind_is_refused(no_supernet):
    setting = Setting(full_config(space="mobilenetv3@32"), None, None)
    vars(setting)["space"] = spaces.get("mobilenetv3@32")
    with pytest.raises(ConfigError, match="spaces with a lattice"):
        densenas.build(setting)


def some_choices(spec):
    """Every path, with the smallest and with the largest ops throughout."""
    small, large = spec.head_ops[0], spec.head_ops[2]
    assert (small, large) == ("mbconv_k3_t3", "mbconv_k3_t6")
    for path in dense_nets.paths(spec):
        blocks = path[1:-1]
        yield DenseChoice(blocks, (small,) * len(blocks), ((),) * len(blocks))
        stacks = tuple(("mbconv_k5_t6",) * spec.layers[b] for b in blocks)
        yield DenseChoice(blocks, (large,) * len(blocks), stacks)
