"""Retraining: resumable, repeatable, and it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_runs
from tests.train import toy
from tfnas import artifacts
from tfnas import data
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ConfigError
from tfnas.spaces import net_config
from tfnas.train import distribute
from tfnas.train import retrain
from tfnas.train import run_state
from tfnas.train.loop import Loop

EPOCHS = 3


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.fixture(scope="module")
def arch():
    """Stem, two blocks, 1x1 convolution, classifier."""
    space = tiny_runs.space()
    blocks = (
        space.stem()[0],
        space.head(0, 1, "mbconv_k3_t3"),
        space.head(1, 2, "mbconv_k3_t3"),
        net_config.tail_block(tiny_runs.SPEC.widths[2], 40),
        Block("classifier", 40, 10),
    )
    return Arch(blocks, (32, 32, 3), 10, None)


def make_config(**fields):
    """150 training images, and a recipe that learns something of them."""
    return tiny_runs.make_config(
        **{
            "data__limit_train": 150,
            "train__epochs": EPOCHS,
            "train__lr": 0.2,
            "train__augment": "none",
            **fields,
        }
    )


def train(arch, config, workdir):
    """Returns the final variables and the test accuracy."""
    model, accuracy = retrain.retrain(
        arch, config, workdir, data.load(config.data), progress=False
    )
    return [v.numpy() for v in model.variables], accuracy


def records(workdir):
    """Returns the log without its times."""
    log = artifacts.read_jsonl(workdir / "log.jsonl")
    return [{k: v for k, v in r.items() if k != "time_s"} for r in log]


def files(workdir):
    return {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(arch, tmp_path_factory):
    """The workdir of a training, its variables and its accuracy."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, *train(arch, make_config(), workdir)


def test_training_learns(undisturbed):
    workdir, _, accuracy = undisturbed
    log = [r for r in records(workdir) if r["phase"] == "train"]
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["accuracy"] > 0.3  # chance is 0.1
    result = artifacts.read_json(workdir / "result.json")
    assert result["accuracy"] == accuracy == records(workdir)[-1]["accuracy"]


def test_killed_after_every_epoch_ends_with_the_same_bits(
    arch, undisturbed, tmp_path, monkeypatch
):
    run_unit = retrain.Retraining.run_unit
    for last in range(EPOCHS):

        def die(self, unit, last=last):
            if unit > last:
                raise Killed
            return run_unit(self, unit)

        with monkeypatch.context() as patch:
            patch.setattr(retrain.Retraining, "run_unit", die)
            if last + 1 < EPOCHS:
                with pytest.raises(Killed):
                    train(arch, make_config(), tmp_path)
            else:
                values, accuracy = train(arch, make_config(), tmp_path)
    workdir, expected, expected_accuracy = undisturbed
    for value, wanted in zip(values, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)
    assert accuracy == expected_accuracy
    assert records(tmp_path) == records(workdir)
    assert (tmp_path / "result.json").read_bytes() == (
        workdir / "result.json"
    ).read_bytes()


def test_finished_training_gives_its_model_back(
    arch, undisturbed, monkeypatch
):
    workdir, expected, accuracy = undisturbed
    before = files(workdir)
    # The result goes on naming the versions that trained it.
    monkeypatch.setattr(run_state, "versions", lambda: {"tensorflow": "9"})
    values, again = train(arch, make_config(), workdir)
    assert again == accuracy
    for value, wanted in zip(values, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)
    assert files(workdir) == before


def fresh(arch, strategy="default", weights=None, **fields):
    """Returns a training that has not begun."""
    config = make_config(**fields)
    run_state.start(config.seed)
    loop = Loop(distribute.strategy(strategy), config.seed, progress=False)
    dataset = data.load(config.data)
    return retrain.Retraining(arch, dataset, loop, config.train, weights)


def test_moving_statistics_move(arch, undisturbed):
    start = [v.numpy() for v in fresh(arch).model.variables]
    names = [v.path for v in fresh(arch).model.variables]
    moved = [
        not np.array_equal(before, after)
        for before, after in zip(start, undisturbed[1], strict=True)
    ]
    assert any("moving_mean" in name for name in names)
    assert all(moved), [n for n, m in zip(names, moved, strict=True) if not m]


