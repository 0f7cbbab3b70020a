"""A phone that is a folder of this machine, on a port of the loopback.

It speaks the device side of adb, so the real client and server talk to it.
Its shell runs real commands, with `/data/local/tmp` and `/sys` moved into the
folder and the programs that only phones have (`getprop`, `dumpsys`, `cmd`,
`taskset`) in front of PATH; what these say is read from files in `state/`.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import shutil
import signal
import struct
import threading

from tests.adb_device import sync
from tests.adb_device import wire

PROGRAMS = pathlib.Path(__file__).parent / "programs"
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_MOVED = re.compile(r"(?<![\w./-])/(data/local/tmp|sys)(?=/|\b)")
_CHUNK = 64 * 1024

# Two clusters: four small cores, two big ones.
CLOCKS_KHZ = (1800000,) * 4 + (2400000,) * 2
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  health: 2
  level: 85
  scale: 100
  voltage: 4123
  temperature: 287
"""
THERMAL = """IsStatusOverride: false
Thermal Status: {status}
Current temperatures from HAL:
\tTemperature{{mValue=31.5, mType=0, mName=CPU, mStatus=0}}
\tTemperature{{mValue=28.7, mType=2, mName=BAT, mStatus=0}}
"""


class Phone:
    """The phone. Use it as a context manager.

    Args:
        root: Its folder.
        name: Its model name.
        path: Folders with further programs of the phone.

    Attributes:
        serial: Its address, once it runs.
        state: `"device"`, `"unauthorized"` or `"offline"`.
        free_bytes: Space left for pushed files.
        crlf: Whether its shell ends lines as terminals do.
        drop_after_bytes: Breaks the connection once, after so many bytes.
        drop_in: Breaks the connection once, in a command with this text.
        away_s: How long it does not answer after a broken connection.
        commands: The commands its shell was given.
    """

    def __init__(self, root, name="Loopback 1", path=()):
        self.root = pathlib.Path(root)
        self.name = name
        self.state = "device"
        self.free_bytes = 1 << 40
        self.crlf = False
        self.drop_after_bytes = None
        self.drop_in = None
        self.away_s = 0.0
        self.commands = []
        self._path = [PROGRAMS, *path]
        self._connections = set()
        self._away = False
        self._make_folders()

    def _make_folders(self):
        self.tmp = self.root / "data" / "local" / "tmp"
        self.tmp.mkdir(parents=True)
        for core, clock in enumerate(CLOCKS_KHZ):
            folder = self.root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            folder.mkdir(parents=True)
            (folder / "cpuinfo_max_freq").write_text(f"{clock}\n")
            (folder / "scaling_governor").write_text("schedutil\n")
        zone = self.root / "sys/class/thermal/thermal_zone0"
        zone.mkdir(parents=True)
        (zone / "temp").write_text("31500\n")
        (self.root / "state").mkdir()
        self.set("battery", BATTERY)
        self.set("thermal", THERMAL.format(status=0))
        self.set("fixed", "false")
        properties = {
            "ro.product.manufacturer": "tfnas",
            "ro.product.model": self.name,
            "ro.soc.model": "LB1",
            "ro.build.fingerprint": "tfnas/loopback/1:14/TEST/1:user/keys",
            "ro.build.version.release": "14",
            "ro.product.cpu.abi": "arm64-v8a",
            "ro.serialno": self.name.replace(" ", ""),
        }
        self.set(
            "properties",
            "".join(f"[{k}]: [{v}]\n" for k, v in properties.items()),
        )

    def set(self, name, text):
        """Sets what the phone's programs read."""
        # A reader must never find the file empty.
        new = self.root / "state" / f".{name}"
        new.write_text(text)
        new.replace(self.root / "state" / name)

    def get(self, name):
        return (self.root / "state" / name).read_text().strip()

    @property
    def left_behind(self):
        """Names of what lies in the folder for temporary files."""
        return sorted(path.name for path in self.tmp.iterdir())

    def path(self, name):
        """Returns where a file of the phone really is."""
        path = os.path.normpath(f"{self.root}/{name}")
        inside = f"{os.path.normpath(self.root)}/"
        if not f"{path}/".startswith(inside):
            raise PermissionError(13, "Permission denied")
        return path

    # Running.

    def __enter__(self):
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(started)), daemon=True
        )
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root)

    def processes(self):
        """Returns what runs on the phone: process numbers."""
        mark = f"TFNAS_PHONE={self.root}".encode()
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def pull_the_cable(self, away_s=0.0):
        """Breaks the connection, and answers no other for a while."""
        self.away_s = away_s
        self._loop.call_soon_threadsafe(self._break)

    async def _main(self, started):
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.serial = f"127.0.0.1:{port}"
        started.set()
        await self._stop.wait()
        server.close()
        while self._connections:
            for connection in list(self._connections):
                connection.drop()
            await asyncio.sleep(0.01)

    async def _accept(self, reader, writer):
        if self._away:
            writer.transport.abort()
            return
        if self.state == "offline":  # it accepts, and never says a word
            await self._stop.wait()
            writer.transport.abort()
            return
        product = self.name.replace(" ", "_")
        banner = (
            f"device::ro.product.name={product};ro.product.model={product};"
            f"ro.product.device={product};features=shell_v2,cmd,stat_v2"
        )
        connection = wire.Connection(
            reader, writer, banner.encode(), self._serve, self._on_data
        )
        self._connections.add(connection)
        try:
            await connection.run(self.state != "unauthorized")
        finally:
            self._connections.discard(connection)

    def _on_data(self, connection, data):
        if self.drop_after_bytes is not None:
            self.drop_after_bytes -= len(data)
            if self.drop_after_bytes < 0:
                self.drop_after_bytes = None
                self._break()

    def _break(self):
        for connection in list(self._connections):
            connection.drop()
        if self.away_s:
            self._away = True
            self._loop.call_later(self.away_s, self._come_back)

    def _come_back(self):
        self._away = False

    async def _serve(self, stream, name):
        if name.startswith("sync:"):
            await sync.serve(stream, self)
        elif name.startswith("shell"):
            options, _, command = name.partition(":")
            await self._shell(stream, command, ",v2" in options)

    # The shell.

    async def _shell(self, stream, command, framed):
        self.commands.append(command)
        if self.drop_in is not None and self.drop_in in command:
            self.drop_in = None
            self._loop.call_later(0.1, self._break)
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", _MOVED.sub(rf"{self.root}/\1", command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.root,
            env={
                "PATH": ":".join(map(str, [*self._path, os.defpath])),
                "TFNAS_PHONE": str(self.root),
            },
            start_new_session=True,
        )

        async def copy(source, kind):
            while data := await source.read(_CHUNK):
                if self.crlf:
                    data = data.replace(b"\n", b"\r\n")
                if framed:
                    data = struct.pack("<BI", kind, len(data)) + data
                await stream.write(data)

        hung_up = asyncio.create_task(stream.closed())
        copies = asyncio.gather(
            copy(process.stdout, _STDOUT), copy(process.stderr, _STDERR)
        )
        try:
            await asyncio.wait(
                [copies, hung_up], return_when=asyncio.FIRST_COMPLETED
            )
            if not copies.done():
                raise wire.Closed
            code = await process.wait()
            if framed:
                await stream.write(struct.pack("<BIB", _EXIT, 1, code & 255))
        finally:
            copies.cancel()
            hung_up.cancel()
            await asyncio.gather(copies, hung_up, return_exceptions=True)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
