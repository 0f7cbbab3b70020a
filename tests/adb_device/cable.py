"""The cable between an adb server and a phone of the tests: it can break."""

import asyncio
import contextlib

from tests.adb_device import wire

_CHUNK = 64 * 1024
_DROP_S = 0.1  # from the begin of a command to its end


class Cable:
    """Listens on the loopback and passes on what it is sent.

    Attributes:
        serial: Its address, once it listens.
        state: `"device"`, or `"offline"`: it takes connections, and says
            nothing.
        drop_after_bytes: Breaks once, after so many bytes for the phone.
        drop_in: Breaks once, in a command with this text.
        away_s: How long it stays broken.
        pause_s: How long each piece of data for the phone waits.
        commands: The commands that the phone's shell was given.
    """

    def __init__(self):
        self.state = "device"
        self.drop_after_bytes = None
        self.drop_in = None
        self.away_s = 0.0
        self.pause_s = 0.0
        self.commands = []
        self._away = False
        self._ends = set()

    async def _plug(self):
        """Connects the phone; returns a reader and a writer."""
        raise NotImplementedError

    async def _listen(self):
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0
        )
        port = self._server.sockets[0].getsockname()[1]
        self.serial = f"127.0.0.1:{port}"

    def _close(self):
        self._server.close()
        self._cut()

    def pull_the_cable(self, away_s=0.0):
        """Breaks all connections, and takes none for a while."""
        self.away_s = away_s
        self._loop.call_soon_threadsafe(self._break)

    def put_back_the_cable(self):
        self._loop.call_soon_threadsafe(self._come_back)

    def _break(self):
        self._cut()
        if self.away_s:
            self._away = True
            self._loop.call_later(self.away_s, self._come_back)

    def _come_back(self):
        self._away = False

    def _cut(self):
        for writer in list(self._ends):
            writer.transport.abort()

    async def _accept(self, reader, writer):
        self._ends.add(writer)
        try:
            if self.state == "offline":
                await reader.read()
            elif not self._away:
                await self._join(reader, writer)
        finally:
            self._ends.discard(writer)
            writer.transport.abort()

    async def _join(self, reader, writer):
        try:
            far_reader, far_writer = await self._plug()
        except OSError:  # nobody is at the other end
            return
        self._ends.add(far_writer)
        ways = [
            asyncio.create_task(self._to_phone(reader, far_writer)),
            asyncio.create_task(_pass_on(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._ends.discard(far_writer)
            far_writer.close()

    async def _to_phone(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                header = await reader.readexactly(wire.HEADER.size)
                command, _, _, length, _, _ = wire.HEADER.unpack(header)
                payload = await reader.readexactly(length)
                if command == wire.WRTE:
                    await asyncio.sleep(self.pause_s)
                writer.write(header + payload)
                await writer.drain()
                self._look(command, payload)

    def _look(self, command, payload):
        if command == wire.OPEN and payload.startswith(b"shell"):
            text = payload.rstrip(b"\0").decode().partition(":")[2]
            self.commands.append(text)
            if self.drop_in is not None and self.drop_in in text:
                self.drop_in = None
                self._loop.call_later(_DROP_S, self._break)
        if command == wire.WRTE and self.drop_after_bytes is not None:
            self.drop_after_bytes -= len(payload)
            if self.drop_after_bytes < 0:
                self.drop_after_bytes = None
                self._break()


async def _pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
