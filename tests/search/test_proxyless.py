"""ProxylessNAS: what each phase does, and what comes out."""

import numpy as np
import pytest
import tensorflow as tf

from configs import proxyless_autospace
from tests import chain_nets
from tests.cost.lut_tables import make_table
from tests.search import resuming
from tfnas.cost.counting import count
from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.errors import LutMiss
from tfnas.search import gate_training
from tfnas.search import proxyless
from tfnas.search.setting import Setting


def values(variables):
    return [v.numpy().copy() for v in variables]


def changed(before, variables):
    return {
        v.ref()
        for v, old in zip(variables, before, strict=True)
        if v.numpy().tobytes() != old.tobytes()
    }


def draw_of(phase, step=0):
    return phase.draw(tf.constant(step, tf.int64))


@pytest.fixture(scope="module")
def shared():
    """A search for tests that leave it as it is."""
    return chain_nets.make_proxyless()


def test_a_weight_step_changes_what_it_sampled_and_nothing_else():
    search = chain_nets.make_proxyless(images=(chain_nets.BATCH,) * 2)
    training = search.training
    phase = training.phases["weights"]
    fixed = [training.net.alphas]
    for step in range(3):
        codes = draw_of(phase, step)
        sampled = {
            s.variables[0 if s.index is None else int(s.index)].ref()
            for s in training.net.select(codes)
            if s.gate is None or bool(s.gate)
        }
        variables = training.net.variables + fixed
        before = values(variables)
        search.loop.run(phase, step)
        assert changed(before, variables) == sampled
    assert search.loop.traces("weights") == 1


def test_a_two_path_step_moves_two_probabilities_of_a_place():
    search = chain_nets.make_proxyless(
        images=(chain_nets.BATCH,) * 2,
        # With a first moment Adam alone would move the others too.
        arch={"lr": 0.05, "beta1": 0.5, "beta2": 0.999},
    )
    net, phase = search.training.net, search.training.phases["arch"]
    weights = values(net.variables)
    for step in range(3):
        draw = draw_of(phase, step)
        pair = np.stack([draw.active, draw.other], 1)
        assert (pair[:, 0] != pair[:, 1]).all()
        before = net.probabilities(net.alphas).numpy().astype(np.float64)
        alphas = net.alphas.numpy()
        search.loop.run(phase, step)
        after = net.probabilities(net.alphas).numpy()
        rows = np.arange(len(pair))[:, None]
        sampled = np.zeros(before.shape, bool)
        sampled[rows, pair] = True
        np.testing.assert_allclose(
            after[~sampled], before[~sampled], rtol=0, atol=1e-6
        )
        np.testing.assert_array_equal(
            net.alphas.numpy()[~sampled], alphas[~sampled]
        )
        assert (np.abs(after - before)[sampled] > 1e-5).all()
    assert not changed(weights, net.variables)


def test_pairs_are_drawn_by_probability_and_the_active_one_among_them(shared):
    net, phase = shared.training.net, shared.training.phases["arch"]
    p = net.probabilities(net.alphas).numpy()[0]
    firsts = np.zeros((4, 4))
    for step in range(600):
        draw = draw_of(phase, step)
        firsts[int(draw.active[0]), int(draw.other[0])] += 1
    # P(pair) without replacement, times the share among the two.
    expected = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            if i != j:
                both = p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j]))
                expected[i, j] = both * p[i] / (p[i] + p[j])
    assert expected.sum() == pytest.approx(1)
    np.testing.assert_allclose(firsts / 600, expected, atol=0.06)


def test_networks_are_drawn_by_probability(shared):
    net, phase = shared.training.net, shared.training.phases["weights"]
    p = net.probabilities(net.alphas).numpy()
    drawn = np.array([draw_of(phase, step) for step in range(600)])
    for place, row in enumerate(p):
        shares = np.bincount(drawn[:, place], minlength=len(row)) / 600
        np.testing.assert_allclose(shares, row, atol=0.07)
        assert (shares[row == 0] == 0).all()


@pytest.mark.slow
def test_reinforce_moves_the_parameters_and_no_weight():
    search = chain_nets.make_proxyless(
        mode="reinforce", images=(chain_nets.BATCH,) * 2,
        reinforce={"networks": 3, "rate": 0.99, "weight": 0.1},
    )
    net = search.training.net
    before, alphas = values(net.variables), net.alphas.numpy()
    means = search.loop.run(search.training.phases["arch"], 0)
    assert not changed(before, net.variables)
    moved = np.abs(net.alphas.numpy() - alphas)
    assert (moved[~net.mask] == 0).all()
    assert np.isfinite(means["loss"])


