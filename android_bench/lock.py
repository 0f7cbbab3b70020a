"""A phone to ourselves, among all programs and users of this machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import pwd
import re
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator

from tfnas.errors import DeviceError

_CREDENTIALS = struct.Struct("3i")  # process, user, group


@contextlib.contextmanager
def lock(serial: str) -> Iterator[None]:
    """Keeps a phone to ourselves for as long as the context lasts.

    On Linux the lock is a socket with a name and no file: nobody can lay a
    link where it will be, it ends with its process however that ends, and
    the kernel says whose it is. Elsewhere it is a lock on a file in the
    user's own folder for temporary files.

    Args:
        serial: The phone.

    Raises:
        DeviceError: when another program has it; the message says which, and
            whose it is, where that is known.
    """
    digest = hashlib.sha256(os.fsencode(serial)).hexdigest()[:12]
    name = f"tfnas-adb-{re.sub('[^A-Za-z0-9]', '_', serial)[:40]}-{digest}"
    hold = _hold_name if sys.platform == "linux" else _hold_file
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold(name))
        except BlockingIOError as error:
            raise DeviceError(
                f"{serial}: another program measures on this phone{error}."
            ) from error
        yield


@contextlib.contextmanager
def _hold_name(name: str) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as holder:
        try:
            holder.bind(f"\0{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise BlockingIOError(_holder(name)) from error
        holder.listen(128)  # so that others may ask whose it is
        yield


def _holder(name: str) -> str:
    size = _CREDENTIALS.size
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(f"\0{name}")
            told = asking.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, size
            )
        except OSError:  # it is just beginning, or was asked too often
            return ""
    process, user, _ = _CREDENTIALS.unpack(told)
    return f": process {process} of user {_name(user)}"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


@contextlib.contextmanager
def _hold_file(name: str) -> Iterator[None]:
    path = pathlib.Path(tempfile.gettempdir(), f"{name}.lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = open(os.open(path, flags, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise _not_ours(path, error.strerror) from error
    with file:
        found = os.fstat(file.fileno())
        own = found.st_uid == os.geteuid() and found.st_nlink == 1
        if not (own and stat.S_ISREG(found.st_mode)):
            raise _not_ours(path, "another file")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            process = file.read(20).decode(errors="replace").strip()
            raise BlockingIOError(
                f": process {process}{_owner(path)}"
            ) from error
        file.truncate()
        file.write(f"{os.getpid()}\n".encode())
        yield


def _not_ours(path: pathlib.Path, what: str | None) -> DeviceError:
    return DeviceError(
        f"Expected a file of our own to lock: {path}. Received: {what}"
        f"{_owner(path)}. Remove it."
    )


def _owner(path: pathlib.Path) -> str:
    try:
        return f" of user {_name(path.lstat().st_uid)}"
    except OSError:
        return ""
