"""`tfnas-tune` as a user starts it."""

import pytest

from tests import tiny_runs
from tests.train import small
from tfnas import artifacts

FLAGS = (
    f"--config={tiny_runs.ROOT}/configs/tune.py:local",
    "--config.train.epochs=1", "--config.train.batch_size=16",
    "--config.data.limit_train=60", "--config.data.limit_test=20",
)


@pytest.fixture(scope="module")
def arch(tmp_path_factory):
    path = tmp_path_factory.mktemp("arch") / "a.json"
    small.arch().save(path)
    return f"--arch={path}"


def test_a_tuning_reports_its_trials_and_again_without_training(
    program, arch, tmp_path
):
    words = (
        *FLAGS, arch, f"--workdir={tmp_path}", "--tuner=random", "--trials=2",
        "--max_size_kb=100", "--max_latency_ms=1000",
    )
    first = program("tune", *words)
    assert first.code == 0, first.errors
    assert first.output.count("% after 1 epochs") == 2
    assert "recipe as given" in first.output
    assert (
        "tfnas-train --config.train." in first.output
        or "no trial was better" in first.output
    )
    result = artifacts.read_json(tmp_path / "result.json")
    (costs,) = result["limits"]["networks"].values()
    assert 0 < costs["size_kb"] < 100 and costs["latency_ms"] > 0
    again = program("tune", *words)
    assert again.code == 0, again.errors
    assert again.output == first.output
    other = program("tune", *words, "--seed=5")
    assert other.code == 2 and "seed" in other.errors


@pytest.mark.parametrize(
    "flag, unit", [("--max_size_kb=1", "kB"), ("--max_latency_ms=1e-6", "ms")]
)
def test_networks_beyond_a_limit_are_refused_with_the_figure(
    program, arch, tmp_path, flag, unit
):
    done = program("tune", *FLAGS, arch, f"--workdir={tmp_path / 'w'}", flag)
    assert done.code == 2
    assert "no network keeps" in done.errors and unit in done.errors
    assert not (tmp_path / "w").exists()


def test_a_range_that_makes_no_sense_is_refused(program, arch, tmp_path):
    done = program(
        "tune", *FLAGS, arch, f"--workdir={tmp_path / 'w'}",
        "--config.tune.space.lr.min=0.9",
    )
    assert done.code == 2 and "`tune.space.lr`" in done.errors


@pytest.mark.slow  # starts a chief and two workers, each with TensorFlow
def test_two_workers_share_the_trials(program, arch, tmp_path):
    done = program(
        "tune", *FLAGS, arch, f"--workdir={tmp_path}", "--tuner=random",
        "--trials=4", "--workers=2",
    )
    assert done.code == 0, done.errors
    # The chief alone says how it ended, the workers what they tried.
    assert done.output.count("recipe as given: ") == 1
    trials = tmp_path / "trials"
    assert len(list(trials.glob("trial_*/train/result.json"))) == 4
    ended = artifacts.read_json(trials / "oracle.json")["end_order"]
    assert sorted(ended) == ["0", "1", "2", "3"]