def test_a_reinforce_step_is_the_published_gradient(monkeypatch):
    rewards = np.array([0.2, 0.5, 0.8], np.float32)
    search = chain_nets.make_proxyless(
        mode="reinforce", images=(chain_nets.BATCH,) * 2,
        reinforce={"networks": 3, "rate": 0.99, "weight": 0.1},
    )
    training = search.training
    monkeypatch.setattr(
        training, "_rewards", lambda *arguments: tf.constant(rewards)
    )
    net, phase = training.net, training.phases["arch"]
    gradients, apply = [], training.arch_optimizer.apply
    monkeypatch.setattr(
        training.arch_optimizer, "apply",
        lambda chosen, values, found, step: gradients.append(found[0].numpy())
        or apply(chosen, values, found, step),
    )
    tf.config.run_functions_eagerly(True)
    try:
        baseline = None
        for step in range(2):
            nets = draw_of(phase, step).numpy()
            p = net.probabilities(net.alphas).numpy()
            search.loop.run(phase, step)
            mean = rewards.mean()
            old = baseline
            baseline = mean if old is None else old + 0.99 * (mean - old)
            expected = np.zeros(p.shape)
            for codes, reward in zip(nets, rewards, strict=True):
                for place, code in enumerate(codes):
                    # d(-log p_code) / d alpha = p - one_hot(code)
                    slope = p[place] - np.eye(p.shape[1])[code]
                    expected[place] += (reward - baseline) * slope / 3
            np.testing.assert_allclose(gradients[-1], expected, atol=1e-6)
    finally:
        tf.config.run_functions_eagerly(False)


def test_rewards_are_accuracies_weighed_by_cost(shared):
    def rewards(search, nets):
        split = search.training.phases["score"].split
        images, labels = split.arrays()
        return search.training._rewards(
            tf.constant(images[: chain_nets.BATCH]),
            tf.constant(labels[: chain_nets.BATCH]), nets,
        ).numpy()

    nets = tf.constant([[0, 1, 2], [3, 2, 0]])
    plain = rewards(shared, nets)
    assert ((plain * chain_nets.BATCH) % 1 == 0).all()
    aimed = chain_nets.make_proxyless(target=0.2, mode="reinforce")
    aimed.training.net.alphas.assign(shared.training.net.alphas)
    costs = [
        aimed.costs.cost(tuple(enumerate((0, *codes, 0))))
        for codes in nets.numpy()
    ]
    np.testing.assert_allclose(
        rewards(aimed, nets), plain * (0.2 / np.array(costs)) ** 0.1,
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "loss, expected",
    [
        ("none", lambda ce, e: ce),
        ("mul_log",
         lambda ce, e: 0.2 * ce * (np.log(e * 1e6) / np.log(2e5)) ** 0.3),
        ("add_linear", lambda ce, e: ce + 0.1 * (e - 0.2) / 0.2),
        ("target", lambda ce, e: ce + 0.5 * abs(e / 0.2 - 1)),
    ],
)
def test_losses_are_the_published_ones(shared, loss, expected, monkeypatch):
    config = shared.config.copy_and_resolve_references()
    config.cost.loss = loss
    monkeypatch.setattr(shared.training, "config", config)
    monkeypatch.setattr(shared.training, "_reference", 0.2)
    for cost in (0.1, 0.3):
        factor, extra = shared.training._cost_terms(tf.constant(cost))
        ce = 1.7
        assert float(factor * ce + extra) == pytest.approx(
            expected(ce, cost), rel=1e-5
        )


@pytest.mark.slow
def test_the_cost_alone_leads_to_the_target(monkeypatch):
    monkeypatch.setattr(
        gate_training.losses, "cross_entropy",
        lambda labels, logits, *_: tf.zeros(tf.shape(labels)),
    )
    search = chain_nets.make_proxyless(
        target=0.12, images=(chain_nets.BATCH, 10 * chain_nets.BATCH),
        arch={"lr": 0.05, "beta1": 0.0, "beta2": 0.999},
    )
    net, training = search.training.net, search.training
    net.alphas.assign(tf.zeros(net.alphas.shape))

    def expected():
        return float(training._expected(training.probabilities()))

    start = abs(expected() / 0.12 - 1)
    for epoch in range(6):
        search.loop.run(training.phases["arch"], epoch)
    assert abs(expected() / 0.12 - 1) < 0.5 * start


def test_the_rate_is_a_cosine_for_the_warm_up_and_one_for_the_search():
    search = chain_nets.make_proxyless(epochs=3)
    c = search.config
    epoch = 2 * c.arch_every  # three steps, rounded up to whole turns
    assert search.training.turns * c.arch_every == epoch
    rate = search.training.weight_optimizer.schedule
    for step in (0, 1, epoch, epoch + 3, 4 * epoch - 1):
        top, length, at = c.weights.warmup_lr, epoch, step
        if step >= epoch:
            top, length, at = c.weights.lr, 3 * epoch, step - epoch
        wave = top * (1 + np.cos(np.pi * at / length)) / 2
        assert float(rate(tf.constant(step, tf.int64))) == pytest.approx(
            wave, rel=1e-4
        )


