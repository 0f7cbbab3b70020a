"""Saving and restoring a whole run, so that killed = undisturbed.

A checkpoint is a folder: TensorFlow's bundle of the variables, `state.json`
with the run's plain state, and `manifest.json` with the SHA-256 of every
file. It is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnas import artifacts
from tfnas.errors import ArtifactError

FORMAT = "tfnas-checkpoint/1"


def _bundle(variables: Mapping[str, Sequence[Any]]) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        **{name: list(group) for name, group in variables.items()}
    )


class Checkpoints:
    """The checkpoints of one workdir; the last two are kept.

    Args:
        folder: The `checkpoints/` folder of the workdir.
        variables: Named groups of variables; names and order must be the
            same when the run goes on.
    """

    def __init__(
        self, folder: str | os.PathLike,
        variables: Mapping[str, Sequence[Any]],
    ):
        self.folder = pathlib.Path(folder)
        self._bundle = _bundle(variables)

    def saved(self) -> list[pathlib.Path]:
        """Returns the complete checkpoints, oldest first."""
        return sorted(
            p for p in self.folder.glob("epoch-*") if p.suffix != ".tmp"
        )

    def save(self, epoch: int, state: Mapping[str, Any]) -> pathlib.Path:
        """Writes a checkpoint and drops all but the last two.

        Args:
            epoch: Number of epochs done.
            state: The run's plain JSON state.

        Returns:
            The checkpoint's folder.

        Raises:
            OSError: when it cannot be written (disk full, no permission);
                the checkpoints before it stay as they are.
        """
        target = self.folder / f"epoch-{epoch:05d}"
        temporary = target.with_suffix(".tmp")
        # A killed process may have left one.
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            self._write(temporary, state)
            os.replace(temporary, target)
        except tf.errors.OpError as error:
            raise OSError(f"{target}: {error.message}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in self.saved()[:-2]:
            shutil.rmtree(old)
        return target

    def _write(self, folder: pathlib.Path, state: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True)
        self._bundle.write(str(folder / "variables"))
        artifacts.write_json(folder / "state.json", dict(state))
        files = {p.name: artifacts.sha256(p) for p in sorted(folder.iterdir())}
        artifacts.write_json(
            folder / "manifest.json", {"format": FORMAT, "files": files}
        )

    def restore(self) -> dict[str, Any] | None:
        """Loads the newest checkpoint into the variables.

        Returns:
            The run's plain state, or `None` when there is no checkpoint.

        Raises:
            ArtifactError: when a file of it is missing, damaged, or does not
                fit the variables; nothing on disk is changed.
        """
        saved = self.saved()
        if not saved:
            return None
        newest = saved[-1]
        _check_files(newest)
        state = artifacts.read_json(newest / "state.json")
        try:
            status = self._bundle.read(str(newest / "variables"))
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ArtifactError(
                f"{newest}: does not fit this run's variables: {error}"
            ) from error
        return state


def _check_files(folder: pathlib.Path) -> None:
    path = folder / "manifest.json"
    files = artifacts.read_json(path, FORMAT).get("files")
    if not isinstance(files, dict) or "state.json" not in files:
        raise ArtifactError(
            f"{path}: field `files` must hold the SHA-256 of each file. "
            f"Received: {files!r}"
        )
    for name, expected in files.items():
        found = artifacts.sha256(folder / name)
        if found != expected:
            raise ArtifactError(
                f"{folder / name}: the file is damaged: its SHA-256 must be "
                f"{expected}. Received: {found}. Remove the folder {folder} "
                "to go on from the checkpoint before it."
            )
