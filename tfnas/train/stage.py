"""A resumable stage in a workdir: units of work, log, checkpoints."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import tensorflow as tf

from tfnas import artifacts
from tfnas.errors import ConfigError
from tfnas.train import distribute
from tfnas.train.checkpoint import Checkpoints


class Work(Protocol):
    """Work in units that can be saved between any two of them."""

    @property
    def units(self) -> int:
        """Number of units of work."""

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

    Args:
        workdir: Folder with `log.jsonl`, `checkpoints/` and the TensorBoard
            scalars.
        work: What to run.
        strategy: Only its chief writes files.
        inputs: What the work depends on beside its config, such as the
            SHA-256 of a table; a checkpoint made from other inputs is
            refused.
    """

    def __init__(
        self, workdir: str | os.PathLike, work: Work,
        strategy: tf.distribute.Strategy, inputs: Mapping[str, Any],
    ):
        self.workdir, self.work = pathlib.Path(workdir), work
        self._inputs = dict(inputs)
        self._chief = distribute.is_chief(strategy)
        self._log = self.workdir / "log.jsonl"
        self._checkpoints = Checkpoints(
            self.workdir / "checkpoints", work.variables()
        )

    def restore(self) -> int:
        """Goes back to the newest checkpoint.

        Returns:
            The number of units done.

        Raises:
            ConfigError: when the checkpoint was made from other inputs.
            ArtifactError: when the checkpoint is damaged.
        """
        state = self._checkpoints.restore()
        if state is None:
            self._cut_log(0)
            return 0
        if state["inputs"] != self._inputs:
            raise ConfigError(
                f"{self.workdir}: the checkpoint was made from "
                f"{state['inputs']}. Received: {self._inputs}"
            )
        self.work.restore(state["work"])
        self._cut_log(state["records"])
        return state["units"]

    def _cut_log(self, records: int) -> None:
        if not self._chief or not self._log.exists():
            return
        lines = self._log.read_text().splitlines(keepends=True)[:records]
        artifacts.write_text(self._log, "".join(lines))

    def run(self, on_unit: Callable[[int], None] = lambda unit: None) -> None:
        """Does the units that are left, saving after each.

        Args:
            on_unit: Called with the number of units done.
        """
        done = self.restore()
        records = len(self._read_log())
        on_unit(done)
        writer = (
            tf.summary.create_file_writer(str(self.workdir / "tensorboard"))
            if self._chief
            else tf.summary.create_noop_writer()
        )
        start = time.monotonic()
        for unit in range(done, self.work.units):
            new = self.work.run_unit(unit)
            if not self._chief:
                continue
            for record in new:
                elapsed = round(time.monotonic() - start, 2)
                artifacts.append_jsonl(
                    self._log, {**record, "time_s": elapsed}
                )
                _summarise(writer, record, unit)
            records += len(new)
            self._checkpoints.save(
                unit + 1,
                {"units": unit + 1, "records": records,
                 "inputs": self._inputs, "work": self.work.state()},
            )
            on_unit(unit + 1)
        writer.close()

    def _read_log(self) -> list[dict[str, Any]]:
        return artifacts.read_jsonl(self._log) if self._log.exists() else []


def _summarise(writer: Any, record: dict[str, Any], unit: int) -> None:
    with writer.as_default(step=unit):
        for name, value in record.items():
            if isinstance(value, float):
                tf.summary.scalar(f"{record['phase']}/{name}", value)
