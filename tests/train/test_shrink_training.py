"""ShrinkCNN's recipe as a stage: averaged weights, resumable."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import config_dict

from tests import shrink_nets
from tests.train import toy
from tfnas.data import Dataset
from tfnas.errors import ConfigError
from tfnas.train import distribute
from tfnas.train import retrain
from tfnas.train import run_state
from tfnas.train.loop import Loop
from tfnas.train.shrink_recipe import ShrinkTraining

RECIPE = {
    "recipe": "shrink_cnn", "epochs": 3, "warmup_epochs": 1, "batch_size": 20,
    "lr": 0.05, "decay": 0.9, "momentum": 0.9, "epsilon": 1.0, "l2": 4e-5,
    "ema_decay": 0.5, "label_smoothing": 0.1, "initial": "fan_out",
    "test_every": 1, "augment": "none",
}
ARCH = shrink_nets.space(8, spec=shrink_nets.ONE_CELL).decode("sep.conv:0-1")


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.fixture(scope="module")
def dataset():
    train, test = shrink_nets.split(70), shrink_nets.split(50, 1)
    return Dataset(
        "colours", tuple("0123456789"), (8, 8, 3), train, test, train.mean,
        train.std,
    )


def train(dataset, workdir, **changes):
    config = config_dict.ConfigDict(
        {"seed": 0, "strategy": "default", "data": {"name": "colours"},
         "train": {**RECIPE, **changes}}
    )
    model, accuracy = retrain.retrain(
        ARCH, config, workdir, dataset, progress=False
    )
    return [np.array(v) for v in model.variables], accuracy


@pytest.mark.slow
def test_killed_after_every_epoch_ends_with_the_same_bits(
    dataset, tmp_path, monkeypatch
):
    whole, expected = train(dataset, tmp_path / "whole")
    run_unit = ShrinkTraining.run_unit
    for last in range(3):

        def die(self, unit, last=last):
            if unit > last:
                raise Killed
            return run_unit(self, unit)

        with monkeypatch.context() as patch:
            patch.setattr(ShrinkTraining, "run_unit", die)
            if last < 2:
                with pytest.raises(Killed):
                    train(dataset, tmp_path / "killed")
            else:
                values, accuracy = train(dataset, tmp_path / "killed")
    assert accuracy == expected
    for value, wanted in zip(values, whole, strict=True):
        np.testing.assert_array_equal(value, wanted)
    again, accuracy = train(dataset, tmp_path / "killed")
    assert accuracy == expected
    for value, wanted in zip(again, whole, strict=True):
        np.testing.assert_array_equal(value, wanted)


def make(dataset, strategy="default", **changes):
    run_state.start(0)
    loop = Loop(distribute.strategy(strategy), 0, progress=False)
    config = config_dict.ConfigDict({**RECIPE, **changes})
    return ShrinkTraining(ARCH, dataset, loop, config)


@pytest.mark.filterwarnings("ignore:Even though")
def test_the_model_is_tested_and_left_with_its_averaged_weights(dataset):
    """Four steps an epoch, recorded one by one and averaged in NumPy."""
    work, seen = make(dataset, epochs=1, lr=0.5), []
    after = work._after

    def record(draw, values):
        after(draw, values)
        seen.append([np.array(v) for v in variables])

    variables = work.model.trainable_variables
    first = [np.array(v, np.float64) for v in variables]
    work._train = dataclasses.replace(work._train, after=record)
    tf.config.run_functions_eagerly(True)
    try:
        work.run_unit(0)
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(seen) == 4
    for step, values in enumerate(seen, start=1):
        d = min(0.5, (1 + step) / (10 + step))
        first = [
            d * a + (1 - d) * v for a, v in zip(first, values, strict=True)
        ]
    for variable, wanted in zip(variables, first, strict=True):
        np.testing.assert_allclose(variable, wanted, rtol=1e-4, atol=1e-6)


def test_two_devices_average_alike(dataset):
    work = make(dataset, "mirrored", epochs=1)
    work.run_unit(0)
    assert 0 <= work.accuracy <= 1
    for variable in work.variables()["averages"]:
        one, other = toy.copies(work.loop.strategy, variable)
        np.testing.assert_array_equal(one, other)


def test_between_epochs_training_goes_on_with_the_raw_weights(dataset):
    tested, untested = make(dataset), make(dataset, test_every=100)
    for work in (tested, untested):
        work.run_unit(0)
        work.run_unit(1)
    for a, b in zip(
        tested.model.variables, untested.model.variables, strict=True
    ):
        np.testing.assert_array_equal(np.array(a), np.array(b))


def test_the_penalty_is_part_of_the_loss(dataset):
    without, heavy = (
        make(dataset, l2=l2, lr=0.0).run_unit(0)[0]["loss"]
        for l2 in (0.0, 0.1)
    )
    model = make(dataset).model
    kernels = [
        np.array(layer.kernel) for layer in model.layers
        if hasattr(layer, "kernel") and "depthwise" not in layer.name
    ]
    squares = sum((kernel**2).sum() for kernel in kernels)
    assert heavy - without == pytest.approx(0.1 * squares, rel=1e-3)


def test_an_unknown_recipe_is_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="'standard'.*recipe='wat'"):
        train(dataset, tmp_path, recipe="wat")
