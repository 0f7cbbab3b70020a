"""Measures the rows of a latency table: models, visits, journal, checks.

The operators are measured in visits of a few rounds: up to 100 of them, the
reference block and a few whole networks at a time. Each operator gets several
visits spread over the whole time, so that all of them sample the same states
of the machine. A row is as good as its rounds: one that does not repeat, or
whose reference block ran at another speed than everybody else's, gets more
of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm

from tflite_bench import convert
from tflite_bench import stats
from tflite_bench import writer
from tflite_bench.device import Device
from tflite_bench.journal import Journal
from tfnas import lowering
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError
from tfnas.lowering.operator import Operator
from tfnas.lowering.operator import is_operator_key
from tfnas.lowering.operator import parse

FORMAT = "tfnas-lut/1"
REFERENCE = "mbconv|act=relu6|e=6|k=3|pad=sym|s=1|14x14x80>14x14x80"
# A model that computes nothing to speak of: what a call itself takes, once in
# a network but once in every row too.
CALL = "call"
ENTRIES = ("isolated", "chain", "operators")
_CHAIN = 5
# Alone, an operator takes up to 1 us more than in a network.
_SMALL_SERIES = 15
_SMALL = 1 << 16  # numbers that a small operator gives
# Of these the runtime makes nothing simpler where some are in series, as it
# does of two ReLUs.
_CHAINED = (
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
)
# What a row's number depends on: other code may change under a journal.
_MEASURING = (
    "build", "device", "flatbuffer", "interpreter", "operators", "protocol",
    "stats", "writer",
)
_CHUNK = 100
_ROUNDS_PER_VISIT = 5
_MAX_EXTENSION = 4  # times the rounds asked for
_MAX_SPREAD = 0.03
_MAX_DRIFT = 0.05
# A round counts while its reference block takes at most so much longer than
# in the best rounds: a busy neighbour makes everything up to twice as slow.
_QUIET = 1.08
_BEST = 3  # the reference's best rounds but two


@dataclasses.dataclass(frozen=True)
class Job:
    """What to measure.

    Args:
        keys: Latency-table keys, of blocks or of operators.
        networks: Whole networks to measure with them: `Arch` values.
        dtype: `"float32"` or `"int8"`.
        rounds: Least number of rounds of each row.
        strict: Whether rows that do not settle are an error. Otherwise the
            table says so in its `conditions`.
        entries: `"isolated"`: a row is one operator alone. `"chain"`: an
            operator that keeps its input's shape is a fifth of five in
            series, which finds its data in the cache as in a network.
            `"operators"`: a row is one operator as the runtime runs it, one
            of some in series where that is possible.
        lower: The backend that the models are written for.
    """

    keys: tuple[str, ...]
    networks: tuple[Any, ...] = ()
    dtype: str = "int8"
    rounds: int = 25
    strict: bool = True
    entries: str = "isolated"
    lower: str = "xnnpack"

    def copies(self, key: str) -> int:
        """Returns how many copies of an operator its model has in series."""
        if is_operator_key(key):
            return _copies_of_operator(parse(key))
        source, output = key.rpartition("|")[-1].split(">")
        return _CHAIN if self.entries == "chain" and source == output else 1


def _copies_of_operator(op: Operator) -> int:
    first = op.inputs[0] if op.inputs else None
    if op.code not in _CHAINED or (first,) != op.outputs:
        return 1
    small = math.prod(op.outputs[0].shape) <= _SMALL
    return _SMALL_SERIES if small else _CHAIN


def build(
    job: Job, device: Device, path: str | os.PathLike, progress: bool = True
) -> dict[str, Any]:
    """Measures the rows of a latency table.

    The readings go to a journal beside the table (`<path>.journal.jsonl`).
    The same call after a kill goes on there and measures nothing twice.

    Args:
        job: What to measure.
        device: Where.
        path: Where the table will be written.
        progress: Whether to show a progress bar.

    Returns:
        The table as a JSON value of format `tfnas-lut/1`, not calibrated.

    Raises:
        DeviceError: when a row does not settle, naming it and the journal.
        ConfigError: when the journal is of another provenance, or there are
            no rounds.
    """
    if job.rounds < 2:
        raise ConfigError(
            f"Expected at least 2 rounds. Received: rounds={job.rounds}"
        )
    described = device.describe()
    provenance = {
        "unit": "ms",
        **described,
        "runtime": {
            **described["runtime"], "dtype": job.dtype,
            "lowering": job.lower,
        },
        "entries": job.entries,
        "tool": tool(),
    }
    journal = Journal(f"{path}.journal.jsonl", provenance)
    readings = _Readings(job, journal)
    folder = pathlib.Path(f"{path}.models")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        if readings.todo():
            models = _Models(job, folder)
            _measure_all(readings, models, device, progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if job.strict:
        readings.check()
    return readings.table(provenance)


def reference_model(
    dtype: str, entries: str = "isolated", lower: str = "xnnpack"
) -> bytes:
    """Returns the model of the reference block that tables are timed with.

    Timed again later, it tells how the machine has changed since.

    Args:
        dtype: `"float32"` or `"int8"`.
        entries: That of the table: in chains it is five blocks, too.
        lower: The lowering of the table.
    """
    copies = Job((), entries=entries).copies(REFERENCE)
    return writer.write_key(REFERENCE, dtype, copies, lower)


def tool() -> dict[str, str]:
    """Returns the name and the hash of the code that makes the numbers."""
    folder = pathlib.Path(__file__).parent
    digest = hashlib.sha256()
    for path in (
        *(folder / f"{name}.py" for name in _MEASURING),
        *sorted(pathlib.Path(lowering.__file__).parent.glob("*.py")),
    ):
        digest.update(path.read_bytes())
    return {"name": "tflite_bench", "sha256": digest.hexdigest()}


def _is_visit(record: Mapping[str, Any]) -> bool:
    """Says whether a line of a journal is what `_visit` makes."""
    readings = record.get("readings")
    return (
        {"readings", "date", "load", "seconds"} <= record.keys()
        and isinstance(readings, dict)
        and {CALL, REFERENCE} <= readings.keys()
        and all(
            isinstance(r, dict)
            and isinstance(r.get("switches"), int)
            and isinstance(r.get("ms"), list)
            and all(isinstance(ms, float) and ms > 0 for ms in r["ms"])
            for r in readings.values()
        )
    )


class _Readings:
    """The rounds so far, of each model and of the reference beside it."""

    def __init__(self, job: Job, journal: Journal):
        self.job = job
        self.journal = journal
        self.names = (*job.keys, *(net.id for net in job.networks))
        self._samples: dict[str, list[float]] = {n: [] for n in self.names}
        self._reference: dict[str, list[float]] = {n: [] for n in self.names}
        for i, record in enumerate(journal.records, 1):
            if not _is_visit(record):
                raise ArtifactError(
                    f"{journal.path}: record {i} must hold the readings of a "
                    f"visit. Received: {str(record)[:80]}"
                )
            self._take(record)

    def add(self, record: dict[str, Any]) -> None:
        """Takes the readings of one visit, and writes them down first."""
        self.journal.append(record)
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        for name, reading in record["readings"].items():
            if name in self._samples:
                self._samples[name] += reading["ms"]
                self._reference[name] += record["readings"][REFERENCE]["ms"]

    def remaining(self) -> int:
        """Returns how many rounds are lacking, over all models."""
        return sum(
            max(self.job.rounds - self.rounds(n), 0) for n in self.names
        )

    def rounds(self, name: str) -> int:
        """Returns how many rounds a model has had."""
        return len(self._samples[name])

    def todo(self) -> list[str]:
        """Returns the models that need more rounds, the neediest first."""
        least, most = self.job.rounds, _MAX_EXTENSION * self.job.rounds
        needy = [n for n in self.names if self.rounds(n) < least]
        if not needy:
            drifts = self._drifts()
            needy = [
                n
                for n in self.names
                if self.rounds(n) < most
                and (
                    len(self._quiet(n)) < least
                    or self._spread(n) > _MAX_SPREAD
                    or drifts[n] > _MAX_DRIFT
                )
            ]
        return sorted(needy, key=self.rounds)

    def _quiet(self, name: str) -> list[int]:
        """Returns the rounds of a model in which the machine was itself."""
        limit = _QUIET * self._level()
        return [i for i, ms in enumerate(self._reference[name]) if ms <= limit]

    def _level(self) -> float:
        """Returns what the reference takes where nothing disturbs it."""
        return sorted(self._all(REFERENCE))[:_BEST][-1]

    def _kept(
        self, name: str, values: Mapping[str, list[float]]
    ) -> list[float]:
        """Returns the readings of quiet rounds, or all if those are few."""
        quiet = self._quiet(name)
        if 2 * len(quiet) < max(self.job.rounds, 4):
            return values[name]
        return [values[name][i] for i in quiet]

    def _spread(self, name: str) -> float:
        return stats.repeatability(self._kept(name, self._samples))

    def _drifts(self) -> dict[str, float]:
        """Returns by how much the reference beside each model was off."""
        beside = {
            n: stats.latency_ms(self._kept(n, self._reference))
            for n in self.names
        }
        usual = np.median(list(beside.values()))
        return {n: float(abs(ms / usual - 1)) for n, ms in beside.items()}

    def check(self) -> None:
        """Raises a `DeviceError` when the machine was too restless."""
        drifts = self._drifts()
        worst = max(drifts, key=drifts.__getitem__)
        if drifts[worst] > _MAX_DRIFT:
            raise DeviceError(
                f"{self.journal.path}: row `{worst}`: the reference block "
                f"beside it ran {drifts[worst]:.1%} off its usual time after "
                f"{self.rounds(worst)} rounds, at most {_MAX_DRIFT:.0%} is "
                "expected. Run again with more rounds on a quieter machine."
            )
        spread = self._mean_spread()
        if spread > _MAX_SPREAD:
            worst = max(self.names, key=self._spread)
            raise DeviceError(
                f"{self.journal.path}: two halves of the rounds differ by "
                f"{spread:.1%} in the mean, at most {_MAX_SPREAD:.0%} is "
                f"expected; worst row `{worst}`, {self._spread(worst):.1%}. "
                "Run again with more rounds on a quieter machine."
            )

    def _mean_spread(self) -> float:
        return float(np.mean([self._spread(n) for n in self.names]))

    def _row(self, name: str, copies: int = 0) -> dict[str, float]:
        """Returns a row; `copies` is 0 for a network, call included."""
        kept = self._kept(name, self._samples)
        latency_ms = stats.latency_ms(kept)
        if copies:
            # The clock's own noise must not make an operator free.
            own_ms = max(latency_ms - self._call_ms, latency_ms / 10)
            latency_ms = own_ms / copies
        return {
            "latency_ms": latency_ms,
            "spread": self._spread(name),
            "n": len(kept),
        }

    def _all(self, name: str) -> list[float]:
        """Returns the rounds of a model that is in every visit."""
        return [
            ms
            for record in self.journal.records
            for ms in record["readings"][name]["ms"]
        ]

    def _all_quiet(self, name: str) -> list[float]:
        """Returns the quiet rounds of a model that is in every visit."""
        limit = _QUIET * self._level()
        beside = self._all(REFERENCE)
        readings = zip(self._all(name), beside, strict=True)
        return [ms for ms, reference in readings if reference <= limit]

    def table(self, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the table as a JSON value."""
        records = self.journal.records
        self._call_ms = stats.latency_ms(self._all_quiet(CALL))
        return {
            "format": FORMAT,
            **provenance,
            "rounds": min(
                len(self._kept(name, self._samples)) for name in self.names
            ),
            "date": records[-1]["date"],  # the same when it is read again
            "conditions": {
                "call_ms": self._call_ms,
                "reference_ms": stats.latency_ms(self._all_quiet(REFERENCE)),
                "reference_drift": max(self._drifts().values()),
                "mean_spread": self._mean_spread(),
                "load_average": [record["load"] for record in records],
                "involuntary_switches": sum(
                    reading["switches"]
                    for record in records
                    for reading in record["readings"].values()
                ),
                "seconds": sum(record["seconds"] for record in records),
            },
            "calibration": None,
            "networks": [
                {"arch": net.to_json(), **self._row(net.id)}
                for net in self.job.networks
            ],
            "rows": {
                key: self._row(key, self.job.copies(key))
                for key in sorted(self.job.keys)
            },
        }


