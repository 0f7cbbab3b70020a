"""Trials of a recipe, on a network and images that take seconds."""

import dataclasses
import json

import numpy as np
import pytest

from tests.train import small
from tfnas import artifacts
from tfnas import data
from tfnas.errors import Diverged
from tfnas.errors import TfnasError
from tfnas.tuning import outcome
from tfnas.tuning import tuner as tuning
from tfnas.tuning.tuner import RecipeTuner

SPACE = {"lr": {"min": 0.01, "max": 0.1, "log": True}}


def config(tuner="random", trials=3, epochs=1, **fields):
    made = small.config(
        epochs=epochs, warmup_epochs=0, test_every=epochs, **fields
    )
    with made.unlocked():
        made.tune = {"tuner": tuner, "trials": trials, "space": SPACE}
    return made


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Workers wait a moment between trials; one alone need not."""
    monkeypatch.setattr(tuning, "_PAUSE_S", 0.0)


@pytest.fixture(scope="module")
def dataset():
    return data.load(config().data)


def make(folder, dataset, made=None):
    archs = {"small": small.arch()}
    return RecipeTuner(archs, made or config(), dataset, folder, False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset):
    """A tuning that nothing disturbed: its folder, tuner and outcome."""
    folder = tmp_path_factory.mktemp("tune")
    tuner = make(folder, dataset)
    tuner.search()
    found = outcome.finish(tuner, dataset, folder, {})
    return folder, tuner, found


def test_trials_are_scored_on_training_images_held_back(finished, dataset):
    _, tuner, _ = finished
    parts = tuner._data
    seen = {*parts.train.indices, *parts.test.indices}
    assert not set(parts.train.indices) & set(parts.test.indices)
    assert seen == set(dataset.train.indices)
    assert parts.test.images is dataset.train.images


def test_the_result_holds_all_trials_and_the_flags_of_the_best(finished):
    folder, tuner, found = finished
    result = artifacts.read_json(folder / "result.json")
    scores = [r["val_accuracy"] for r in result["trials"]]
    assert len(scores) == 3
    assert result["best"]["val_accuracy"] == max(scores)
    lr = result["best"]["values"]["lr"]
    better = max(scores) > result["given"]["val_accuracy"]
    expected = [f"--config.train.lr={lr}"] if better else []
    assert result["overrides"] == expected
    assert 0 <= result["test_accuracy"] <= 1
    assert found == result
    assert (folder / "best" / "model.keras").exists()
    assert "time" not in json.dumps(result)


def test_a_draw_becomes_a_field_of_the_recipe(finished):
    _, tuner, _ = finished
    arch, made = tuner.make({"lr": 0.0625})
    assert made.train.lr == 0.0625
    assert arch == small.arch()
    assert tuner.config.train.lr != 0.0625


def test_killed_in_a_trial_it_ends_the_same(
    finished, tmp_path, dataset, monkeypatch
):
    _, whole, _ = finished
    first, real, calls = make(tmp_path, dataset), tuning.retrain, []

    def retrain(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(tuning, "retrain", retrain)
    with pytest.raises(KeyboardInterrupt):
        first.search()
    second = make(tmp_path, dataset)
    second.search()
    assert second.records() == whole.records()
    assert len(calls) == 4  # the one that was cut off is trained again


@pytest.mark.parametrize(
    "kind",
    ["random", pytest.param("bayesian", marks=pytest.mark.slow), "hyperband"],
)
def test_killed_between_any_two_trials_it_draws_the_same(
    tmp_path, dataset, monkeypatch, kind
):
    monkeypatch.setattr(
        tuning, "retrain", lambda arch, made, *a, **k: (None, made.train.lr)
    )
    made = config(kind, trials=6, epochs=3)
    whole = make(tmp_path / "whole", dataset, made)
    whole.search()
    parts = tmp_path / "parts"
    for _ in range(20):
        part, left = make(parts, dataset, made), [2]

        def killed(trial, left=left, run=part.run_trial):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return run(trial)

        monkeypatch.setattr(part, "run_trial", killed)
        try:
            part.search()
        except KeyboardInterrupt:
            continue
        break
    assert part.records() == whole.records()


def test_a_trial_that_the_oracle_never_heard_of_is_drawn_again(
    finished, tmp_path, dataset
):
    _, whole, _ = finished
    tuner = make(tmp_path, dataset)
    (tmp_path / "trials" / "trial_0").mkdir(parents=True)
    tuner.oracle.create_trial("tuner0")
    kept = (tmp_path / "trials" / "oracle.json").read_bytes()
    tuner.oracle.create_trial("tuner1")
    (tmp_path / "trials" / "oracle.json").write_bytes(kept)
    tuner.oracle.reload()
    assert list(tuner.oracle.trials) == ["0"]
    values = [
        tuner.oracle.create_trial(name).hyperparameters.values
        for name in ("tuner0", "tuner1")
    ]
    assert values == [r["values"] for r in whole.records()[:2]]


def test_the_recipe_as_given_stays_where_no_trial_beats_it(
    tmp_path, dataset, monkeypatch
):
    real = tuning.retrain

    def retrain(arch, made, folder, *arguments, **settings):
        better = folder.name == "given"
        return None, 0.9 if better else 0.1

    monkeypatch.setattr(tuning, "retrain", retrain)
    monkeypatch.setattr(outcome, "retrain", real)
    tuner = make(tmp_path, dataset)
    tuner.search()
    found = outcome.finish(tuner, dataset, tmp_path, {})
    assert found["given"] == {"val_accuracy": 0.9}
    assert found["overrides"] == []
    used = artifacts.read_json(tmp_path / "best" / "config.json")
    assert used["train"]["lr"] == tuner.config.train.lr


def test_after_its_end_nothing_is_trained_again(
    finished, dataset, monkeypatch
):
    folder, tuner, _ = finished
    again = make(folder, dataset)
    monkeypatch.setattr(again, "run_trial", None)
    again.search()
    assert again.records() == tuner.records()


def test_a_trial_that_diverges_is_noted_and_the_tuning_goes_on(
    tmp_path, dataset, monkeypatch
):
    tuner, real = make(tmp_path, dataset), tuning.retrain
    seen = []

    def retrain(arch, *arguments, **settings):
        seen.append(arch)
        if len(seen) == 2:
            raise Diverged("the loss must stay finite")
        return real(arch, *arguments, **settings)

    monkeypatch.setattr(tuning, "retrain", retrain)
    tuner.search()
    rows = tuner.records()
    assert [r["diverged"] for r in rows] == [
        None, "the loss must stay finite", None
    ]
    assert rows[1]["val_accuracy"] == 0


def test_where_all_diverge_there_is_no_result(tmp_path, dataset, monkeypatch):
    def retrain(*arguments, **settings):
        raise Diverged("no")

    monkeypatch.setattr(tuning, "retrain", retrain)
    tuner = make(tmp_path, dataset)
    tuner.search()
    with pytest.raises(TfnasError, match="every trial diverged.*Received: 3"):
        outcome.finish(tuner, dataset, tmp_path, {})
    assert not (tmp_path / "result.json").exists()


def test_another_error_ends_the_tuning(tmp_path, dataset):
    few = dataclasses.replace(
        dataset, train=dataset.train.subset(np.arange(32))
    )
    tuner = make(tmp_path, few)
    tuner.archs = {"small": small.arch(classes=7)}
    with pytest.raises(Exception, match="7 classes|10 classes"):
        tuner.search()


def test_hyperband_lengthens_the_best_and_starts_them_afresh(
    tmp_path, dataset, monkeypatch
):
    lengths = []

    def retrain(arch, made, folder, *arguments, **settings):
        lengths.append(made.train.epochs)
        assert made.train.test_every == made.train.epochs
        assert not folder.exists()
        return None, made.train.lr

    monkeypatch.setattr(tuning, "retrain", retrain)
    tuner = make(tmp_path, dataset, config("hyperband", epochs=3))
    tuner.search()
    # Brackets of 3 epochs by a factor of 3: 3 networks for 1 epoch, the best
    # for 3; then 2 for 3.
    assert lengths == [1, 1, 1, 3, 3, 3]
    rows = tuner.records()
    first = max(rows[:3], key=lambda r: r["val_accuracy"])
    assert rows[3]["values"] == first["values"]


def test_networks_may_be_chosen_too(tmp_path, dataset, monkeypatch):
    names = []

    def retrain(arch, *arguments, **settings):
        names.append(arch.id)
        return None, 0.5

    monkeypatch.setattr(tuning, "retrain", retrain)
    wider = dataclasses.replace(small.arch(), space="x")
    tuner = RecipeTuner(
        {"a": small.arch(), "b": wider}, config(trials=8), dataset, tmp_path,
        False,
    )
    tuner.search()
    assert set(names) == {small.arch().id, wider.id}
