"""Saving and restoring a whole run, so that killed = undisturbed.

A checkpoint is a folder: TensorFlow's bundle of the variables, `state.json`
with the run's plain state, `log.jsonl` with the log so far, and
`manifest.json` with the SHA-256 of every file. It is written under a
temporary name and renamed when it is complete.

Checkpoints of older versions have no log and do not say which epoch they are
of, or which config. They are taken: `config.json` is beside them.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.errors import Diverged

FORMAT = "tfnas-checkpoint/1"
LOG = "log.jsonl"
_NAME = re.compile(r"epoch-(\d{5,})")  # a copy beside it is called otherwise
_KEPT = 2


def bundle(variables: Mapping[str, Sequence[Any]]) -> tf.train.Checkpoint:
    """Returns what saves named groups of variables."""
    return tf.train.Checkpoint(
        **{name: list(group) for name, group in variables.items()}
    )


class Checkpoints:
    """The checkpoints of one workdir; the last two are kept.

    Args:
        folder: The `checkpoints/` folder of the workdir.
        variables: Named groups of variables; names and order must be the
            same when the run goes on.

    Attributes:
        restored: The checkpoint that `restore` took, or `None`.
    """

    def __init__(
        self, folder: str | os.PathLike,
        variables: Mapping[str, Sequence[Any]],
    ):
        self.folder = pathlib.Path(folder)
        self.restored: pathlib.Path | None = None
        self._variables = {name: list(v) for name, v in variables.items()}
        self._bundle = bundle(variables)

    def saved(self) -> list[pathlib.Path]:
        """Returns the complete checkpoints, oldest first."""
        return saved(self.folder)

    def save(
        self, epoch: int, state: Mapping[str, Any], log: bytes = b""
    ) -> pathlib.Path:
        """Writes a checkpoint and drops all but the last two.

        Args:
            epoch: Number of epochs done. What is there of later ones was
                passed over by `restore`, and is dropped too.
            state: The run's plain JSON state.
            log: The log so far.

        Returns:
            The checkpoint's folder.

        Raises:
            Diverged: naming the first variable that is not finite; nothing
                is written.
            OSError: when it cannot be written (disk full, no permission);
                the checkpoints before it stay as they are.
        """
        self.check_finite()
        target = self.folder / name_of(epoch)
        temporary = target.with_suffix(".tmp")
        self._drop_halves()
        try:
            self._write(temporary, epoch, state, log)
            if target.exists():  # damaged, or it would have been restored
                remove(target)
            os.replace(temporary, target)
        except tf.errors.OpError as error:
            raise OSError(f"{target}: {error.message}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        older = [p for p in self.saved() if _epoch(p) <= epoch]
        for old in self.saved():
            if old not in older[-_KEPT:]:
                remove(old)
        return target

    def _drop_halves(self) -> None:
        """Removes what killed processes left half written."""
        for half in self.folder.glob("epoch-*.tmp"):
            remove(half)

    def _write(
        self, folder: pathlib.Path, epoch: int, state: Mapping[str, Any],
        log: bytes,
    ) -> None:
        folder.mkdir(parents=True)
        self._bundle.write(str(folder / "variables"))
        artifacts.write_json(folder / "state.json", dict(state))
        artifacts.write_bytes(folder / LOG, log)
        files = {p.name: artifacts.sha256(p) for p in sorted(folder.iterdir())}
        artifacts.write_json(
            folder / "manifest.json",
            {"format": FORMAT, "epoch": epoch, "files": files},
            sealed=True,
        )

    def check_finite(self) -> None:
        """Looks through all variables.

        Raises:
            Diverged: naming the first one that is not finite.
        """
        for name, group in self._variables.items():
            for i, variable in enumerate(group):
                if not _is_finite(variable):
                    raise Diverged(
                        f"variable {i} of `{name}`, {variable.name}, must "
                        "stay finite; a lower learning rate may help"
                    )

    def restore(self) -> dict[str, Any] | None:
        """Loads the newest good checkpoint into the variables.

        One that is damaged is passed over, and a warning says so.

        Returns:
            The run's plain state, or `None` when there is no checkpoint.

        Raises:
            ArtifactError: when a file of each is missing, damaged, or does
                not fit the variables; nothing on disk is changed.
        """
        refused: list[ArtifactError] = []
        for folder in reversed(self.saved()):
            try:
                state = self._read(folder)
            except ArtifactError as error:
                refused.append(error)
                continue
            if refused:
                artifacts.warn(
                    "; ".join(map(str, refused)) + f". Going on from {folder}"
                )
            self.restored = folder
            return state
        if refused:
            raise ArtifactError(
                "; ".join(map(str, refused)) + ". No good checkpoint is left."
            )
        return None

    def _read(self, folder: pathlib.Path) -> dict[str, Any]:
        check_files(folder)
        state = artifacts.read_json(folder / "state.json")
        try:
            status = self._bundle.read(str(folder / "variables"))
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ArtifactError(
                f"{folder}: does not fit this run's variables: {error}"
            ) from error
        return state


def newest_state(folder: str | os.PathLike) -> dict[str, Any] | None:
    """Returns the plain state in the newest good checkpoint.

    Args:
        folder: A `checkpoints/` folder.

    Returns:
        The state; `None` when no checkpoint is good.
    """
    for path in reversed(saved(pathlib.Path(folder))):
        with contextlib.suppress(ArtifactError):
            check_files(path)
            return artifacts.read_json(path / "state.json")
    return None


def _is_finite(variable: Any) -> bool:
    """Looks at what this machine holds of a variable, on each device."""
    if not variable.dtype.is_floating:
        return True
    held = [variable]
    if isinstance(variable, tf.distribute.DistributedValues):
        held = variable.values
    return all(
        bool(tf.reduce_all(tf.math.is_finite(v.read_value()))) for v in held
    )


def saved(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the complete checkpoints in a folder, oldest first."""
    found = [p for p in folder.glob("epoch-*") if _NAME.fullmatch(p.name)]
    return sorted(found, key=_epoch)


def name_of(epoch: int) -> str:
    """Returns the name of the folder of a checkpoint."""
    return f"epoch-{epoch:05d}"


def _epoch(path: pathlib.Path) -> int:
    return int(path.name.partition("-")[2])


def remove(path: pathlib.Path) -> None:
    """Removes a folder, or what is in the place of one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_files(folder: pathlib.Path) -> None:
    """Checks that a checkpoint is what was written.

    Raises:
        ArtifactError: naming the file that is missing or damaged.
    """
    path = folder / "manifest.json"
    manifest = artifacts.read_json(path, FORMAT)
    if "epoch" in manifest:  # older ones say neither this nor their digest
        artifacts.read_json(path, FORMAT, sealed=True)
    files = manifest.get("files")
    if not isinstance(files, dict) or "state.json" not in files:
        raise ArtifactError(
            f"{path}: field `files` must hold the SHA-256 of each file. "
            f"Received: {files!r}"
        )
    if manifest.get("epoch", _epoch(folder)) != _epoch(folder):
        raise ArtifactError(
            f"{path}: field `epoch` must be that of the folder; is it a copy? "
            f"Received: epoch={manifest['epoch']!r}"
        )
    for name, expected in files.items():
        if pathlib.PurePath(name).name != name:
            raise ArtifactError(
                f"{path}: field `files` must name files of the folder. "
                f"Received: {name!r}"
            )
        found = artifacts.sha256(folder / name)
        if found != expected:
            raise ArtifactError(
                f"{folder / name}: the file is damaged: its SHA-256 must be "
                f"{expected}. Received: {found}"
            )