class _Models:
    """The model files of a job.

    Args:
        job: What to measure.
        folder: Where to put them.
    """

    def __init__(self, job: Job, folder: pathlib.Path):
        folder.mkdir(parents=True)
        self._networks = {net.id: net for net in job.networks}
        self._job = job
        names = dict.fromkeys((CALL, REFERENCE, *job.keys, *self._networks))
        self._paths = {
            name: str(folder / f"{i:04d}.tflite")
            for i, name in enumerate(names)
        }
        slow = []
        for name, path in self._paths.items():
            try:
                pathlib.Path(path).write_bytes(self._content(name))
            except writer.UnsupportedNode as error:
                if is_operator_key(name):
                    raise ConfigError(
                        f"row `{name}`: there is no model of this operator "
                        "alone; measure the space with --entries=isolated. "
                        f"Received: {error}"
                    ) from error
                slow.append(name)
        if slow:
            self._convert(slow)

    def _convert(self, slow: Sequence[str]) -> None:
        """Makes the models that the writer cannot."""
        job = self._job
        lowered = "" if job.lower == "none" else ", which rewrites nothing"
        print(
            f"{len(slow)} models take the slow way through the "
            f"converter{lowered}: {', '.join(slow)}"
        )
        convert.convert(
            {
                self._paths[n]: self._networks.get(n) or (n,) * job.copies(n)
                for n in slow
            },
            job.dtype,
        )

    def _content(self, name: str) -> bytes:
        job, dtype = self._job, self._job.dtype
        if name == CALL:
            return writer.write_call(dtype)
        if name in self._networks:
            return writer.write_arch(self._networks[name], dtype, job.lower)
        return writer.write_key(name, dtype, job.copies(name), job.lower)

    def visit(self, names: Sequence[str]) -> dict[str, str]:
        """Returns the paths of a visit: name to path.

        The call, the reference block and the networks are in every visit.
        """
        always = (CALL, REFERENCE, *self._networks)
        return {n: self._paths[n] for n in dict.fromkeys((*always, *names))}


