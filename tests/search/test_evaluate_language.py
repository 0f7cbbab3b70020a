"""Recurrent cells are scored by the proxy, and the whole search runs."""

import dataclasses
import math

import pytest

from tests import language_models as lm
from tests import tiny_runs
from tfnas import config_files
from tfnas import spaces
from tfnas.errors import ConfigError
from tfnas.search import runner
from tfnas.search.evaluate_language import LanguageProxy
from tfnas.search.evaluate_training import TrainingEvaluator
from tfnas.spaces.recurrent import EdgeMadds

WORDS = 8


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The local search, made tiny: a candidate takes a second or two."""
    path = f"{tiny_runs.ROOT}/configs/autoshrink_rnn.py"
    config = config_files.load(f"{path}:local")
    config = config.copy_and_resolve_references()
    config.data.name = lm.write_text(tmp_path_factory.mktemp("text"))
    config.update_from_flattened_dict(
        {
            "data.limit_train": 40,
            "data.limit_valid": 20,
            "data.limit_test": 2,
            "search.nodes": 3,
            "search.candidates": 2,
            "search.random_archs": 1,
            "search.training.epochs": 2,
            "search.training.batch_size": 4,
            "search.training.bptt": 7,  # each step is traced
            "search.training.bptt_most": 7,
            "search.training.lr": 3.0,
            "search.training.valid_batch_size": 4,
        }
    )
    return config


@pytest.fixture(scope="module")
def arch():
    return spaces.get("autoshrink_rnn@32", WORDS).sample(0)


@pytest.fixture(scope="module")
def score(config, arch):
    return LanguageProxy.from_config(config).score(arch)


def test_a_score_is_the_mean_probability_of_a_word(score):
    assert 1 / WORDS < score < 1


def test_a_score_depends_on_nothing_that_came_before(config, arch, score):
    proxy = LanguageProxy.from_config(config)
    other = spaces.get("autoshrink_rnn@32", WORDS).sample(1)
    assert proxy.score(other) != score
    assert proxy.score(arch) == score


@pytest.mark.slow
def test_workers_score_as_this_process_does(config, arch, score):
    evaluator = TrainingEvaluator(LanguageProxy.from_config(config), 2)
    try:
        assert evaluator.scores([arch]) == [score]
    finally:
        evaluator.close()


def test_a_training_that_diverges_scores_minus_infinity(config, arch):
    proxy = LanguageProxy.from_config(config)
    recipe = {**proxy.recipe, "lr": 1e30, "clip": 1e30}
    proxy = dataclasses.replace(proxy, recipe=recipe)
    assert proxy.score(arch) == -math.inf


def test_a_network_of_other_words_is_refused(config):
    other = spaces.get("autoshrink_rnn@32", WORDS + 1).sample(0)
    with pytest.raises(ConfigError, match="9 words. Received: a text with 8"):
        LanguageProxy.from_config(config).score(other)


@pytest.mark.slow
def test_the_search_shrinks_the_graph(config, tmp_path):
    result = runner.run_search(config, tmp_path, progress=False)
    # From 3 edges to round(0.25 * 3) = 1, by one or, with pruning, more.
    edges = [record["edges"] for record in result.history]
    assert edges in ([2, 1], [1])
    space = spaces.get("autoshrink_rnn@32", WORDS, (35,))
    for found in result.archs + result.baseline:
        assert EdgeMadds(space).cost(found.arch) == found.cost
        assert 0 < found.score < 1
    for record in result.history:
        expected = 0.25 * (200 - 1 / record["accuracy"]) - math.log10(
            record["cost"]
        )
        assert record["score"] == pytest.approx(expected)
    best = result.archs[0]
    proxy = LanguageProxy.from_config(config)
    assert proxy.score(best.arch) == best.score
