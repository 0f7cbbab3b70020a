"""A predictor ranks networks it has not seen, and says how well."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest

from tfnas import artifacts
from tfnas import spaces
from tfnas.cost import predictor as predictors
from tfnas.cost.predictor import AccuracyPredictor
from tfnas.cost.predictor import Options
from tfnas.cost.predictor import Quality
from tfnas.cost.predictor import kendall_tau
from tfnas.cost.predictor import one_hot
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import Diverged

SPACE = spaces.get("mobilenetv3")
OPTIONS = Options(dropout=0.3)


def pairs(number=300, noise=0.002, seed=0):
    """Codes, and accuracies that are a sum over slots and some noise."""
    rng = np.random.default_rng(seed)
    effect = 0.004 * rng.normal(size=(20, 10))
    codes = [SPACE.sample_codes(rng) for _ in range(number)]
    truth = [0.75 + effect[np.arange(20), c].sum() for c in codes]
    return codes, (truth + noise * rng.normal(size=number)).tolist()


@pytest.fixture(scope="module")
def fitted():
    return predictors.fit(SPACE, *pairs(), OPTIONS)


@pytest.mark.parametrize(
    "name, number",
    [("mobilenetv3", 42_369), ("mobilenetv3_resolution", 42_369 + 5 * 128)],
)
def test_it_has_the_published_number_of_parameters(name, number):
    space = spaces.get(name)
    codes = [space.sample_codes(np.random.default_rng(i)) for i in range(30)]
    options = Options(epochs=1, lr=0.01)
    made = predictors.fit(space, codes, np.linspace(0, 1, 30), options)
    assert made.parameters == number


def test_codes_become_one_column_per_code():
    rows = one_hot(np.array([[0, 2, 1], [1, 0, 0]]), (2, 3, 2))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[1, 0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 0, 1, 0]]


def test_it_learns_what_unseen_networks_do(fitted):
    assert (fitted.quality.pairs, fitted.quality.validation_pairs) == (270, 30)
    rng = np.random.default_rng(0)
    effect = 0.004 * rng.normal(size=(20, 10))
    rng = np.random.default_rng(99)
    codes = [SPACE.sample_codes(rng) for _ in range(200)]
    truth = [75 + 100 * effect[np.arange(20), c].sum() for c in codes]
    found = fitted.predict(SPACE, codes)
    assert np.corrcoef(found, truth)[0, 1] > 0.8
    assert np.abs(found - truth).mean() < 0.8 * np.std(truth)


def test_quality_is_that_of_the_pairs_held_back(fitted):
    codes, accuracies = pairs()
    order = np.random.default_rng(2020).permutation(300)[:30]
    truth = 100 * np.array(accuracies)[order]
    found = fitted.predict(SPACE, [codes[i] for i in order])
    l1 = np.mean([abs(a - b) for a, b in zip(found, truth, strict=True)])
    assert fitted.quality.l1 == pytest.approx(l1, rel=1e-5)
    agree = sum(
        np.sign(found[i] - found[j]) * np.sign(truth[i] - truth[j])
        for i, j in itertools.combinations(range(30), 2)
    )
    assert fitted.quality.tau == pytest.approx(agree / (30 * 29 / 2))


@pytest.mark.parametrize("huber", [None, 0.5])
def test_a_step_is_kerass(huber, monkeypatch):
    """Two steps of the whole set without dropout, against Keras' SGD."""
    codes, accuracies = pairs(20)
    o = Options(
        dropout=0.0, epochs=2, batch_size=64, lr=0.01, huber=huber,
        weight_decay=0.0,
    )
    x = one_hot(np.array(codes), [10] * 20)
    y = 100 * np.array(accuracies, np.float32) - 75
    layers = [keras.layers.Dense(n, a) for n, a in
              ((128, "relu"), (128, "relu"), (1, None))]
    model = keras.Sequential(layers)
    model.build(x.shape)
    first = [
        0.1 * np.random.default_rng(i).normal(size=w.shape).astype("f")
        for i, w in enumerate(model.get_weights())
    ]
    model.set_weights(first)
    monkeypatch.setattr(
        predictors, "_initial", lambda *_: [w.copy() for w in first]
    )
    ours = predictors._train(x, y, o, np.random.default_rng(0))
    # Keras' Huber loss is `delta` times the one of the specification.
    loss = "mse" if huber is None else keras.losses.Huber(huber)
    scale = 1 if huber is None else 1 / huber
    for rate in (0.01, 0.005):  # a cosine over two steps
        if rate == 0.01:
            optimizer = keras.optimizers.SGD(rate * scale, 0.9, nesterov=True)
            model.compile(optimizer, loss)
        # Keras keeps the rate in the velocity.
        optimizer.learning_rate = rate * scale
        if rate == 0.005:
            for v in optimizer.variables[2:]:
                v.assign(v * 0.5)
        model.train_on_batch(x, y[:, None])
    for a, b in zip(ours, model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_seed_decides_everything(fitted):
    again = predictors.fit(SPACE, *pairs(), OPTIONS)
    options = dataclasses.replace(OPTIONS, seed=1)
    other = predictors.fit(SPACE, *pairs(), options)
    for a, b, c in zip(
        fitted.weights, again.weights, other.weights, strict=True
    ):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_it_refuses_to_be_used_when_it_ranks_badly():
    rng = np.random.default_rng(0)
    codes = [SPACE.sample_codes(rng) for _ in range(60)]
    made = predictors.fit(SPACE, codes, rng.random(60), OPTIONS)
    assert made.quality.tau < 0.5
    with pytest.raises(ConfigError, match="at least .*0.5.*Received: tau=-?0"):
        made.predict(SPACE, codes)
    told = predictors.fit(SPACE, codes, made.weights[0][0, :60], OPTIONS, -1.0)
    assert len(told.predict(SPACE, codes)) == 60


@pytest.mark.parametrize("name", ["mobilenetv3@32", "mobilenetv3_resolution"])
def test_it_refuses_another_space(fitted, name):
    space = spaces.get(name)
    codes = [space.sample_codes(np.random.default_rng(0))]
    with pytest.raises(ConfigError, match=f"`mobilenetv3` .*Received: `{name}"):
        fitted.predict(space, codes)


def test_a_saved_predictor_predicts_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "p.json")
    again = AccuracyPredictor.load(tmp_path / "p.json")
    codes = pairs(20, seed=5)[0]
    np.testing.assert_array_equal(
        again.predict(SPACE, codes), fitted.predict(SPACE, codes)
    )
    assert again.quality == fitted.quality
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.json", "p.npz"]
    arrays = artifacts.read_npz(tmp_path / "p.npz")
    assert {a.dtype.kind for a in arrays.values()} == {"f"}


