"""One process at a time in a workdir, or at a table.

The lock is a file that names the process and its host. That of a process of
this host that is gone is taken over; whether one of another host still runs
cannot be known from here, so it is named and stays. `filelock` does the work.
"""

import contextlib
import os
import pathlib
import shlex
from collections.abc import Iterator

import filelock

from tfnas import artifacts
from tfnas.artifacts import PathLike
from tfnas.errors import ConfigError
from tfnas.errors import Locked

# Longer than it takes to see that the owner of a lock is gone, or that a
# lock without an owner stays as it is.
_WAIT_S = 4.0


@contextlib.contextmanager
def workdir(folder: PathLike) -> Iterator[None]:
    """Holds a workdir; what killed processes left half written is removed.

    The folder is made if there is none, and removed again if nothing was put
    there. A process that holds it already may hold it again.

    Args:
        folder: The workdir.

    Raises:
        Locked: when another process holds it; the message says which.
    """
    folder = pathlib.Path(folder)
    with _held(folder / ".lock", folder):
        artifacts.remove_leftovers(folder)
        yield


@contextlib.contextmanager
def file(path: PathLike) -> Iterator[None]:
    """Holds a file that is to be written, and what belongs to it beside it.

    Args:
        path: The file, which need not be there yet.

    Raises:
        Locked: when another process holds it; the message says which.
    """
    path = pathlib.Path(path)
    with _held(path.with_name(f".{path.name}.lock"), path):
        yield


@contextlib.contextmanager
def _held(path: pathlib.Path, what: pathlib.Path) -> Iterator[None]:
    lock = filelock.SoftFileLock(
        os.path.realpath(path), _WAIT_S, is_singleton=True
    )
    made = [p for p in path.parents if not p.exists()]
    try:
        try:
            _acquire(lock, path.parent)
        except filelock.Timeout as error:
            raise Locked(
                f"{what}: {_owner(path)} works here; wait until it has ended. "
                f"If it is gone for good: rm {shlex.quote(str(path))}"
            ) from error
        try:
            yield
        finally:
            lock.release()
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()


def _acquire(lock: filelock.BaseFileLock, folder: pathlib.Path) -> None:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(
                f"{folder}: expected a folder. Received: a file"
            ) from error
        # Another process may remove the folder that it has made.
        with contextlib.suppress(FileNotFoundError):
            lock.acquire()
            return


def _owner(path: pathlib.Path) -> str:
    """Returns who a lock names."""
    try:
        process, host, *_ = artifacts.read_text(path, 1 << 10).split()
    except (artifacts.ArtifactError, ValueError):
        return "another process"
    return f"process {process} of host {host}"
