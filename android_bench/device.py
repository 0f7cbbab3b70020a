"""What a phone is, and what state it is in: cores, clocks, heat, battery."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from android_bench.adb import Adb
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

_MILLI = 1000
_CORES = """
for core in /sys/devices/system/cpu/cpu[0-9]*; do
    echo "$core" $(cat "$core/cpufreq/cpuinfo_max_freq") \
        $(cat "$core/cpufreq/scaling_governor")
done 2>/dev/null
"""
_NEXT = "\ntfnas-next\n"
_STATE = f"""
dumpsys thermalservice
echo "{_NEXT}"
dumpsys battery
echo "{_NEXT}"
cat /sys/class/thermal/thermal_zone*/temp
"""
_CORE = re.compile(r"/cpu([0-9]+)(?: ([0-9]+))?(?: (\S+))?$")
_PROPERTY = re.compile(r"^\[(.+?)\]: \[(.*)\]$", re.MULTILINE)
_CHIP = ("ro.soc.model", "ro.board.platform", "ro.hardware")
_THERMAL_STATUS = re.compile(r"^Thermal Status: ([0-9]+)", re.MULTILINE)
_BATTERY_FIELD = re.compile(r"^\s*([\w ]+): (\w+)\s*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Cores of one kind.

    Args:
        cores: Their numbers.
        max_mhz: Their highest clock; 0 where the phone does not tell.
        governor: What sets the clock.
    """

    cores: tuple[int, ...]
    max_mhz: int
    governor: str


