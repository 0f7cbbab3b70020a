"""Language models train as their recipes say, resumable, and they learn."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests import language_models as lm
from tests import tiny_runs
from tfnas import artifacts
from tfnas import config_files
from tfnas.data import text as texts
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.train import distribute
from tfnas.train import language
from tfnas.train import run_state
from tfnas.train.loop import Loop
from tfnas.train.stage import Stage

EPOCHS = 3


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    """Data name of a text of a small grammar."""
    return lm.write_text(tmp_path_factory.mktemp("text"), (60, 20, 20))


@pytest.fixture(scope="module")
def read(name):
    return texts.load_text({"name": name})


def make_config(name, **fields):
    """A recipe that takes seconds, with all that the published one has."""
    config = config_files.load(f"{tiny_runs.ROOT}/configs/shrink_rnn.py:local")
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(
        {
            "data.name": name,
            "data.limit_train": None,
            "data.limit_valid": None,
            "data.limit_test": None,
            "train.epochs": EPOCHS,
            "train.batch_size": 4,
            "train.valid_batch_size": 3,
            "train.width": lm.WIDTH,
            "train.bptt": 10,
            **{k.replace("__", ".", 1): v for k, v in fields.items()},
        }
    )
    return config


def start(read, config):
    """Returns a training that has not begun."""
    run_state.start(config.seed)
    loop = Loop(distribute.strategy(), config.seed, progress=False)
    arch = language.fitted(lm.make_arch(), read, config.train.width)
    return language.LanguageTraining(arch, read, loop, config.train)


def values(work):
    return {
        group: [v.numpy() for v in variables]
        for group, variables in work.variables().items()
    }


def assert_equal(ours, theirs):
    for group, expected in theirs.items():
        for a, b in zip(ours[group], expected, strict=True):
            np.testing.assert_array_equal(a, b, group)


@pytest.fixture(scope="module")
def undisturbed(read, name):
    """A whole training: the work, and its log."""
    work = start(read, make_config(name))
    records = [r for unit in range(EPOCHS) for r in work.run_unit(unit)]
    return work, records


def test_it_learns(undisturbed, read):
    work, records = undisturbed
    valid = [r["perplexity"] for r in records if r["phase"] == "valid"]
    assert valid[0] < len(read.vocabulary)
    assert min(valid) < 0.8 * valid[0]
    assert [math.exp(loss) for loss in work.losses] == valid


def test_every_step_function_is_traced_once(undisturbed):
    loop = undisturbed[0].loop
    assert (loop.traces("train"), loop.traces("valid")) == (1, 1)


def test_other_seeds_start_from_other_weights(read, name):
    tables = [
        start(read, make_config(name, seed=seed)).layer.table
        for seed in (0, 0, 5)
    ]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])


@pytest.mark.slow
def test_killed_between_epochs_gives_the_same(
    undisturbed, read, name, tmp_path
):
    def run(kill_at=None):
        work = start(read, make_config(name))
        run_unit = work.run_unit

        def killed(unit):
            records = run_unit(unit)
            if unit == kill_at:
                raise Killed
            return records

        work.run_unit = killed
        Stage(tmp_path, work, work.loop, {}).run("test")
        return work

    for unit in (0, 1):
        with pytest.raises(Killed):
            run(unit)
    work = run()
    assert_equal(values(work), values(undisturbed[0]))
    assert work.losses == undisturbed[0].losses


def numpy_loss(work, numbers):
    """Mean loss of a word of a text in one column, by numpy."""
    layer = work.layer
    kernels, table = lm.kernels_of(layer), np.array(layer.table, np.float64)
    state, losses = np.zeros((1, lm.WIDTH)), []
    for word, after in zip(numbers[:-1], numbers[1:], strict=True):
        state = lm.cell_step(
            layer.parts.cell, kernels, table[word][None], state
        )
        logits = (state @ table.T)[0] + np.array(layer.bias)
        losses.append(np.log(np.exp(logits).sum()) - logits[after])
    return np.mean(losses)


def test_loss_is_the_exact_mean_with_the_state_carried_over(read, name):
    work = start(read, make_config(name))
    numbers = read.test[:80]  # more than two chunks
    reading = language.TextEvaluation(work.layer, numbers, 1, "part", work.loop)
    expected = numpy_loss(work, numbers)
    assert reading.loss() == pytest.approx(expected, rel=1e-5)
    assert reading.loss() == pytest.approx(expected, rel=1e-5)


def test_finish_takes_the_weights_of_the_best_validation(read, name):
    work = start(read, make_config(name))
    weights = [v.numpy() for v in work._weights]
    work.run_unit(0)
    best = [v.numpy() for v in work._weights]
    assert not np.array_equal(best[0], weights[0])
    work.losses[0] = 0.0  # nothing can be better
    work.run_unit(1)
    loss = work.finish()
    for ours, expected in zip(work._weights, best, strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert loss == pytest.approx(numpy_loss(work, read.test), rel=1e-4)


def test_rates_are_in_proportion_to_the_steps_and_drop(read, name):
    """One update with a rate of 1, a half, and a tenth of the half."""
    whole = len(texts.columns(read.train, 4, "train")) - 1
    moves = []
    for bptt, unit in ((whole, 0), (2 * whole, 0), (2 * whole, 1)):
        config = make_config(
            name, train__bptt=bptt, train__bptt_std=0.0,
            train__bptt_short=0.0, train__weight_decay=0.0,
            train__lr_drops=(0,),
        )
        work = start(read, config)
        work.run_unit(unit)
        moves.append(np.array(work.layer.bias))  # from zero
    assert np.abs(moves[0]).max() > 0.1
    np.testing.assert_allclose(moves[1], moves[0] / 2, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(moves[2], moves[0] / 20, rtol=1e-3, atol=1e-6)


def decide(work, losses):
    """Returns after which of these losses averaging was on."""
    states = []
    for loss in losses:
        work._decide(loss)
        states.append(bool(work.optimizer.averaging))
    return states


def test_averaging_begins_when_a_loss_exceeds_all_but_the_last(read, name):
    work = start(read, make_config(name, train__average_after=2))
    # The third loss is the first that has others than the last two before.
    assert decide(work, [5, 4, 4.5, 4.6, 5.0]) == [
        False, False, False, False, True
    ]
    work = start(read, make_config(name, train__average_after=2))
    assert not any(decide(work, [5, 4, 3, 3.5, 3.2, 2.9]))


def test_validation_and_best_weights_are_those_of_the_mean(read, name):
    work = start(read, make_config(name))
    work.run_unit(0)
    work.optimizer.start_averaging()
    work.losses = [100.0]
    work.run_unit(1)
    means = [m.numpy() for m in work.optimizer.means()]
    trained = [v.numpy() for v in work._weights]
    for best, mean, weight in zip(
        work._best, means, trained, strict=True
    ):
        np.testing.assert_array_equal(best, mean)
        assert not np.array_equal(best, weight)


@pytest.mark.parametrize(
    "fields, losses, stopped_after",
    [
        ({"train__patience": 2}, [3, 2, 2.5, 2.0, 1.0], 4),
        ({"train__patience": 3}, [3, 2, 2.5, 1.9, 2.4], None),
        ({"train__max_ratio": 3.0}, [2.9, 3.1, 2.0], 2),
    ],
)
def test_training_stops_by_the_rules_of_the_recipe(
    read, name, fields, losses, stopped_after
):
    work = start(read, make_config(name, **fields))
    work._moving.assign(1.0)
    stopped = None
    for number, loss in enumerate(losses, start=1):
        work._decide(loss)
        if work.stopped:
            stopped = number
            break
    assert stopped == stopped_after
    if stopped:
        assert work.run_unit(number) == []


def test_a_loss_that_is_not_finite_is_an_error(read, name):
    work = start(read, make_config(name, train__reload_best=False))
    work.layer.table.assign(np.full(work.layer.table.shape, np.nan))
    with pytest.raises(Diverged):
        work.run_unit(0)


def test_a_loss_of_thirty_counts_as_diverged(read, name):
    work = start(read, make_config(name))
    work.layer.bias.assign(1e3 * np.arange(len(read.vocabulary)))
    reading = language.TextEvaluation(
        work.layer, read.test, 1, "part", work.loop
    )
    with pytest.raises(Diverged, match="below 30"):
        reading.loss()


def test_training_goes_on_from_the_best_weights(read, name):
    work = start(read, make_config(name))
    work.run_unit(0)
    best = [v.numpy() for v in work._best]
    work.layer.table.assign(np.full(work.layer.table.shape, np.nan))
    assert work.run_unit(1) == [{"phase": "reload", "epoch": 1}]
    for weight, expected in zip(work._weights, best, strict=True):
        np.testing.assert_array_equal(weight, expected)
    phases = [record["phase"] for record in work.run_unit(2)]
    assert phases == ["train", "valid"]


def test_the_temporal_penalty_is_added_to_the_loss(read, name):
    none = {f"train__dropouts.{rate}": 0.0 for rate in
            ("words", "inputs", "cell_inputs", "states", "outputs")}
    config = make_config(name, train__temporal_penalty=0.5, **none)
    work = start(read, config)
    table = work._columns
    objective = work._objective(
        table[:6].T, table[1:7].T.reshape(-1), None, None
    )
    hidden, _ = work.layer.hidden(
        table[:6].T, np.zeros((4, lm.WIDTH), np.float32)
    )
    expected = 0.5 * np.mean(np.diff(hidden, axis=1) ** 2)
    assert float(objective.extra) == pytest.approx(expected, rel=1e-5)
    assert expected > 0
    assert float(language._mean_change(tf.ones((2, 1, 3)))) == 0


def test_vectors_of_known_words_start_the_table(read, name, tmp_path):
    path = tmp_path / "vectors.txt"
    numbers = " ".join(str(0.1 * i) for i in range(lm.WIDTH))
    path.write_text(f"cat {numbers}\n")
    plain = start(read, make_config(name))
    work = start(read, make_config(name, train__vectors=str(path)))
    changed = np.any(
        np.array(work.layer.table) != np.array(plain.layer.table), 1
    )
    words = [w for w, c in zip(read.vocabulary.words, changed, strict=True)
             if c]
    assert words == ["cat"]


def test_a_batch_longer_than_a_text_is_refused(read, name):
    for field, part in (("batch_size", "train"), ("valid_batch_size",
                                                  "valid")):
        config = make_config(name, **{f"train__{field}": 10_000})
        with pytest.raises(ConfigError, match=f"the {part} text"):
            start(read, config)


def test_several_devices_are_refused(read, name):
    config = make_config(name)
    loop = Loop(distribute.strategy("mirrored"), 0, progress=False)
    arch = language.fitted(lm.make_arch(), read)
    with pytest.raises(ConfigError, match="one device.*2 devices"):
        language.LanguageTraining(arch, read, loop, config.train)


def test_a_found_cell_is_fitted_to_text_and_width(read):
    arch = language.fitted(lm.make_arch(), read, 12)
    parts = language.language_parts(arch)
    assert (parts.words, parts.width) == (len(read.vocabulary), 12)
    assert parts.cell.encode() == lm.CELL
    assert language.language_parts(
        language.fitted(arch, read)
    ).width == 12


@pytest.fixture(scope="module")
def finished(read, name, tmp_path_factory):
    """A finished workdir, with what the call gave back."""
    folder = tmp_path_factory.mktemp("run") / "train"
    config = make_config(name, train__epochs=2)
    arch = language.fitted(lm.make_arch(), read, lm.WIDTH)
    return folder, config, arch, language.train_language(
        arch, config, folder, read, progress=False
    )


def test_a_workdir_has_all_that_the_model_needs(finished, read):
    folder, _, arch, (model, perplexity) = finished
    result = artifacts.read_json(folder / "result.json", language.FORMAT)
    assert result["perplexity"] == perplexity
    assert result["arch_id"] == arch.id
    vocabulary = texts.Vocabulary.load(folder / "vocabulary.json")
    assert vocabulary == read.vocabulary
    log = artifacts.read_jsonl(folder / "log.jsonl")
    best = min(r["perplexity"] for r in log if r["phase"] == "valid")
    assert best == perplexity["valid"]


def test_the_same_call_again_gives_the_same(finished, read, monkeypatch):
    folder, config, arch, (model, perplexity) = finished
    before = (folder / "result.json").read_bytes()
    # The result goes on naming the versions that trained it.
    monkeypatch.setattr(run_state, "versions", lambda: {"tensorflow": "9"})
    again, same = language.train_language(
        arch, config, folder, read, progress=False
    )
    assert same == perplexity
    assert (folder / "result.json").read_bytes() == before
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_text_in_the_same_workdir_is_refused(
    finished, read, name, tmp_path
):
    folder, config, arch, _ = finished
    other = texts.load_text({"name": name, "limit_train": 50},
                            read.vocabulary)
    with pytest.raises(ConfigError, match="text_sha256"):
        language.train_language(arch, config, folder, other, progress=False)
