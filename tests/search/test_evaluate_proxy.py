"""Proxy scores: the same in any process and order."""

import numpy as np
import pytest

from tests import shrink_nets
from tests.train.test_proxy import RECIPE
from tfnas.errors import ConfigError
from tfnas.search.evaluate_proxy import ProxyTask
from tfnas.search.evaluate_training import TrainingEvaluator

SPACE = shrink_nets.space(32, ("sep", "conv", "sep"), shrink_nets.ONE_CELL)
WHOLE = SPACE.decode("sep.conv.sep:0-1.0-2.1-2")
CUT = SPACE.decode("sep.conv.sep:0-1.0-2")
DATA = {"name": "digits", "image_size": 32, "limit_train": 150}


def task(**recipe):
    recipe = {**RECIPE, "epochs": 2, "lr": 0.02, "loss_ratio": 1e9, **recipe}
    return ProxyTask(DATA, 0.8, 3, recipe)


@pytest.mark.slow
def test_scores_do_not_depend_on_what_was_scored_before():
    evaluator = TrainingEvaluator(task())
    scratch = evaluator.scores([WHOLE, CUT])
    assert evaluator.scores([CUT, WHOLE]) == scratch[::-1]
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