def test_other_seed_starts_from_other_weights(arch):
    kernels = [
        fresh(arch, seed=seed).model.trainable_variables[0].numpy()
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_shared_weights_are_where_training_starts(arch):
    def kernels(model):
        """Weights of each block but for its normalisations, in order."""
        result = [[] for _ in arch.blocks]
        for layer in model.layers:
            if layer.weights and "norm" not in type(layer).__name__.lower():
                block = int(layer.name[1:3])
                result[block] += layer.get_weights()
        return result

    shared = kernels(fresh(arch, seed=5).model)
    started = kernels(fresh(arch, weights=shared).model)
    scratch = kernels(fresh(arch).model)
    for i, block in enumerate(shared):
        assert block
        for j, kernel in enumerate(block):
            np.testing.assert_array_equal(started[i][j], kernel)
    assert not np.array_equal(scratch[0][0], shared[0][0])


def test_devices_end_with_equal_copies_of_everything(arch, tmp_path):
    work = fresh(arch, "mirrored", data__limit_train=70)
    work.run_unit(0)
    for variable in work.model.variables:
        first, second = toy.copies(work.loop.strategy, variable.value)
        np.testing.assert_array_equal(first, second, variable.path)
    retrain.save_model(work.model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(
        work.model.variables, loaded.variables, strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def test_every_test_image_counts_whatever_the_devices(arch):
    # 30 test images in batches of 16: the last one is smaller.
    one, two = fresh(arch), fresh(arch, "mirrored")
    for work in (one, two):
        work.model.set_weights(one.model.get_weights())
    means = [w.loop.run(w._test, 0) for w in (one, two)]
    assert means[1] == pytest.approx(means[0], rel=1e-5)
    logits = one.model.predict(one._test.split.arrays()[0], verbose=0)
    labels = one._test.split.arrays()[1]
    assert means[0]["accuracy"] == pytest.approx(
        (logits.argmax(1) == labels).mean()
    )


def set_dropout(config, rate):
    """Configs without dropout need not say so."""
    with config.unlocked():
        config.dropout = rate
    return config


def test_dropout_is_part_of_the_training_and_not_of_the_model(
    arch, undisturbed, tmp_path
):
    results = []
    for name in ("a", "b"):
        config = make_config()
        set_dropout(config.train, 0.5)
        results.append(train(arch, config, tmp_path / name)[0])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    _, plain, _ = undisturbed
    assert len(plain) == len(results[0])
    assert not np.array_equal(plain[0], results[0][0])
    names = [type(layer).__name__ for layer in fresh(arch).model.layers]
    assert "Dropout" not in names


def test_dropout_keeps_the_mean_and_drops_others_on_each_device(arch):
    work = fresh(arch, "mirrored")
    set_dropout(work.config, 0.25)
    run = tf.function(
        lambda seed: work.loop.strategy.run(
            lambda: work._dropout(tf.ones((100, 50)), seed)
        )
    )
    steps = [
        [np.array(x) for x in work.loop.strategy.experimental_local_results(
            run(tf.constant([0, step], tf.int64))
        )]
        for step in (0, 1, 0)
    ]
    for x in [*steps[0], *steps[1]]:
        np.testing.assert_allclose(np.unique(x), [0, 1 / 0.75], rtol=1e-6)
        assert abs(x.mean() - 1) < 0.05
    assert not np.array_equal(steps[0][0], steps[0][1])
    assert not np.array_equal(steps[0][0], steps[1][0])
    np.testing.assert_array_equal(steps[0], steps[2])


def test_workdir_of_another_training_is_refused(arch, undisturbed):
    workdir = undisturbed[0]
    before = files(workdir)
    with pytest.raises(ConfigError, match="train.lr: 0.2 there, 0.1 here"):
        train(arch, make_config(train__lr=0.1), workdir)
    other = tiny_runs.space().sample(99)
    with pytest.raises(ConfigError, match=r"arch\.blocks"):
        train(other, make_config(), workdir)
    assert files(workdir) == before


@pytest.mark.parametrize(
    "fields, received",
    [
        ({"data__image_size": 40}, r"\(40, 40, 3\), 10 classes"),
        ({"data__classes": 4}, r"\(32, 32, 3\), 4 classes"),
    ],
)
def test_images_that_do_not_fit_the_network_are_refused(
    arch, tmp_path, fields, received
):
    with pytest.raises(ConfigError, match=rf"10 classes. Received: {received}"):
        train(arch, make_config(**fields), tmp_path)
    assert not files(tmp_path)
