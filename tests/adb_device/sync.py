"""The file service of the loopback phone: stat, list, send and receive."""

import contextlib
import os
import stat
import struct

_CHUNK = 64 * 1024


async def serve(stream, phone):
    """Answers file requests until the other end has had enough."""
    while True:
        kind, length = struct.unpack("<4sI", await stream.read(8))
        if kind == b"QUIT":
            return
        name = (await stream.read(length)).decode()
        if kind == b"STAT":
            await stream.write(b"STAT" + _stat(phone, name))
        elif kind == b"STA2":
            await stream.write(kind + _stat2(phone, name, os.stat))
        elif kind == b"LST2":
            await stream.write(kind + _stat2(phone, name, os.lstat))
        elif kind == b"SEND":
            await _send(stream, phone, name)
        elif kind == b"RECV":
            await _receive(stream, phone, name)
        elif kind == b"LIST":
            await _list(stream, phone, name)
        else:
            await _fail(stream, f"unknown request {kind!r}")
            return


def _stat(phone, name):
    try:
        found = os.lstat(phone.path(name))
    except OSError:
        return struct.pack("<3I", 0, 0, 0)
    return struct.pack(
        "<3I", found.st_mode, found.st_size, int(found.st_mtime)
    )


def _stat2(phone, name, look):
    form = "<I2Q4IQ3q"
    try:
        s = look(phone.path(name))
    except OSError as error:
        return struct.pack(form, error.errno, *[0] * 10)
    return struct.pack(
        form, 0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid,
        s.st_size, int(s.st_atime), int(s.st_mtime), int(s.st_ctime),
    )


async def _fail(stream, message):
    data = message.encode()
    await stream.write(struct.pack("<4sI", b"FAIL", len(data)) + data)


def _create(path):
    """Opens a file to be written, and its folders with it.

    It takes the place of what was there, and follows no link.
    """
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(20, os.strerror(20)) from None
    with contextlib.suppress(OSError):
        os.unlink(path)
    return open(path, "xb")


def _mode(wanted):
    # What the owner may do, all may do.
    owner = stat.S_IMODE(wanted) >> 6 & 0o7
    return stat.S_IMODE(wanted) & 0o777 | owner << 3 | owner


async def _send(stream, phone, request):
    name, _, mode = request.rpartition(",")
    problem, file = None, None
    try:
        path = phone.path(name)
        file = _create(path)
    except OSError as error:
        problem = f"couldn't create file: {error.strerror}"
    while True:
        kind, length = struct.unpack("<4sI", await stream.read(8))
        if kind == b"DONE":
            break
        data = await stream.read(length)
        if problem is None:
            phone.free_bytes -= len(data)
            if phone.free_bytes < 0:
                problem = "write failed: No space left on device"
            else:
                file.write(data)
    if file is not None:
        file.close()
    if problem is None and stat.S_ISLNK(int(mode)):
        with open(path, "rb") as link:  # what was sent is where it leads
            target = link.read().rstrip(b"\0")
        os.unlink(path)
        os.symlink(target, path)
        await stream.write(struct.pack("<4sI", b"OKAY", 0))
    elif problem is None:
        os.chmod(path, _mode(int(mode)))
        os.utime(path, (length, length))
        await stream.write(struct.pack("<4sI", b"OKAY", 0))
    else:
        if file is not None:
            os.unlink(path)
        await _fail(stream, problem)


async def _receive(stream, phone, name):
    try:
        file = open(phone.path(name), "rb")
    except OSError as error:
        await _fail(stream, f"open failed: {error.strerror}")
        return
    with file:
        while data := file.read(_CHUNK):
            await stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
    await stream.write(struct.pack("<4sI", b"DONE", 0))


async def _list(stream, phone, name):
    path = phone.path(name)
    inside = os.listdir(path) if os.path.isdir(path) else None
    for entry in () if inside is None else (".", "..", *inside):
        data = entry.encode()
        await stream.write(
            b"DENT" + _stat(phone, f"{name}/{entry}")
            + struct.pack("<I", len(data)) + data
        )
    await stream.write(b"DONE" + bytes(16))
