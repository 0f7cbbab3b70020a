"""A folder on a phone, which is gone afterwards, and phones that differ."""

import os
import signal
import subprocess
import sys
import time

import pytest

from android_bench import workspace as workspaces
from android_bench.adb import Adb
from android_bench.workspace import Workspace
from tests.android_bench.conftest import ROOT
from tfnas.errors import DeviceError

FIXED = ["cmd", "power", "set-fixed-performance-mode-enabled"]


@pytest.fixture
def space(any_phone, any_adb):
    with Workspace(any_adb, 60) as space:
        yield space
    wait_until_clean(any_phone)


def wait_until_clean(phone, wait_s=15):
    deadline = time.monotonic() + wait_s
    while phone.left_behind or phone.processes():
        assert time.monotonic() < deadline, (
            phone.left_behind, phone.processes()
        )
        time.sleep(0.05)


def make_file(tmp_path, name="file", size_bytes=3000):
    path = tmp_path / name
    path.write_bytes(os.urandom(size_bytes))
    return path


def test_files_go_there_and_back(space, tmp_path):
    path = make_file(tmp_path)
    names = ["a", "two words", "-n", "ü", "it's"]
    space.put(dict.fromkeys(names, path))
    assert space.run(["ls", "-a", "./-n"], 20).stdout == "./-n\n"
    for name in names:
        assert space.take(name) == path.read_bytes()
        assert space.take(name) is None


def test_many_files_are_checked(space, any_phone, tmp_path):
    path = make_file(tmp_path, size_bytes=10)
    space.put({f"{i:016x}.tflite": path for i in range(120)})
    assert len(space.run(["ls"], 20).stdout.split()) >= 120
    # What old phones take.
    assert max(map(len, any_phone.commands)) < 4000


def wait_for_processes(phone, count):
    deadline = time.monotonic() + 15
    while len(phone.processes()) != count:
        assert time.monotonic() < deadline, phone.processes()
        time.sleep(0.05)


def test_a_run_ends_what_an_earlier_one_left(space, any_phone):
    wait_for_processes(any_phone, 2)  # a watchdog and its nap
    space.run(["sh", "-c", "sleep 60 > /dev/null 2>&1 &"], 20)
    wait_for_processes(any_phone, 3)
    assert space.run(["echo", "next"], 20).stdout == "next\n"
    wait_for_processes(any_phone, 2)


# Kills.

KILLED = """
import sys, time
from android_bench.adb import Adb
from android_bench.workspace import Workspace
serial, moment, big = sys.argv[1:]
mode = ["cmd", "power", "set-fixed-performance-mode-enabled"]
with Workspace(
    Adb(serial), 1.5, [*mode, "true"], [*mode, "false"]
) as space:
    print("ready", flush=True)
    if moment == "push":
        space.put({f"{i}": big for i in range(20)})
    elif moment == "run":
        space.run(["sh", "-c", "sleep 70 & sleep 60; echo"], 100)
    else:
        space.run(["echo"], 20)
        time.sleep(60)
"""


@pytest.mark.parametrize("moment", ["push", "run", "between"])
def test_nothing_is_left_after_the_lease_of_a_killed_program(
    any_phone, tmp_path, moment
):
    big = make_file(tmp_path, size_bytes=1 << 20)
    any_phone.pause_s = 0.02  # all files take longer than the lease
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, any_phone.serial, moment, str(big)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )
    assert process.stdout.readline() == "ready\n"
    assert any_phone.get("fixed") == "true"
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert any_phone.left_behind
    wait_until_clean(any_phone)
    assert any_phone.get("fixed") == "false"
    time.sleep(1)  # nobody is left who would push
    assert any_phone.left_behind == []


def test_a_lease_that_is_renewed_does_not_end(any_phone, any_adb):
    with Workspace(any_adb, 2) as space:
        for _ in range(4):
            time.sleep(0.8)
            assert space.run(["ls", "lease"], 20).stdout.strip() == "lease"
    wait_until_clean(any_phone)


def test_a_folder_whose_lease_ended_is_named(any_adb, any_phone):
    with Workspace(any_adb, 0.2) as space:
        wait_until_clean(any_phone)
        with pytest.raises(
            DeviceError, match=f"^{any_phone.serial}: .*{space.folder} is gone"
        ) as told:
            space.run(["echo"], 20)
    assert "\n" not in str(told.value)


def test_a_watchdog_that_died_is_replaced(any_adb, any_phone):
    with Workspace(any_adb, 60) as space:
        (name,) = any_phone.left_behind
        watchdog = any_phone.tmp / name / "watchdog"
        first = watchdog.read_text()
        # Its nap goes on, and ends by itself.
        space.run(["sh", "-c", "kill -9 $(cat watchdog)"], 20)
        wait_for_processes(any_phone, 1)
        space.run(["echo"], 20)
        wait_for_processes(any_phone, 3)
        assert watchdog.read_text() != first