def clusters(adb: Adb) -> list[Cluster]:
    """Returns the clusters of cores, the slowest first.

    Raises:
        DeviceError: when the phone shows no cores.
    """
    text = adb.shell(["sh", "-c", _CORES], check=False).stdout
    kinds: dict[tuple[int, str], list[int]] = {}
    for line in text.splitlines():
        if found := _CORE.search(line.rstrip()):
            core, khz, governor = found.groups()
            kind = (int(khz or 0) // _MILLI, governor or "unknown")
            kinds.setdefault(kind, []).append(int(core))
    if not kinds:
        raise DeviceError(
            f"{adb.serial}: expected cores in /sys/devices/system/cpu. "
            f"Received: {text[:200]!r}"
        )
    return [
        Cluster(tuple(sorted(cores)), mhz, governor)
        for (mhz, governor), cores in sorted(kinds.items())
    ]


def affinity_mask(found: Sequence[Cluster], affinity: str = "big") -> str:
    """Returns the mask of cores that `taskset` takes.

    Args:
        found: The clusters of the phone, the slowest first.
        affinity: `"big"` for the fastest cluster, `"little"` for the
            slowest, `"all"`, or a mask in hexadecimal digits.

    Raises:
        ConfigError: when it is none of these, or has no core of the phone.
    """
    every = [core for cluster in found for core in cluster.cores]
    named: Mapping[str, Sequence[int]] = {
        "big": found[-1].cores, "little": found[0].cores, "all": every,
    }
    if affinity in named:
        return f"{sum(1 << core for core in named[affinity]):x}"
    known = sum(1 << core for core in every)
    if not re.fullmatch("[0-9a-f]+", affinity) or not (
        int(affinity, 16) & known
    ):
        raise ConfigError(
            "Expected big, little, all, or a mask of the phone's cores "
            f"({known:x}) in hexadecimal. Received: affinity={affinity!r}"
        )
    return affinity


def describe(adb: Adb) -> dict[str, Any]:
    """Returns what does not change about a phone, as a JSON object."""
    found = clusters(adb)
    listing = adb.shell(["getprop"], check=False).stdout
    properties = dict(_PROPERTY.findall(listing))
    system = adb.shell(["uname", "-sm"]).stdout.strip()
    chip = next((properties[p] for p in _CHIP if properties.get(p)), system)
    name = " ".join(
        properties[p]
        for p in ("ro.product.manufacturer", "ro.product.model")
        if properties.get(p)
    )
    return {
        "name": name or adb.serial,
        "cpu": chip,
        "serial": properties.get("ro.serialno") or adb.serial,
        "fingerprint": properties.get("ro.build.fingerprint", "unknown"),
        "system": _system(properties, system),
        "cores": sum(len(cluster.cores) for cluster in found),
        "clusters": [
            {**dataclasses.asdict(c), "cores": list(c.cores)} for c in found
        ],
    }


def _system(properties: Mapping[str, str], kernel: str) -> str:
    release = properties.get("ro.build.version.release")
    abi = properties.get("ro.product.cpu.abi", "")
    return f"Android {release} {abi}".strip() if release else kernel


@dataclasses.dataclass(frozen=True)
class State:
    """How a phone is doing; `None` for what it does not tell.

    Args:
        thermal_status: 0 none, 1 light, 2 moderate, 3 severe, and up.
        hottest_c: Temperature of the hottest sensor, in Celsius.
        battery_percent: Charge of the battery.
        battery_c: Its temperature, in Celsius.
        charging: Whether it is being charged.
    """

    thermal_status: int | None = None
    hottest_c: float | None = None
    battery_percent: int | None = None
    battery_c: float | None = None
    charging: bool | None = None


def state(adb: Adb) -> State:
    """Returns how a phone is doing."""
    text = adb.shell(["sh", "-c", _STATE], check=False).stdout
    thermal, battery, zones = text.split(_NEXT)
    return parse_state(thermal, battery, zones)


def parse_state(thermal: str, battery: str, zones: str) -> State:
    """Reads what `dumpsys` and the thermal zones say.

    Args:
        thermal: Output of `dumpsys thermalservice`.
        battery: Output of `dumpsys battery`.
        zones: One line a zone, in thousandths of a degree.
    """
    status = _THERMAL_STATUS.search(thermal)
    fields = dict(_BATTERY_FIELD.findall(battery))
    # Zones without a sensor read 0 or an absurd number.
    hot = [
        int(word) / _MILLI
        for word in zones.split()
        if word.isdigit() and 0 < int(word) < 150 * _MILLI
    ]
    powered = [v for k, v in fields.items() if k.endswith(" powered")]
    return State(
        int(status[1]) if status else None,
        max(hot, default=None),
        int(fields["level"]) if "level" in fields else None,
        int(fields["temperature"]) / 10 if "temperature" in fields else None,
        "true" in powered if powered else None,
    )


@dataclasses.dataclass(frozen=True)
class Gates:
    """When a phone is fit to be measured.

    Args:
        max_thermal_status: Highest thermal status; see `State`.
        max_battery_c: Highest temperature of the battery.
        min_battery_percent: Least charge.
        wait_s: How long to wait for a phone to become fit.
        poll_s: How often to look.
    """

    max_thermal_status: int = 0
    max_battery_c: float = 40.0
    min_battery_percent: int = 20
    wait_s: float = 900
    poll_s: float = 10

    def objection(self, now: State) -> str | None:
        """Returns why a phone is not fit, or `None` when it is."""
        if (now.thermal_status or 0) > self.max_thermal_status:
            return (
                f"thermal status is {now.thermal_status}, at most "
                f"{self.max_thermal_status} is expected"
            )
        if (now.battery_c or 0) > self.max_battery_c:
            return (
                f"battery is at {now.battery_c:g} C, at most "
                f"{self.max_battery_c:g} is expected"
            )
        if (
            now.battery_percent is not None
            and now.battery_percent < self.min_battery_percent
        ):
            return (
                f"battery is at {now.battery_percent} %, at least "
                f"{self.min_battery_percent} is expected"
            )
        return None


def wait_until_fit(
    adb: Adb, gates: Gates, tell: Callable[[str], None] = print
) -> None:
    """Waits until a phone is fit to be measured.

    Args:
        adb: The phone.
        gates: What it must meet.
        tell: Called once with what it waits for.

    Raises:
        DeviceError: when it does not become fit in time, or its battery is
            low and nothing charges it.
    """
    deadline = time.monotonic() + gates.wait_s
    told = False
    while objection := gates.objection(now := state(adb)):
        # Only a low charge gets no better by waiting.
        cooling = gates.objection(
            dataclasses.replace(now, battery_percent=None)
        )
        if not cooling and now.charging is False:
            raise DeviceError(
                f"{adb.serial}: {objection}, and it is not charging."
            )
        if time.monotonic() > deadline:
            raise DeviceError(
                f"{adb.serial}: {objection}, for {gates.wait_s:g} s already."
            )
        if not told:
            tell(f"{adb.serial}: waiting: {objection}")
            told = True
        time.sleep(gates.poll_s)
