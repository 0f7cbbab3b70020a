"""What releases of `adb` print for phones in all their states."""

import pytest

from android_bench import adb
from android_bench import listing
from android_bench.listing import Attached
from tests.android_bench.test_adb import HOSTILE
from tfnas.errors import DeviceError

HEADING = "List of devices attached\n"
STARTED = (
    "* daemon not running. starting it now on port 5037 *\n"
    "* daemon started successfully *\n"
)
NEWER = "adb server version (41) doesn't match this client (39); killing...\n"
WIRELESS = "adb-S1-x9 (2)._adb-tls-connect._tcp"
RULES = (
    "no permissions (user in plugdev group; are your udev rules wrong?); "
    "see [http://developer.android.com/tools/device.html]"
)
COLUMNS = "usb:1-2.4 product:oriole model:Pixel_6 device:oriole transport_id:7"


@pytest.mark.parametrize(
    "text",
    [
        HEADING + "S1\tdevice\n\n",
        "List of devices attached \nS1\tdevice\n\n",
        HEADING.replace("\n", "\r\n") + "S1\tdevice\r\n\r\n",
        STARTED + HEADING + "S1\tdevice\n\n",
        HEADING + STARTED + "S1\tdevice\n\n",
        NEWER + STARTED + HEADING + "S1\tdevice\n",
        HEADING + NEWER + "S1\tdevice\n",
        HEADING + "S1          device\n",
        HEADING + "S1\tdevice",
    ],
)
def test_a_ready_phone_is_found_in_every_form(text):
    assert listing.parse(text) == [Attached("S1", "device")]


@pytest.mark.parametrize(
    "text", ["", "\n", HEADING, HEADING + "\n\n", STARTED + HEADING, STARTED]
)
def test_no_phone_is_none(text):
    assert listing.parse(text) == []


@pytest.mark.parametrize(
    "serial",
    [
        "S1", WIRELESS, "192.168.1.5:5555", "[fe80::1%wlan0]:5555", "????????",
        "emulator-5554", "a b  c", "device", "my device", HOSTILE, "no.1:x",
    ],
)
@pytest.mark.parametrize(
    "state",
    [
        "device", "offline", "unauthorized", "authorizing", "connecting",
        "recovery", "sideload", "bootloader", "rescue", "host", "detached",
        "no permissions", RULES,
    ],
)
@pytest.mark.parametrize("form", ["short", "spaced", "long"])
def test_every_serial_and_state_are_told_apart(serial, state, form):
    line = f"{serial}\t{state}"
    if form == "spaced":
        line = f"{serial:<22} {state}"
    elif form == "long":
        line = f"{serial:<22} {state} {COLUMNS}"
    other = "S0\tdevice\n"
    first, second, third = listing.parse(f"{HEADING}{other}{line}\n{other}")
    assert first == third == Attached("S0", "device")
    transport = "7" if form == "long" else None
    assert second == Attached(serial, state, transport)


@pytest.mark.parametrize(
    "state, advice",
    [
        ("unauthorized", "dialog"), ("authorizing", "dialog"),
        ("offline", "plug"), ("recovery", "adb -s S1 reboot"),
        ("sideload", "adb -s S1 reboot"), ("rescue", "adb -s S1 reboot"),
        ("bootloader", "fastboot reboot"), (RULES, "udev"),
        ("host", "computer"), ("connecting", "wait"),
        ("detached", "adb -s S1 attach"),
    ],
)
def test_a_phone_that_is_not_ready_says_what_to_do(
    fake_adb, monkeypatch, state, advice
):
    monkeypatch.setattr(adb, "_SETTLE_S", 0.1)
    fake_adb(f"{HEADING}S1\t{state}\n")
    with pytest.raises(DeviceError, match=f"^S1 is {state[:8]}.*{advice}"):
        adb.find("S1")
    with pytest.raises(DeviceError, match=f"^S1 is {state[:8]}.*{advice}"):
        adb.find()


@pytest.fixture
def fake_adb(monkeypatch, tmp_path):
    """Puts a client in PATH that prints what it is told.

    No machine has phones in all these states.
    """

    def make(short, long="", code=0):
        script = tmp_path / "adb"
        for name, text in (("short", short), ("long", long)):
            (tmp_path / name).write_text(text)
        script.write_text(
            '#!/bin/sh\n[ "$1" = devices ] || exit 1\n'
            f'cat "{tmp_path}/$([ "$2" ] && echo long || echo short)"\n'
            f"exit {code}\n"
        )
        script.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return make


def test_phones_of_one_serial_are_refused_and_can_be_told_apart(fake_adb):
    line = "0123456789ABCDEF       device usb:1-{0} transport_id:{0}\n"
    fake_adb(
        f"{HEADING}0123456789ABCDEF\tdevice\n0123456789ABCDEF\tdevice\n",
        HEADING + line.format(3) + line.format(4),
    )
    message = "^0123456789ABCDEF: 2 phones.*ids: 3, 4.*adb -t 3 tcpip"
    with pytest.raises(DeviceError, match=message):
        adb.find("0123456789ABCDEF")
    with pytest.raises(DeviceError, match=message):
        adb.Adb("0123456789ABCDEF").wait()


def test_a_serial_of_any_form_is_found(fake_adb):
    for serial in (WIRELESS, "a b  c", HOSTILE, "[::1]:5555", "1.2.3.4:5555"):
        fake_adb(f"{HEADING}{serial}\tdevice\n")
        assert adb.find() == adb.find(serial) == serial
    fake_adb(f"{HEADING}[fe80::1]:5555\tdevice\n1.2.3.4:5555\tdevice\n")
    assert adb.find("FE80:0::1") == "[fe80::1]:5555"
    assert adb.find("1.2.3.4") == "1.2.3.4:5555"


def test_a_client_that_fails_says_why_in_one_line(fake_adb):
    fake_adb("* failed to start daemon\nerror: cannot connect\n", code=1)
    with pytest.raises(DeviceError, match="start daemon error: cannot") as told:
        adb.find()
    assert "\n" not in str(told.value)
