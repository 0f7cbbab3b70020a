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
    [ "$(cat "$core/online")" = 0 ] && continue
    echo "$core" $(cat "$core/cpufreq/cpuinfo_max_freq") \
        $(cat "$core/cpufreq/scaling_governor")
done 2>/dev/null
"""
_NEXT = "tfnas-next"
_STATE = f"""
dumpsys thermalservice
echo; echo {_NEXT}
dumpsys battery
echo; echo {_NEXT}
cat /sys/class/thermal/thermal_zone*/temp
echo; echo {_NEXT}
cd /sys/devices/system/cpu
for core in cpu[0-9]*; do
    for file in cpuinfo_max_freq scaling_max_freq scaling_cur_freq; do
        echo "$core" $file $(cat "$core/cpufreq/$file")
    done
done
"""
_CORE = re.compile(
    r"/cpu([0-9]{1,3})(?: ([0-9]{1,9}))?(?: (\S+))?$", re.ASCII
)
_PROPERTY = re.compile(r"^\[(.+?)\]: \[(.*)\]$", re.MULTILINE)
_CHIP = ("ro.soc.model", "ro.board.platform", "ro.hardware")
_NUMBER = r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
_THERMAL_STATUS = re.compile(r"^Thermal Status: ([0-9]{1,3})\b", re.MULTILINE)
# The first of these that is there is believed: the other may be old.
_SENSOR_LISTS = ("Current temperatures from HAL:", "Cached temperatures:")
_SENSOR = re.compile(
    rf"^\s*Temperature\{{mValue={_NUMBER}, mType=([0-9]{{1,2}}),"
    r"[^{}\n]*\}\s*$", re.MULTILINE,
)
_GPU, _SKIN = 1, 3  # types of sensors
_BATTERY_FIELD = re.compile(r"^\s*([\w ]+): (\S+)\s*$", re.MULTILINE)
_CLOCK = re.compile(
    r"^cpu([0-9]{1,3}) (\w+_freq) ([0-9]{1,9})\s*$", re.MULTILINE | re.ASCII
)
# What can be, in Celsius; what is outside comes of a sensor that is none.
_COLDEST_C, _HOTTEST_C = -40.0, 150.0
_FASTEST_MHZ = 20_000
_MAX_STATUS = 6  # `shutdown`
_MAX_NAME = 200


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
    found = parse_clusters(text)
    if not found:
        raise DeviceError(
            f"{adb.serial}: expected cores in /sys/devices/system/cpu. "
            f"Received: {text[:200]!r}"
        )
    return found


def parse_clusters(text: str) -> list[Cluster]:
    """Reads cores, one a line: folder, highest clock in kHz, governor."""
    kinds: dict[tuple[int, str], set[int]] = {}
    for line in text.splitlines():
        if found := _CORE.search(line.rstrip()):
            core, khz, governor = found.groups()
            kind = (_mhz(khz), _printable(governor or "unknown"))
            kinds.setdefault(kind, set()).add(int(core))
    return [
        Cluster(tuple(sorted(cores)), mhz, governor)
        for (mhz, governor), cores in sorted(kinds.items())
    ]


def _mhz(khz: str | None) -> int:
    mhz = int(khz or 0) // _MILLI
    return mhz if mhz <= _FASTEST_MHZ else 0


def _printable(text: str) -> str:
    return "".join(x for x in text if x.isprintable())[:_MAX_NAME]


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
    properties = parse_properties(listing)
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


def parse_properties(text: str) -> dict[str, str]:
    """Reads what `getprop` prints: `[name]: [value]` a line."""
    return {
        name: _printable(value) for name, value in _PROPERTY.findall(text)
    }


def _system(properties: Mapping[str, str], kernel: str) -> str:
    release = properties.get("ro.build.version.release")
    abi = properties.get("ro.product.cpu.abi", "")
    return f"Android {release} {abi}".strip() if release else kernel


@dataclasses.dataclass(frozen=True)
class State:
    """How a phone is doing; `None` for what it does not tell.

    Args:
        thermal_status: 0 none, 1 light, 2 moderate, 3 severe, up to 6.
        hottest_c: Temperature of the hottest sensor, in Celsius.
        battery_percent: Charge of the battery.
        battery_c: Its temperature, in Celsius.
        charging: Whether it is being charged.
        gpu_c: Temperature of the GPU, in Celsius.
        skin_c: Temperature of the case, in Celsius.
        clocks: The clocks, one for each kind of core, the slowest first.
    """

    thermal_status: int | None = None
    hottest_c: float | None = None
    battery_percent: int | None = None
    battery_c: float | None = None
    charging: bool | None = None
    gpu_c: float | None = None
    skin_c: float | None = None
    clocks: tuple[Clock, ...] = ()

    @property
    def throttled(self) -> bool | None:
        """Whether the phone holds any clock down now."""
        known = [c.limit_mhz < c.max_mhz for c in self.clocks if c.limit_mhz]
        return any(known) if known else None


@dataclasses.dataclass(frozen=True)
class Clock:
    """What cores of one kind run at.

    Args:
        max_mhz: The highest clock that they are built for.
        limit_mhz: The highest that the phone lets them have now; 0 where it
            does not tell.
        now_mhz: The clock of the fastest of them now; 0 likewise.
    """

    max_mhz: int
    limit_mhz: int
    now_mhz: int


def state(adb: Adb) -> State:
    """Returns how a phone is doing."""
    text = adb.shell(["sh", "-c", _STATE], check=False).stdout
    parts = text.split(f"\n{_NEXT}\n")
    thermal, battery, zones, clocks = (parts + [""] * 4)[:4]
    return parse_state(thermal, battery, zones, clocks)


def parse_state(
    thermal: str, battery: str, zones: str, clocks: str = ""
) -> State:
    """Reads what `dumpsys`, the thermal zones and the clocks say.

    Args:
        thermal: Output of `dumpsys thermalservice`.
        battery: Output of `dumpsys battery`.
        zones: One line a zone, in thousandths of a degree.
        clocks: One line a core and file: `cpu0 scaling_cur_freq 1800000`.
    """
    status = _THERMAL_STATUS.search(thermal)
    fields = dict(_BATTERY_FIELD.findall(battery))
    sensors = _sensors(thermal)
    # Zones without a sensor read 0 or an absurd number.
    hot = [
        int(word) / _MILLI
        for word in zones.split()
        if re.fullmatch("[0-9]{1,9}", word)
        and 0 < int(word) <= _HOTTEST_C * _MILLI
    ]
    powered = [v for k, v in fields.items() if k.endswith(" powered")]
    percent = _number(fields.get("level"), 0, 100)
    return State(
        _whole(_number(status[1], 0, _MAX_STATUS)) if status else None,
        max(hot, default=max(
            (c for each in sensors.values() for c in each), default=None
        )),
        _whole(percent),
        _number(fields.get("temperature"), _COLDEST_C, _HOTTEST_C, 10),
        "true" in powered if powered else None,
        max(sensors.get(_GPU, ()), default=None),
        max(sensors.get(_SKIN, ()), default=None),
        _clocks(clocks),
    )


def _number(
    text: str | None, low: float, high: float, unit: float = 1
) -> float | None:
    if text is None or not re.fullmatch(_NUMBER, text):
        return None
    value = float(text) / unit
    return value if low <= value <= high else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _sensors(thermal: str) -> dict[int, list[float]]:
    """Returns the temperatures by type of sensor, in Celsius."""
    for heading in _SENSOR_LISTS:
        _, found, text = thermal.partition(heading)
        if not found:
            continue
        # The list ends where the next heading, at the margin, begins.
        text = re.split(r"\n(?=\S)", text, maxsplit=1)[0]
        sensors: dict[int, list[float]] = {}
        for value, kind in _SENSOR.findall(text):
            celsius = _number(value, _COLDEST_C, _HOTTEST_C)
            if celsius is not None:
                sensors.setdefault(int(kind), []).append(celsius)
        if sensors:
            return sensors
    return {}


def _clocks(text: str) -> tuple[Clock, ...]:
    cores: dict[int, dict[str, int]] = {}
    for core, name, khz in _CLOCK.findall(text):
        if mhz := _mhz(khz):
            cores.setdefault(int(core), {})[name] = mhz
    kinds: dict[int, list[dict[str, int]]] = {}
    for core in cores.values():
        if "cpuinfo_max_freq" in core:
            kinds.setdefault(core["cpuinfo_max_freq"], []).append(core)
    return tuple(
        Clock(
            mhz,
            min((c["scaling_max_freq"] for c in same
                 if "scaling_max_freq" in c), default=0),
            max(c.get("scaling_cur_freq", 0) for c in same),
        )
        for mhz, same in sorted(kinds.items())
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

    def objection(
        self, now: State, before: State | None = None
    ) -> str | None:
        """Returns why a phone is not fit, or `None` when it is.

        Args:
            now: How it is.
            before: How it was at first; clocks that it holds lower now are
                an objection.
        """
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
        return lowered(before, now) if before else None


def lowered(before: State, now: State) -> str | None:
    """Returns which clock a phone holds down that it did not before."""
    limits_mhz = {clock.max_mhz: clock.limit_mhz for clock in before.clocks}
    for clock in now.clocks:
        usual_mhz = limits_mhz.get(clock.max_mhz, 0)
        if 0 < clock.limit_mhz < usual_mhz:
            return (
                f"cores of {clock.max_mhz} MHz are held at "
                f"{clock.limit_mhz} MHz, {usual_mhz} MHz before"
            )
    return None


def wait_until_fit(
    adb: Adb,
    gates: Gates,
    tell: Callable[[str], None] = print,
    before: State | None = None,
) -> None:
    """Waits until a phone is fit to be measured.

    Args:
        adb: The phone.
        gates: What it must meet.
        tell: Called once with what it waits for.
        before: How it was at first; see `Gates.objection`.

    Raises:
        DeviceError: when it does not become fit in time, or its battery is
            low and nothing charges it.
    """
    deadline = time.monotonic() + gates.wait_s
    told = False
    while objection := gates.objection(now := state(adb), before):
        # Only a low charge gets no better by waiting.
        cooling = gates.objection(
            dataclasses.replace(now, battery_percent=None), before
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
