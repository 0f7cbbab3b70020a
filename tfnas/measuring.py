"""Makes the latency table of a search space: measured, calibrated, saved."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from android_bench.options import Options
from tflite_bench import build
from tflite_bench import writer
from tflite_bench.device import Device
from tflite_bench.device import HostDevice
from tfnas import locks
from tfnas.arch import Arch
from tfnas.cost import lut_fields
from tfnas.cost.calibration import calibrate
from tfnas.cost.counting import count
from tfnas.cost.lut import MAX_ERROR
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut_fields import ENTRIES
from tfnas.cost.lut_fields import LEAST_NETS
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError
from tfnas.lowering import networks
from tfnas.registry import Registry
from tfnas.registry import is_path
from tfnas.spaces import Space

AUTO = "auto"
_HOST_BACKENDS = ("xnnpack", "none")
_DRAWS_PER_NET = 8
_FRESH_SEED = 2
_OWN: Registry[Callable[[str], Device]] = Registry("device", imports=True)


def get_device(
    name: str,
    runtime: str = "litert",
    threads: int = 1,
    benchmark_binary: str | None = None,
    fixed_performance: bool = False,
    journal: str | os.PathLike | None = None,
    options: Options | None = None,
) -> Device:
    """Returns the device that a `--device` flag names.

    Args:
        name: `"host"`, `"adb:SERIAL"`, or `"adb"` for the only phone; or
            the dotted path of your own `f(address)` to a `Device`, with the
            address after a colon: `"my_package.my_board.Board:ADDRESS"`.
        runtime: The TFLite runtime of the host.
        threads: Threads of the runtime.
        benchmark_binary: The program that runs on a phone.
        fixed_performance: Whether to hold the clocks of a phone.
        journal: Where to write down what runs on a phone.
        options: What the program on a phone is told; by default to run on
            XNNPACK. Operators that a delegate of the CPU leaves alone run
            on the CPU all the same, so a table may hold them.

    Raises:
        ConfigError: for an unknown device, a phone without a program, or a
            backend of phones asked of this machine.
        DeviceError: when there is no such phone.
    """
    kind, _, address = name.partition(":")
    options = options or Options(threads)
    if name == "host":
        if options.delegate not in _HOST_BACKENDS:
            raise ConfigError(
                f"Expected backend {' or '.join(_HOST_BACKENDS)} on this "
                "machine; the others are for phones (--device=adb). "
                f"Received: backend={options.delegate!r}"
            )
        return HostDevice(runtime, threads, options.delegate == "xnnpack")
    if is_path(kind):
        device = _OWN.make(kind, address)
        if not (hasattr(device, "describe") and hasattr(device, "measure")):
            _OWN.refuse(kind, device)
        return device
    if kind != "adb":
        raise ConfigError(
            "Expected device `host`, `adb`, `adb:SERIAL` or the dotted path "
            f"of your own. Received: device={name!r}"
        )
    if not benchmark_binary:
        raise ConfigError(
            "Expected the program that runs on the phone, the official "
            "`benchmark_model` for Android say, as --benchmark_binary. "
            f"Received: device={name!r}"
        )
    # Only here: these need a Unix system.
    from android_bench.benchmark import Tool
    from android_bench.campaign import Settings
    from android_bench.phone import AdbDevice

    if options.on_cpu:
        options = dataclasses.replace(options, allow_partial=True)
    # What all of these run whole; NPUs take integers.
    dtype = "float32" if options.delegate == "gpu" else "int8"
    return AdbDevice(
        address or None,
        Tool(benchmark_binary, options),
        writer.write_key(build.REFERENCE, dtype),
        Settings(fixed_performance=fixed_performance),
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
    entries: str = AUTO,
    progress: bool = True,
    lower: str = "xnnpack",
    max_error: float = MAX_ERROR,
) -> LatencyTable:
    """Measures what the networks of a space are made of, on a device.

    The same call after a kill goes on where it stopped; after the end it
    reads the journals and measures nothing.

    Args:
        space: The space.
        path: Where to save the table; the journals are put beside it.
        device: Defaults to this machine.
        dtype: `"float32"` or `"int8"`.
        rounds: Least number of rounds of each row.
        nets: Whole networks to measure with the rows; from 3 on the table
            is calibrated with them.
        strict: Whether a machine too restless for believable rows is an
            error, or only noted in the table's `conditions`.
        entries: What a row is; see `tflite_bench.build.Job`. `"auto"` is
            what the space asks for, and where predictions are off by more
            than `max_error`, the next ones are tried and the best kept.
        progress: Whether to show a progress bar.
        lower: The backend that files are written for, one of
            `tfnas.lowering.rewritings.BACKENDS`.
        max_error: Bound of `Calibration.error_percent`; a table above it
            is reported.

    Returns:
        The table, with the networks in it.

    Raises:
        DeviceError: when the device fails or does not settle.
        ConfigError: when a journal is of another device, dtype or tool, or
            the space has no such entries.
        ArtifactError: when a journal is damaged.
        Locked: when another process measures for this table.
    """
    device = device or HostDevice()
    attempts = [entries]
    if entries == AUTO:
        attempts = list(ENTRIES[ENTRIES.index(space.entries) :])
    archs = tuple(spanning_nets(space, nets))
    tables: list[LatencyTable] = []
    with locks.file(path):
        for attempt in attempts:
            # The first has the table's own journal, others have theirs beside.
            beside = f"{path}.{attempt}" if tables else path
            try:
                job = build.Job(
                    space_keys(space, attempt, dtype, lower), archs, dtype,
                    rounds, strict, attempt, lower,
                )
                value = build.build(job, device, beside, progress)
            except (ConfigError, DeviceError) as error:
                if not tables:
                    raise
                print(f"{attempt} entries: not measured: {error}")
                continue
            table = LatencyTable(**lut_fields.read(value, str(path)))
            tables.append(calibrate(table) if nets >= LEAST_NETS else table)
            if _error(tables[-1]) <= max_error:
                break
            print(f"{attempt} entries: {error_line(tables[-1])}")
    best = min(tables, key=_error)
    if _error(best) > max_error:
        print(
            f"warning: predictions of {path} are off by {_error(best):.1f} %, "
            f"more than {max_error:g} %: searches refuse it. More --rounds on "
            "a quieter machine, or more --nets, may help."
        )
    if len(attempts) > 1 and len(tables) > 1:
        print(f"kept: {best.entries} entries, {error_line(best)}")
    best = dataclasses.replace(best, source=str(path))
    best.save(path)
    return best


def space_keys(
    space: Space, entries: str, dtype: str, lower: str
) -> tuple[str, ...]:
    """Returns the keys of all rows that networks of a space need.

    Args:
        space: The space.
        entries: What a row is, one of `ENTRIES`.
        dtype: `"float32"` or `"int8"`.
        lower: The backend that files are written for.

    Raises:
        ConfigError: when the space has operators without a direct form.
    """
    if entries != "operators":
        return tuple(space.lut_keys())
    try:
        return tuple(networks.space_operator_keys(space, dtype, lower))
    except writer.UnsupportedNode as error:
        raise ConfigError(
            f"The space `{space.name}` is not made of operators that can be "
            f"measured alone; take --entries=isolated. Received: {error}"
        ) from error


def _error(table: LatencyTable) -> float:
    """The error of a table; one that was not calibrated is not judged."""
    return table.error_percent or 0.0


def error_line(table: LatencyTable) -> str:
    """Returns in one line how far a table's predictions are off."""
    if table.calibration is None:
        return "error not known: held against no networks"
    return f"off by {table.error_percent:.1f} % ({table.calibration})"


