"""Proxy scores: the same in any process and order; weights passed on."""

import numpy as np
import pytest
import tensorflow as tf

from tests import shrink_nets
from tests.train.test_proxy import RECIPE
from tfnas.errors import ConfigError
from tfnas.search import evaluate_proxy
from tfnas.search.evaluate_proxy import InheritingEvaluator
from tfnas.search.evaluate_proxy import ProxyTask
from tfnas.search.evaluate_training import TrainingEvaluator
from tfnas.train.checkpoint import Checkpoints

SPACE = shrink_nets.space(32, ("sep", "conv", "sep"), shrink_nets.ONE_CELL)
WHOLE = SPACE.decode("sep.conv.sep:0-1.0-2.1-2")
CUT = SPACE.decode("sep.conv.sep:0-1.0-2")
DATA = {"name": "digits", "image_size": 32, "limit_train": 150}


def task(**recipe):
    recipe = {**RECIPE, "epochs": 2, "lr": 0.02, "loss_ratio": 1e9, **recipe}
    return ProxyTask(DATA, 0.8, 3, recipe)


@pytest.fixture(scope="module")
def inherited():
    """An evaluator that adopted `WHOLE`, its scores before and after."""
    evaluator = InheritingEvaluator(task())
    scratch = evaluator.scores([WHOLE, CUT])
    evaluator.adopt(WHOLE)
    return evaluator, scratch, evaluator.score(CUT)


@pytest.mark.slow
def test_scores_do_not_depend_on_what_was_scored_before(inherited):
    _, scratch, _ = inherited
    assert TrainingEvaluator(task()).scores([CUT, WHOLE]) == scratch[::-1]
    assert all(0 <= score <= 1 for score in scratch)


def test_a_candidate_that_diverges_is_worth_nothing():
    assert task(lr=1e30).score(WHOLE) == -np.inf


def test_images_of_another_shape_are_refused():
    arch = shrink_nets.space(size=16).decode("sep.conv:0-1")
    with pytest.raises(ConfigError, match="takes images"):
        task().score(arch)


@pytest.mark.slow
def test_workers_score_as_one_process_does():
    archs = [WHOLE, CUT, SPACE.decode("sep.conv.sep:0-2")]
    several = TrainingEvaluator(task(), workers=2)
    assert several.scores(archs) == TrainingEvaluator(task()).scores(archs)
    several.close()


def kernels(evaluator):
    """What a candidate would start from."""
    path = f"{evaluator.task.folder}/parent.npz"
    return dict(np.load(path, allow_pickle=False))


def test_candidates_go_on_from_the_adopted_network(monkeypatch):
    evaluator, started = InheritingEvaluator(task()), []
    monkeypatch.setattr(
        evaluate_proxy, "inherit",
        lambda model, arch, parent, arrays: started.append((arch, parent)),
    )
    evaluator.score(WHOLE)
    assert not started
    evaluator.adopt(WHOLE)
    evaluator.score(CUT)
    evaluator.adopt(None)
    evaluator.score(CUT)
    assert started == [(CUT, WHOLE)]


def test_inherited_weights_change_the_score_and_survive_a_restart(
    inherited, tmp_path
):
    evaluator, scratch, score = inherited
    assert score != scratch[1]
    names = evaluator.variables()
    Checkpoints(tmp_path, names).save(1, {"work": evaluator.state()})
    other = InheritingEvaluator(task())
    state = Checkpoints(tmp_path, other.variables()).restore()
    other.restore(state["work"])
    assert kernels(other).keys() == kernels(evaluator).keys()
    for name, value in kernels(evaluator).items():
        np.testing.assert_array_equal(kernels(other)[name], value)
    assert other.score(CUT) == score


def test_a_network_that_was_not_scored_here_is_trained_when_adopted(
    inherited,
):
    second = InheritingEvaluator(task())
    second.adopt(WHOLE)  # as after a kill in the middle of a round
    for name, value in kernels(inherited[0]).items():
        np.testing.assert_array_equal(kernels(second)[name], value)


def test_before_the_first_round_there_is_nothing_to_restore():
    evaluator = InheritingEvaluator(task())
    evaluator.restore(evaluator.state())
    assert evaluator.variables()["inherited"][0].shape == tf.TensorShape([None])
