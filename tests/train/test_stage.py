"""A stage that was killed ends with the files of an undisturbed one."""

import contextlib
import errno
import os
import shutil
import signal

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from tfnas import artifacts
from tfnas import stopping
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
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

    goes_on_within = False

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
    def kill(self, units, *rest):
        if units == 3:
            raise Killed
        save(self, units, *rest)

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


@pytest.mark.parametrize("damaged", [[2], [1, 2]])
def test_damaged_checkpoints_are_passed_over_until_none_is_left(
    tmp_path, undisturbed, damaged, capfd
):
    with pytest.raises(Killed):
        start(tmp_path, kill_at=2).run("toy")
    paths = [
        tmp_path / "checkpoints" / f"epoch-{n:05}" / "state.json"
        for n in damaged
    ]
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"a", b"e"))
    before = contents(tmp_path)
    stage = start(tmp_path)
    if len(damaged) == 2:
        with pytest.raises(ArtifactError, match="To start afresh: rm -r"):
            stage.run("toy")
        assert contents(tmp_path) == before
    else:
        stage.run("toy")
        assert outcome(stage) == undisturbed
        assert str(paths[0]) in capfd.readouterr().err


@pytest.mark.parametrize("units", [0, 2, UNITS])
def test_lost_checkpoints_are_never_a_silent_restart(tmp_path, units):
    with contextlib.suppress(Killed):
        start(tmp_path, kill_at=units).run("toy")
    shutil.rmtree(tmp_path / "checkpoints")
    before = contents(tmp_path)
    with pytest.raises(ArtifactError, match="checkpoints are lost.*rm -r"):
        start(tmp_path).run("toy")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("units", [2, UNITS])
@pytest.mark.parametrize("kind", ["gone", "cut", "flipped", "a folder"])
def test_damaged_log_is_mended_and_said(
    tmp_path, undisturbed, units, kind, capfd
):
    with contextlib.suppress(Killed):
        start(tmp_path, kill_at=units).run("toy")
    log = tmp_path / "log.jsonl"
    data = log.read_bytes()
    log.unlink()
    if kind == "a folder":
        log.mkdir()
        with pytest.raises(ArtifactError, match="log.jsonl.*a folder"):
            start(tmp_path).run("toy")
        return
    if kind != "gone":
        log.write_bytes(
            data[:99] if kind == "cut" else data.replace(b"0.", b"1.", 1)
        )
    stage = start(tmp_path)
    stage.run("toy")
    assert f"{log}: damaged or lost" in capfd.readouterr().err
    assert outcome(stage) == undisturbed


def test_killed_in_the_first_unit_starts_again(tmp_path, undisturbed, capfd):
    with pytest.raises(Killed):
        start(tmp_path, kill_at=0).run("toy")
    stage = start(tmp_path)
    stage.run("toy")
    assert outcome(stage) == undisturbed
    assert "warning" not in capfd.readouterr().err


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    work = Epochs(kill_at=2)
    with pytest.raises(Killed):
        Stage(tmp_path, work, work.loop, {}, {"lr": 0.1}).run("toy")
    work = Epochs()
    with pytest.raises(ConfigError, match="config_sha256"):
        Stage(tmp_path, work, work.loop, {}, {"lr": 0.2}).run("toy")


def test_state_without_a_field_names_it(tmp_path):
    stage = start(tmp_path)
    state = {"units": 1, "time_s": 0.0, "inputs": {}, "work": {}}
    Checkpoints(tmp_path / "checkpoints", stage.work.variables()).save(1, state)
    with pytest.raises(ArtifactError, match="state.json: field `records`"):
        start(tmp_path).restore()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_at_a_unit_and_the_same_run_goes_on(
    tmp_path, undisturbed, number
):
    class Signalled(Epochs):
        def run_unit(self, unit):
            if unit == 2:
                os.kill(os.getpid(), number)
            return super().run_unit(unit)

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    work = Signalled()
    with pytest.raises(stopping.Stopped) as error:
        Stage(tmp_path, work, work.loop, {"table": "abc"}).run("toy")
    assert error.value.exit_code == 128 + number
    assert (tmp_path / "checkpoints" / "epoch-00003").is_dir()
    assert not (tmp_path / ".lock").exists()
    assert before == [
        signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)
    ]
    stage = start(tmp_path)
    stage.run("toy")
    assert outcome(stage) == undisturbed


def test_variable_gone_bad_is_named_and_the_checkpoint_before_is_good(
    tmp_path,
):
    class Bad(Epochs):
        def run_unit(self, unit):
            records = super().run_unit(unit)
            if unit == 2:
                self.weights.assign([1.0, float("nan")])
            return records

    work = Bad()
    claim = {"lr": 0.1, "width": 3}
    artifacts.claim_workdir(tmp_path, claim)
    with pytest.raises(Diverged, match="unit 2: variable 0 of `weights`"):
        Stage(tmp_path, work, work.loop, {}, claim).run("toy")
    work = Epochs()
    claim = {"lr": 0.05, "width": 3}
    artifacts.claim_workdir(tmp_path, claim)
    stage = Stage(tmp_path, work, work.loop, {}, claim)
    stage.run("toy")
    assert [r["epoch"] for r in outcome(stage)[0]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert artifacts.changes(tmp_path)[0]["settings"] == {"lr": [0.1, 0.05]}


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
    def check(self, units, *rest):
        if not units:
            return
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
