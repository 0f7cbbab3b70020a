"""A folder of ours on a phone, which is gone afterwards whatever happens.

When this program is killed or the cable stays out, nobody here can clean up.
So a small watchdog on the phone does: as long as it finds a file `lease`, it
takes it away and sleeps; when none was put back meanwhile, it ends what still
runs in the folder, undoes what we changed and removes the folder. Nothing in
it looks at a clock, which may jump.

Phones differ. All that is asked of theirs is a shell with `test -ef`, and the
usual small programs; `setsid` is used where there is one. A phone that starts
anew, or whose daemon does, ends the watchdog: the next run puts up another
one, and whoever comes next removes what nobody watches.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import secrets
import shlex
import tempfile
import types
from collections.abc import Mapping
from collections.abc import Sequence

from android_bench.adb import Adb
from android_bench.adb import Completed
from android_bench.adb import Disconnected
from tfnas import artifacts
from tfnas.errors import DeviceError

_PARENT = "/data/local/tmp"
# In all scripts $0 is the folder. Ends what runs in it.
_END_ALL = """
for process in /proc/[0-9]*; do
    [ "$process/cwd" -ef "$0" ] && kill -9 "${process#/proc/}"
done 2>/dev/null
"""
# $1 is seconds, the rest what to undo. It outlives the connection.
_WATCHDOG = f"""
trap "" HUP
mkdir -p "$0" && : > "$0/lease" && echo $$ > "$0/watchdog" || exit
trap 'kill "$nap"; exit' TERM
while rm "$0/lease"; do
    sleep "$1" & nap=$!
    wait "$nap"
done
shift
{_END_ALL}
"$@"
rm -rf "$0"
"""
# Whether the watchdog of a folder lives; `guard` is its process.
_WATCHED = """
pause() { sleep 0.05 2>/dev/null || sleep 1; }
watched() {
    guard=$(cat "$1/watchdog") || return
    case $(cat "/proc/$guard/cmdline") in *"$1"*) ;; *) return 1 ;; esac
} 2>/dev/null
"""
# Puts up a watchdog where none lives; its words are those of `sh -c`.
_WATCH = f"""
{_WATCHED}
watch() {{
    watched "$0" && return
    rm -f "$0/watchdog"
    own=$(command -v setsid)
    ${{own:+setsid}} sh -c "$@" < /dev/null > /dev/null 2>&1 &
    tries=0
    while ! watched "$0"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || return
        pause
    done
}}
"""
# Removes what nobody watches, makes the folder, or says why it cannot.
_ENTER = f"""
{_WATCH}
for other in "${{0%/*}}"/tfnas-*; do
    [ -f "$other/watchdog" ] && ! watched "$other" && rm -rf "$other"
done
watched "$0" && exit
mkdir "$0" || [ -d "$0" ] || exit
cat /proc/version > "$0/lease" && watch "$@" && exit
rm -rf "$0"
exit 1
"""
_REFUSED = "tfnas-refused:"
# $1 is the number of the watchdog's words, which follow; then the command.
_RUN = f"""
{_WATCH}
refuse() {{ echo "{_REFUSED} $1"; exit 1; }}
count=$1
shift
[ -d "$0" ] || refuse "its folder $0 is gone, and what was in it"
touch "$0/lease" || refuse "nothing can be written to $0"
watch "$@" || refuse "nothing there would clean up $0"
shift "$count"
{_END_ALL}
cd "$0" && "$@"
"""
_LEAVE = f"""
{_WATCHED}
tries=0
watched "$0" && kill "$guard" && while watched "$0"; do
    tries=$((tries + 1))
    [ $tries -lt 20 ] || break
    pause
done
{_END_ALL}
rm -rf "$0" 2>/dev/null || rm -rf "$0"
"""
# Old phones have fewer programs.
_DIGESTS = """
cd "$0" || exit
for program in sha256sum "toybox sha256sum" "busybox sha256sum" \
        md5sum "toybox md5sum" "busybox md5sum"; do
    $program < /dev/null > /dev/null 2>&1 && exec $program "$@"
