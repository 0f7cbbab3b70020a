"""The policy of ASE-NAS: its form, its probabilities, its update."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.search import toy_codes
from tfnas.search.ase_nas_options import PolicyOptions
from tfnas.search.controller import Controller

PUBLISHED = PolicyOptions(one_hot_width=6)


@functools.cache
def _traced(space, centres, samples, options):
    return Controller(space, centres, options, samples)


def make(space=None, centres=3, seed=0, samples=1, **options):
    """A controller started anew; equal ones are traced once."""
    controller = _traced(
        space or toy_codes.plain(), centres, samples, PolicyOptions(**options)
    )
    controller.reset(seed)
    return controller


def look(controller, space=None, seed=0):
    """What a controller sees of random centres without ties."""
    space, rng = space or toy_codes.plain(), np.random.default_rng(seed)
    centres = [space.sample_codes(rng) for _ in range(controller.centres)]
    scores = 60 + 30 * rng.permutation(len(centres)) / len(centres)
    return controller.features(centres, scores)


def distributions(controller, features, actions):
    """Returns the probabilities of all choices at each step of a sample."""
    heads = [controller.centres]
    heads += [controller._positions, controller._ops] * (
        controller.options.edits
    )
    found = []
    for step, width in enumerate(heads):
        rows = np.repeat(actions[None], width, 0)
        rows[:, step] = np.arange(width)
        walk = controller.evaluate(tf.constant(features), tf.constant(rows))
        found.append(np.exp(walk.log_probs.numpy()[:, step]))
    return found


def test_weights_are_as_many_as_published():
    # 122,062 less the unused head (195) and the second LSTM bias (256).
    controller = Controller(toy_codes.plain(6, 5), 3, PUBLISHED)
    assert controller.num_features == 37
    assert controller.num_weights == 121_611


def test_weights_of_the_mobile_space_are_as_many_as_published():
    # 146,408 less the unused head (64 * 10 + 10) and the second LSTM bias.
    options = PolicyOptions(edits=2)
    controller = Controller(toy_codes.plain(20, 10), 10, options)
    assert controller.num_features == 201
    assert controller.num_weights == 146_408 - 650 - 256


def test_a_resolution_has_a_code_a_head_and_an_embedding_of_its_own():
    legal = np.ones((21, 10))
    legal[0, 5:] = 0
    space = toy_codes.ToyCodes(legal, (5, 10), [0] + [1] * 20)
    plain = Controller(toy_codes.plain(20, 10), 10)
    controller = Controller(space, 10)
    assert controller.num_features == 5 + 200 + 1
    features, position, head = 2 * 5 * 64, 64 + 64 + 1, 5 * (64 + 64 + 1)
    assert controller.num_weights == (
        plain.num_weights + features + position + head
    )


def test_features_are_one_hot_codes_and_percent():
    controller = Controller(toy_codes.mixed(), 2)
    features = controller.features(
        [(2, 1, 3, 0, 0), (0, 3, 1, 2, 1)], [71.5, 80.0]
    )
    bits = [
        [0, 0, 1] + [0, 1, 0, 0] + [0, 0, 0, 1] + [1, 0, 0, 0] * 2,
        [1, 0, 0] + [0, 0, 0, 1] + [0, 1, 0, 0] + [0, 0, 1, 0] + [0, 1, 0, 0],
    ]
    np.testing.assert_array_equal(features[:, :-1], bits)
    np.testing.assert_array_equal(features[:, -1], [71.5, 80.0])


def test_features_can_hold_wider_codes():
    options = PolicyOptions(one_hot_width=6)
    controller = Controller(toy_codes.plain(), 1, options)
    features = controller.features([(4, 0, 0, 0, 0, 1)], [50.0])
    assert np.flatnonzero(features).tolist() == [4, 6, 12, 18, 24, 31, 36]
    assert features[0, -1] == 50.0


def test_zero_weights_choose_uniformly():
    controller = make()
    controller.weights.assign(tf.zeros(controller.weights.shape))
    features = look(controller)
    actions = controller.sample(features, 0, 0)
    walk = controller.evaluate(tf.constant(features), tf.constant(actions))
    expected = math.log(3) + 4 * (math.log(6) + math.log(5))
    assert expected == pytest.approx(14.7034, abs=1e-4)
    assert walk.log_probs.numpy().sum() == pytest.approx(-expected, abs=1e-4)
    assert walk.entropies.numpy().sum() == pytest.approx(expected, abs=1e-4)


def test_zero_weights_choose_uniformly_among_the_legal():
    space = toy_codes.mixed()
    controller = make(space, edits=1)
    controller.weights.assign(tf.zeros(controller.weights.shape))
    features = look(controller, space)
    for position, choices in enumerate([3, 3, 3, 4, 4]):
        op = controller._first_op[position] + 1
        actions = tf.constant([[0, position, op]], tf.int32)
        walk = controller.evaluate(tf.constant(features), actions)
        assert walk.entropies.numpy()[0, 2] == pytest.approx(
            math.log(choices), abs=1e-5
        )


@pytest.mark.parametrize("bounds", [(1.5, 0.6), (2.5, 2.0)])
def test_probability_ratios_are_bounded_whatever_the_weights(bounds):
    controller = make(tanh_subspace=bounds[0], tanh_edit=bounds[1], edits=2)
    rng = np.random.default_rng(1)
    controller.weights.assign(rng.normal(size=controller.num_weights) * 3)
    features = look(controller)
    actions = controller.sample(features, 0, 0)[0]
    ratios = [
        p.max() / p.min()
        for p in distributions(controller, features, actions)
    ]
    limits = np.exp(2 * np.array([bounds[0]] + [bounds[1]] * 4))
    assert (ratios <= limits * 1.001).all()
    # Such weights saturate the bounds, so the limits are reached.
    assert (np.array(ratios) > 0.9 * limits).any()


def test_samples_follow_the_probabilities():
    space = toy_codes.mixed()
    controller = make(space, samples=20_000, edits=1, tanh_edit=1.5)
    rng = np.random.default_rng(2)
    controller.weights.assign(rng.normal(size=controller.num_weights))
    features = look(controller, space)
    drawn = controller.sample(features, 3, 4)
    common = np.array([np.bincount(drawn[:, 0]).argmax()] * 3, np.int32)
    common[1] = np.bincount(drawn[drawn[:, 0] == common[0], 1]).argmax()
    expected = distributions(controller, features, common)
    rows = np.ones(len(drawn), bool)
    for step, p in enumerate(expected):
        assert p.sum() == pytest.approx(1, abs=1e-5)
        found = np.bincount(drawn[rows, step], minlength=len(p)) / rows.sum()
        error = np.sqrt(p * (1 - p) / rows.sum())
        assert (np.abs(found - p) <= 4.5 * error + 1e-9).all()
        rows &= drawn[:, step] == common[step]


def test_illegal_codes_are_never_drawn():
    space = toy_codes.mixed()
    controller = make(space, samples=5_000)
    seen = set()
    for actions in controller.sample(look(controller, space), 0, 0):
        slot, edits = controller.read(actions)
        assert 0 <= slot < 3 and len(edits) == 4
        seen.update(edits)
    legal = {(int(i), int(o)) for i, o in np.argwhere(space.legal)}
    assert seen == legal


def test_the_seed_and_the_step_decide_about_a_sample():
    controller = make(samples=8)
    features = look(controller)
    first = controller.sample(features, 1, 2)
    np.testing.assert_array_equal(first, controller.sample(features, 1, 2))
    for other in ((1, 3), (2, 2)):
        assert (first != controller.sample(features, *other)).any()


def embed(controller, features):
    return controller._embed_nodes(
        controller._split(), tf.constant(features)
    ).numpy()


def test_permuted_centres_have_permuted_embeddings():
    controller = make(centres=5)
    features = look(controller)
    order = np.random.default_rng(0).permutation(5)
    np.testing.assert_allclose(
        embed(controller, features[order]), embed(controller, features)[order],
        rtol=1e-4, atol=1e-5,
    )


def spelled_out(w, x):
    """Section 4 of the specification, message by message."""
    relu = lambda z: np.maximum(z, 0)  # noqa: E731
    k, layers = len(x), sum(name.startswith("update_") for name in w)
    edges = {}
    for i in range(k):
        for j in range(i + 1, k):
            worse, better = (i, j) if x[i, -1] <= x[j, -1] else (j, i)
            edges[worse, better] = (
                (x[better] - x[worse]) @ w["edge_kernel"] + w["edge_bias"]
            )
    h = [row @ w["node_kernel"] + w["node_bias"] for row in x]
    for layer in range(layers):
        nothing, new = np.zeros_like(h[0]), []
        for i in range(k):
            pooled = []
            for j in set(range(k)) - {i}:
                u = relu(
                    np.concatenate([
                        h[i], edges.get((i, j), nothing),
                        edges.get((j, i), nothing),
                    ]) @ w[f"message_{layer}"]
                )
                pooled.append(relu(
                    u @ w[f"pool_kernel_{layer}"] + w[f"pool_bias_{layer}"]
                ))
            both = np.concatenate([h[i], np.mean(pooled, 0)])
            new.append(relu(both @ w[f"update_{layer}"]))
        h = new
        edges = {
            (i, j): relu(
                np.concatenate([e, h[i], h[j]]) @ w[f"edge_update_{layer}"]
            )
            for (i, j), e in edges.items()
        }
    return np.array(h)


@pytest.mark.parametrize("tie", [False, True])
def test_embeddings_are_those_of_the_spelled_out_graph(tie):
    controller = make(centres=4)
    features = look(controller)
    if tie:
        features[:, -1] = 80.0
    w = {name: part.numpy() for name, part in controller._split().items()}
    np.testing.assert_allclose(
        embed(controller, features), spelled_out(w, features),
        rtol=1e-4, atol=1e-5,
    )


def test_reset_starts_anew_in_place():
    controller = make(seed=1, edits=1)
    first = controller.weights.numpy()
    assert np.abs(first).max() <= 0.1
    assert first.std() == pytest.approx(0.2 / math.sqrt(12), rel=0.01)
    features = look(controller)
    actions = controller.sample(features, 0, 0)[0]
    controller.update(features, actions, 1.0, 0.1, 0)
    controller.reset(2)
    assert (controller.weights.numpy() != first).mean() > 0.99
    controller.reset(1)
    np.testing.assert_array_equal(controller.weights.numpy(), first)
    for slot in controller.variables()[1:]:
        assert not slot.numpy().any()


def test_nothing_is_traced_again():
    controller = make(edits=1)
    for seed in range(3):
        controller.reset(seed)
        for step in range(3):
            features = look(controller, seed=10 * seed + step)
            actions = controller.sample(features, seed, step)[0]
            controller.update(features, actions, 0.1 * step, 1e-3, step)
    assert controller.traces() == 2


def adam(gradients, lr=9.446763714621489e-3):
    """The last of some steps of Adam, as published."""
    first = second = 0.0
    for gradient in gradients:
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
    time = len(gradients)
    root = np.sqrt(second / (1 - 0.999**time))
    return lr * first / (1 - 0.9**time) / (root + 1e-8)


def test_an_update_is_reinforce_by_adam():
    controller = make(edits=1)
    features, gradients = look(controller), []
    for step, (reward, weight) in enumerate([(1.0, 0.3), (-2.0, 0.1)]):
        actions = controller.sample(features, 0, step)[0]
        before = controller.weights.numpy()
        with tf.GradientTape() as tape:
            walk = controller.evaluate(
                tf.constant(features), tf.constant(actions[None])
            )
            objective = reward * tf.reduce_sum(walk.log_probs)
            objective += weight * tf.reduce_sum(walk.entropies)
        gradients.append(-tape.gradient(objective, controller.weights).numpy())
        told = controller.update(features, actions, reward, weight, step)
        # Where gradients are small they are a matter of rounding and decay.
        clear = np.min(np.abs(gradients), 0) > 1e-4
        assert clear.sum() > 1_000
        np.testing.assert_allclose(
            (before - controller.weights.numpy())[clear],
            adam(gradients)[clear], rtol=0, atol=5e-4,
        )
        assert told["log_prob"] == pytest.approx(
            walk.log_probs.numpy().sum(), rel=1e-4
        )


def test_weight_decay_is_part_of_the_gradient():
    controller = make(edits=1)
    features = look(controller)
    before = controller.weights.numpy()
    actions = controller.sample(features, 0, 0)[0]
    controller.update(features, actions, 0.0, 0.0, 0)
    np.testing.assert_allclose(
        before - controller.weights.numpy(),
        adam([2.3740059139364297e-5 * before]), rtol=1e-3, atol=1e-6,
    )


def test_equal_updates_give_equal_bits():
    controller = make(edits=1)
    features = look(controller)
    actions = controller.sample(features, 0, 0)[0]
    found = set()
    for _ in range(50):
        controller.reset(0)
        controller.update(features, actions, 1.0, 0.1, 0)
        found.add(controller.weights.numpy().tobytes())
    assert len(found) == 1


def test_gradients_are_finite_with_masks():
    space = toy_codes.mixed()
    controller = make(space, edits=2)
    features = look(controller, space)
    actions = controller.sample(features, 0, 0)
    with tf.GradientTape() as tape:
        walk = controller.evaluate(
            tf.constant(features), tf.constant(actions)
        )
        loss = tf.reduce_sum(walk.log_probs) + tf.reduce_sum(walk.entropies)
    gradient = tape.gradient(loss, controller.weights).numpy()
    assert np.isfinite(gradient).all() and gradient.any()


def test_a_bandit_learns_the_one_edit_that_pays():
    controller = make(edits=1)
    features = controller.features([(0,) * 6, (1,) * 6, (4,) * 6], [80.0] * 3)
    baseline = None
    for step in range(400):
        actions = controller.sample(features, 0, step)[0]
        _, edits = controller.read(actions)
        reward = float((2, 3) in edits)
        baseline = reward if baseline is None else (
            0.9 * baseline + 0.1 * reward
        )
        controller.update(
            features, actions, reward - baseline, 5e-4, step
        )
    slot = controller.sample(features, 0, 0)[0, 0]
    walk = controller.evaluate(
        tf.constant(features), tf.constant([[slot, 2, 3]], tf.int32)
    )
    found = math.exp(float(tf.reduce_sum(walk.log_probs[0, 1:])))
    gain, loss = math.exp(0.6), math.exp(-0.6)
    bound = gain**2 / ((gain + 5 * loss) * (gain + 4 * loss))
    assert bound == pytest.approx(0.181, abs=1e-3)
    assert found > 0.9 * bound
