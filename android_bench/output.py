"""Reads what benchmark programs print.

The official `benchmark_model` prints text that changed over its releases, so
figures are found by their names and columns by their headings. What is not
found is an error: a time of zero would look like a very fast phone.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

from tfnas.errors import DeviceError

_PREFIX = re.compile(
    r"^(?:.*?\b[IWE][/ ]\s*\w+\s*(?:\(\s*\d+\))?\s*: )?(?:INFO: )?"
)
_PAIR = re.compile(r"(\w+)=([-+.\w]+)")
_OLD_SUMMARY = "Timings (microseconds): "
# Old releases call the measurement `no stats` or `Inference`.
_CLOSING = re.compile(
    r"^(?:Average i|I)nference timings in us: .*"
    r"(?:Inference \(avg\)|Inference|no stats): ([-+.\w]+)\s*$"
)
_INIT = re.compile(r"^Initialized session in ([-+.\w]+?)ms\.?$")
_PEAK = re.compile(r"^Peak memory footprint \(MB\): .*overall=([-+.\w]+)")
_DELEGATED = re.compile(
    r"^Explicitly applied (\S+) delegate, and the model graph will be "
    r"(completely|partially) executed.*?(?:w/ (\d+) delegate kernels)?\.?$"
)
_FAILED = ("ERROR: ", "Benchmarking failed", "Failed to apply")
# Called an error, but the rest of the model then runs on the CPU.
_PARTIAL = "ERROR: Following operations are not supported by GPU delegate"
_BANNER = re.compile(r"^=+ (.+?) =+$")
_HEADING = re.compile(r"\[([^\]]+)\]")
_CELL = re.compile(r"\t\s*|\s{2,}")
_SHOWN = 600


@dataclasses.dataclass(frozen=True)
class Summary:
    """A series of runs in one process.

    Args:
        count: Number of runs.
        min_us: Fastest, in microseconds.
        avg_us: Mean.
        first_us: The first one.
        max_us: Slowest.
        std_us: Standard deviation.
    """

    count: int
    min_us: float
    avg_us: float
    first_us: float | None = None
    max_us: float | None = None
    std_us: float | None = None


@dataclasses.dataclass(frozen=True)
class OpTime:
    """One operator of a profiled model.

    Args:
        kind: What the runtime calls it.
        name: The tensor it makes.
        mean_ms: Mean wall time of a run.
        delegated: Whether it is a part of a delegate's node.
    """

    kind: str
    name: str
    mean_ms: float
    delegated: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """What one process of a benchmark program showed.

    Args:
        inference: The measured runs.
        warm_up: The runs before, where there were any.
        init_us: Time to load the model.
        peak_mb: Peak memory, when it was asked for.
        delegate_nodes: Parts of the model that a delegate runs, where the
            program tells.
        ops: The operators, when a profile was asked for.
    """

    inference: Summary
    warm_up: Summary | None = None
    init_us: float | None = None
    peak_mb: float | None = None
    delegate_nodes: int | None = None
    ops: tuple[OpTime, ...] = ()


def parse(text: str, source: str) -> Report:
    """Reads the output of a benchmark program.

    Args:
        text: All it printed.
        source: What ran, for messages.

    Raises:
        DeviceError: when it says that it failed, or the figures are not all
            there.
    """
    try:
        if text.lstrip().startswith("{"):
            return _parse_json(json.loads(text))
        return _parse_text([_plain(line) for line in text.splitlines()])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DeviceError(
            f"{source}: the benchmark program did not print what was "
            f"expected ({error}). Received: ...{text[-_SHOWN:]!r}"
        ) from error


def _plain(line: str) -> str:
    return _PREFIX.sub("", line.rstrip())


def _parse_text(lines: Sequence[str]) -> Report:
    failures = [
        line
        for line in lines
        if line.startswith(_FAILED) and not line.startswith(_PARTIAL)
    ]
    if failures:
        raise ValueError(f"it failed: {'; '.join(failures)[:_SHOWN]}")
    summaries = [_summary(x) for x in lines if x.startswith("count=")]
    closing = [float(m[1]) for m in map(_CLOSING.match, lines) if m]
    if closing and summaries:
        # Cut-off output could leave the warm-up as the last of the two.
        avg_us = summaries[-1].avg_us
        if abs(avg_us - closing[-1]) > 0.01 * avg_us + 0.01:
            raise ValueError(
                f"an average of {avg_us:g} us beside one of {closing[-1]:g}"
            )
    elif not summaries:
        old = [x for x in lines if x.startswith(_OLD_SUMMARY)]
        summaries = [_summary(x.removeprefix(_OLD_SUMMARY)) for x in old[-1:]]
    if not summaries or (not closing and len(summaries) > 1):
        raise ValueError("the average inference time is missing")
    if not closing and any("Running benchmark for" in x for x in lines):
        raise ValueError("the line with the average inference time is missing")
    return Report(
        summaries[-1],
        summaries[0] if len(summaries) > 1 else None,
        _first(_INIT, lines, 1e3),
        _first(_PEAK, lines),
        _delegate_nodes(lines),
        _ops(lines),
    )


def _first(
    pattern: re.Pattern[str], lines: Sequence[str], factor: float = 1.0
) -> float | None:
    found = [m for m in map(pattern.match, lines) if m]
    return float(found[0][1]) * factor if found else None


def _delegate_nodes(lines: Sequence[str]) -> int | None:
    found = [m for m in map(_DELEGATED.match, lines) if m]
    if not found:
        return None
    return sum(int(m[3]) if m[3] else 1 for m in found)


def _summary(line: str) -> Summary:
    """Reads `name=value` pairs, in any order and with others between."""
    pairs = dict(_PAIR.findall(line))
    us = {
        f"{k}_us": float(pairs[k])
        for k in ("first", "max", "std")
        if k in pairs
    }
    count, least = int(float(pairs["count"])), float(pairs["min"])
    average = float(pairs["avg"])
    if count < 1 or not 0 < least <= average * 1.01:
        raise ValueError(f"impossible figures `{line}`")
    return Summary(count, least, average, **us)


def _ops(lines: Sequence[str]) -> tuple[OpTime, ...]:
    """Reads the tables of operators in the order they run."""
    ops: list[OpTime] = []
    columns: list[str] = []
    delegated = running = False
    for line in lines:
        if "Profiling Info for" in line or line.startswith("Delegate internal"):
            running = "Initialization" not in line
            delegated = line.startswith("Delegate internal")
        if banner := _BANNER.match(line):
            columns = ["?"] if banner[1] == "Run Order" and running else []
        elif not line.strip():
            columns = []
        elif columns == ["?"]:
            columns = _HEADING.findall(line)
        elif columns:
            ops.append(_op(line, columns, delegated))
    return tuple(ops)


def _op(line: str, columns: Sequence[str], delegated: bool) -> OpTime:
    cells = [cell.strip() for cell in _CELL.split(line.strip())]
    row = dict(zip(columns, cells, strict=False))  # a name may be empty
    mean_ms = float(row["avg ms"])
    return OpTime(row["node type"], row.get("Name", ""), mean_ms, delegated)


def _parse_json(value: Any) -> Report:
    """Reads the output of our own runner."""
    if value["format"] != "tfnas-runner/1":
        raise ValueError(f"format {value['format']!r}")
    fields = {f.name for f in dataclasses.fields(Summary)}
    warm_up, inference = (
        Summary(**{k: v for k, v in value[part].items() if k in fields})
        if value[part]
        else None
        for part in ("warm_up", "inference")
    )
    if inference is None or not 0 < inference.min_us <= inference.avg_us:
        raise ValueError(f"impossible figures {value['inference']}")
    # The runner passes the runtime's own table on, as text.
    profile = value.get("profile", "").splitlines()
    return Report(
        inference,
        warm_up,
        float(value["init_us"]),
        value.get("peak_mb"),
        value.get("delegate_nodes"),
        _ops(["Profiling Info for runs", *profile]),
    )