done
exit 127
"""
_EXECUTABLE = """
cd "$0" && chmod 755 "$1" && [ -x "$1" ] || exit
echo "#!$(command -v sh)" > probe && chmod 755 probe && ./probe
code=$?
rm -f probe
exit $code
"""
_DIGEST = re.compile(r"^\\?([0-9a-f]{64}|[0-9a-f]{32})\s+(.+)$", re.MULTILINE)
# Phones before Android 7 take commands of 4 kB.
_NAMES_A_COMMAND = 50
_MD5_LENGTH = 32
_CHUNK_BYTES = 1 << 20
_NO_PROGRAM = 127


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

    @property
    def _watchdog(self) -> list[str]:
        undo = self._undo or ("true",)
        return [_WATCHDOG, self.folder, f"{self._lease_s:g}", *undo]

    def __enter__(self) -> Workspace:
        try:
            self._enter()
        except BaseException:
            with contextlib.suppress(DeviceError):
                self._clean(self.adb)
            raise
        return self

    def _enter(self) -> None:
        script = ["sh", "-c", _ENTER, self.folder, *self._watchdog]
        done = self.adb.shell(script, check=False, step="making a folder")
        if done.returncode:
            raise DeviceError(
                f"{self.adb.serial}: expected to make a folder in {_PARENT}. "
                f"Received: {_line(done)}"
            )
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
            script = ["sh", "-c", _LEAVE, self.folder]
            step = f"removing {self.folder}"
            done = adb.shell(script, check=False, step=step)
        if done.returncode:
            raise DeviceError(
                f"{adb.serial}: {self.folder} is left there: {_line(done)}"
            )

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
        if not files:
            return
        self.run(["true"], self.adb.timeout_s)  # begins a lease
        with tempfile.TemporaryDirectory() as stage:
            for name, source in files.items():
                os.symlink(os.path.abspath(source), f"{stage}/{name}")
            staged = [f"{stage}/{name}" for name in files]
            self.adb.push(staged, f"{self.folder}/")
        arrived = self._digests(list(files))
        for name, source in files.items():
            digest = arrived.get(name, "nothing")
            expected = artifacts.sha256(source)
            if len(digest) == _MD5_LENGTH:
                expected = _md5(source)
            if digest != expected:
                raise DeviceError(
                    f"{self.adb.serial}: {source} did not arrive as it is. "
                    f"Received: {digest} in place of {expected}"
                )

    def _digests(self, names: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(names), _NAMES_A_COMMAND):
            paths = [f"./{n}" for n in names[start : start + _NAMES_A_COMMAND]]
            script = ["sh", "-c", _DIGESTS, self.folder, *paths]
            step = "checking what arrived"
            done = self.adb.shell(script, check=False, step=step)
            if done.returncode == _NO_PROGRAM:
                raise DeviceError(
                    f"{self.adb.serial}: expected the program sha256sum or "
                    "md5sum, to check what arrived."
                )
            for digest, path in _DIGEST.findall(done.stdout):
                found[path.rpartition("/")[-1]] = digest
        return found

    def make_executable(self, name: str) -> None:
        """Lets one of our files be run.

        Raises:
            DeviceError: when nothing in the folder can be run, because its
                storage is mounted so, or keeps no execute bit.
        """
        script = ["sh", "-c", _EXECUTABLE, self.folder, name]
        step = f"making {name} executable"
        done = self.adb.shell(script, check=False, step=step)
        if done.returncode:
            raise DeviceError(
                f"{self.adb.serial}: {self.path(name)} cannot be made "
                "executable: its storage is mounted noexec, or keeps no "
                f"execute bit. Received: {_line(done)}"
            )

    def take(self, name: str) -> bytes | None:
        """Takes a file out of the folder.

        Returns:
            What it holds, or `None` when there is no such file.
        """
        path = self.path(name)
        if self.adb.shell(["test", "-f", path], check=False).returncode:
            return None
        with tempfile.TemporaryDirectory() as folder:
            target = pathlib.Path(folder, "taken")
            self.adb.pull(path, target)
            data = target.read_bytes()
        self.adb.shell(["rm", "-f", path])
        return data

    def run(self, words: Sequence[str], timeout_s: float) -> Completed:
        """Runs a command in the folder, which must end in time.

        Raises:
            TimedOut: when it does not; the next run ends it, or leaving.
            DeviceError: when the phone fails, or has removed the folder,
                because it was away for longer than the lease.
        """
        watchdog = self._watchdog
        script = [_RUN, self.folder, str(len(watchdog)), *watchdog, *words]
        step = f"`{_words(shlex.join(words))[:200]}`"
        done = self.adb.shell(
            ["sh", "-c", *script], timeout_s, check=False, step=step
        )
        if done.stdout.startswith(_REFUSED):
            raise DeviceError(
                f"{self.adb.serial}:{_line(done).removeprefix(_REFUSED)} "
                f"(it should run {step})"
            )
        return done


def _line(done: Completed) -> str:
    return _words(done.tail) or f"exit code {done.returncode}"


def _words(text: str) -> str:
    return " ".join(text.split())


def _md5(path: str | os.PathLike) -> str:
    # Against damage on the way, not against anybody.
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while data := file.read(_CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()
