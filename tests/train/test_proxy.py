"""A proxy training ends when going on is not worth while."""

import numpy as np
import pytest
from ml_collections import config_dict

from tests import shrink_nets
from tfnas.errors import Diverged
from tfnas.train import distribute
from tfnas.train import run_state
from tfnas.train.loop import Loop
from tfnas.train.proxy import MovingMeans
from tfnas.train.proxy import ProxyTraining

RECIPE = {
    "epochs": 20, "batch_size": 32, "valid_batch_size": 50, "lr": 4e-3,
    "augment": "none", "initial": "glorot_normal", "l2": 1e-5,
    "shortcut_l2": 4e-5, "decay": 0.99, "easy": 0.98, "patience": 5,
    "hopeless_epoch": 4, "hopeless": 0.2, "loss_ratio": 3.0,
}


@pytest.fixture(scope="module")
def splits():
    return shrink_nets.split(200), shrink_nets.split(50, seed=1)


def make(splits, loop=None, **changes):
    run_state.start(0)
    space = shrink_nets.space(8, spec=shrink_nets.ONE_CELL)
    arch = space.decode("sep.conv.sep:0-1.0-2.1-2")
    return ProxyTraining(
        arch, *splits, loop or Loop(distribute.strategy(), 0, False),
        config_dict.ConfigDict({**RECIPE, **changes}),
    )


class Script(Loop):
    """Plays back validation results, the loss of every training step 1."""

    def __init__(self, *results):
        super().__init__(distribute.strategy(), 0, False)
        self.results, self.played = results, 0

    def run(self, phase, epoch, enough=None):
        if phase.name == "train":
            assert epoch == self.played
            enough({"loss": 1.0, "accuracy": 0.5})
            return {}
        accuracy, loss = self.results[self.played]
        self.played += 1
        return {"accuracy": accuracy, "loss": loss}


@pytest.mark.parametrize(
    "results, best, epochs",
    [
        # Five in a row without a new best: epochs 3 to 7.
        ([(0.3, 1), (0.6, 1), *[(0.6, 1)] * 18], 0.6, 7),
        ([*[(0.5, 1)] * 5, (0.6, 1), *[(0.1, 1)] * 14], 0.6, 11),
        # Below 0.2 in the fourth epoch, whatever it was before.
        ([(0.1, 1), (0.3, 1), (0.1, 1), (0.19, 1), *[(0.9, 1)] * 16], 0.3, 4),
        ([(0.1, 1), (0.1, 1), (0.1, 1), (0.2, 1), (0.3, 3.1)], 0.3, 5),
        # Three times the training loss.
        ([(0.4, 2.9), (0.5, 3.0), (0.6, 3.1), (0.9, 1)], 0.6, 3),
        # To the end.
        ([(0.2 + i / 100, 1) for i in range(20)], 0.39, 20),
    ],
)
def test_training_is_given_up_as_published(splits, results, best, epochs):
    training = make(splits, Script(*results))
    assert training.run() == pytest.approx(best)
    assert training.epochs == epochs


def test_moving_averages_start_with_the_first_step():
    moving, loss, accuracy = MovingMeans(0.9, 0.5), None, None
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = {"loss": rng.random(), "accuracy": rng.random()}
        if loss is None:
            loss, accuracy = step["loss"], step["accuracy"]
        loss = 0.9 * loss + 0.1 * step["loss"]
        accuracy = 0.9 * accuracy + 0.1 * step["accuracy"]
        assert moving(step) == (accuracy > 0.5)
        assert moving.loss == pytest.approx(loss)


def test_an_epoch_ends_when_there_is_nothing_left_to_learn(splits):
    loop = Loop(distribute.strategy(), 0, False)
    make(splits, loop, epochs=1, easy=-1.0).run()
    assert loop.steps["train"] == 1
    loop = Loop(distribute.strategy(), 0, False)
    make(splits, loop, epochs=1).run()
    assert loop.steps["train"] == 6  # of 200 images; 8 do not fill a batch


def test_the_proxy_learns_and_comes_out_the_same(splits):
    scores = [
        make(splits, epochs=8, lr=0.02, loss_ratio=1e9).run()
        for _ in range(2)
    ]
    assert scores[0] == scores[1] > 0.3  # chance is 0.1


def test_a_loss_that_is_not_finite_is_no_score(splits):
    with pytest.raises(Diverged):
        make(splits, lr=1e30, epochs=2).run()
