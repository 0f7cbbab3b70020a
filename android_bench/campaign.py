"""Many runs of many models on one phone, of which none is lost.

Each run is a process of its own, so that every model meets the same states
of the phone: in each round all models take their turn in a new random order.
After every few runs the reference model runs. When it has become slower, or
the phone has become hot, the runs since the last time are discarded and made
again once the phone has cooled down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm

from android_bench import device
from android_bench.adb import Adb
from android_bench.adb import TimedOut
from android_bench.benchmark import Tool
from android_bench.device import Gates
from android_bench.output import Report
from android_bench.workspace import Workspace
from android_bench.workspace import lock
from tflite_bench.journal import Journal
from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError

_IDENTIFIER = b"TFL3"
_REFERENCE = "reference.tflite"
_MAX_DISCARDS = 5  # in a row
_FIXED_MODE = ("cmd", "power", "set-fixed-performance-mode-enabled")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure on a phone.

    Args:
        gates: When the phone is fit.
        affinity: Cores to stay on; see `device.affinity_mask`.
        fixed_performance: Whether to hold the clocks at a level that the
            phone can keep up (Android 11 and later).
        batch: Runs between two runs of the reference model.
        max_slowdown: By what fraction the reference model may become slower
            before a batch is discarded.
    """

    gates: Gates = Gates()
    affinity: str = "big"
    fixed_performance: bool = False
    batch: int = 20
    max_slowdown: float = 0.10


@dataclasses.dataclass(frozen=True)
class Run:
    """One process that measured one model.

    Args:
        min_ms: Its fastest run.
        avg_ms: The mean of its runs.
        delegate_nodes: Parts of the model that a delegate runs, if known.
    """

    min_ms: float
    avg_ms: float
    delegate_nodes: int | None = None


