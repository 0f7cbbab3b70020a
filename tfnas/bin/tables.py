"""Makes the latency table of a search space: measured, calibrated, saved."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tflite_bench import build
from tflite_bench import writer
from tflite_bench.device import Device
from tflite_bench.device import HostDevice
from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.cost.calibration import calibrate
from tfnas.cost.counting import count
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ConfigError
from tfnas.spaces import Space

_DRAWS_PER_NET = 8


def get_device(
    name: str,
    runtime: str = "litert",
    threads: int = 1,
    benchmark_binary: str | None = None,
    fixed_performance: bool = False,
    journal: str | os.PathLike | None = None,
) -> Device:
    """Returns the device that a `--device` flag names.

    Args:
        name: `"host"`, `"adb:SERIAL"`, or `"adb"` for the only phone.
        runtime: The TFLite runtime of the host.
        threads: Threads of the runtime.
        benchmark_binary: The program that runs on a phone.
        fixed_performance: Whether to hold the clocks of a phone.
        journal: Where to write down what runs on a phone.

    Raises:
        ConfigError: for an unknown device, or a phone without a program.
        DeviceError: when there is no such phone.
    """
    kind, _, serial = name.partition(":")
    if name == "host":
        return HostDevice(runtime, threads)
    if kind != "adb":
        raise ConfigError(
            "Expected device `host`, `adb` or `adb:SERIAL`. "
            f"Received: device={name!r}"
        )
    if not benchmark_binary:
        raise ConfigError(
            "Expected the program that runs on the phone, the official "
            "`benchmark_model` for Android say, as --benchmark_binary. "
            f"Received: device={name!r}"
        )
    # Only here: these need a Unix system.
    from android_bench.benchmark import Options
    from android_bench.benchmark import Tool
    from android_bench.campaign import Settings
    from android_bench.phone import AdbDevice

    return AdbDevice(
        serial or None,
        Tool(benchmark_binary, Options(threads)),
        Settings(fixed_performance=fixed_performance),
        writer.write_key(build.REFERENCE, "int8"),
        journal,
    )


def build_table(
    space: Space,
    path: str | os.PathLike,
    device: Device | None = None,
    dtype: str = "int8",
    rounds: int = 25,
    nets: int = 5,
    strict: bool = True,
    entries: str = "isolated",
    progress: bool = True,
) -> LatencyTable:
    """Measures every operator of a space on a device.

    The same call after a kill goes on where it stopped; after the end it
    reads the journal and measures nothing.

    Args:
        space: The space.
        path: Where to save the table; the journal is put beside it.
        device: Defaults to this machine.
        dtype: `"float32"` or `"int8"`.
        rounds: Least number of rounds of each operator.
        nets: Whole networks to measure with the operators; from 3 on the
            table is calibrated with them.
        strict: Whether a machine too restless for believable rows is an
            error, or only noted in the table's `conditions`.
        entries: What a row is; see `tflite_bench.build.Job`.
        progress: Whether to show a progress bar.

    Returns:
        The table, with the networks in it.

    Raises:
        DeviceError: when the device fails or does not settle.
        ConfigError: when the journal is of another device, dtype or tool.
    """
    job = build.Job(
        tuple(space.lut_keys()),
        tuple(spanning_nets(space, nets)),
        dtype,
        rounds,
        strict,
        entries,
    )
    value = build.build(job, device or HostDevice(), path, progress)
    artifacts.write_json(path, value)
    table = LatencyTable.load(path)
    if nets >= 3:
        table = calibrate(table)
        table.save(path)
    return table


def spanning_nets(space: Space, number: int, seed: int = 0) -> list[Arch]:
    """Draws networks that span the range of costs of a space.

    Args:
        space: The space.
        number: How many.
        seed: Of the draw; equal seeds give equal networks.

    Returns:
        Networks of distinct cost, the cheapest first, evenly spaced among
        random ones by their multiply-adds.
    """
    return evenly(
        [
            space.sample(number * _DRAWS_PER_NET * seed + i)
            for i in range(number * _DRAWS_PER_NET)
        ],
        number,
    )


def evenly(archs: Sequence[Arch], number: int) -> list[Arch]:
    """Returns some of the networks, evenly spaced by multiply-adds."""
    ranked = sorted(archs, key=lambda arch: count(arch).madds)
    if number < 2:
        return ranked[:number]
    step = (len(ranked) - 1) / (number - 1)
    return [ranked[round(i * step)] for i in range(number)]
