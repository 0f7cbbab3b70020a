"""A phone of the tests with the real `adbd` in it, as Debian packages it.

The daemon listens on all interfaces and asks nobody for a key, so it runs
where there is no other network than its own (see `namespace`). Its cable is
the only way in.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

from tests.adb_device.phone import Phone

# Where `.ci/unpack_adbd` put it; who sets it wants no test to be skipped.
FOLDER = "TFNAS_ADBD"
_DAEMON = "usr/lib/android-sdk/platform-tools/adbd"
_LIBRARIES = ("usr/lib/*-linux-gnu/android", "usr/lib/*-linux-gnu")
PORT = 5555
_APART = ("--net", "--mount", "--pid", "--fork", "--kill-child")


def unshare():
    """Returns the words that start a program on a machine of its own."""
    # Who is not root can be the root of a namespace, where that is allowed.
    root = () if os.geteuid() == 0 else ("--map-root-user",)
    return [shutil.which("unshare"), *root, *_APART]


def missing():
    """Returns why there can be no such phone, or `None`."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return f"needs adbd (`.ci/unpack_adbd FOLDER`, then {FOLDER}=FOLDER)"
    if not pathlib.Path(folder, _DAEMON).exists():
        return f"needs {_DAEMON} in {FOLDER}={folder}"
    if not shutil.which("unshare"):
        return "needs the program unshare (Debian: util-linux)"
    done = subprocess.run(
        [*unshare(), "true"], capture_output=True, text=True
    )
    if done.returncode:
        return f"needs namespaces: {done.stderr.strip()}"
    return None


class DaemonPhone(Phone):
    """A phone with the real `adbd`.

    Its `/data` and `/sys` are seen by itself alone once something is mounted
    there; `tmp` is what it sees.
    """

    def __init__(self, root, name="Daemon 1", path=()):
        super().__init__(root, name, path)
        self._folder = pathlib.Path(os.environ[FOLDER])

    def __enter__(self):
        self._control, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        libraries = ":".join(
            str(path) for x in _LIBRARIES for path in self._folder.glob(x)
        )
        self.log = self.root / "state" / "adbd.log"
        with theirs, self.log.open("wb") as log:
            self._machine = subprocess.Popen(
                [
                    *unshare(), sys.executable, "-I", "-S",
                    str(pathlib.Path(__file__).with_name("namespace.py")),
                    str(theirs.fileno()), str(self.root),
                    str(self._folder / _DAEMON),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[theirs.fileno()],
                env={
                    **self.environment, "ADBD_PORT": str(PORT),
                    "LD_LIBRARY_PATH": libraries,
                },
            )
        assert self._control.recv(16) == b"0", self.log.read_text()
        (first,) = _children(self._machine.pid)
        self.tmp = pathlib.Path(f"/proc/{first}/root/data/local/tmp")
        self.revive()
        return super().__enter__()

    def __exit__(self, *error):
        self._control.close()
        self._machine.wait(10)
        super().__exit__(*error)

    def _ask(self, *request):
        self._control.send(json.dumps(request).encode())
        return int(self._control.recv(16))

    def _socket(self):
        self._control.send(b'["socket"]')
        _, (number,), _, _ = socket.recv_fds(self._control, 16, 1)
        return socket.socket(fileno=number)

    async def _plug(self):
        plug = self._socket()
        plug.setblocking(False)
        try:
            await self._loop.sock_connect(plug, ("127.0.0.1", PORT))
        except OSError:
            plug.close()
            raise
        return await asyncio.open_connection(sock=plug)

    def run(self, *words):
        """Runs a command there, as root; it must succeed."""
        assert self._ask("run", *words) == 0, self.log.read_text()

    def die(self):
        """Kills the daemon, as a crash does; what it started lives on."""
        self._ask("kill")

    def revive(self):
        """Starts the daemon again."""
        self._ask("start")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with self._socket() as probe, contextlib.suppress(OSError):
                probe.connect(("127.0.0.1", PORT))
                return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def processes(self):
        daemon = self._folder / _DAEMON
        return [pid for pid in super().processes() if not _is(pid, daemon)]


def _is(pid, program):
    """Whether a process is a program, starts it, or is gone."""
    with contextlib.suppress(OSError):
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return os.fsencode(program) in words
    return True


def _children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]
