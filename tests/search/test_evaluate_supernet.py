"""Scores of subnets are those of their networks with inherited weights."""

import functools
import json

import numpy as np
import pytest
from ml_collections import config_dict

import tfnas
from configs import ase_nas_mobilenetv3
from tests import elastic_nets
from tests.search import tiny_supernets
from tests.search.tiny_supernets import SPACE
from tests.search.tiny_supernets import phase
from tfnas import artifacts
from tfnas import derive
from tfnas import spaces
from tfnas.cost.predictor import AccuracyPredictor
from tfnas.cost.predictor import Quality
from tfnas.errors import ConfigError
from tfnas.search import SearchResult
from tfnas.search import run_search
from tfnas.search import runner
from tfnas.search.evaluate_supernet import LearntPredictorEvaluator
from tfnas.search.evaluate_supernet import PredictorEvaluator
from tfnas.search.evaluate_supernet import SupernetEvaluator

NAME = "tiny_elastic@32"


class Killed(BaseException):
    """Stands for a SIGKILL."""


@functools.cache
def register():
    """Makes the tiny space known by name; other tests go through all."""
    spaces.base.register(
        NAME,
        lambda classes=None, input_shape=None: type(SPACE)(
            NAME, tiny_supernets.SPEC, classes, input_shape
        ),
    )


@pytest.fixture(scope="module")
def evaluator():
    """The evaluator of a supernet that has been trained for three epochs."""
    splits = elastic_nets.split(32), elastic_nets.split(24, seed=1)
    config = tiny_supernets.make_config({"all": phase(epochs=3, lr=0.05)})
    training = tiny_supernets.make_training(config, examples=32)
    made = SupernetEvaluator(training, splits, seed=3)
    made.records = [made.run_unit(unit) for unit in range(made.units)]
    return made


def test_training_makes_the_loss_fall(evaluator):
    losses = [records[0]["loss"] for records in evaluator.records]
    assert losses[2] < losses[0]


def test_a_score_is_the_accuracy_of_the_derived_network(evaluator):
    images, labels = elastic_nets.split(24, seed=1).arrays()
    for seed in range(2):
        arch = SPACE.sample(seed)
        model = tfnas.build_model(arch)
        derive.load_weights(model, arch, evaluator.weights_for(arch))
        right = np.array(model(images)).argmax(1) == labels
        assert evaluator.score(arch) == pytest.approx(right.mean())


def test_scores_do_not_depend_on_what_was_asked_before(evaluator):
    archs = [SPACE.sample(seed) for seed in range(4)]
    before = [evaluator.score(arch) for arch in archs]
    again = [evaluator.score(arch) for arch in reversed(archs)]
    assert again[::-1] == before
    assert evaluator.loop.traces("score") == 1


def test_the_extremes_are_scored_after_each_phase(evaluator):
    assert [len(records) for records in evaluator.records] == [1, 1, 3]
    found = evaluator.records[-1][1:]
    assert {r["phase"] for r in found} == {"valid"}
    assert [r["codes"] for r in found] == [[1, 0], [9, 9]]
    for record in found:
        arch = SPACE.from_codes(record["codes"])
        assert record["accuracy"] == evaluator.score(arch)
    steps = 32 // tiny_supernets.BATCH
    assert evaluator.query_steps == 2  # batches of 16
    assert [evaluator.unit_steps(u) for u in range(3)] == [
        steps, steps, steps + 2 * 2
    ]


def test_two_devices_give_the_scores_and_weights_of_one(evaluator):
    training = tiny_supernets.make_training(
        evaluator.config, "mirrored", examples=32
    )
    for v, other in zip(
        training.net.variables, evaluator.net.variables, strict=True
    ):
        v.assign(other.numpy())
    splits = elastic_nets.split(32), elastic_nets.split(24, seed=1)
    both = SupernetEvaluator(training, splits, seed=3)
    for seed in range(2):
        arch = SPACE.sample(seed)
        assert both.score(arch) == pytest.approx(evaluator.score(arch))
        for ours, theirs in zip(
            both.weights_for(arch), evaluator.weights_for(arch), strict=True
        ):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)


def make_predictor(tau=0.9, space="tiny"):
    rng = np.random.default_rng(0)
    shapes = ((20, 8), (8,), (8, 8), (8,), (8, 1), (1,))
    weights = [rng.normal(size=s).astype("f") for s in shapes]
    return AccuracyPredictor(space, (10, 10), weights, Quality(9, 9, 1, tau))


def test_predicted_scores_are_percent_over_100():
    predictor = make_predictor()
    made = PredictorEvaluator(predictor, SPACE)
    archs = [SPACE.sample(seed) for seed in range(5)]
    codes = [SPACE.codes(arch) for arch in archs]
    expected = predictor.predict(SPACE, codes) / 100
    np.testing.assert_allclose(made.scores(archs), expected)
    np.testing.assert_allclose(
        [made.score(arch) for arch in archs], expected, rtol=1e-5
    )
    assert made.scores([]) == []