def test_what_nobody_watches_is_removed_by_the_next(any_adb, any_phone):
    abandoned, alive = Workspace(any_adb, 60), Workspace(any_adb, 60)
    with alive:
        abandoned.__enter__()
        abandoned.run(["sh", "-c", "kill -9 $(cat watchdog)"], 20)
        assert len(any_phone.left_behind) == 2
        with Workspace(any_adb, 60) as space:
            names = [s.folder.rpartition("/")[2] for s in (space, alive)]
            assert any_phone.left_behind == sorted(names)
        alive.run(["echo"], 20)


def test_nothing_depends_on_the_clock(any_phone, any_adb, space):
    # The times of all files jump; a lease neither ends nor lasts for it.
    for stamp in ("197001010000", "203001010000"):
        space.run(["sh", "-c", f"touch -t {stamp} . lease watchdog"], 20)
        assert space.run(["echo", "still"], 20).stdout == "still\n"
    with Workspace(any_adb, 2) as short:
        short.run(["sh", "-c", "touch -t 203001010000 . lease"], 20)
        deadline = time.monotonic() + 10
        while len(any_phone.left_behind) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)


# Phones that lack something.


def lacking(phone, *names):
    """Takes programs away from a phone, by names that do not work.

    A name is in front of PATH; what it stands for says that it is not there.
    """
    for name in names:
        path = phone.root / "bin" / name
        path.write_text("#!/bin/sh\nexit 127\n")
        path.chmod(0o755)


def test_a_phone_without_sha256sum_is_checked_by_md5sum(
    space, any_phone, tmp_path
):
    lacking(any_phone, "sha256sum")
    path = make_file(tmp_path)
    space.put({"file": path})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspaces, "_md5", lambda path: "0" * 32)
        with pytest.raises(DeviceError, match="did not arrive as it is"):
            space.put({"file": path})


def test_a_phone_that_can_check_nothing_says_so(space, any_phone, tmp_path):
    lacking(any_phone, "sha256sum", "md5sum", "toybox", "busybox")
    with pytest.raises(
        DeviceError, match=f"^{any_phone.serial}: expected the program sha256"
    ):
        space.put({"file": make_file(tmp_path)})


def without_setsid(monkeypatch):
    monkeypatch.setattr(
        workspaces, "_ENTER",
        workspaces._ENTER.replace("command -v setsid", "true"),
    )


def test_a_phone_without_setsid_is_cleaned_too(
    any_phone, any_adb, monkeypatch
):
    without_setsid(monkeypatch)
    with Workspace(any_adb, 60) as space:
        any_phone.pull_the_cable(away_s=0.5)
        assert space.run(["echo", "back"], 20).stdout == "back\n"
    wait_until_clean(any_phone)
    abandoned = Workspace(any_adb, 1, [*FIXED, "true"], [*FIXED, "false"])
    abandoned.__enter__()
    any_phone.pull_the_cable()
    wait_until_clean(any_phone)
    assert any_phone.get("fixed") == "false"


@pytest.mark.parametrize("has_setsid", [True, False])
def test_a_shell_that_is_a_terminal_hangs_up_on_nobody_of_ours(
    daemon_phone, monkeypatch, has_setsid
):
    # As on phones before Android 7, which have no other shell.
    client = Adb._client

    def in_a_terminal(self, words, timeout_s=None):
        if words[0] == "shell":
            words = ["shell", "-t", "-t", *words[1:]]
        return client(self, words, timeout_s)

    monkeypatch.setattr(Adb, "_client", in_a_terminal)
    if not has_setsid:
        without_setsid(monkeypatch)
    adb = Adb(daemon_phone.serial, timeout_s=20, patience_s=20)
    with Workspace(adb, 60) as space:
        wait_for_processes(daemon_phone, 2)
        assert space.run(["printf", r"a\nb\n"], 20).stdout == "a\nb\n"
        assert space.run(["sh", "-c", "exit 7"], 20).returncode == 7
    wait_until_clean(daemon_phone)


def test_a_phone_without_the_folder_for_programs_says_so(any_phone, any_adb):
    any_phone.tmp.rmdir()
    with pytest.raises(
        DeviceError, match=f"^{any_phone.serial}: .*/data/local/tmp.*No such"
    ) as told:
        with Workspace(any_adb):
            pass
    assert "\n" not in str(told.value)
    any_phone.tmp.mkdir()


def test_a_file_that_cannot_be_run_is_made_executable(space, tmp_path):
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\necho ran\n")
    path.chmod(0o600)
    space.put({"program": path})
    assert space.run(["./program"], 20).returncode == 126
    space.make_executable("program")
    assert space.run(["./program"], 20).stdout == "ran\n"
    assert "probe" not in space.run(["ls"], 20).stdout


@pytest.mark.parametrize("state", ["unauthorized", "offline"])
def test_a_phone_that_is_not_ready_names_itself(
    phone, fast_adb, state, monkeypatch
):
    from android_bench import adb

    monkeypatch.setattr(adb, "_CONNECT_S", 0.5)
    phone.state = state
    phone.pull_the_cable()
    impatient = Adb(phone.serial, patience_s=1)
    with pytest.raises(
        DeviceError, match=f"^{phone.serial} is .*during making a folder"
    ) as told:
        with Workspace(impatient):
            pass
    assert "\n" not in str(told.value)
    assert phone.left_behind == []