def _measure_all(
    readings: _Readings, models: _Models, device: Device, progress: bool
) -> None:
    """Measures until no model needs more rounds."""
    rng = np.random.default_rng(0)
    order = {n: i for i, n in enumerate(rng.permutation(readings.names))}
    left = readings.remaining()
    with tqdm.tqdm(total=left, unit="round", disable=not progress) as bar:
        while todo := readings.todo():
            done = readings.rounds(todo[0])
            chunk = sorted(
                (n for n in todo if readings.rounds(n) == done),
                key=order.__getitem__,
            )[:_CHUNK]
            lacking = readings.job.rounds - done
            if lacking <= 0:
                bar.set_postfix_str(f"more rounds for {len(todo)} rows")
                lacking = _ROUNDS_PER_VISIT
            rounds = min(lacking, _ROUNDS_PER_VISIT)
            readings.add(_visit(readings, models.visit(chunk), device, rounds))
            left, before = readings.remaining(), left
            bar.update(before - left)


def _visit(
    readings: _Readings, paths: Mapping[str, str], device: Device, rounds: int
) -> dict[str, Any]:
    """Measures some models and returns the journal's record of it."""
    start = time.monotonic()
    measured = device.measure(
        list(paths.values()), rounds, seed=len(readings.journal.records)
    )
    return {
        "readings": {
            name: {
                "ms": m.samples_ms,
                "wall_ms": m.wall_ms,
                "switches": m.switches,
            }
            for name, m in zip(paths, measured, strict=True)
        },
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
        "load": round(os.getloadavg()[0], 2),
        "seconds": round(time.monotonic() - start, 3),
    }
