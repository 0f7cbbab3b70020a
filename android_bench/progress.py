"""The runs of one campaign: what is done, what is kept, what is to be done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from android_bench.device import State
from android_bench.verdict import Proof
from tflite_bench.journal import Journal
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError

_MAX_DISCARDS = 5  # in a row
_LONGEST_MS = 3600e3
_TICK_MS = 1e-3  # of the clock of both programs


@dataclasses.dataclass(frozen=True)
class Run:
    """One process that measured one model.

    Args:
        min_ms: Its fastest run.
        avg_ms: The mean of its runs.
        median_ms: Their median, where the program tells.
        p5_ms: What 5 % of them were below.
        p95_ms: What 95 % of them were below.

    Raises:
        ValueError: for times that cannot be.
    """

    min_ms: float
    avg_ms: float
    median_ms: float | None = None
    p5_ms: float | None = None
    p95_ms: float | None = None

    def __post_init__(self) -> None:
        for name, ms in dataclasses.asdict(self).items():
            if ms is not None or name in ("min_ms", "avg_ms"):
                _check_time(name, ms)


def _check_time(name: str, ms: Any) -> None:
    if type(ms) not in (int, float):
        raise TypeError(f"no figure: {name}={ms!r}")
    if not 0 < ms <= _LONGEST_MS:
        raise ValueError(f"{name}={ms}")


class Progress:
    """The runs of one campaign, each written down at once.

    A journal holds three kinds of records: what ran a model, runs, and
    readings of the reference model, which say whether the runs before them
    are kept. Runs after the last reading, as a kill leaves them, are decided
    on by the next one.

    Args:
        digests: Of the models; with the seed they name the campaign.
        rounds: Number of rounds.
        seed: Of their order.
        journal: Where to write; `None` keeps nothing.
        max_slowdown: See `Settings`.
    """

    def __init__(
        self,
        digests: Sequence[str],
        rounds: int,
        seed: int,
        journal: Journal | None = None,
        max_slowdown: float = 0.10,
    ):
        names = json.dumps([seed, *digests]).encode()
        self._name = hashlib.sha256(names).hexdigest()[:12]
        self._journal = journal
        self._max_slowdown = max_slowdown
        self._kept: dict[tuple[int, int], Run] = {}
        self._pending: dict[tuple[int, int], Run] = {}
        self._proofs: dict[int, Proof] = {}
        self._reference_ms: list[float] = []
        self._discards = 0
        rng = np.random.default_rng(seed)
        self._plan = [
            (number, int(i))
            for number in range(rounds)
            for i in rng.permutation(len(digests))
        ]
        self._places = set(self._plan)
        for record in journal.records if journal else ():
            self._take(record)

    def _take(self, record: Mapping[str, Any]) -> None:
        try:
            if record["campaign"] != self._name:
                return
            if "run" in record:
                number, i = record["place"]
                if (number, i) not in self._places:
                    raise ValueError(f"no such place: {number}, {i}")
                self._pending[number, i] = Run(**record["run"])
            elif "proof" in record:
                self._proofs[record["model"]] = Proof(**record["proof"])
            else:
                self._settle(record)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            path = self._journal.path if self._journal else "journal"
            raise ArtifactError(
                f"{path}: expected a run, what ran a model, or a reading of "
                f"the reference model. Received: {str(record)[:120]}"
            ) from error

    def _settle(self, record: Mapping[str, Any]) -> None:
        if record["kept"]:
            reference_ms = record["reference_ms"]
            _check_time("reference_ms", reference_ms)
            self._kept.update(self._pending)
            self._reference_ms.append(reference_ms)
        self._pending = {}
        self._discards = 0 if record["kept"] else self._discards + 1

    def _write(self, record: dict[str, Any]) -> None:
        record = {"campaign": self._name, **record}
        if self._journal:
            self._journal.append(record)
        self._take(record)

    def unproven(self) -> list[int]:
        """Returns which models nobody knows yet what runs them."""
        wanted = dict.fromkeys(i for _, i in self._plan)
        return [i for i in wanted if i not in self._proofs]

    def prove(self, i: int, proof: Proof) -> None:
        """Takes what ran a model."""
        self._write({"model": i, "proof": dataclasses.asdict(proof)})

    def proof(self, i: int) -> Proof:
        """Returns what ran a model."""
        return self._proofs[i]

    def todo(self) -> list[tuple[int, int]]:
        """Returns what is still to be run: rounds and numbers of models."""
        done = self._kept.keys() | self._pending.keys()
        return [place for place in self._plan if place not in done]

    @property
    def unsettled(self) -> bool:
        """Whether there are runs that no reading has decided on."""
        return bool(self._pending)

    def add(self, place: tuple[int, int], run: Run) -> None:
        """Takes a run."""
        self._write({"place": list(place), "run": dataclasses.asdict(run)})

    def settle(
        self,
        reference_ms: float,
        objection: str | None,
        state: State | None = None,
    ) -> str | None:
        """Decides on the runs since the last time.

        Args:
            reference_ms: What the reference model takes now.
            objection: Why the phone is not fit now, if it is not.
            state: How the phone is now; it is written down beside.

        Returns:
            Why they were discarded, or `None`.
        """
        if self._reference_ms and objection is None:
            usual_ms = statistics.median(self._reference_ms)
            slowdown = reference_ms / usual_ms - 1
            tick = reference_ms - usual_ms < 1.5 * _TICK_MS
            if slowdown > self._max_slowdown and not tick:
                objection = (
                    f"the reference model became {slowdown:.0%} slower, at "
                    f"most {self._max_slowdown:.0%} is expected"
                )
        record: dict[str, Any] = {
            "reference_ms": reference_ms, "kept": objection is None,
        }
        if state is not None:
            record["state"] = dataclasses.asdict(state)
        self._write(record)
        if objection and self._discards >= _MAX_DISCARDS:
            raise DeviceError(
                f"{self._discards} batches in a row had to be discarded: "
                f"{objection}"
            )
        return objection

    def runs(self, i: int) -> list[Run]:
        """Returns the kept runs of a model, one a round."""
        return [
            self._kept[place] for place in sorted(self._plan) if place[1] == i
        ]
