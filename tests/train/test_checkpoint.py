"""Checkpoints: complete or absent, checked, and never half of anything."""

import errno
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.train import toy
from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.train import distribute
from tfnas.train.checkpoint import Checkpoints

STATE = {"units": 1, "history": [{"loss": 0.1 + 0.2}]}
FILES = [
    "manifest.json",
    "state.json",
    "variables.data-00000-of-00001",
    "variables.index",
]


class Run:
    """Two groups of variables and their checkpoints."""

    def __init__(self, folder, value=0.0, size=4):
        self.weights = tf.Variable(tf.fill([size], value))
        self.slot = tf.Variable(tf.fill([2, 2], value))
        self.checkpoints = Checkpoints(
            folder, {"weights": [self.weights], "slots": [self.slot]}
        )

    def values(self):
        return [self.weights.numpy().tolist(), self.slot.numpy().tolist()]


def contents(folder):
    """Returns the bytes of all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path):
    """A folder with the checkpoints of units 1 and 2."""
    run = Run(tmp_path, 1.5)
    run.checkpoints.save(1, STATE)
    run.weights.assign_add(tf.ones([4]))
    run.checkpoints.save(2, {**STATE, "units": 2})
    return tmp_path


def test_newest_checkpoint_gives_everything_back(folder):
    run = Run(folder)
    assert run.checkpoints.restore() == {**STATE, "units": 2}
    assert run.values() == [[2.5] * 4, [[1.5] * 2] * 2]


def test_no_checkpoint_is_none(tmp_path):
    assert Run(tmp_path / "absent").checkpoints.restore() is None


def test_two_checkpoints_are_kept(folder):
    run = Run(folder, 9.0)
    run.checkpoints.save(3, STATE)
    kept = [path.name for path in run.checkpoints.saved()]
    assert kept == sorted(os.listdir(folder)) == ["epoch-00002", "epoch-00003"]


@pytest.mark.parametrize("name", FILES)
def test_flipped_byte_is_found_and_named(folder, name):
    path = folder / "epoch-00002" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    before = contents(folder)
    with pytest.raises(ArtifactError, match="epoch-00002"):
        Run(folder).checkpoints.restore()
    assert contents(folder) == before


def test_no_flipped_bit_of_the_small_files_goes_unnoticed(folder):
    checkpoints = Run(folder).checkpoints
    for name in ("manifest.json", "state.json"):
        path = folder / "epoch-00002" / name
        data = path.read_bytes()
        for i in range(0, len(data), 7):
            flipped = data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :]
            path.write_bytes(flipped)
            with pytest.raises(ArtifactError, match=str(path.parent)):
                checkpoints.restore()
        path.write_bytes(data)
    assert checkpoints.restore()["units"] == 2


@pytest.mark.parametrize("name", FILES)
def test_missing_or_truncated_file_is_named(folder, name):
    path = folder / "epoch-00002" / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match=str(path)):
        Run(folder).checkpoints.restore()
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{path}: No such file"):
        Run(folder).checkpoints.restore()


def test_other_format_version_names_the_field(folder):
    path = folder / "epoch-00002" / "manifest.json"
    artifacts.write_json(path, {"format": "tfnas-checkpoint/9", "files": {}})
    with pytest.raises(ArtifactError, match=f'{path}: field "format"'):
        Run(folder).checkpoints.restore()


def test_without_the_damaged_one_the_run_goes_on_from_the_one_before(folder):
    shutil.rmtree(folder / "epoch-00002")
    run = Run(folder)
    assert run.checkpoints.restore() == STATE
    assert run.values()[0] == [1.5] * 4


def test_checkpoint_of_other_variables_is_refused(folder):
    with pytest.raises(ArtifactError, match="epoch-00002: does not fit"):
        Run(folder, size=5).checkpoints.restore()
    extra = Checkpoints(folder, {"weights": [tf.Variable(0.0)]})
    with pytest.raises(ArtifactError, match="epoch-00002: does not fit"):
        extra.restore()


def test_half_written_checkpoint_is_ignored_and_replaced(folder):
    half = folder / "epoch-00003.tmp"
    half.mkdir()
    (half / "variables.index").write_bytes(b"half")
    run = Run(folder)
    assert run.checkpoints.restore()["units"] == 2
    run.checkpoints.save(3, {**STATE, "units": 3})
    assert not half.exists()
    assert Run(folder).checkpoints.restore()["units"] == 3


@pytest.mark.parametrize("step", ["variables", "manifest", "rename"])
def test_full_disk_leaves_the_old_checkpoints(folder, monkeypatch, step):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", "file")

    def fail_in_tensorflow(path):
        (folder / "epoch-00003.tmp" / "variables.index").write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, "disk is full")

    run, before = Run(folder, 9.0), contents(folder)
    if step == "variables":
        monkeypatch.setattr(
            run.checkpoints._bundle, "write", fail_in_tensorflow
        )
    elif step == "manifest":
        monkeypatch.setattr(artifacts, "write_json", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full|No space"):
        run.checkpoints.save(3, STATE)
    assert contents(folder) == before
    monkeypatch.undo()
    run.checkpoints.save(3, STATE)
    assert Run(folder).checkpoints.restore() == STATE


@pytest.mark.parametrize(
    "saved, restored", [("mirrored", "default"), ("default", "mirrored")]
)
def test_checkpoint_serves_any_number_of_devices(tmp_path, saved, restored):
    def make(name, value):
        strategy = distribute.strategy(name)
        with strategy.scope():
            variable = tf.Variable(tf.fill([3], value))
        return strategy, variable, Checkpoints(tmp_path, {"v": [variable]})

    make(saved, 0.1)[2].save(1, STATE)
    strategy, variable, checkpoints = make(restored, 9.0)
    checkpoints.restore()
    for copy in toy.copies(strategy, variable):
        np.testing.assert_array_equal(copy, np.full(3, 0.1, np.float32))