def test_damaged_files_are_named(fitted, tmp_path):
    path = tmp_path / "p.json"
    fitted.save(path)
    text, weights = path.read_text(), (tmp_path / "p.npz").read_bytes()
    (tmp_path / "p.npz").write_bytes(weights[:-9])
    with pytest.raises(ArtifactError, match=r"p\.npz: its SHA-256 must be"):
        AccuracyPredictor.load(path)
    (tmp_path / "p.npz").unlink()
    with pytest.raises(ArtifactError, match=r"p\.npz"):
        AccuracyPredictor.load(path)
    for field in ("space", "sizes", "quality", "weights"):
        value = json.loads(text)
        del value[field]
        path.write_text(json.dumps(value))
        with pytest.raises(ArtifactError, match=f"p.json: .*{field}"):
            AccuracyPredictor.load(path)


def test_too_few_pairs_and_too_high_rates_are_errors():
    codes, accuracies = pairs(8)
    with pytest.raises(ConfigError, match="Received: 8, validation=0.1"):
        predictors.fit(SPACE, codes, accuracies)
    with pytest.raises(Diverged, match="Received: lr=500"):
        predictors.fit(SPACE, *pairs(60), Options(lr=500.0))


@pytest.mark.parametrize(
    "a, b, tau",
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),
        # Four pairs agree; one is tied in a, none in b.
        ([1, 1, 2, 3], [1, 2, 3, 4], 5 / np.sqrt(5 * 6)),
        ([1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_kendall_tau_allows_for_ties(a, b, tau):
    assert kendall_tau(a, b) == pytest.approx(tau)


def test_quality_is_plain():
    assert dataclasses.asdict(Quality(1, 2, 0.5, 0.6)) == {
        "pairs": 1, "validation_pairs": 2, "l1": 0.5, "tau": 0.6,
    }