@pytest.mark.parametrize(
    "predictor, message",
    [
        (make_predictor(tau=0.4), "tau=0.400"),
        (make_predictor(space="mobilenetv3"), "Received: `tiny`"),
    ],
)
def test_a_predictor_that_cannot_be_used_is_refused_at_once(
    predictor, message
):
    with pytest.raises(ConfigError, match=message):
        PredictorEvaluator(predictor, SPACE)


class FakeSupernet:
    """Scores by the sum of the codes, at once."""

    units, query_steps, space = 2, 5, SPACE

    def unit_steps(self, unit):
        return 7

    def run_unit(self, unit):
        return [{"phase": "weights", "epoch": unit}]

    def score_codes(self, codes):
        return sum(codes) / 20

    def state(self):
        return {"steps": 1}

    def restore(self, state):
        assert state == {"steps": 1}


def test_a_predictor_learns_from_random_subnets(capsys):
    config = config_dict.ConfigDict(
        {"pairs": 50, "unit_pairs": 20, "min_tau": 0.5, "epochs": 100,
         "dropout": 0.0}
    )
    whole = LearntPredictorEvaluator(FakeSupernet(), config, seed=1)
    assert whole.units == 2 + 3 + 1
    assert [whole.unit_steps(u) for u in range(6)] == [7, 7, 100, 100, 50, 0]
    made, records = whole, []
    for unit in range(whole.units):
        if unit == 4:  # killed, and made anew from its state
            state = json.loads(json.dumps(made.state()))
            made = LearntPredictorEvaluator(FakeSupernet(), config, seed=1)
            made.restore(state)
        records += made.run_unit(unit)
    measured = [r for r in records if r["phase"] == "pair"]
    assert len(measured) == 50
    assert all(r["accuracy"] == sum(r["codes"]) / 20 for r in measured)
    assert records[-1]["phase"] == "predictor"
    assert records[-1]["kendall_tau"] > 0.8
    printed = f"Kendall tau {records[-1]['kendall_tau']:.3f}"
    assert printed in capsys.readouterr().out
    small, large = (SPACE.from_codes(c) for c in ((1, 0), (9, 9)))
    assert made.score(small) < made.score(large)
    again = LearntPredictorEvaluator(FakeSupernet(), config, seed=1)
    again.restore(json.loads(json.dumps(made.state())))
    assert again.score(large) == made.score(large)


def make_config(**fields):
    """Returns the local config, made small, in the tiny space."""
    register()
    config = ase_nas_mobilenetv3.get_config("local")
    config.space = NAME
    config.data.update({"image_size": 32, "limit_train": 80})
    config.max_madds = config_dict.placeholder(float)
    config.search.supernet = tiny_supernets.make_config(
        {"all": phase()}, distill="none"
    )
    config.search.update(
        {"queries": 6, "unit_queries": 3, "top_archs": 2}
    )
    config.search.subspaces.centres = 3
    config.update_from_flattened_dict(fields)
    return config


@pytest.mark.slow
def test_a_search_with_a_supernet_survives_a_kill(tmp_path, monkeypatch):
    config = make_config(algorithm="random")
    whole = run_search(config, tmp_path / "whole", progress=False)
    make_search = runner.make_search

    def dying(*args):
        search, loop = make_search(*args)
        run_unit = search.run_unit

        def run(unit):
            if unit == 2:  # the weights, then one unit of queries
                raise Killed
            return run_unit(unit)

        monkeypatch.setattr(search, "run_unit", run)
        return search, loop

    with monkeypatch.context() as patch:
        patch.setattr(runner, "make_search", dying)
        with pytest.raises(Killed):
            run_search(config, tmp_path / "killed", progress=False)
    run_search(config, tmp_path / "killed", progress=False)
    first, second = (
        (tmp_path / name / "result.json").read_bytes()
        for name in ("whole", "killed")
    )
    assert first == second
    assert len(whole.history) == 6
    log = artifacts.read_jsonl(tmp_path / "whole" / "log.jsonl")
    assert [r["phase"] for r in log[:3]] == ["weights", "valid", "valid"]
    search = runner.open_search(config, tmp_path / "whole")
    arch = SearchResult.load(tmp_path / "whole" / "result.json").archs[0].arch
    model = tfnas.build_model(arch)
    derive.load_weights(model, arch, search.weights_for(arch))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"space": "nasbench201"}, "need an elastic space"),
        (
            {"search.evaluator": "predictor",
             "search.predictor.path": "absent.json"},
            "absent.json: No such file",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_said_at_once(tmp_path, fields, message):
    with pytest.raises(tfnas.errors.TfnasError, match=message):
        run_search(make_config(**fields), tmp_path, progress=False)


def test_a_saved_predictor_scores_a_search(tmp_path):
    config = make_config(**{"search.evaluator": "predictor"})
    predictor = make_predictor(space=NAME)
    predictor.save(tmp_path / "predictor.json")
    config.search.predictor.path = str(tmp_path / "predictor.json")
    result = run_search(config, tmp_path / "run", progress=False)
    space = spaces.get(NAME, 10, (32, 32, 3))
    for found in result.archs:
        expected = predictor.predict(space, [space.codes(found.arch)]) / 100
        assert found.score == pytest.approx(max(0.0, float(expected[0])))
