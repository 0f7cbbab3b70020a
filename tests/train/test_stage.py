"""A stage that was killed ends with the files of an undisturbed one."""

import errno
import os

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.train import distribute
from tfnas.train.checkpoint import Checkpoints
from tfnas.train.loop import Loop
from tfnas.train.stage import Stage

UNITS = 4


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the product may catch it."""


class Epochs:
    """Epochs that move two weights, and are each logged twice."""

    units = UNITS

    def __init__(self, kill_at=None):
        self.loop = Loop(distribute.strategy(), progress=False)
        self.weights = tf.Variable([1.0, 2.0])
        self.total, self.kill_at = 0.0, kill_at

    def unit_steps(self, unit):
        return 10 + unit

    def run_unit(self, unit):
        self.weights.assign(0.7 * self.weights + unit)
        if unit == self.kill_at:
            raise Killed
        loss = float(tf.reduce_sum(self.weights))
        self.total += loss
        return [
            {"phase": "train", "epoch": unit, "loss": loss},
            {"phase": "test", "epoch": unit, "loss": self.total},
        ]

    def state(self):
        return {"total": self.total}

    def restore(self, state):
        self.total = state["total"]

    def variables(self):
        return {"weights": [self.weights]}


def start(workdir, kill_at=None, **inputs):
    """Returns a new stage, as a new process would make it."""
    work = Epochs(kill_at)
    return Stage(workdir, work, work.loop, {"table": "abc", **inputs})


def outcome(stage):
    """Returns all that must not depend on kills."""
    records = artifacts.read_jsonl(stage.workdir / "log.jsonl")
    for record in records:
        del record["time_s"]
    saved = sorted(os.listdir(stage.workdir / "checkpoints"))
    work = stage.work
    return records, work.weights.numpy().tolist(), work.state(), saved


def contents(folder):
    """Returns the bytes of all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    stage = start(tmp_path_factory.mktemp("undisturbed"))
    stage.run("toy")
    return outcome(stage)


def test_undisturbed_run_logs_every_unit(undisturbed):
    records = undisturbed[0]
    assert [(r["epoch"], r["phase"]) for r in records] == [
        (unit, phase) for unit in range(UNITS) for phase in ("train", "test")
    ]


def test_killed_inside_every_unit_gives_the_same(tmp_path, undisturbed):
    for unit in range(UNITS):
        with pytest.raises(Killed):
            start(tmp_path, kill_at=unit).run("toy")
    stage = start(tmp_path)
    stage.run("toy")
    assert outcome(stage) == undisturbed


def test_killed_before_the_checkpoint_cuts_the_log_back(
    tmp_path, undisturbed, monkeypatch
):
    def kill(self, units, state):
        if units == 3:
            raise Killed
        save(self, units, state)

    save = Checkpoints.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", kill)
        with pytest.raises(Killed):
            start(tmp_path).run("toy")
    log = tmp_path / "log.jsonl"
    assert len(artifacts.read_jsonl(log)) == 6  # of which 4 are saved
    with log.open("a") as file:
        file.write('{"phase": "tr')  # and a line torn by the kill
    stage = start(tmp_path)
    stage.run("toy")
    assert outcome(stage) == undisturbed


def test_full_disk_keeps_the_run_and_it_goes_on(
    tmp_path, undisturbed, monkeypatch
):
    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "file")

    with pytest.raises(Killed):
        start(tmp_path, kill_at=2).run("toy")
    saved = contents(tmp_path / "checkpoints")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space"):
            start(tmp_path).run("toy")
    assert contents(tmp_path / "checkpoints") == saved
    stage = start(tmp_path)
    stage.run("toy")
    assert outcome(stage) == undisturbed


def test_finished_stage_does_nothing_more(tmp_path, undisturbed):
    start(tmp_path).run("toy")
    before = contents(tmp_path)
    stage = start(tmp_path, kill_at=0)
    stage.run("toy")
    assert contents(tmp_path) == before
    assert outcome(stage) == undisturbed


def test_restoring_changes_nothing_on_disk(tmp_path):
    with pytest.raises(Killed):
        start(tmp_path, kill_at=2).run("toy")
    # As while another process runs the stage: its log is ahead.
    artifacts.append_jsonl(tmp_path / "log.jsonl", {"phase": "train"})
    before = contents(tmp_path)
    assert start(tmp_path).restore() == 2
    assert contents(tmp_path) == before


def test_other_inputs_are_refused_and_named(tmp_path):
    with pytest.raises(Killed):
        start(tmp_path, kill_at=2).run("toy")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="'table': 'abc'.*'table': 'xyz'"):
        start(tmp_path, table="xyz").run("toy")
    assert contents(tmp_path) == before


def test_damaged_checkpoint_changes_nothing(tmp_path):
    with pytest.raises(Killed):
        start(tmp_path, kill_at=2).run("toy")
    path = tmp_path / "checkpoints" / "epoch-00002" / "state.json"
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))
    before = contents(tmp_path)
    with pytest.raises(ArtifactError, match=str(path)):
        start(tmp_path).run("toy")
    assert contents(tmp_path) == before


def test_only_the_chief_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(distribute, "is_chief", lambda strategy: False)
    stage = start(tmp_path)
    stage.run("toy")
    assert stage.work.total
    assert not contents(tmp_path)


def test_time_in_the_log_goes_on(tmp_path):
    with pytest.raises(Killed):
        start(tmp_path, kill_at=3).run("toy")
    start(tmp_path).run("toy")
    records = artifacts.read_jsonl(tmp_path / "log.jsonl")
    times = [record["time_s"] for record in records]
    assert times == sorted(times)


def test_scalars_are_on_disk_before_their_checkpoint(
    tmp_path, undisturbed, monkeypatch
):
    def check(self, units, state):
        board = event_accumulator.EventAccumulator(folder).Reload()
        points = board.Tensors("train/loss")
        seen.append({p.step: tf.make_ndarray(p.tensor_proto) for p in points})

    folder, seen = str(tmp_path / "tensorboard"), []
    monkeypatch.setattr(Checkpoints, "save", check)
    start(tmp_path).run("toy")
    losses = [r["loss"] for r in undisturbed[0] if r["phase"] == "train"]
    assert seen == [
        pytest.approx(dict(enumerate(losses[: unit + 1])))
        for unit in range(UNITS)
    ]


def test_progress_bar_starts_at_the_steps_done(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        start(tmp_path, kill_at=1).run("toy")
    seen, stage = [], start(tmp_path)
    monkeypatch.setattr(stage.loop, "expect", lambda *args: seen.append(args))
    stage.run("toy")
    assert seen == [(10 + 11 + 12 + 13, 10, "toy")]
