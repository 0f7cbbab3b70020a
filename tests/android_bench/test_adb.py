"""The real adb client and server, against a phone that misbehaves."""

import os
import shlex
import shutil
import subprocess
import threading
import time

import pytest

from android_bench import adb
from android_bench.adb import Adb
from android_bench.lock import lock
from android_bench.workspace import Workspace
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

HOSTILE = "a b'c\"d; touch pwned $(touch pwned) `touch pwned` & #é\\.bin"


@pytest.fixture
def big_file(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(4 << 20))
    return path


def test_exit_code_and_both_outputs_come_back(any_adb):
    script = ["sh", "-c", "echo out; echo err >&2; exit 7"]
    done = any_adb.shell(script, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    with pytest.raises(DeviceError, match="ended with 7: out err$"):
        any_adb.shell(script)


@pytest.mark.parametrize(
    "script, code, said",
    [
        ("printf abc", 0, "abc"),
        (r"printf 'a\377b\000c'", 0, "a\ufffdb\0c"),
        ("true", 0, ""),
        ("kill -9 $$", 137, ""),
        ("kill -SEGV $$", 139, ""),
        ("exit 255", 255, ""),
        ("head -c 300000 /dev/zero | tr '\\0' x", 0, "x" * 300_000),
    ],
)
def test_every_end_and_every_output_comes_back(any_adb, script, code, said):
    done = any_adb.shell(["sh", "-c", script], check=False)
    assert (done.returncode, done.stdout) == (code, said)


def test_words_reach_the_phone_as_they_are(any_adb, any_phone):
    words = [HOSTILE, "", "*", "~", "two\nlines", "-n"]
    done = any_adb.shell(["printf", "%s|", *words])
    assert done.stdout == "".join(f"{word}|" for word in words)
    assert not list(any_phone.root.glob("*pwned*"))
    assert not any_phone.left_behind


def test_a_long_command_is_run_or_refused(any_adb, any_phone):
    assert any_adb.shell(["printf", "x" * 60_000]).stdout == "x" * 60_000
    with pytest.raises(DeviceError, match=f"{any_adb.serial}: expected a com"):
        any_adb.shell(["printf", "x" * 66_000])


def test_hostile_file_names_survive_push_and_pull(
    any_adb, any_phone, tmp_path, big_file
):
    source = tmp_path / HOSTILE
    source.write_bytes(big_file.read_bytes())
    any_adb.push([source], f"/data/local/tmp/{HOSTILE}")
    assert any_phone.left_behind == [HOSTILE]
    back = tmp_path / "back.bin"
    any_adb.pull(f"/data/local/tmp/{HOSTILE}", back)
    assert back.read_bytes() == source.read_bytes()
    assert not list(tmp_path.glob("*/pwned"))


def test_what_the_owner_may_do_all_may_do_on_the_phone(
    any_adb, any_phone, tmp_path
):
    for mode, there in [(0o755, 0o777), (0o600, 0o666), (0o400, 0o444)]:
        path = tmp_path / f"{mode:o}"
        path.write_bytes(b"")
        path.chmod(mode)
        any_adb.push([path], "/data/local/tmp/file")
        found = (any_phone.tmp / "file").stat()
        assert (found.st_mode & 0o777, found.st_size) == (there, 0)


def test_a_push_makes_folders_and_follows_no_link(any_adb, any_phone, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"new")
    any_adb.shell(["sh", "-c", "cd /data/local/tmp; echo old > a; ln -s a b"])
    any_adb.push([path], "/data/local/tmp/b")
    assert (any_phone.tmp / "a").read_text() == "old\n"
    assert not (any_phone.tmp / "b").is_symlink()
    any_adb.push([path], "/data/local/tmp/c/d/e")
    assert (any_phone.tmp / "c/d/e").read_bytes() == b"new"


@pytest.mark.parametrize("words", ["missing", "remote missing", "a remote b"])
def test_a_file_that_is_not_here_is_an_error_at_once(
    any_adb, tmp_path, words
):
    start = time.monotonic()
    with pytest.raises(DeviceError, match="cannot stat"):
        any_adb.push([tmp_path / words], "/data/local/tmp/x")
    with pytest.raises(DeviceError, match="No such file|does not exist"):
        any_adb.pull(f"/data/local/tmp/{words}", tmp_path / "x")
    assert time.monotonic() - start < 10


def test_a_file_called_remote_survives_a_connection_that_breaks(
    any_adb, any_phone, tmp_path, big_file
):
    source = big_file.rename(tmp_path / "remote No such file")
    any_phone.drop_after_bytes = 1 << 20
    any_adb.push([source], "/data/local/tmp/cannot stat")
    assert any_phone.left_behind == ["cannot stat"]


def test_the_shell_alone_is_told_that_the_connection_broke(
    any_adb, any_phone
):
    script = "sleep 60 & echo $! > child; trap 'echo > told; exit' HUP; wait"
    hasty = Adb(any_phone.serial)
    words = ["exec", "sh", "-c", f"cd /data/local/tmp; {script}"]
    with pytest.raises(adb.TimedOut):
        hasty.shell(words, timeout_s=1)
    deadline = time.monotonic() + 10
    while "told" not in any_phone.left_behind:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(any_phone.processes()) == 1
    any_adb.shell(["sh", "-c", "kill $(cat /data/local/tmp/child)"])


def test_terminal_line_ends_are_taken_out(fast_adb, phone):
    phone.crlf = True
    assert fast_adb.shell(["printf", r"a\nb\n"]).stdout == "a\nb\n"


def test_a_push_survives_a_connection_that_breaks(any_adb, any_phone, big_file):
    any_phone.drop_after_bytes = 1 << 20
    any_adb.push([big_file], "/data/local/tmp/big.bin")
    assert any_phone.drop_after_bytes is None
    assert (any_phone.tmp / "big.bin").read_bytes() == big_file.read_bytes()


def test_a_command_survives_a_connection_that_breaks(any_adb, any_phone):
    any_phone.drop_in = "sleep"
    done = any_adb.shell(["sh", "-c", "sleep 0.5; echo slept"])
    assert done.stdout == "slept\n"
    assert sum("slept" in command for command in any_phone.commands) == 2


def test_a_command_survives_the_end_of_the_server(any_adb, any_phone):
    def end():
        while not any("slept" in x for x in any_phone.commands):
            time.sleep(0.05)
        subprocess.run(["adb", "kill-server"], capture_output=True)

    thread = threading.Thread(target=end)
    thread.start()
    done = any_adb.shell(["sh", "-c", "sleep 0.7; echo slept"])
    thread.join()
    assert done.stdout == "slept\n"


def test_a_serial_of_odd_characters_works_to_the_end(
    any_phone, tmp_path, monkeypatch
):
    # No phone of the tests can have such a name: a client gives it one.
    odd = f"{HOSTILE}{any_phone.serial}"
    client = tmp_path / "client" / "adb"
    client.parent.mkdir()
    client.write_text(
        f"""#!/bin/sh
odd={shlex.quote(odd)}
real={any_phone.serial}
case $1 in
devices) printf 'List of devices attached\n%s\tdevice\n' "$odd"; exit ;;
-s) [ "$2" = "$odd" ] || exit 9; shift 2 ;;
*) exit 9 ;;
esac
exec {shutil.which("adb")} -s "$real" "$@"
"""
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=":")
    phone = Adb(adb.find(odd), timeout_s=20, patience_s=2)
    with lock(odd), Workspace(phone) as space:
        space.put({"file": client})
        assert space.take("file") == client.read_bytes()
        with pytest.raises(DeviceError, match="^a b'c.*ended with 3: said$"):
            phone.shell(["sh", "-c", "echo said; exit 3"])
    assert any_phone.left_behind == []


def test_a_phone_may_vanish_for_a_while(any_adb, any_phone):
    start = time.monotonic()
    any_phone.pull_the_cable(away_s=1)
    assert any_adb.shell(["echo", "back"]).stdout == "back\n"
    assert time.monotonic() - start >= 1


def test_a_phone_that_stays_away_is_an_error(any_phone, monkeypatch):
    monkeypatch.setattr(adb, "_CONNECT_S", 0.5)
    any_phone.pull_the_cable(away_s=600)
    impatient = Adb(any_phone.serial, patience_s=1)
    with pytest.raises(DeviceError, match="did not come back within 1 s"):
        impatient.shell(["echo", "hello"])


def test_a_full_disk_is_an_error_at_once(fast_adb, phone, big_file):
    phone.free_bytes = 1 << 20
    with pytest.raises(DeviceError, match="No space left on device"):
        fast_adb.push([big_file], "/data/local/tmp/big.bin")
    assert phone.left_behind == []


def test_a_path_out_of_the_phone_is_refused(fast_adb, tmp_path):
    with pytest.raises(DeviceError, match="Permission denied"):
        fast_adb.push([__file__], "/../../outside")


def test_a_command_that_hangs_is_given_up(phone):
    hasty = Adb(phone.serial)
    start = time.monotonic()
    with pytest.raises(adb.TimedOut, match="took more than 0.5 s"):
        hasty.shell(["sleep", "60"], timeout_s=0.5)
    assert time.monotonic() - start < 5


def test_the_only_phone_needs_no_serial(phone):
    assert adb.find() == phone.serial


def test_two_phones_need_a_serial(make_phone):
    serials = [make_phone(f"Loopback {i}").serial for i in (1, 2)]
    for serial in serials:
        assert adb.find(serial) == serial
    with pytest.raises(DeviceError, match="(?s)choose by.*" + serials[0]):
        adb.find()


def test_no_phone_is_said_plainly(adb_server):
    with pytest.raises(DeviceError, match="Expected one phone.*none"):
        adb.find()
    with pytest.raises(DeviceError, match="serial='R5CT'.*attached: none"):
        adb.find("R5CT")


def test_an_unauthorized_phone_says_what_to_do(make_phone):
    phone = make_phone()
    phone.state = "unauthorized"
    with pytest.raises(DeviceError, match="unauthorized: allow USB debug"):
        adb.find(phone.serial)


def test_an_offline_phone_says_what_to_do(make_phone, monkeypatch):
    monkeypatch.setattr(adb, "_CONNECT_S", 1)
    phone = make_phone()
    phone.state = "offline"
    with pytest.raises(DeviceError, match="offline: plug the phone in again"):
        adb.find(phone.serial)


def test_a_missing_adb_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="apt-get install adb"):
        adb.attached()