def test_derivation_takes_the_most_probable_ops_or_hits_the_target(shared):
    codes = shared.space.codes(shared.derive())
    p = shared.training.probabilities().numpy()
    assert codes == tuple(p.argmax(1))
    every = [
        shared.costs.cost(tuple(enumerate(codes)))
        for codes in np.ndindex(*map(len, shared.costs.rows))
    ]
    for target in np.quantile(every, [0.3, 0.7]):
        arch = shared.derive(float(target))
        nearest = min(abs(np.array(every) / target - 1))
        error = abs(count(arch).madds / 1e6 / target - 1)
        assert error <= max(0.02, 1.01 * nearest)
        assert shared.cost(arch) == pytest.approx(count(arch).madds / 1e6)


@pytest.fixture(scope="module")
def whole():
    """A search with a target: its records, and a look after one unit."""
    search = chain_nets.make_proxyless(target=0.2)
    return search, *resuming.run_all(search, 1)


def test_a_run_takes_the_published_phases_and_scores_a_baseline(whole):
    search, records, _ = whole
    assert [[r["phase"] for r in unit] for unit in records] == [
        ["weights"], ["weights", "derive"], ["weights", "arch", "derive"],
        ["score"] * len(records[-1]),
    ]
    archs, baseline, history = search.outcome()
    assert {f.role for f in baseline} == {"random"} and len(baseline) == 2
    assert archs[0].arch.id == history[-1]["arch_id"]
    for f in archs + baseline:
        assert f.cost == pytest.approx(count(f.arch).madds / 1e6)
        assert f.score == pytest.approx(search.score(f.arch))
    for f in baseline:
        assert abs(f.cost / archs[0].cost - 1) <= search.config.random_tolerance
    assert records[1][1]["entropy"] <= np.log(4)
    assert {"cost", "expected_cost", "accuracy"} <= set(history[0])


@pytest.mark.slow
def test_a_search_goes_on_from_its_state(whole):
    search, _, held = whole
    second = chain_nets.make_proxyless(target=0.2, spread=False)
    resuming.go_on(second, held)
    assert second.state() == search.state()
    assert second.outcome() == search.outcome()


def test_a_checkpoint_of_other_candidates_is_refused(shared):
    state = shared.state()
    with pytest.raises(ConfigError, match="candidates that the checkpoint"):
        shared.restore({**state, "space": state["space"][::-1]})
    del state["space"]
    with pytest.raises(ConfigError, match="earlier version.* new --workdir"):
        shared.restore(state)


def test_shared_weights_are_those_of_equal_layers():
    search = chain_nets.make_proxyless(share_weights=True)
    layer = search.training.net.layers[2]
    cell, residual = layer.weights[1], layer.weights[2]  # both expand by 6
    same = [v.ref() for v in cell[:3]]
    assert same == [v.ref() for v in residual[:3]]  # expansion and its norm
    assert cell[-3].ref() == residual[-3].ref()  # projection
    search = chain_nets.make_proxyless(share_weights=False)
    alone = search.training.net.layers[2].weights
    assert not {v.ref() for v in alone[1]} & {v.ref() for v in alone[2]}


def setting(space=None, table=None, **changes):
    config = proxyless_autospace.get_config("local")
    config.update_from_flattened_dict(changes)
    result = Setting(config, None, table)
    vars(result)["space"] = space or chain_nets.candidate_space()
    vars(result)["splits"] = ((), ())
    return result


@pytest.fixture
def no_supernet(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a supernet was built")

    monkeypatch.setattr(gate_training, "ChoiceSupernet", refuse)


def test_a_space_without_candidates_is_refused(no_supernet):
    with pytest.raises(ConfigError, match="a space of candidates"):
        proxyless.build(setting(chain_nets.cell_space()))


def test_a_table_that_misses_keys_is_refused_first(no_supernet):
    keys = chain_nets.candidate_space().lut_keys()
    with pytest.raises(LutMiss) as caught:
        proxyless.build(setting(table=make_table(keys[1:])))
    assert caught.value.keys == (keys[0],)


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_target_out_of_reach_is_refused_first(share, no_supernet):
    space = chain_nets.candidate_space()
    low, high = LatticeCosts.from_madds(space).reachable()
    target = share * 1e6 * (low if share < 1 else high)
    with pytest.raises(InfeasibleBudget, match=f"{low:.4g}..{high:.4g} M"):
        proxyless.build(setting(target_madds=target))


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"search.mode": "three_path"}, "`search.mode`"),
        ({"search.cost.loss": "cubic"}, "`search.cost.loss`"),
        ({"search.cost.loss": "target"}, "compares with a cost"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, problem, no_supernet):
    with pytest.raises(ConfigError, match=problem):
        proxyless.build(setting(**changes))


def test_the_logarithmic_loss_refuses_less_than_a_millisecond(no_supernet):
    table = make_table(chain_nets.candidate_space().lut_keys())
    with pytest.raises(ConfigError, match="costs above 1 ms"):
        proxyless.build(setting(
            table=table, target_ms=0.5, **{"search.cost.loss": "mul_log"}
        ))
