"""A phone of the tests: its folder, its cable, and its life.

`LoopbackPhone` speaks the device side of adb itself, as far as we use it;
`daemon.DaemonPhone` leaves that to the real `adbd`. Both have the same folder,
with `/data/local/tmp` and `/sys` in it, and the programs that only phones have
(`getprop`, `dumpsys`, `cmd`, `taskset`) in front of PATH; what these say is
read from files in `state/`.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import threading

from tests.adb_device import sync
from tests.adb_device import wire
from tests.adb_device.cable import Cable

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


class Phone(Cable):
    """A phone. Use it as a context manager.

    Args:
        root: Its folder.
        name: Its model name.
        path: Folders with further programs of the phone.

    Attributes:
        tmp: Its folder for temporary files.
    """

    def __init__(self, root, name="Loopback 1", path=()):
        super().__init__()
        self.root = pathlib.Path(root)
        self.name = name
        self.tmp = self.root / "data" / "local" / "tmp"
        self._path = [self.root / "bin", PROGRAMS, *path]
        self._make_folders()

    def _make_folders(self):
        (self.root / "data" / "local" / "tmp").mkdir(parents=True)
        (self.root / "bin").mkdir()
        for core, clock in enumerate(CLOCKS_KHZ):
            folder = self.root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            folder.mkdir(parents=True)
            (folder / "cpuinfo_max_freq").write_text(f"{clock}\n")
            (folder / "scaling_max_freq").write_text(f"{clock}\n")
            (folder / "scaling_cur_freq").write_text(f"{clock // 2}\n")
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

    def install(self, folder):
        """Gives the phone the programs of a folder."""
        for path in pathlib.Path(folder).iterdir():
            (self.root / "bin" / path.name).symlink_to(path)

    @property
    def environment(self):
        return {
            "PATH": ":".join(map(str, [*self._path, os.defpath])),
            "TFNAS_PHONE": str(self.root),
        }

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
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
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

    async def _main(self, started):
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self._listen()
        started.set()
        await self._stop.wait()
        self._close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)


class LoopbackPhone(Phone):
    """A phone that speaks the device side of adb itself.

    Attributes:
        state: Of `Cable`, or `"unauthorized"`.
        free_bytes: Space left for pushed files.
        crlf: Whether its shell ends lines as terminals do.
    """

    def __init__(self, root, name="Loopback 1", path=()):
        super().__init__(root, name, path)
        self.free_bytes = 1 << 40
        self.crlf = False
        self._buried = set()  # tasks that wait for the end of a command

    def path(self, name):
        """Returns where a file of the phone really is."""
        path = os.path.normpath(f"{self.root}/{name}")
        inside = f"{os.path.normpath(self.root)}/"
        if not f"{path}/".startswith(inside):
            raise PermissionError(13, "Permission denied")
        return path

    async def _plug(self):
        near, far = socket.socketpair()
        product = self.name.replace(" ", "_")
        banner = (
            f"device::ro.product.name={product};ro.product.model={product};"
            f"ro.product.device={product};features=shell_v2,cmd,stat_v2"
        )
        connection = wire.Connection(
            *await asyncio.open_connection(sock=far), banner.encode(),
            self._serve, ("sync:", "shell"),
        )
        asyncio.create_task(connection.run(self.state != "unauthorized"))
        return await asyncio.open_connection(sock=near)

    async def _serve(self, stream, name):
        if name.startswith("sync:"):
            await sync.serve(stream, self)
        else:
            options, _, command = name.partition(":")
            await self._shell(stream, command, ",v2" in options)

    # The shell.

    async def _shell(self, stream, command, framed):
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", _MOVED.sub(rf"{self.root}/\1", command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.root,
            env=self.environment,
            start_new_session=True,
            umask=0,
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
            code = 128 - code if code < 0 else code  # as shells say it
            if framed:
                await stream.write(struct.pack("<BIB", _EXIT, 1, code & 255))
        finally:
            copies.cancel()
            hung_up.cancel()
            await asyncio.gather(copies, hung_up, return_exceptions=True)
            # What the command started is told nothing.
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)
            for output in (_STDOUT, _STDERR):
                process._transport.get_pipe_transport(output).close()
            self._buried.add(asyncio.create_task(process.wait()))
