"""What phones and clients print may be damaged: nothing absurd comes of it."""

import random

import pytest

from android_bench import device
from android_bench import listing
from tests.adb_device.phone import BATTERY
from tests.android_bench.test_device import SENSORS

TIMES = 10_000
CLOCKS = "".join(
    f"cpu{core} {name} {khz}\n"
    for core, khz in enumerate((1800000, 1800000, 2400000))
    for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq")
)
CORES = "".join(
    f"/sys/devices/system/cpu/cpu{i} 1800000 schedutil\n" for i in range(4)
)
PROPERTIES = "[ro.product.model]: [Loopback 1]\n[ro.serialno]: [L1]\n"
LISTING = (
    "* daemon started successfully *\nList of devices attached\n"
    "R5CT\tdevice\nadb-S1 (2)._adb-tls-connect._tcp\tdevice\n"
    "[fe80::1%wlan0]:5555     device product:x model:y transport_id:3\n"
    "XYZ\tno permissions (user in plugdev group); see [http://x]\n"
)
PIECES = [
    "", "\0", "\r", "\n\n", "\t", " ", "-", "-2147483648", "1e999", "NaN",
    "9" * 400, "inf", "\uff19", "\ufffd", "{", "}", "[", "]: [", ":", "true",
    "device", "tfnas-next", "\u2028", "0x1f", "List of devices attached",
]


def mutate(text, draw):
    """Returns a text that was cut, doubled, or overwritten in some places."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randint(0, len(text))
        end = min(len(text), start + draw.randint(0, 12))
        piece = draw.choice([*PIECES, text[start : end + 40]])
        text = text[:start] + piece + text[end:]
    return text[: draw.randint(0, len(text))] if draw.random() < 0.1 else text


def within(value, low, high):
    return value is None or low <= value <= high


def check_state(draw):
    now = device.parse_state(
        *(mutate(t, draw) for t in (SENSORS, BATTERY, "31500\n", CLOCKS))
    )
    assert within(now.thermal_status, 0, 6)
    assert within(now.battery_percent, 0, 100)
    for celsius in (now.hottest_c, now.battery_c, now.gpu_c, now.skin_c):
        assert within(celsius, -40, 150)
    for clock in now.clocks:
        assert 0 < clock.max_mhz <= 20_000
        assert 0 <= clock.limit_mhz <= 20_000
        assert 0 <= clock.now_mhz <= 20_000


def check_clusters(draw):
    for cluster in device.parse_clusters(mutate(CORES, draw)):
        assert all(0 <= core < 1000 for core in cluster.cores)
        assert 0 <= cluster.max_mhz <= 20_000
        assert cluster.governor.isprintable()


def check_properties(draw):
    found = device.parse_properties(mutate(PROPERTIES, draw))
    for name, value in found.items():
        assert name
        assert value == "" or value.isprintable()


def check_listing(draw):
    for phone in listing.parse(mutate(LISTING, draw)):
        assert phone.serial.strip() and phone.state.strip()
        assert "\n" not in phone.trouble
        assert phone.transport is None or phone.transport.isascii()


@pytest.mark.parametrize(
    "check", [check_state, check_clusters, check_properties, check_listing]
)
def test_nothing_absurd_is_read_from_damaged_output(check):
    draw = random.Random(17)
    for _ in range(TIMES):
        check(draw)
