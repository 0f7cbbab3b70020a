"""The real adbd: what it can, its death and return, and its storage."""

import hashlib
import os
import subprocess
import threading
import time

import pytest

from android_bench.adb import Adb
from android_bench.campaign import Campaign
from android_bench.workspace import Workspace
from tests.adb_device import daemon
from tfnas.errors import DeviceError

TMP = "/data/local/tmp"


@pytest.fixture
def dying(daemon_phone):
    """Lets the daemon die in a moment, and return."""
    threads = []

    def die(after_s, away_s=1.0):
        def happen():
            time.sleep(after_s)
            daemon_phone.die()
            time.sleep(away_s)
            daemon_phone.revive()

        thread = threading.Thread(target=happen)
        thread.start()
        threads.append(thread)

    yield die
    for thread in threads:
        thread.join()


@pytest.fixture
def patient(daemon_phone):
    return Adb(daemon_phone.serial, timeout_s=60, patience_s=30)


def test_it_has_the_features_of_a_phone_of_today(daemon_phone):
    done = subprocess.run(
        ["adb", "-s", daemon_phone.serial, "features"],
        capture_output=True, text=True, check=True,
    )
    assert {"shell_v2", "stat_v2", "cmd"} <= set(done.stdout.split())


def test_it_is_seen_by_nobody_else(daemon_phone):
    with open("/proc/net/tcp") as sockets:
        assert f":{daemon.PORT:04X} 00000000:0000 0A" not in sockets.read()
    daemon_phone.run("touch", f"{TMP}/file")
    assert daemon_phone.left_behind == ["file"]
    assert not os.path.exists(f"{TMP}/file")
    daemon_phone.run("rm", f"{TMP}/file")


def test_a_large_file_goes_there_and_back(patient, daemon_phone, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * 64)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    patient.push([path], f"{TMP}/large")
    assert digest in patient.shell(["sha256sum", f"{TMP}/large"]).stdout
    patient.pull(f"{TMP}/large", tmp_path / "back")
    back = (tmp_path / "back").read_bytes()
    assert hashlib.sha256(back).hexdigest() == digest


def test_a_command_survives_the_death_of_the_daemon(patient, dying):
    dying(0.3)
    script = f"echo run >> {TMP}/runs; sleep 1; cat {TMP}/runs"
    assert patient.shell(["sh", "-c", script]).stdout == "run\nrun\n"


def test_a_push_survives_the_death_of_the_daemon(
    patient, daemon_phone, tmp_path
):
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * 32)
    deaths = []

    def die_in_the_middle():
        # However fast it is: there is a part of it, and not all.
        while not deaths:
            size_bytes = sum(
                p.stat().st_size for p in daemon_phone.tmp.iterdir()
            )
            if size_bytes:
                daemon_phone.die()
                deaths.append(size_bytes)
                daemon_phone.revive()

    thread = threading.Thread(target=die_in_the_middle)
    thread.start()
    patient.push([path], f"{TMP}/large")
    thread.join()
    assert deaths[0] < path.stat().st_size
    assert (daemon_phone.tmp / "large").read_bytes() == path.read_bytes()


def test_a_folder_of_ours_survives_the_death_of_the_daemon(
    patient, dying, daemon_phone
):
    with Workspace(patient, 60) as space:
        dying(0.3)
        words = ["sh", "-c", "sleep 0.8; echo done"]
        assert space.run(words, 20).stdout == "done\n"
    assert daemon_phone.left_behind == []
    assert daemon_phone.processes() == []


def test_a_measurement_survives_the_death_of_the_daemon(
    daemon_phone, patient, tool, settings, models, dying
):
    daemon_phone.set("benchmark.json", '{"us": 1000, "seconds": 0.2}')
    campaign = Campaign(patient, tool, settings)
    dying(2.0)
    runs = campaign.measure(models[:1], rounds=10)[0].runs
    assert len(runs) == 10
    assert {run.min_ms for run in runs} == {1.0}
    assert daemon_phone.left_behind == []
    assert daemon_phone.processes() == []


# Storage, as the kernel has it.


def mount(phone, *options):
    """Puts storage with some options in place of the phone's."""
    phone.run("mount", "-t", "tmpfs", *options, "tmpfs", TMP)


def refuses(phone, action, words):
    """Checks that one line names the phone and the reason."""
    with pytest.raises(DeviceError, match=words) as told:
        action()
    assert str(told.value).startswith(phone.serial)
    assert "\n" not in str(told.value)


def enter(adb):
    with Workspace(adb):
        pass


def test_full_storage_is_said_before_anything_is_copied(daemon_phone, patient):
    mount(daemon_phone, "-o", "size=64k")
    daemon_phone.run("sh", "-c", f"head -c 64k /dev/zero > {TMP}/full")
    words = "expected to make a folder.*No space left"
    refuses(daemon_phone, lambda: enter(patient), words)
    assert daemon_phone.left_behind == ["full"]


def test_storage_that_gets_full_is_said_at_once(
    daemon_phone, patient, tmp_path
):
    mount(daemon_phone, "-o", "size=1m")
    path = tmp_path / "large"
    path.write_bytes(bytes(4 << 20))
    start = time.monotonic()
    with Workspace(patient) as space:
        refuses(
            daemon_phone, lambda: space.put({"large": path}),
            "adb push failed:.*No space left",
        )
    assert time.monotonic() - start < 20
    assert daemon_phone.left_behind == []


def test_storage_that_cannot_be_written_is_said(daemon_phone, patient):
    mount(daemon_phone, "-o", "ro")
    refuses(daemon_phone, lambda: enter(patient), "Read-only file system")


def test_storage_that_becomes_read_only_is_said(daemon_phone, patient):
    mount(daemon_phone)
    space = Workspace(patient).__enter__()
    daemon_phone.run("mount", "-o", "remount,ro", TMP)
    refuses(
        daemon_phone, lambda: space.run(["echo"], 20), "nothing can be written"
    )
    refuses(
        daemon_phone, lambda: space.__exit__(None, None, None),
        f"{space.folder} is left there.*Read-only",
    )
    daemon_phone.run("mount", "-o", "remount,rw", TMP)
    with Workspace(patient):  # the next one removes it
        assert len(daemon_phone.left_behind) == 1
    assert daemon_phone.left_behind == []


def test_storage_where_nothing_can_be_run_is_said(
    daemon_phone, patient, tmp_path
):
    mount(daemon_phone, "-o", "noexec")
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    with Workspace(patient) as space:
        space.put({"program": path})
        refuses(
            daemon_phone, lambda: space.make_executable("program"),
            "program cannot be made executable: its storage is mounted noexec",
        )
    assert daemon_phone.left_behind == []