def measure_fresh(
    table: LatencyTable,
    space: Space,
    device: Device,
    number: int,
    rounds: int = 25,
) -> Fresh:
    """Holds a table against networks that are measured now.

    Args:
        table: A table that covers the space.
        space: The space.
        device: That of the table.
        number: How many networks, drawn with another seed than those that
            tables are calibrated with.
        rounds: Rounds of each.

    Raises:
        ArtifactError: when the table is of another device or runtime.
        LutMiss: with every missing key.
    """
    described = device.describe()
    table.require(device=described["device"], runtime=described["runtime"])
    table.require_space(space)
    known = {net.arch.id for net in table.networks}
    archs = [
        arch
        for arch in spanning_nets(space, number, _FRESH_SEED)
        if arch.id not in known
    ]
    with tempfile.TemporaryDirectory() as folder:
        blobs = [
            build.reference_model(table.dtype, table.entries, table.lowering),
            *(
                writer.write_arch(arch, table.dtype, table.lowering)
                for arch in archs
            ),
        ]
        paths = [
            pathlib.Path(folder) / f"{i}.tflite" for i in range(len(blobs))
        ]
        for path, blob in zip(paths, blobs, strict=True):
            path.write_bytes(blob)
        reference, *measured = device.measure(list(map(str, paths)), rounds)
    before_ms = table.header["conditions"].get("reference_ms")
    return Fresh(
        tuple(table.latency_ms(arch) for arch in archs),
        tuple(m.latency_ms for m in measured),
        reference.latency_ms / before_ms if before_ms else 1.0,
    )


@dataclasses.dataclass(frozen=True)
class Fresh:
    """Networks that a table has not seen, predicted and measured.

    Args:
        predicted_ms: What the table says.
        measured_ms: What the device says.
        slowdown: Time of the reference block beside them, by its time beside
            the table: what the machine itself adds to the error.
    """

    predicted_ms: tuple[float, ...]
    measured_ms: tuple[float, ...]
    slowdown: float = 1.0

    @property
    def errors_percent(self) -> np.ndarray:
        """By how much each prediction exceeds what was measured."""
        ratio = np.array(self.predicted_ms) / np.array(self.measured_ms)
        return 100 * (ratio - 1)

    @property
    def mape_percent(self) -> float:
        """The mean error."""
        return float(np.mean(np.abs(self.errors_percent)))

    @property
    def max_percent(self) -> float:
        """The largest error."""
        return float(np.max(np.abs(self.errors_percent)))

    @property
    def spearman(self) -> float:
        """How alike both rank the networks, at most 1."""
        a, b = (
            np.argsort(np.argsort(values))
            for values in (self.predicted_ms, self.measured_ms)
        )
        return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 else 1.0

    def __str__(self) -> str:
        return (
            f"{len(self.measured_ms)} networks measured now: off by "
            f"{self.mape_percent:.1f} % in the mean, "
            f"{self.max_percent:.1f} % at most; rank correlation "
            f"{self.spearman:.3f}; a reference block takes "
            f"{self.slowdown:.2f} times what it took with the table"
        )


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
