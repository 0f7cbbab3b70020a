"""One process at a time, and who it is."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from tfnas import artifacts
from tfnas import locks
from tfnas.errors import ConfigError
from tfnas.errors import Locked

HOLD = """
import sys, time
from tfnas import locks
from tfnas.errors import Locked
try:
    with locks.{kind}(sys.argv[1]):
        print("held", flush=True)
        time.sleep({seconds})
except Locked as error:
    print(error)
"""


def start(path, kind="workdir", seconds=60):
    """Starts a process that holds a lock, or says who does."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(kind=kind, seconds=seconds), path],
        stdout=subprocess.PIPE, text=True,
    )


@pytest.fixture(autouse=True)
def wait_shortly(monkeypatch):
    monkeypatch.setattr(locks, "_WAIT_S", 0.3)


@pytest.mark.parametrize("kind", ["workdir", "file"])
def test_the_second_is_told_who_works_there(tmp_path, kind):
    path = tmp_path / "new" / "thing"
    holder = start(path, kind)
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(Locked) as error:
            with getattr(locks, kind)(path):
                pass
        message = str(error.value)
        assert message.startswith(f"{path}: process {holder.pid} of host ")
        assert socket.gethostname() in message and "\n" not in message
    finally:
        holder.kill()
        holder.wait()
    # Its lock is still there, and nobody's.
    with getattr(locks, kind)(path):
        pass


def test_of_two_at_once_one_works(tmp_path):
    for _ in range(5):
        pair = [start(tmp_path / "run", seconds=0.5) for _ in range(2)]
        said = sorted(process.communicate()[0] for process in pair)
        assert all(process.returncode == 0 for process in pair)
        # The other one waits a little, so it may come after.
        assert said[1] == "held\n"
        assert said[0] == "held\n" or "works here" in said[0]
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_lock_of_another_host_is_named_and_stays(tmp_path):
    path = tmp_path / ".lock"
    path.write_text("4711\nelsewhere\n")
    with pytest.raises(Locked, match="process 4711 of host elsewhere") as error:
        with locks.workdir(tmp_path):
            pass
    assert str(error.value).endswith(f"rm {path}")
    assert path.read_text() == "4711\nelsewhere\n"


def test_lock_of_nobody_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_WAIT_S", 4.0)
    (tmp_path / ".lock").write_text("gar")
    with locks.workdir(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_one_process_may_hold_it_twice(tmp_path):
    with locks.workdir(tmp_path):
        with locks.workdir(tmp_path):
            pass
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()


def test_nothing_is_left_where_nothing_was_put(tmp_path):
    with locks.workdir(tmp_path / "a" / "b"):
        pass
    with locks.file(tmp_path / "c" / "table.json"):
        pass
    assert os.listdir(tmp_path) == []
    with locks.workdir(tmp_path / "a"):
        (tmp_path / "a" / "kept").touch()
    assert os.listdir(tmp_path / "a") == ["kept"]


def test_what_killed_processes_left_is_removed(tmp_path):
    script = (
        "import os, signal, sys; from tfnas import artifacts\n"
        "with artifacts.replacing(sys.argv[1]) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("a.json", "b.json"):
        done = subprocess.run([sys.executable, "-c", script, tmp_path / name])
        assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    alive = tmp_path / f".{os.getppid()}.tmp.c.json"
    other = tmp_path / ".note.tmp.txt"
    alive.touch()
    other.touch()
    artifacts.write_json(tmp_path / "a.json", {})
    assert len(os.listdir(tmp_path)) == 4  # that of b.json, too
    with locks.workdir(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == sorted(
        [alive, other, tmp_path / "a.json"]
    )


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_workdir_that_is_a_file_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("here")
    with pytest.raises(ConfigError, match="expected a folder"):
        with locks.workdir(tmp_path / name):
            pass
    assert (tmp_path / "file").read_text() == "here"
