"""What a phone is and how it is doing."""

import dataclasses

import pytest

from android_bench import device
from android_bench.device import Clock
from android_bench.device import Cluster
from android_bench.device import Gates
from android_bench.device import State
from tests.adb_device.phone import BATTERY
from tests.adb_device.phone import THERMAL
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

LITTLE = Cluster((0, 1, 2, 3), 1800, "schedutil")
BIG = Cluster((4, 5, 6), 2400, "schedutil")
PRIME = Cluster((7,), 2800, "schedutil")


def test_a_phone_is_described(fast_adb, phone):
    found = device.describe(fast_adb)
    assert found["name"] == "tfnas Loopback 1"
    assert found["cpu"] == "LB1"
    assert found["fingerprint"] == "tfnas/loopback/1:14/TEST/1:user/keys"
    assert found["system"] == "Android 14 arm64-v8a"
    assert found["serial"] == "Loopback1"
    assert found["cores"] == 6
    assert found["clusters"] == [
        {"cores": [0, 1, 2, 3], "max_mhz": 1800, "governor": "schedutil"},
        {"cores": [4, 5], "max_mhz": 2400, "governor": "schedutil"},
    ]


def test_a_board_that_is_no_android_is_described(fast_adb, phone):
    phone.set("properties", "")
    found = device.describe(fast_adb)
    assert found["name"] == phone.serial
    assert found["system"] == found["cpu"]
    assert found["system"].startswith("Linux")


@pytest.mark.parametrize(
    "affinity, mask",
    [("big", "80"), ("little", "f"), ("all", "ff"), ("70", "70")],
)
def test_the_mask_follows_from_the_clusters(affinity, mask):
    assert device.affinity_mask([LITTLE, BIG, PRIME], affinity) == mask


@pytest.mark.parametrize("affinity", ["huge", "0", "f0", ""])
def test_a_mask_without_a_core_of_the_phone_is_refused(affinity):
    with pytest.raises(ConfigError, match="affinity="):
        device.affinity_mask([LITTLE], affinity)


FINE = State(
    0, 31.5, 85, 28.7, True, None, None,
    (Clock(1800, 1800, 900), Clock(2400, 2400, 1200)),
)


def test_the_state_is_read(any_adb):
    assert device.state(any_adb) == FINE
    assert FINE.throttled is False


def test_a_clock_that_is_held_down_is_seen(any_adb, any_phone):
    folder = any_phone.root / "sys/devices/system/cpu/cpu5/cpufreq"
    (folder / "scaling_max_freq").write_text("1500000\n")
    now = device.state(any_adb)
    assert now.clocks[1] == Clock(2400, 1500, 1200)
    assert now.throttled is True


def test_a_core_that_is_off_belongs_to_no_cluster(any_adb, any_phone):
    core = any_phone.root / "sys/devices/system/cpu/cpu5"
    (core / "online").write_text("0\n")
    assert device.clusters(any_adb)[-1].cores == (4,)


SENSORS = """Thermal Status: 1
Cached temperatures:
 Temperature{mValue=99.0, mType=1, mName=GPU, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=51.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=47.25, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=NaN, mType=1, mName=GPU1, mStatus=0}
\tTemperature{mValue=-3.4028235E38, mType=3, mName=old, mStatus=0}
\tTemperature{mValue=33.0, mType=3, mName=skin, mStatus=0}
Current cooling devices from HAL:
\tTemperature{mValue=88.0, mType=3, mName=none, mStatus=0}
"""


def test_the_gpu_and_the_case_have_temperatures():
    now = device.parse_state(SENSORS, "", "")
    assert (now.gpu_c, now.skin_c, now.hottest_c) == (47.25, 33.0, 51.5)
    cached = SENSORS.replace("Current temperatures", "No temperatures")
    assert device.parse_state(cached, "", "").gpu_c == 99.0


@pytest.mark.parametrize(
    "old, new, field",
    [
        ("temperature: 287", "temperature: -2147483648", "battery_c"),
        ("temperature: 287", "temperature: 99999", "battery_c"),
        ("temperature: 287", "temperature: -4010", "battery_c"),
        ("temperature: 287", "temperature: NaN", "battery_c"),
        ("temperature: 287", f"temperature: {'9' * 5000}", "battery_c"),
        ("level: 85", "level: 300", "battery_percent"),
        ("level: 85", "level: -1", "battery_percent"),
        ("level: 85", "level: \uff18\uff15", "battery_percent"),
        ("Status: 0", "Status: 7", "thermal_status"),
        ("Status: 0", "Status: -1", "thermal_status"),
    ],
)
def test_what_cannot_be_is_not_known(old, new, field):
    thermal = THERMAL.format(status=0).replace(old, new)
    battery = BATTERY.replace(old, new)
    now = device.parse_state(thermal, battery, "31500")
    assert getattr(now, field) is None
    assert dataclasses.replace(now, **{field: getattr(FINE, field)}) == (
        dataclasses.replace(FINE, clocks=())
    )


def test_what_a_board_does_not_tell_is_none():
    assert device.parse_state("", "", "") == State()
    assert device.parse_state("", "", "0\n-5\n45500\n").hottest_c == 45.5


def test_gates_name_what_is_wrong():
    gates, fine = Gates(), State(0, 31.5, 85, 28.7, True)
    assert gates.objection(fine) is None
    assert gates.objection(State()) is None
    for change, words in [
        ({"thermal_status": 2}, "thermal status is 2"),
        ({"battery_c": 41.0}, "battery is at 41 C"),
        ({"battery_percent": 5}, "battery is at 5 %"),
    ]:
        assert words in gates.objection(dataclasses.replace(fine, **change))


def test_a_hot_phone_is_waited_for(fast_adb, phone):
    phone.set("thermal", THERMAL.format(status=3))
    told = []

    def cool_down(message):
        told.append(message)
        phone.set("thermal", THERMAL.format(status=0))

    device.wait_until_fit(fast_adb, Gates(poll_s=0.01), cool_down)
    assert len(told) == 1
    assert "thermal status is 3" in told[0]


def test_a_phone_that_stays_hot_is_an_error(fast_adb, phone):
    phone.set("thermal", THERMAL.format(status=3))
    with pytest.raises(DeviceError, match="thermal status is 3.*already"):
        device.wait_until_fit(fast_adb, Gates(wait_s=0.1, poll_s=0.01))


def test_an_empty_battery_that_nothing_charges_is_an_error_at_once(
    fast_adb, phone
):
    empty = BATTERY.replace("level: 85", "level: 9")
    phone.set("battery", empty.replace("true", "false"))
    with pytest.raises(DeviceError, match="9 %.*not charging"):
        device.wait_until_fit(fast_adb, Gates())
