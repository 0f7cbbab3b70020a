"""A folder of ours on a phone, which is gone afterwards whatever happens.

When this program is killed or the cable stays out, nobody here can clean up.
So a small watchdog on the phone does: as long as it finds a file `lease`, it
takes it away and sleeps; when none was put back meanwhile, it undoes what we
changed and removes the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import re
import secrets
import shlex
import tempfile
import types
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

from android_bench.adb import Adb
from android_bench.adb import Completed
from android_bench.adb import Disconnected
from tfnas import artifacts
from tfnas.errors import DeviceError

_PARENT = "/data/local/tmp"
# $0 is the folder, $1 seconds, the rest what to undo.
_WATCHDOG = """
echo $$ > "$0/watchdog" || exit
while rm "$0/lease"; do sleep "$1"; done
shift
"$@"
rm -rf "$0"
"""
# Words are the watchdog's; returns when it runs on its own.
_START = """
setsid sh -c "$@" < /dev/null > /dev/null 2>&1 &
tries=0
while [ ! -s "$2/watchdog" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || exit 1
    sleep 0.05
done
"""
# What a run that lost its connection left behind must not run beside it.
_RUN = """
kill -9 $(cat "$0"/running) 2>/dev/null
touch "$0/lease"
cd "$0" || exit
"$@" &
echo $! > running
wait $!
code=$?
rm -f running
exit $code
"""
_CLEAN = """
kill -9 $(cat "$0/running") 2>/dev/null
kill -9 -$(cat "$0/watchdog") 2>/dev/null
rm -rf "$0"
"""
_SHA256 = re.compile(r"^([0-9a-f]{64})\s+(.+)$", re.MULTILINE)


@contextlib.contextmanager
def lock(serial: str) -> Iterator[None]:
    """Keeps a phone to ourselves, among all programs of this machine.

    Raises:
        DeviceError: when another one has it.
    """
    name = re.sub(r"\W", "_", serial)
    path = pathlib.Path(tempfile.gettempdir(), f"tfnas-adb-{name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeviceError(
                f"{serial}: another program measures on this phone ({path})."
            ) from error
        yield
    finally:
        os.close(descriptor)


class Workspace:
    """A folder on a phone. Use it as a context manager.

    Args:
        adb: The phone.
        lease_s: How long the phone waits for us before it cleans up itself;
            longer than any single command.
        change: A command that changes a setting of the phone.
        undo: The command that changes it back, or `()`.
    """

    def __init__(
        self,
        adb: Adb,
        lease_s: float = 600,
        change: Sequence[str] = (),
        undo: Sequence[str] = (),
    ):
        self.adb = adb
        self.folder = f"{_PARENT}/tfnas-{secrets.token_hex(6)}"
        self._lease_s = lease_s
        self._change, self._undo = change, undo

    def __enter__(self) -> Workspace:
        try:
            self._enter()
        except BaseException:
            with contextlib.suppress(DeviceError):
                self._clean(self.adb)
            raise
        return self

    def _enter(self) -> None:
        self.adb.shell(["mkdir", "-p", self.folder])
        self.adb.shell(["touch", f"{self.folder}/lease"])
        undo = self._undo or ("true",)
        watchdog = [_WATCHDOG, self.folder, f"{self._lease_s:g}", *undo]
        self.adb.shell(["sh", "-c", _START, "sh", *watchdog])
        if self._change:
            self.adb.shell(self._change)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        adb = self.adb
        if isinstance(error, Disconnected):  # it was waited for already
            adb = Adb(adb.serial, adb.timeout_s, retries=0)
        try:
            self._clean(adb)
        except DeviceError:
            # What went wrong first is what the user should see.
            if error is None:
                raise

    def _clean(self, adb: Adb) -> None:
        try:
            if self._undo:
                adb.shell(self._undo)
        finally:
            adb.shell(["sh", "-c", _CLEAN, self.folder], check=False)

    def path(self, name: str) -> str:
        """Returns the path of one of our files."""
        return f"{self.folder}/{name}"

    def put(self, files: Mapping[str, str | os.PathLike]) -> None:
        """Copies files into the folder, and checks what arrived.

        Args:
            files: Plain name there to file here.

        Raises:
            DeviceError: when the phone is full, or what arrived differs.
        """
        with tempfile.TemporaryDirectory() as stage:
            for name, source in files.items():
                os.symlink(os.path.abspath(source), f"{stage}/{name}")
            staged = [f"{stage}/{name}" for name in files]
            self.adb.push(staged, f"{self.folder}/")
        words = ["sha256sum", *map(self.path, files)]
        arrived = {
            path.rpartition("/")[-1]: digest
            for digest, path in _SHA256.findall(self.adb.shell(words).stdout)
        }
        for name, source in files.items():
            if arrived.get(name) != artifacts.sha256(source):
                raise DeviceError(
                    f"{self.adb.serial}: {source} did not arrive as it is. "
                    f"Received: sha256={arrived.get(name)}"
                )

    def run(self, words: Sequence[str], timeout_s: float) -> Completed:
        """Runs a command in the folder, which must end in time.

        Raises:
            TimedOut: when it does not; the next run ends it, or leaving.
        """
        script = ["sh", "-c", _RUN, self.folder, *words]
        try:
            return self.adb.shell(script, timeout_s, check=False)
        except DeviceError as error:
            command = shlex.join(words)[:200]
            raise type(error)(f"{error} (it ran `{command}`)") from error
