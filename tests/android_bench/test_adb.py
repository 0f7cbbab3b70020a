"""The real adb client and server, against a phone that misbehaves."""

import os
import time

import pytest

from android_bench import adb
from android_bench.adb import Adb
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

HOSTILE = "a b'c\"d; touch pwned $(touch pwned) `touch pwned` & #é\\.bin"


@pytest.fixture
def big_file(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(4 << 20))
    return path


def test_exit_code_and_both_outputs_come_back(fast_adb):
    script = ["sh", "-c", "echo out; echo err >&2; exit 7"]
    done = fast_adb.shell(script, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    with pytest.raises(DeviceError, match="ended with 7: out\n"):
        fast_adb.shell(script)


def test_words_reach_the_phone_as_they_are(fast_adb, phone):
    words = [HOSTILE, "", "*", "~", "two\nlines", "-n"]
    done = fast_adb.shell(["printf", "%s|", *words])
    assert done.stdout == "".join(f"{word}|" for word in words)
    assert not list(phone.root.rglob("pwned"))


def test_hostile_file_names_survive_push_and_pull(
    fast_adb, phone, tmp_path, big_file
):
    source = tmp_path / HOSTILE
    source.write_bytes(big_file.read_bytes())
    fast_adb.push([source], f"/data/local/tmp/{HOSTILE}")
    assert phone.left_behind == [HOSTILE]
    back = tmp_path / "back.bin"
    fast_adb.pull(f"/data/local/tmp/{HOSTILE}", back)
    assert back.read_bytes() == source.read_bytes()
    assert not list(tmp_path.rglob("pwned"))


def test_terminal_line_ends_are_taken_out(fast_adb, phone):
    phone.crlf = True
    assert fast_adb.shell(["printf", r"a\nb\n"]).stdout == "a\nb\n"


def test_a_push_survives_a_connection_that_breaks(fast_adb, phone, big_file):
    phone.drop_after_bytes = 1 << 20
    fast_adb.push([big_file], "/data/local/tmp/big.bin")
    assert phone.drop_after_bytes is None
    assert (phone.tmp / "big.bin").read_bytes() == big_file.read_bytes()


def test_a_command_survives_a_connection_that_breaks(fast_adb, phone):
    phone.drop_in = "sleep"
    done = fast_adb.shell(["sh", "-c", "sleep 0.5; echo slept"])
    assert done.stdout == "slept\n"
    assert sum("slept" in command for command in phone.commands) == 2
    assert not phone.processes()


def test_a_phone_may_vanish_for_a_while(fast_adb, phone):
    start = time.monotonic()
    phone.pull_the_cable(away_s=1)
    assert fast_adb.shell(["echo", "back"]).stdout == "back\n"
    assert time.monotonic() - start >= 1


def test_a_phone_that_stays_away_is_an_error(phone, monkeypatch):
    monkeypatch.setattr(adb, "_CONNECT_S", 0.5)
    phone.pull_the_cable(away_s=600)
    impatient = Adb(phone.serial, patience_s=1)
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
