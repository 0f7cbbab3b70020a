"""Numbers gone bad: named soon, never saved, and there is a way back."""

import re

import numpy as np
import pytest

from tests.train import small
from tests.train import toy
from tfnas import artifacts
from tfnas import data
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.train import retrain
from tfnas.train.loop import Loop


@pytest.fixture
def poison(monkeypatch):
    """Makes a variable bad after some step of all."""

    def at(step, variable):
        take, taken = Loop._take, []

        def poisoned(self, phase, iterator, number):
            sums = take(self, phase, iterator, number)
            taken.append((phase.name, number))
            if len(taken) == step:
                value = variable.numpy()
                value[..., 0] = np.nan
                variable.assign(value)
            return sums

        monkeypatch.setattr(Loop, "_take", poisoned)
        return taken

    return at


@pytest.mark.parametrize("step", [1, 30, 160])
def test_bad_step_is_named_within_fifty(poison, step):
    net = toy.Regression(examples=200 * 8)
    taken = poison(step, net.w)
    named = rf"`train`, epoch 7: at step {step} the loss must stay finite"
    with pytest.raises(Diverged, match=named):
        net.loop.run(net.train, 7)
    assert step < len(taken) <= step + 50


def test_bad_step_of_phases_in_turn_is_named_within_fifty(poison):
    net = toy.Regression(examples=40 * 8)
    taken = poison(61, net.b)
    with pytest.raises(Diverged, match="`train`, epoch 2: at step 61 "):
        net.loop.alternate([(net.train, 2)], times=100)
    assert len(taken) <= 61 + 50


def train(config, folder):
    return retrain.retrain(
        small.arch(), config, folder, data.load(config.data), progress=False
    )


def steps_of(folder):
    log = artifacts.read_jsonl(folder / "log.jsonl")
    return [(r["phase"], r["epoch"]) for r in log]


@pytest.mark.parametrize("last", [False, True])
def test_the_same_command_with_a_lower_rate_goes_on(
    tmp_path, monkeypatch, last
):
    """The second epoch of two steps goes bad: in its first, or after both."""
    train_epoch = retrain.Retraining._train_epoch

    def bad_epoch(self, epoch):
        weights = self.model.trainable_variables[0].value
        if epoch == 1 and not last:
            weights.assign(np.full(weights.shape, np.nan))
        records = train_epoch(self, epoch)
        if epoch == 1 and last:
            weights.assign(np.full(weights.shape, np.nan))
        return records

    config = small.config(test_every=1, epochs=3)
    config.train.epochs, config.train.test_every = 3, 3
    with monkeypatch.context() as patch:
        patch.setattr(retrain.Retraining, "_train_epoch", bad_epoch)
        with pytest.raises(Diverged) as error:
            train(config, tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}: unit 1: ")
    assert "variable 0 of `model`" in message
    assert ("phase `train`, epoch 1: at step 2" in message) != last
    assert "The checkpoint after unit 1 of 3 is good" in message
    config.train.weight_decay *= 2
    with pytest.raises(ConfigError, match="train.weight_decay"):
        train(config, tmp_path)
    config.train.weight_decay /= 2
    config.train.lr /= 2
    train(config, tmp_path)
    assert steps_of(tmp_path) == [
        ("train", 0), ("train", 1), ("train", 2), ("test", 2)
    ]
    (change,) = artifacts.changes(tmp_path)
    assert change["settings"] == {"train.lr": [0.05, 0.025]}
    result = artifacts.read_json(tmp_path / "result.json")
    assert result["changes"] == [change]
    # Once more it is a setting as any other.
    config.train.lr /= 2
    with pytest.raises(ConfigError, match=re.escape("train.lr: 0.025 there")):
        train(config, tmp_path)
