"""Reads the figures that benchmark programs print.

The text of `benchmark_model` changed over its releases, and LiteRT 2's is of
another form at the end, so figures are found by their names and columns by
their headings. What is not found, or is no figure of this world, is an error:
a time of zero would look like a very fast phone. What ran the model is for
`verdict` to say.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from android_bench.verdict import Proof
from tfnas.errors import DeviceError

# Of logcat, of the program's severity, and of LiteRT's file and line.
_PREFIX = re.compile(
    r"^(?:.*?\b(?P<letter>[VIWEF])[/ ]\s*[\w.-]+\s*(?:\(\s*\d+\))?\s*: )?"
    r"(?P<severity>VERBOSE|INFO|WARN|WARNING|ERROR|FATAL)?(?(severity): )"
    r"(?:\[[\w./-]+:\d+\] )?"
)
_PAIR = re.compile(r"(\w+)=([-+.\w]+)")
_NO_RUNS = re.compile(r"^count=0\b")
_ALL_SAME = "(all same)"
_OLD_SUMMARY = "Timings (microseconds): "
# Old releases call the measurement `no stats` or `Inference`.
_CLOSING = re.compile(
    r"^(?:Average i|I)nference timings in us: .*"
    r"(?:Inference \(avg\)|Inference|no stats): ([-+.\w]+)\s*$"
)
# LiteRT 2 closes in milliseconds, with two digits after the point.
_BLOCK = re.compile(r"^Inference \(avg\):\s+([-+.\w]+) ms \((\d+) runs\)")
_ROUNDING_US = 5.0
_INIT = re.compile(r"^Initialized session in ([-+.\w]+?)ms\.?$")
_PEAK = re.compile(
    r"^(?:Overall peak memory footprint \(MB\) via periodic monitoring: |"
    r"Peak memory footprint \(MB\): .*overall=|Peak memory:\s+)"
    r"([-+.\w]+)"
)
_MALFORMED = (
    ValueError, KeyError, TypeError, IndexError, OverflowError,
    AttributeError,
)
_ERRORS = ("ERROR", "FATAL")
_FAILED = ("Benchmarking failed", "Failed to apply")
_BANNER = re.compile(r"^=+ (.+?) =+$")
_HEADING = re.compile(r"\[([^\]]+)\]")
_CELL = re.compile(r"\t\s*|\s{2,}")
_SHOWN = 600
_LONGEST_US = 3600e6
_MOST_MB = 1e6
_MOST_RUNS = 10**9
_TOLERANCE = 0.01  # figures are printed with six digits, or fewer


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
        median_us: Median.
        p5_us: What 5 % of the runs were below.
        p95_us: What 95 % of them were below.

    Raises:
        ValueError: for figures that no clock can show.
    """

    count: int
    min_us: float
    avg_us: float
    first_us: float | None = None
    max_us: float | None = None
    std_us: float | None = None
    median_us: float | None = None
    p5_us: float | None = None
    p95_us: float | None = None

    def __post_init__(self) -> None:
        times = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "count"
        }
        for name, us in times.items():
            if us is not None and type(us) not in (int, float):
                raise TypeError(f"no figure: {name}={us!r}")
            least = 0.0 if name == "std_us" else math.ulp(0.0)
            if us is not None and not least <= us <= _LONGEST_US:
                raise ValueError(f"impossible figures: {name}={us}")
        if type(self.count) is not int or not 1 <= self.count <= _MOST_RUNS:
            raise ValueError(f"impossible figures: count={self.count}")
        ordered = ("min_us", "p5_us", "median_us", "p95_us", "max_us")
        known = [(n, times[n]) for n in ordered if times[n] is not None]
        for low, high in itertools.pairwise(known):
            if low[1] > high[1] * (1 + _TOLERANCE) + 1:
                raise ValueError(
                    f"impossible figures: {low[0]}={low[1]:g} is above "
                    f"{high[0]}={high[1]:g}"
                )
        low_us = self.min_us * (1 - _TOLERANCE) - 1
        high_us = (self.max_us or _LONGEST_US) * (1 + _TOLERANCE) + 1
        for name in ("avg_us", "first_us"):
            us = times[name]
            if us is not None and not low_us <= us <= high_us:
                raise ValueError(f"impossible figures: {name}={us:g}")


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
        ops: The operators, when a profile was asked for.
        lines: All that was printed, line by line, without prefixes.
        errors: Those lines that were called errors.
        proof: What ran the model, once that is judged.
    """

    inference: Summary
    warm_up: Summary | None = None
    init_us: float | None = None
    peak_mb: float | None = None
    ops: tuple[OpTime, ...] = ()
    lines: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    proof: Proof | None = None

    @property
    def delegate_nodes(self) -> int | None:
        """Parts of the model that a delegate runs, where it is told."""
        return self.proof.pieces if self.proof else None

    def __post_init__(self) -> None:
        for name, value, most in (
            ("init_us", self.init_us, _LONGEST_US),
            ("peak_mb", self.peak_mb, _MOST_MB),
            *((op.kind, op.mean_ms, _LONGEST_US / 1e3) for op in self.ops),
        ):
            if value is not None and not 0 <= value <= most:
                raise ValueError(f"impossible figures: {name}={value:g}")


def parse(text: str, source: str, log: str = "") -> Report:
    """Reads the output of a benchmark program.

    Args:
        text: What it printed on its standard output.
        source: What ran, for messages.
        log: What it printed on its standard error.

    Raises:
        DeviceError: when it says that it failed, or the figures are not all
            there, or impossible.
    """
    own = text.lstrip().startswith("{")
    # Releases differ in where they print; a log line may be in either.
    split = [_plain(x) for x in (log if own else f"{log}\n{text}").split("\n")]
    lines = tuple(line for _, line in split)
    errors = tuple(line for is_error, line in split if is_error)
    try:
        report = _parse_json(json.loads(text)) if own else _parse_text(lines)
    except _MALFORMED as error:
        end = text[-_SHOWN:].strip() or log[-_SHOWN:].strip()
        reason = "; ".join(errors)[:_SHOWN] or f"{error}"
        raise DeviceError(
            f"{source}: the benchmark program did not print what was "
            f"expected ({reason}). Received: ...{end!r}"
        ) from error
    except RecursionError as error:
        raise DeviceError(
            f"{source}: the benchmark program did not print what was "
            "expected. Received: nested JSON"
        ) from error
    return dataclasses.replace(report, lines=lines, errors=errors)


def complete(
    report: Report, figures: Mapping[str, float], source: str
) -> Report:
    """Adds what the program wrote to a file, and its text does not say.

    Args:
        report: What it printed.
        figures: What it wrote; see `result_file.figures`.
        source: What ran, for messages.

    Raises:
        DeviceError: when the two contradict each other, or are impossible.
    """
    runs = report.inference
    for name, value in figures.items():
        printed = getattr(runs, name, None)
        if printed is None:
            continue
        slack = 0 if name == "count" else _TOLERANCE * abs(printed) + 1
        if not abs(value - printed) <= slack:
            raise DeviceError(
                f"{source}: expected the same figures in the program's text "
                f"and file. Received: {name}={printed:g} there, {value:g} in "
                "the file"
            )
    missing: dict[str, Any] = {
        name: figures[name]
        for name in ("max_us", "std_us", "median_us", "p5_us", "p95_us")
        if name in figures and getattr(runs, name) is None
    }
    peak_mb = report.peak_mb
    if peak_mb is None:
        peak_mb = figures.get("peak_mb")
    try:
        return dataclasses.replace(
            report,
            inference=dataclasses.replace(runs, **missing),
            peak_mb=peak_mb,
        )
    except ValueError as error:
        raise DeviceError(
            f"{source}: the benchmark program's file of figures holds what "
            f"cannot be ({error})"
        ) from error


def _plain(line: str) -> tuple[bool, str]:
    """Returns whether a line is an error, and the line without prefixes."""
    found = _PREFIX.match(line)
    assert found is not None  # it may be empty
    is_error = found["severity"] in _ERRORS or found["letter"] in ("E", "F")
    return is_error, line[found.end() :].rstrip()


def _parse_text(lines: Sequence[str]) -> Report:
    for line in lines:
        if line.startswith(_FAILED):
            raise ValueError(f"it failed: {line[:_SHOWN]}")
    # Without warm-up runs, its line says that there were none.
    series = [x for x in lines if x.startswith("count=")]
    summaries = [_summary(x) for x in series if not _NO_RUNS.match(x)]
    closing = [_number(m[1]) for m in map(_CLOSING.match, lines) if m]
    block = [_number(m[1]) for m in map(_BLOCK.match, lines) if m]
    if not summaries:
        old = [x for x in lines if x.startswith(_OLD_SUMMARY)]
        if not old:
            raise ValueError("the average inference time is missing")
        summaries = [_summary(old[-1].removeprefix(_OLD_SUMMARY))]
    elif _NO_RUNS.match(series[-1]):
        raise ValueError("impossible figures: count=0")
    elif closing:
        _check_last(summaries[-1], closing[-1], 0.01)
    elif block:
        _check_last(summaries[-1], block[-1] * 1e3, _ROUNDING_US)
    else:
        raise ValueError("the line with the average inference time is missing")
    return Report(
        summaries[-1],
        summaries[0] if len(summaries) > 1 else None,
        _first(_INIT, lines, 1e3),
        _first(_PEAK, lines),
        _ops(lines),
    )


def _check_last(runs: Summary, closing_us: float, slack_us: float) -> None:
    """Refuses a series that is not the one the program ends with.

    Cut-off output could leave the warm-up as the last.
    """
    if not abs(runs.avg_us - closing_us) <= (
        _TOLERANCE * runs.avg_us + slack_us
    ):
        raise ValueError(
            f"an average of {runs.avg_us:g} us beside one of {closing_us:g}"
        )


def _number(text: str) -> float:
    """Returns a figure; refuses what Python reads besides decimals."""
    if "_" in text:
        raise ValueError(f"no figure: {text[:80]!r}")
    return float(text)


def _first(
    pattern: re.Pattern[str], lines: Sequence[str], factor: float = 1.0
) -> float | None:
    found = [m for m in map(pattern.match, lines) if m]
    return _number(found[0][1]) * factor if found else None


def _summary(line: str) -> Summary:
    """Reads `name=value` pairs, in any order and with others between.

    Of one run, and of runs that took equally long, only the last is printed.
    """
    pairs = dict(_PAIR.findall(line))
    count = _number(pairs["count"])
    if count != count or abs(count) > _MOST_RUNS or count % 1:
        raise ValueError(f"impossible figures: count={count}")
    if "curr" in pairs and (count == 1 or _ALL_SAME in line):
        every = dict.fromkeys(("first", "min", "max", "avg"), pairs["curr"])
        pairs = {**every, "std": "0", **pairs}
    optional = ("first", "max", "std", "median", "p5", "p95")
    us = {f"{k}_us": _number(pairs[k]) for k in optional if k in pairs}
    return Summary(
        int(count), _number(pairs["min"]), _number(pairs["avg"]), **us
    )


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
    mean_ms = _number(row["avg ms"])
    return OpTime(row["node type"], row.get("Name", ""), mean_ms, delegated)


def _parse_json(value: Any) -> Report:
    """Reads the output of our own runner."""
    if value["format"] != "tfnas-runner/1":
        raise ValueError(f"format {str(value['format'])[:80]!r}")
    inference = _series(value["inference"])
    if inference is None:
        raise ValueError("no run was measured")
    # The runner passes the runtime's own table on, as text.
    profile = _text(value.get("profile", "")).splitlines()
    peak_mb = value.get("peak_mb")
    return Report(
        inference,
        _series(value["warm_up"]),
        _figure(value["init_us"]),
        None if peak_mb is None else _figure(peak_mb),
        _ops(["Profiling Info for runs", *profile]),
    )


def _series(value: Any) -> Summary | None:
    if not value:
        return None
    fields = {field.name for field in dataclasses.fields(Summary)}
    return Summary(**{k: v for k, v in value.items() if k in fields})


def _figure(value: Any) -> float:
    if type(value) not in (int, float):  # nor `bool`, which is an `int`
        raise TypeError(f"no figure: {str(value)[:80]!r}")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, not {type(value).__name__}")
    return value