class Progress:
    """The runs of one campaign, each written down at once.

    A journal holds two kinds of records: runs, and readings of the reference
    model, which say whether the runs before them are kept. Runs after the
    last reading, as a kill leaves them, are decided on by the next one.

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
        self._reference_ms: list[float] = []
        self._discards = 0
        rng = np.random.default_rng(seed)
        self._plan = [
            (number, int(i))
            for number in range(rounds)
            for i in rng.permutation(len(digests))
        ]
        for record in journal.records if journal else ():
            self._take(record)

    def _take(self, record: Mapping[str, Any]) -> None:
        try:
            if record["campaign"] != self._name:
                return
            if "run" in record:
                number, i = record["place"]
                self._pending[number, i] = Run(**record["run"])
            else:
                self._settle(record)
        except (KeyError, TypeError, ValueError) as error:
            path = self._journal.path if self._journal else "journal"
            raise ArtifactError(
                f"{path}: expected a run or a reading of the reference "
                f"model. Received: {str(record)[:120]}"
            ) from error

    def _settle(self, record: Mapping[str, Any]) -> None:
        if record["kept"]:
            self._kept.update(self._pending)
            self._reference_ms.append(float(record["reference_ms"]))
        self._pending = {}
        self._discards = 0 if record["kept"] else self._discards + 1

    def _write(self, record: dict[str, Any]) -> None:
        record = {"campaign": self._name, **record}
        if self._journal:
            self._journal.append(record)
        self._take(record)

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

    def settle(self, reference_ms: float, objection: str | None) -> str | None:
        """Decides on the runs since the last time.

        Args:
            reference_ms: What the reference model takes now.
            objection: Why the phone is not fit now, if it is not.

        Returns:
            Why they were discarded, or `None`.
        """
        if self._reference_ms and objection is None:
            usual_ms = statistics.median(self._reference_ms)
            slowdown = reference_ms / usual_ms - 1
            if slowdown > self._max_slowdown:
                objection = (
                    f"the reference model became {slowdown:.0%} slower, at "
                    f"most {self._max_slowdown:.0%} is expected"
                )
        self._write({"reference_ms": reference_ms, "kept": objection is None})
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


@dataclasses.dataclass
class Campaign:
    """Measures models on one phone.

    Args:
        adb: The phone.
        tool: The benchmark program.
        settings: How to measure.
        reference: The reference model; `None` takes the first of the models.
        progress: Whether to show a progress bar.
    """

    adb: Adb
    tool: Tool
    settings: Settings = Settings()
    reference: str | os.PathLike | None = None
    progress: bool = False

    def measure(
        self,
        paths: Sequence[str],
        rounds: int,
        seed: int = 0,
        journal: Journal | None = None,
        extra: Mapping[str, Sequence[str]] | None = None,
    ) -> tuple[list[list[Run]], list[dict[str, Report]]]:
        """Measures models in interleaved rounds.

        Args:
            paths: `.tflite` files.
            rounds: Number of rounds; each is one process for each model.
            seed: Of the order.
            journal: Where to write each run down; what is there already is
                not run again.
            extra: Further runs of each model afterwards, which are not
                timed: name to flags.

        Returns:
            The runs of each model, and the reports of the further ones.

        Raises:
            ArtifactError: when a file is no `.tflite`.
            DeviceError: when the phone fails, or is not fit.
        """
        digests = [_check(path) for path in paths]
        progress = Progress(
            digests, rounds, seed, journal, self.settings.max_slowdown
        )
        reports: list[dict[str, Report]] = [{} for _ in paths]
        if not progress.todo() and not progress.unsettled and not extra:
            return [progress.runs(i) for i in range(len(paths))], reports
        with lock(self.adb.serial), self._workspace() as workspace:
            mask = self._mask()
            self.tool.install(workspace)
            names = {f"{digest[:16]}.tflite": path for digest, path in zip(
                digests, paths, strict=True
            )}
            reference = self.reference or paths[0]
            workspace.put({**names, _REFERENCE: reference})
            self._run_all(progress, workspace, paths, digests, mask)
            for name, flags in (extra or {}).items():
                for path, digest, report in zip(
                    paths, digests, reports, strict=True
                ):
                    model = f"{digest[:16]}.tflite"
                    report[name] = self._run(
                        workspace, model, path, mask, flags
                    )
        return [progress.runs(i) for i in range(len(paths))], reports

    def _workspace(self) -> contextlib.AbstractContextManager[Workspace]:
        # Longer than any command, and than the wait for a phone to cool.
        lease_s = 2 * self.tool.timeout_s + self.settings.gates.wait_s
        if not self.settings.fixed_performance:
            return Workspace(self.adb, lease_s)
        return Workspace(
            self.adb, lease_s, (*_FIXED_MODE, "true"), (*_FIXED_MODE, "false")
        )

    def _mask(self) -> str | None:
        found = device.clusters(self.adb)
        mask = device.affinity_mask(found, self.settings.affinity)
        has_taskset = self.adb.shell(
            ["sh", "-c", "command -v taskset"], check=False
        )
        if has_taskset.returncode:
            raise DeviceError(
                f"{self.adb.serial}: expected the program `taskset`, which "
                "keeps a run on its cores."
            )
        return mask

    def _run_all(
        self,
        progress: Progress,
        workspace: Workspace,
        paths: Sequence[str],
        digests: Sequence[str],
        mask: str | None,
    ) -> None:
        """Runs what is to be run, in batches between two references."""
        gates, batch = self.settings.gates, self.settings.batch
        left = len(progress.todo())
        with tqdm.tqdm(
            total=left, unit="run", desc=self.adb.serial,
            disable=not self.progress,
        ) as bar:
            device.wait_until_fit(self.adb, gates, bar.write)
            self._settle(progress, workspace, mask, bar)
            while todo := progress.todo():
                device.wait_until_fit(self.adb, gates, bar.write)
                for number, i in todo[:batch]:
                    report = self._run(
                        workspace, f"{digests[i][:16]}.tflite", paths[i], mask
                    )
                    progress.add((number, i), _times(report))
                self._settle(progress, workspace, mask, bar)
                left, before = len(progress.todo()), left
                bar.update(before - left)

    def _settle(
        self,
        progress: Progress,
        workspace: Workspace,
        mask: str | None,
        bar: tqdm.tqdm,
    ) -> None:
        report = self._run(workspace, _REFERENCE, "reference model", mask)
        objection = self.settings.gates.objection(device.state(self.adb))
        reason = progress.settle(_times(report).min_ms, objection)
        if reason:
            bar.write(f"{self.adb.serial}: a batch is discarded: {reason}")

    def _run(
        self,
        workspace: Workspace,
        model: str,
        source: str,
        mask: str | None,
        extra: Sequence[str] = (),
    ) -> Report:
        """Runs one process, and once more when it hung."""
        try:
            return self.tool.run(workspace, model, source, mask, extra)
        except TimedOut:
            return self.tool.run(workspace, model, source, mask, extra)


def _times(report: Report) -> Run:
    runs = report.inference
    return Run(runs.min_us / 1e3, runs.avg_us / 1e3, report.delegate_nodes)


def _check(path: str) -> str:
    """Returns the digest of a model file."""
    digest = artifacts.sha256(path)
    with open(path, "rb") as file:
        start = file.read(8)
    if start[4:] != _IDENTIFIER:
        size_bytes = pathlib.Path(path).stat().st_size
        raise ArtifactError(
            f"{path}: expected a .tflite file. Received: {size_bytes} bytes "
            f"that begin with {start!r}"
        )
    return digest
