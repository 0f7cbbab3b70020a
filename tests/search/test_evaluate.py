"""Scores come from a table or a short training; every query is charged."""

import dataclasses
import json
import math

import pytest

from tests import tiny_runs
from tests.search import tiny_queries
from tfnas import derive
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import TfnasError
from tfnas.search.evaluate import Evaluator
from tfnas.search.evaluate import Ledger
from tfnas.search.evaluate import TableEvaluator
from tfnas.search.evaluate_training import ShortTraining
from tfnas.search.evaluate_training import TrainingEvaluator
from tfnas.spaces.nasbench201_table import NasBench201Table

STEM = tiny_runs.space().sample(0).blocks[0]


def small(width):
    """Returns a network that learns some digits in a second."""
    # Statistics that settle within some steps.
    norm = {**STEM.attrs["norm"], "momentum": 0.5}
    attrs = {**STEM.attrs, "norm": norm}
    body = [
        dataclasses.replace(
            STEM, in_channels=3 if i == 0 else width, out_channels=width,
            attrs=attrs,
        )
        for i in range(4)
    ]
    last = Block("classifier", width, 10)
    return Arch((*body, last), (32, 32, 3), 10)


ARCHS = [small(width) for width in (8, 16, 24, 32)]


class Counting(Evaluator):
    """Scores by the width of the stem, and notes who was scored."""

    def __init__(self):
        self.scored = []

    def score(self, arch):
        self.scored.append(arch.id)
        return arch.blocks[0].out_channels / 100


def test_every_query_is_charged_and_scored_once():
    evaluator = Counting()
    ledger = Ledger(evaluator)
    scores = [ledger.score(ARCHS[i]) for i in (0, 1, 0, 0, 2)]
    assert scores == [8 * (i + 1) / 100 for i in (0, 1, 0, 0, 2)]
    assert (ledger.charged, ledger.unique) == (5, 3)
    assert evaluator.scored == [ARCHS[i].id for i in (0, 1, 2)]
    assert ledger.scores([ARCHS[3], ARCHS[2], ARCHS[3]]) == [
        8 * (i + 1) / 100 for i in (3, 2, 3)
    ]
    assert (ledger.charged, ledger.unique) == (8, 4)
    assert evaluator.scored[3:] == [ARCHS[3].id]


def test_ledgers_that_share_scores_are_charged_apart():
    evaluator, scores = Counting(), {}
    one, two = Ledger(evaluator, scores), Ledger(evaluator, scores)
    one.score(ARCHS[0])
    two.scores(ARCHS)
    assert (one.charged, two.charged, len(evaluator.scored)) == (1, 4, 4)


def test_restored_ledger_scores_nothing_again():
    ledger = Ledger(Counting())
    ledger.scores(ARCHS[:2])
    ledger.evaluator.score = lambda arch: -math.inf
    ledger.score(ARCHS[2])
    state = json.loads(json.dumps(ledger.state(), allow_nan=False))
    evaluator = Counting()
    restored = Ledger(evaluator)
    restored.restore(state)
    assert restored.records == ledger.records
    assert restored.score(ARCHS[2]) == -math.inf
    assert (restored.charged, restored.unique) == (4, 3)
    assert evaluator.scored == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the made-up tables."""
    return tiny_queries.write_tables(tmp_path_factory.mktemp("tables"))


@pytest.mark.parametrize("signal", ["val_acc_12ep", "val_acc_200ep"])
@pytest.mark.parametrize("column, dataset", enumerate(tiny_queries.DATASETS))
def test_table_scores_are_its_accuracies(folder, column, dataset, signal):
    table = NasBench201Table.load(folder / "nasbench201.npz", dataset)
    evaluator = TableEvaluator(table, signal)
    truth = tiny_queries.accuracies(signal)[:, column]
    for row in range(0, 15625, 2500):
        arch = table.space.from_codes(tiny_queries.CELLS[row].tolist())
        assert evaluator.score(arch) == pytest.approx(truth[row] / 100)


def test_the_test_images_are_no_signal(folder):
    table = NasBench201Table.load(folder / "nasbench201.npz")
    with pytest.raises(ConfigError, match="test_acc_200ep"):
        TableEvaluator(table, "test_acc_200ep")
    with pytest.raises(ArtifactError, match=ARCHS[0].id):
        TableEvaluator(table, "val_acc_12ep").score(ARCHS[0])


def training(**recipe):
    """Returns some short epochs on a few digits."""
    config = tiny_runs.make_config()
    fields = {**config.train, "epochs": 6, **recipe}
    return ShortTraining(dict(config.data), 0.6, 1, fields)


def test_training_never_sees_what_it_is_scored_on():
    whole = training().dataset
    assert (len(whole.train), len(whole.test)) == (40, 30)
    assert whole.train.images is whole.test.images
    assert not set(whole.train.indices) & set(whole.test.indices)


@pytest.fixture(scope="module")
def alone():
    """Scores of two networks, trained one after the other."""
    return TrainingEvaluator(training()).scores(ARCHS[:2])


def test_scores_are_accuracies_and_do_not_depend_on_the_order(alone):
    assert all(s * 30 == pytest.approx(round(s * 30)) for s in alone)
    assert min(alone) > 0.2 and len(set(alone)) > 1
    again = TrainingEvaluator(training())
    assert again.score(ARCHS[1]) == alone[1]
    assert again.score(ARCHS[0]) == alone[0]


@pytest.mark.slow
def test_two_workers_score_as_one(alone):
    evaluator = TrainingEvaluator(training(), workers=2)
    try:
        assert evaluator.scores([*ARCHS[:2], ARCHS[0]]) == [*alone, alone[0]]
        # What goes wrong in a worker is said here.
        with pytest.raises(TfnasError, match="of 3 classes. Received"):
            evaluator.score(derive.with_classes(ARCHS[0], 3))
    finally:
        evaluator.close()


def test_diverged_training_is_the_worst_score():
    worst = TrainingEvaluator(training(lr=1e30))
    assert worst.score(ARCHS[0]) == -math.inf


def test_no_worker_is_refused():
    with pytest.raises(ConfigError, match="workers=0"):
        TrainingEvaluator(training(), workers=0)
