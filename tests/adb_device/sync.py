"""The file service of the loopback phone: stat, list, send and receive."""

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
        elif kind in (b"STA2", b"LST2"):
            await stream.write(kind + _stat2(phone, name))
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
        found = os.stat(phone.path(name))
    except OSError:
        return struct.pack("<3I", 0, 0, 0)
    return struct.pack(
        "<3I", found.st_mode, found.st_size, int(found.st_mtime)
    )


def _stat2(phone, name):
    form = "<I2Q4IQ3q"
    try:
        s = os.stat(phone.path(name))
    except OSError as error:
        return struct.pack(form, error.errno, *[0] * 10)
    return struct.pack(
        form, 0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid,
        s.st_size, int(s.st_atime), int(s.st_mtime), int(s.st_ctime),
    )


async def _fail(stream, message):
    data = message.encode()
    await stream.write(struct.pack("<4sI", b"FAIL", len(data)) + data)


async def _send(stream, phone, request):
    name, _, mode = request.rpartition(",")
    problem, file = None, None
    try:
        path = phone.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = open(path, "wb")
    except OSError as error:
        problem = error.strerror
    while True:
        kind, length = struct.unpack("<4sI", await stream.read(8))
        if kind == b"DONE":
            break
        data = await stream.read(length)
        if problem is None:
            phone.free_bytes -= len(data)
            if phone.free_bytes < 0:
                problem = "No space left on device"
            else:
                file.write(data)
    if file is not None:
        file.close()
    if problem is None:
        os.chmod(path, stat.S_IMODE(int(mode)) | 0o600)
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
        await _fail(stream, error.strerror)
        return
    with file:
        while data := file.read(_CHUNK):
            await stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
    await stream.write(struct.pack("<4sI", b"DONE", 0))


async def _list(stream, phone, name):
    path = phone.path(name)
    for entry in sorted(os.listdir(path) if os.path.isdir(path) else ()):
        data = entry.encode()
        await stream.write(
            b"DENT" + _stat(phone, f"{name}/{entry}")
            + struct.pack("<I", len(data)) + data
        )
    await stream.write(b"DONE" + bytes(16))
