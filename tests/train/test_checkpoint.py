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
from tfnas.errors import Diverged
from tfnas.train import checkpoint
from tfnas.train import distribute
from tfnas.train.checkpoint import Checkpoints

LOG = b'{"phase": "train", "epoch": 0}\n'
STATE = {"units": 1, "history": [{"loss": 0.1 + 0.2}]}
FILES = [
    "log.jsonl",
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
    run.checkpoints.save(1, STATE, LOG)
    run.weights.assign_add(tf.ones([4]))
    run.checkpoints.save(2, {**STATE, "units": 2}, LOG)
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


def assert_falls_back(folder, warnings, what):
    """Asserts that the first checkpoint is taken, and the second named."""
    before = contents(folder)
    run = Run(folder)
    assert run.checkpoints.restore() == STATE
    assert run.values() == [[1.5] * 4, [[1.5] * 2] * 2]
    said = warnings.readouterr().err
    assert said.startswith("warning: ") and what in said
    assert f"Going on from {folder / 'epoch-00001'}" in said
    assert contents(folder) == before


DAMAGE = {
    "gone": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(
        path.read_bytes()[: path.stat().st_size // 2]
    ),
    "flipped": lambda path: path.write_bytes(
        path.read_bytes()[:-9]
        + bytes([path.read_bytes()[-9] ^ 4])
        + path.read_bytes()[-8:]
    ),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_named_and_the_one_before_is_taken(
    folder, capfd, name, damage
):
    path = folder / "epoch-00002" / name
    DAMAGE[damage](path)
    assert_falls_back(folder, capfd, str(path))


def test_no_flipped_bit_of_the_small_files_goes_unnoticed(folder):
    checkpoints = Run(folder).checkpoints
    for name in ("manifest.json", "state.json"):
        path = folder / "epoch-00002" / name
        data = path.read_bytes()
        for i in range(0, len(data), 7):
            flipped = data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :]
            path.write_bytes(flipped)
            assert checkpoints.restore() == STATE
        path.write_bytes(data)
    assert checkpoints.restore()["units"] == 2


def test_nothing_good_left_names_all_that_is_damaged(folder):
    paths = [folder / f"epoch-0000{i}" / "state.json" for i in (1, 2)]
    for path in paths:
        path.write_bytes(b"{}")
    with pytest.raises(ArtifactError) as error:
        Run(folder).checkpoints.restore()
    assert all(str(path) in str(error.value) for path in paths)
    assert "No good checkpoint is left" in str(error.value)


def test_the_damaged_one_is_replaced_by_the_next_save(folder):
    (folder / "epoch-00002" / "state.json").unlink()
    run = Run(folder)
    run.checkpoints.restore()
    run.weights.assign(tf.fill([4], 7.0))
    run.checkpoints.save(2, {"units": 2})
    assert sorted(os.listdir(folder)) == ["epoch-00001", "epoch-00002"]
    again = Run(folder)
    assert again.checkpoints.restore() == {"units": 2}
    assert again.values()[0] == [7.0] * 4


@pytest.mark.parametrize(
    "name", ["epoch-00002.bak", "epoch-00002 (copy)", "epoch-2", "epoch-00009"]
)
def test_a_copy_is_never_taken_for_the_newest(folder, capfd, name):
    shutil.copytree(folder / "epoch-00001", folder / name)
    assert Run(folder).checkpoints.restore()["units"] == 2
    said = capfd.readouterr().err
    assert ("is it a copy" in said) == (name == "epoch-00009")


def test_other_format_version_names_the_field(folder, capfd):
    path = folder / "epoch-00002" / "manifest.json"
    artifacts.write_json(path, {"format": "tfnas-checkpoint/9", "files": {}})
    assert_falls_back(folder, capfd, f'{path}: field "format"')


def test_manifest_names_no_files_elsewhere(folder, capfd):
    path = folder / "epoch-00002" / "manifest.json"
    value = artifacts.read_json(path)
    value["files"]["../epoch-00001/state.json"] = "0" * 64
    artifacts.write_json(path, value, sealed=True)
    assert_falls_back(folder, capfd, "must name files of the folder")


def test_variables_that_are_not_finite_are_never_saved(folder):
    run, before = Run(folder, 9.0), contents(folder)
    run.slot.assign([[1.0, np.inf], [1.0, 1.0]])
    with pytest.raises(Diverged, match="variable 0 of `slots`"):
        run.checkpoints.save(3, STATE)
    assert contents(folder) == before


def test_checkpoint_of_an_older_version_is_taken(folder):
    path = folder / "epoch-00002" / "manifest.json"
    value = artifacts.read_json(path)
    del value["epoch"], value["files"]["log.jsonl"]
    artifacts.write_json(path, value)
    (folder / "epoch-00002" / "log.jsonl").unlink()
    assert Run(folder).checkpoints.restore()["units"] == 2


def test_newest_state_is_that_of_the_newest_good_one(folder, tmp_path):
    assert checkpoint.newest_state(folder)["units"] == 2
    (folder / "epoch-00002" / "variables.index").unlink()
    assert checkpoint.newest_state(folder) == STATE
    assert checkpoint.newest_state(tmp_path / "absent") is None


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
