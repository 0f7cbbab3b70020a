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
import os
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import tqdm

from android_bench import answers
from android_bench import binary
from android_bench import device
from android_bench import plausible
from android_bench.adb import Adb
from android_bench.adb import TimedOut
from android_bench.answers import Answers
from android_bench.benchmark import Tool
from android_bench.device import Gates
from android_bench.lock import lock
from android_bench.output import Report
from android_bench.plausible import Contents
from android_bench.progress import Progress
from android_bench.progress import Run
from android_bench.verdict import Proof
from android_bench.workspace import Workspace
from tflite_bench import interpreter
from tflite_bench.journal import Journal
from tfnas.errors import DeviceError

_T = TypeVar("_T")
_REFERENCE = "reference.tflite"
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


@dataclasses.dataclass
class Measured:
    """What a campaign found out about one model.

    Args:
        runs: The runs that are kept, one a round.
        proof: What ran it.
        reports: Further runs that are not timed, by name.
    """

    runs: list[Run]
    proof: Proof
    reports: dict[str, Report] = dataclasses.field(default_factory=dict)


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

    def probe(self) -> Proof:
        """Returns what runs the reference model here.

        Raises:
            DeviceError: when it is not what was asked, or the phone fails.
        """
        if self.reference is None:
            raise ValueError("a campaign without a reference model")
        with self._installed() as (workspace, mask):
            workspace.put({_REFERENCE: self.reference})
            return self.tool.prove(
                workspace, _REFERENCE, "reference model",
                read(self.reference)[1], mask,
            )

    def measure(
        self,
        paths: Sequence[str],
        rounds: int,
        seed: int = 0,
        journal: Journal | None = None,
        extra: Collection[str] = (),
    ) -> list[Measured]:
        """Measures models in interleaved rounds.

        Args:
            paths: `.tflite` files.
            rounds: Number of rounds; each is one process for each model.
            seed: Of the order.
            journal: Where to write each run down; what is there already is
                not run again.
            extra: Further runs of each model afterwards, which are not
                timed: `"profile"`, `"memory"`.

        Returns:
            What was found out about each model.

        Raises:
            ArtifactError: when a file is no `.tflite`.
            DeviceError: when the phone fails, is not fit, or runs a model
                on something else than was asked.
        """
        models = [Model(path, *read(path)) for path in paths]
        for model in models:
            if model.contents:
                binary.check_version(
                    self.tool.binary, self.tool.version, str(model.path),
                    model.contents.runtime,
                )
        progress = Progress(
            [model.digest for model in models], rounds, seed, journal,
            self.settings.max_slowdown,
        )
        reports: list[dict[str, Report]] = [{} for _ in paths]
        if progress.todo() or progress.unsettled or extra:
            with self._installed(timing=True) as (workspace, mask):
                workspace.put({
                    **{model.name: model.path for model in models},
                    _REFERENCE: self.reference or paths[0],
                })
                self._prove_all(progress, workspace, models, mask)
                self._run_all(progress, workspace, models, mask)
                for model, report in zip(models, reports, strict=True):
                    for name in extra:
                        flags = self.tool.extra(workspace, name)
                        report[name] = self._run(
                            workspace, model, mask, flags
                        )
        return [
            Measured(progress.runs(i), progress.proof(i), reports[i])
            for i in range(len(paths))
        ]

    def check(self, paths: Sequence[str]) -> list[Answers]:
        """Compares the phone's answers with those of this machine.

        Args:
            paths: `.tflite` files.

        Raises:
            ConfigError: when the program cannot write its outputs.
            DeviceError: when the phone fails.
        """
        for path in paths:
            read(path)
        with self._installed() as (workspace, mask):
            return [
                answers.check(self.tool, workspace, path, mask=mask)
                for path in paths
            ]

    @contextlib.contextmanager
    def _installed(
        self, timing: bool = False
    ) -> Iterator[tuple[Workspace, str | None]]:
        """Yields a folder with the program, and the cores to stay on.

        Args:
            timing: Whether the clocks matter.
        """
        with lock(self.adb.serial), self._workspace(timing) as workspace:
            mask = self._mask()
            self.tool.install(workspace)
            yield workspace, mask

    def _workspace(
        self, timing: bool
    ) -> contextlib.AbstractContextManager[Workspace]:
        # Longer than any command, and than the wait for a phone to cool.
        lease_s = 2 * self.tool.timeout_s + self.settings.gates.wait_s
        if not (timing and self.settings.fixed_performance):
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

    def _prove_all(
        self,
        progress: Progress,
        workspace: Workspace,
        models: Sequence[Model],
        mask: str | None,
    ) -> None:
        """Learns what runs each model of which nobody knows it yet."""
        for i in progress.unproven():
            model = models[i]
            progress.prove(i, _once_more(
                self.tool.prove, workspace, model.name, str(model.path),
                model.contents, mask,
            ))

    def _run_all(
        self,
        progress: Progress,
        workspace: Workspace,
        models: Sequence[Model],
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
            before = device.state(self.adb)
            self._settle(progress, workspace, mask, bar, before)
            while todo := progress.todo():
                device.wait_until_fit(self.adb, gates, bar.write, before)
                for number, i in todo[:batch]:
                    report = self._run(workspace, models[i], mask)
                    progress.add((number, i), _times(report))
                self._settle(progress, workspace, mask, bar, before)
                bar.update(left - len(progress.todo()))
                left = len(progress.todo())

    def _settle(
        self,
        progress: Progress,
        workspace: Workspace,
        mask: str | None,
        bar: tqdm.tqdm,
        before: device.State,
    ) -> None:
        reference = Model("reference model", name=_REFERENCE)
        report = self._run(workspace, reference, mask)
        state = device.state(self.adb)
        objection = self.settings.gates.objection(state, before)
        reason = progress.settle(_times(report).min_ms, objection, state)
        if reason:
            bar.write(f"{self.adb.serial}: a batch is discarded: {reason}")

    def _run(
        self,
        workspace: Workspace,
        model: Model,
        mask: str | None,
        extra: Sequence[str] = (),
    ) -> Report:
        started_s = time.monotonic()
        report = _once_more(
            self.tool.run, workspace, model.name, str(model.path), mask,
            extra, model.contents,
        )
        elapsed_s = time.monotonic() - started_s
        plausible.check_clock(report, str(model.path), elapsed_s)
        return report


@dataclasses.dataclass
class Model:
    """A model of a campaign.

    Args:
        path: Its file here, or what it is called in messages.
        digest: Of its content.
        contents: What it holds, where it is known.
        name: What it is called on the phone.
    """

    path: str | os.PathLike
    digest: str = ""
    contents: Contents | None = None
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or f"{self.digest[:16]}.tflite"


def _once_more(work: Callable[..., _T], *args: Any) -> _T:
    """Runs one process, and once more when it hung."""
    try:
        return work(*args)
    except TimedOut:
        return work(*args)


def _times(report: Report) -> Run:
    runs = report.inference
    further = (runs.median_us, runs.p5_us, runs.p95_us)
    return Run(
        runs.min_us / 1e3, runs.avg_us / 1e3,
        *(None if us is None else us / 1e3 for us in further),
    )


def read(path: str | os.PathLike) -> tuple[str, Contents]:
    """Returns the digest of a model file, and what it holds.

    Raises:
        ArtifactError: when it is no `.tflite` file.
    """
    data = interpreter.read_file(path)
    return hashlib.sha256(data).hexdigest(), plausible.contents(data, str(path))
