"""A resumable stage in a workdir: units of work, log, checkpoints."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import tensorflow as tf

from tfnas import artifacts
from tfnas.errors import ConfigError
from tfnas.train import distribute
from tfnas.train.checkpoint import Checkpoints
from tfnas.train.loop import Loop


class Work(Protocol):
    """Work in units that can be saved between any two of them."""

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

    Args:
        workdir: Folder with `log.jsonl`, `checkpoints/` and `tensorboard/`.
        work: What to run.
        loop: The gradient loop that the work uses.
        inputs: What the work depends on beside its config, such as the
            SHA-256 of a table; a checkpoint made from other inputs is
            refused.
    """

    def __init__(
        self, workdir: str | os.PathLike, work: Work, loop: Loop,
        inputs: Mapping[str, Any],
    ):
        self.workdir, self.work, self.loop = pathlib.Path(workdir), work, loop
        self._inputs = dict(inputs)
        self._log = self.workdir / "log.jsonl"
        self._records, self._seconds = 0, 0.0
        self._checkpoints = Checkpoints(
            self.workdir / "checkpoints", work.variables()
        )

    def restore(self) -> int:
        """Goes back to the newest checkpoint; changes nothing on disk.

        Returns:
            The number of units done.

        Raises:
            ConfigError: when the checkpoint was made from other inputs.
            ArtifactError: when the checkpoint is damaged.
        """
        state = self._checkpoints.restore()
        if state is None:
            return 0
        if state["inputs"] != self._inputs:
            raise ConfigError(
                f"{self.workdir}: expected the inputs that the checkpoint was "
                f"made from, {state['inputs']}. Received: {self._inputs}"
            )
        self.work.restore(state["work"])
        self._records, self._seconds = state["records"], state["time_s"]
        return state["units"]

    def run(self, title: str) -> None:
        """Does the units that are left, saving after each.

        Args:
            title: Title of the progress bar.
        """
        done = self.restore()
        distribute.check_agree(self.loop.strategy, done, "units done")
        if done == self.work.units:
            return
        if not distribute.is_chief(self.loop.strategy):
            for unit in range(done, self.work.units):
                self.work.run_unit(unit)
            return
        self._cut_log()
        steps = [self.work.unit_steps(u) for u in range(self.work.units)]
        self.loop.expect(sum(steps), sum(steps[:done]), title)
        folder = str(self.workdir / "tensorboard")
        writer = tf.summary.create_file_writer(folder)
        start = time.monotonic() - self._seconds
        try:
            for unit in range(done, self.work.units):
                records = self.work.run_unit(unit)
                self._seconds = round(time.monotonic() - start, 2)
                self._write_records(writer, unit, records)
                self._save(unit + 1)
        finally:
            writer.close()
            self.loop.close()

    def _cut_log(self) -> None:
        """Drops the records of units that were not saved."""
        if self._log.exists():
            lines = self._log.read_text().splitlines(keepends=True)
            kept = "".join(lines[: self._records])
            artifacts.write_text(self._log, kept)

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
                "work": self.work.state(),
            },
        )
