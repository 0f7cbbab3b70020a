"""A phone is one program's, and free again however that program ends."""

import contextlib
import os
import pwd
import signal
import sys
import time

import pytest

from android_bench import lock as locks
from android_bench.lock import lock
from tests.android_bench.test_adb import HOSTILE
from tfnas.errors import DeviceError

OTHER_USER = 65534
SERIAL = f"S{os.getpid()}"  # locks are the whole machine's
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, to be another user"
)


@pytest.fixture(params=["name", "file"])
def way(request, monkeypatch, tmp_path):
    """Both ways to hold a lock: Linux's, and that of other systems."""
    if request.param == "file":
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(locks.tempfile, "tempdir", str(tmp_path))
    elif sys.platform != "linux":
        pytest.skip("needs Linux")
    return request.param


@contextlib.contextmanager
def program(action, user=None):
    """Forks a program that does something as a user.

    Yields:
        Its process, and what it said when it had done it.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            if user is not None:
                os.setgid(user)
                os.setuid(user)
            action(lambda text: os.write(writing, text.encode()))
        finally:
            os._exit(0)
    os.close(writing)
    try:
        yield process, os.read(reading, 4096).decode()
    finally:
        os.close(reading)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def hold(say):
    with lock(SERIAL):
        say("held")
        time.sleep(60)


def ask(say):
    try:
        with lock(SERIAL):
            say("free")
    except DeviceError as error:
        say(str(error))


def test_a_phone_is_one_programs_and_says_whose(way):
    me = pwd.getpwuid(os.geteuid()).pw_name
    whose = f"phone: process {os.getpid()} of user {me}"
    with lock(SERIAL):
        with pytest.raises(DeviceError, match=f"^{SERIAL}: another.*{whose}"):
            with lock(SERIAL):
                pass
    with lock(SERIAL):
        pass


def test_a_program_that_is_killed_leaves_the_phone_free(way):
    with program(hold) as (process, said):
        assert said == "held"
        with pytest.raises(DeviceError, match=f"process {process} of user"):
            with lock(SERIAL):
                pass
    with lock(SERIAL):
        pass


@needs_root
def test_another_users_lock_says_whose_it_is_and_ends_with_its_program():
    with program(hold, OTHER_USER) as (process, said):
        assert said == "held"
        user = pwd.getpwuid(OTHER_USER).pw_name
        with pytest.raises(DeviceError, match=f"{process} of user {user}"):
            with lock(SERIAL):
                pass
    with lock(SERIAL):
        pass


@needs_root
def test_a_program_of_another_user_sees_our_lock():
    with lock(SERIAL), program(ask, OTHER_USER) as (_, said):
        assert f"process {os.getpid()} of user root" in said
    with program(ask, OTHER_USER) as (_, said):
        assert said == "free"


@needs_root
def test_what_another_user_left_in_the_folder_blocks_nobody(tmp_path):
    # As an older program did it: a file, unreadable to others.
    tmp_path.chmod(0o1777)
    stale = tmp_path / f"tfnas-adb-{SERIAL}.lock"
    stale.touch(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks.tempfile, "tempdir", str(tmp_path))
        with program(ask, OTHER_USER) as (_, said):
            assert said == "free"


def test_a_lock_that_was_asked_for_often_is_still_one(way):
    with lock(SERIAL):
        for _ in range(200):
            with pytest.raises(DeviceError, match="another program"):
                with lock(SERIAL):
                    pass


def test_like_serials_are_other_phones(way):
    like = ["a b", "a_b", HOSTILE, "x" * 5000, "x" * 5001, "ä", "\udcff"]
    with contextlib.ExitStack() as held:
        for end in like:
            held.enter_context(lock(SERIAL + end))


@pytest.mark.parametrize(
    "kind", ["link", "hard link", "folder", "pipe", "dangling"]
)
def test_no_link_is_followed(monkeypatch, tmp_path, kind):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(locks.tempfile, "tempdir", str(tmp_path))
    with lock(SERIAL):
        (path,) = tmp_path.iterdir()
    path.unlink()
    victim = tmp_path / "victim"
    if kind != "dangling":
        victim.write_text("precious")
    if kind == "folder":
        path.mkdir()
    elif kind == "hard link":
        path.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(victim)
    with pytest.raises(DeviceError, match=f"{path}.*user"):
        with lock(SERIAL):
            pass
    assert not victim.exists() or victim.read_text() == "precious"
