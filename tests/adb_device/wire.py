"""The device side of the adb wire protocol, on asyncio streams.

A packet is a header of six little-endian words (command, two arguments,
length, checksum, inverted command) and a payload. Both ends open numbered
streams over one connection; every WRTE must be answered by OKAY before the
next one. From protocol version 0x01000001 on checksums are zero.
"""

import asyncio
import struct

VERSION = 0x01000001
MAX_PAYLOAD = 256 * 1024
HEADER = struct.Struct("<6I")
_TOKEN, _PUBLIC_KEY = 1, 3  # kinds of AUTH packets


def _number(name):
    return int.from_bytes(name.encode(), "little")


CNXN, OPEN, OKAY, WRTE, CLSE, AUTH = map(
    _number, ("CNXN", "OPEN", "OKAY", "WRTE", "CLSE", "AUTH")
)


class Closed(Exception):
    """The other end closed the stream."""


class Stream:
    """One open stream, as the service behind it sees it."""

    def __init__(self, connection, local, remote):
        self.connection = connection
        self.local, self.remote = local, remote
        self.incoming = asyncio.Queue()
        self.acknowledged = asyncio.Event()
        self.buffer = b""
        self.open = True

    async def write(self, data):
        for start in range(0, len(data), MAX_PAYLOAD):
            self.acknowledged.clear()
            await self.connection.send(
                WRTE, self.local, self.remote,
                data[start : start + MAX_PAYLOAD],
            )
            await self.acknowledged.wait()
            if not self.open:
                raise Closed

    async def read(self, size):
        """Returns exactly `size` bytes."""
        while len(self.buffer) < size:
            await self._more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def _more(self):
        data = await self.incoming.get()
        if data is None:
            self.incoming.put_nowait(None)
            raise Closed
        self.buffer += data

    async def closed(self):
        """Returns when the other end closes; what it sends is dropped."""
        while await self.incoming.get() is not None:
            pass

    def end(self):
        self.open = False
        self.acknowledged.set()
        self.incoming.put_nowait(None)


class Connection:
    """One connection of an adb server.

    Args:
        reader, writer: The socket.
        banner: What the device says of itself.
        serve: Coroutine function `serve(stream, name)`, run for each stream.
        services: How the names of the services that there are begin.
    """

    def __init__(self, reader, writer, banner, serve, services):
        self._reader, self._writer = reader, writer
        self._banner, self._serve = banner, serve
        self._services = services
        self._streams = {}
        self._tasks = set()
        self._next = 1

    async def send(self, command, first, second, payload=b""):
        header = HEADER.pack(
            command, first, second, len(payload), 0, command ^ 0xFFFFFFFF
        )
        self._writer.write(header + payload)
        await self._writer.drain()

    async def _receive(self):
        header = await self._reader.readexactly(HEADER.size)
        command, first, second, length, _, inverse = HEADER.unpack(header)
        assert command == inverse ^ 0xFFFFFFFF, "not the adb protocol"
        return command, first, second, await self._reader.readexactly(length)

    async def run(self, authorized=True):
        try:
            while True:
                await self._handle(*await self._receive(), authorized)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for stream in self._streams.values():
                stream.end()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._writer.close()

    async def _handle(self, command, first, second, payload, authorized):
        if command in (CNXN, AUTH) and not authorized:
            # It signs our tokens with one key after another; we know none
            # of them. Then it offers a new key, and nobody answers the
            # dialog on the phone.
            if first != _PUBLIC_KEY:
                await self.send(AUTH, _TOKEN, 0, bytes(20))
        elif command == CNXN:
            await self.send(CNXN, VERSION, MAX_PAYLOAD, self._banner)
        elif command == OPEN:
            await self._open(first, payload.rstrip(b"\0").decode())
        elif command == WRTE and second in self._streams:
            self._streams[second].incoming.put_nowait(payload)
            await self.send(OKAY, second, first)
        elif command == OKAY and second in self._streams:
            self._streams[second].acknowledged.set()
        elif command == CLSE and second in self._streams:
            self._streams.pop(second).end()

    async def _open(self, remote, name):
        if not name.startswith(self._services):
            await self.send(CLSE, 0, remote)
            return
        stream = Stream(self, self._next, remote)
        self._next += 1
        self._streams[stream.local] = stream
        await self.send(OKAY, stream.local, stream.remote)
        task = asyncio.create_task(self._run(stream, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, stream, name):
        try:
            await self._serve(stream, name)
        except Closed:
            pass
        finally:
            if self._streams.pop(stream.local, None):
                try:
                    await self.send(CLSE, stream.local, stream.remote)
                except ConnectionError:
                    pass
