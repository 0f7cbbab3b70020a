"""Saving and restoring a whole run, so that killed = undisturbed.

A checkpoint is a folder: TensorFlow's bundle of the variables, and
`manifest.json` with the run's plain state and the SHA-256 of every file. It
is written under a temporary name and renamed when it is complete.
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
        """
        target = self.folder / f"epoch-{epoch:05d}"
        temporary = target.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self._bundle.write(str(temporary / "variables"))
        files = {p.name: artifacts.sha256(p) for p in temporary.iterdir()}
        artifacts.write_json(
            temporary / "manifest.json",
            {"format": FORMAT, "files": files, "state": dict(state)},
        )
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        for old in self.saved()[:-2]:
            shutil.rmtree(old)
        return target

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
        manifest = artifacts.read_json(saved[-1] / "manifest.json", FORMAT)
        for name, expected in manifest["files"].items():
            path = saved[-1] / name
            if artifacts.sha256(path) != expected:
                raise ArtifactError(
                    f"{path}: the file must have the SHA-256 of its "
                    "manifest; it is damaged. Remove this checkpoint's "
                    "folder to go on from the one before."
                )
        try:
            status = self._bundle.read(str(saved[-1] / "variables"))
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as e:
            raise ArtifactError(
                f"{saved[-1]}: does not fit this run's variables: {e}"
            ) from e
        return manifest["state"]
