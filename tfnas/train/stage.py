"""A resumable stage in a workdir: units of work, log, checkpoints."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import tensorflow as tf

from tfnas import artifacts
from tfnas import locks
from tfnas import stopping
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.train import checkpoint
from tfnas.train import distribute
from tfnas.train import run_state
from tfnas.train.checkpoint import Checkpoints
from tfnas.train.loop import Loop
from tfnas.train.middle import Middle

_STATE_FIELDS: dict[str, Any] = {
    "units": int, "records": int, "time_s": (int, float), "inputs": dict,
    "work": dict,
}


class Work(Protocol):
    """Work in units that can be saved between any two of them.

    Attributes:
        goes_on_within: Whether it can also be saved inside of a unit;
            `middle` says what that promises.
    """

    goes_on_within: bool

    @property
    def units(self) -> int:
        """Number of units of work."""

    def unit_steps(self, unit: int) -> int:
        """Returns about how many steps a unit takes, for a progress bar."""

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Does one unit of work and returns its log records."""

    def state(self) -> dict[str, Any]:
        """Returns the results so far as plain JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""

    def variables(self) -> Mapping[str, list]:
        """Returns named groups of TensorFlow variables to save."""


class Stage:
    """Runs work in a workdir so that killed and resumed = undisturbed.

    Only the chief of several machines writes files; all of them read the
    checkpoints, so the workdir has to be on a disk that they share.

    The first checkpoint is that of no units: a folder with a log but without
    checkpoints has lost them.

    Args:
        workdir: Folder with `log.jsonl`, `checkpoints/` and `tensorboard/`.
        work: What to run.
        loop: The gradient loop that the work uses.
        inputs: What the work depends on beside its config, such as the
            SHA-256 of a table; a checkpoint made from other inputs is
            refused.
        config: The settings that the workdir was claimed with; a checkpoint
            of others is refused. `None` where the caller answers for that.
    """

    def __init__(
        self, workdir: str | os.PathLike, work: Work, loop: Loop,
        inputs: Mapping[str, Any], config: Mapping[str, Any] | None = None,
    ):
        self.workdir, self.work, self.loop = pathlib.Path(workdir), work, loop
        self._inputs = dict(inputs)
        self._config = None if config is None else (
            artifacts.config_digest(config)
        )
        self._log = self.workdir / checkpoint.LOG
        self._records, self._seconds = 0, 0.0
        folder, variables = self.workdir / "checkpoints", work.variables()
        self._checkpoints = Checkpoints(folder, variables)
        # Devices that hold their own statistics agree at a pass's end only.
        self._middle = Middle(
            folder / "middle", variables,
            work.goes_on_within
            and loop.strategy.num_replicas_in_sync == 1,
        )

    def restore(self) -> int:
        """Goes back to the newest good checkpoint; changes nothing on disk.

        Returns:
            The number of units done.

        Raises:
            ConfigError: when the checkpoint was made from other inputs.
            ArtifactError: when no checkpoint is good any more.
        """
        try:
            state = self._checkpoints.restore()
        except ArtifactError as error:
            raise ArtifactError(f"{error} {self._fresh_start()}") from error
        if state is None:
            self._check_new()
            return 0
        source = f"{self._checkpoints.restored}/state.json"
        for name, kind in _STATE_FIELDS.items():
            if not isinstance(state.get(name), kind):
                raise ArtifactError(
                    f"{source}: field `{name}` is missing or wrong. "
                    f"Received: {str(state.get(name))[:80]}"
                )
        check_origin(
            state, source, "checkpoint", self.workdir, self._inputs,
            self._config,
        )
        try:
            self.work.restore(state["work"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"{source}: field `work` is not the state of this work: "
                f"{error!r}"
            ) from error
        self._records, self._seconds = state["records"], state["time_s"]
        return state["units"]

    def _check_new(self) -> None:
        """Checks that a workdir without checkpoints never had any."""
        for name in (checkpoint.LOG, "result.json", "tensorboard"):
            if (self.workdir / name).exists():
                raise ArtifactError(
                    f"{self.workdir}: there is a {name}, but the checkpoints "
                    f"are lost. {self._fresh_start()}"
                )

    def _fresh_start(self) -> str:
        words = [
            str(self.workdir / name)
            for name in (
                "checkpoints", checkpoint.LOG, "tensorboard", "result.json"
            )
        ]
        return f"To start afresh: rm -r {shlex.join(words)}"

    def run(self, title: str) -> None:
        """Does the units that are left, saving after each.

        SIGTERM and Ctrl-C end it in good order: see `stopping`.

        Args:
            title: Title of the progress bar.

        Raises:
            Locked: when another process works in the folder.
            Diverged: when a loss or a variable is not finite; what was saved
                last is good, and the learning rates may be changed.
        """
        if not distribute.is_chief(self.loop.strategy):
            with stopping.handled():
                for unit in range(self._agreed(), self.work.units):
                    self.work.run_unit(unit)
                    self._checkpoints.check_finite()
            return
        with locks.workdir(self.workdir), stopping.deferred():
            done = self._agreed()
            self._restore_log()
            if done < self.work.units:
                self._run_units(done, title)

    def _agreed(self) -> int:
        """Returns the number of units that all machines have done."""
        done = self.restore()
        distribute.check_agree(self.loop.strategy, done, "units done")
        return done

    def _run_units(self, done: int, title: str) -> None:
        if self._checkpoints.restored is None:
            self._save(0)
        steps = [self.work.unit_steps(u) for u in range(self.work.units)]
        self.loop.expect(sum(steps), sum(steps[:done]), title)
        folder = str(self.workdir / "tensorboard")
        writer = tf.summary.create_file_writer(folder)
        start = time.monotonic() - self._seconds
        self._middle.load(checkpoint.name_of(done))
        self.loop.middle = self._middle
        try:
            for unit in range(done, self.work.units):
                stopping.check()
                records = self.work.run_unit(unit)
                self._seconds = round(time.monotonic() - start, 2)
                self._write_records(writer, unit, records)
                self._save(unit + 1)
        except Diverged as error:
            raise self._diverged(error, unit) from error
        except stopping.Stopped:
            with contextlib.suppress(Diverged):
                self._checkpoints.check_finite()
                self._middle.save(checkpoint.name_of(unit))
            raise
        finally:
            writer.close()
            self.loop.close()
            self.loop.middle = None

    def _diverged(self, error: Diverged, unit: int) -> Diverged:
        """Notes that it diverged; returns what to tell the user."""
        message = str(error)
        self._middle.drop()
        try:
            self._checkpoints.check_finite()
        except Diverged as first:
            if str(first) != message:
                message += f"; {first}"
        artifacts.note_divergence(self.workdir, message)
        return Diverged(
            f"{self.workdir}: unit {unit}: {message}. The checkpoint after "
            f"unit {unit} of {self.work.units} is good: the same command with "
            "lower learning rates (settings called `lr`) goes on from there."
        )

    def _restore_log(self) -> None:
        """Makes the log that of the checkpoint.

        It drops the records of units that were not saved, and says so where
        others are damaged or lost.

        Raises:
            ArtifactError: when a checkpoint of an older version has no log,
                and the workdir's lacks records.
        """
        folder = self._checkpoints.restored
        if folder is None:
            return
        held = b""
        if self._log.is_file():
            held = self._log.read_bytes()
        if not (folder / checkpoint.LOG).exists():
            lines = held.splitlines(keepends=True)
            if len(lines) < self._records:
                raise ArtifactError(
                    f"{self._log}: expected the {self._records} records that "
                    f"{folder} counts. Received: {len(lines)}. "
                    f"{self._fresh_start()}"
                )
            artifacts.write_bytes(
                self._log, b"".join(lines[: self._records])
            )
            return
        saved = (folder / checkpoint.LOG).read_bytes()
        if not held.startswith(saved):
            _mend(self._log, saved, folder)
        elif held != saved:
            artifacts.write_bytes(self._log, saved)

    def _write_records(
        self, writer: Any, unit: int, records: list[dict[str, Any]]
    ) -> None:
        for record in records:
            timed = {**record, "time_s": self._seconds}
            artifacts.append_jsonl(self._log, timed)
            with writer.as_default(step=unit):
                for name, value in record.items():
                    if isinstance(value, float):
                        tag = f"{record['phase']}/{name}"
                        tf.summary.scalar(tag, value)
        self._records += len(records)
        # Before the checkpoint: a unit that was saved is never done again.
        # One that was not is done again, and gives the same points twice.
        writer.flush()

    def _save(self, units: int) -> None:
        self._checkpoints.save(
            units,
            {
                "units": units,
                "records": self._records,
                "time_s": self._seconds,
                "inputs": self._inputs,
                "config_sha256": self._config,
                "work": self.work.state(),
            },
            self._log.read_bytes() if units else b"",
        )
        self._middle.begin()
        self._middle.drop()


def _mend(log: pathlib.Path, saved: bytes, folder: pathlib.Path) -> None:
    artifacts.warn(f"{log}: damaged or lost; written anew from {folder}")
    artifacts.write_bytes(log, saved)


def start_loop(
    seed: int, strategy: str = "default", progress: bool = True
) -> Loop:
    """Begins a run: seeds all libraries, and makes its gradient loop.

    Args:
        seed: The run's one seed.
        strategy: See `distribute.strategy`.
        progress: Whether to show a progress bar.
    """
    devices = distribute.strategy(strategy)  # before any tensor
    run_state.start(seed)
    return Loop(devices, seed, progress)


def run_stage(
    workdir: str | os.PathLike, work: Work, loop: Loop,
    claim: Mapping[str, Any], inputs: Mapping[str, Any], title: str,
    result: Callable[[], Mapping[str, Any]],
) -> None:
    """Runs work to its end in a workdir, and writes its result.

    Args:
        workdir: Folder of the stage. It is claimed only here: what making
            the work refused may be put right in the same folder.
        work: What to run.
        loop: Of `start_loop`.
        claim: Settings that the workdir belongs to.
        inputs: See `Stage`.
        title: Title of the progress bar.
        result: Gives what the work has come to, with its "format"; the chief
            writes it, with what it was made by.

    Raises:
        ConfigError: when the workdir belongs to other settings or inputs.
    """
    folder = artifacts.claim_workdir(workdir, claim)
    Stage(folder, work, loop, inputs, claim).run(title)
    if distribute.is_chief(loop.strategy):
        write_result(
            folder / "result.json",
            {**result(), "versions": run_state.versions(), "seed": loop.seed,
             "config_sha256": artifacts.config_digest(claim)},
        )


def check_log(workdir: str | os.PathLike) -> None:
    """Checks the log of a finished stage; mends it from its checkpoint.

    Args:
        workdir: The stage's folder. One of an older version, or without a
            good checkpoint, is left as it is.

    Raises:
        ArtifactError: when there is a folder in its place.
    """
    log = pathlib.Path(workdir) / checkpoint.LOG
    for folder in reversed(checkpoint.saved(log.parent / "checkpoints")):
        try:
            checkpoint.check_files(folder)
        except ArtifactError:
            continue
        if (folder / checkpoint.LOG).exists():
            saved = (folder / checkpoint.LOG).read_bytes()
            held = log.read_bytes() if log.is_file() else None
            if held is None or not held.startswith(saved):
                _mend(log, saved, folder)
        return


def check_origin(
    record: Mapping[str, Any], source: str | os.PathLike, kind: str,
    workdir: pathlib.Path, inputs: Mapping[str, Any], config: str | None,
) -> None:
    """Checks what a checkpoint or a result of a workdir was made from.

    Args:
        record: It has `inputs` and, unless its version is old,
            `config_sha256`.
        source: Its file.
        kind: `"checkpoint"` or `"result"`.
        workdir: Folder of the stage.
        inputs: What the work depends on beside its config.
        config: Digest of its settings; `None` where the caller answers for
            them.

    Raises:
        ConfigError: when it was made from others.
    """
    if record.get("inputs") != inputs:
        raise ConfigError(
            f"{source}: expected the inputs that the {kind} was made from, "
            f"{record.get('inputs')}. Received: {inputs}"
        )
    theirs = record.get("config_sha256")
    if theirs is None or config is None or theirs == config:
        return
    if theirs not in [c["config_sha256"] for c in artifacts.changes(workdir)]:
        raise ConfigError(
            f"{source}: expected a {kind} of the settings in "
            f"{workdir}/config.json, {config}. Received: "
            f"config_sha256={theirs}"
        )


def write_result(path: str | os.PathLike, value: Mapping[str, Any]) -> None:
    """Writes the sealed result of a stage, unless it is there and good.

    It names the `versions` that made it, not those that came back later.

    Args:
        path: The file.
        value: What the stage has come to, with its "format". How settings
            were changed after it had diverged is added.
    """
    path = pathlib.Path(path)
    if changes := artifacts.changes(path.parent):
        value = {**value, "changes": changes}
    if path.exists():
        try:
            found = artifacts.read_json(path, value["format"], sealed=True)
        except ArtifactError as error:
            artifacts.warn(f"{error}; written anew")
        else:
            if {**value, "versions": found.get("versions")} == found:
                return
            artifacts.warn(f"{path}: not what was trained; written anew")
    artifacts.write_json(path, value, sealed=True)
