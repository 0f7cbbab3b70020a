"""The `adb` client: argument lists on this side, quoted words on the phone's.

A phone may go away at any moment. Every call here may be made twice, so each
is repeated, a few times at most, once the phone has come back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import TypeVar

from android_bench import listing
from android_bench.listing import PASSING
from android_bench.listing import READY
from android_bench.listing import Attached
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

# A connection that breaks looks like a command that ended well, with less
# output. So each command says itself that it has ended, and how.
_END = "tfnas-exit:"
_POLL_S = 0.2
_CONNECT_S = 5
_SETTLE_S = 5
_PORT = 5555  # where phones listen unless they say otherwise
_SLOWEST_BYTES_S = 1 << 20
# The client writes the length of what it asks for in four digits.
_MAX_COMMAND_BYTES = 0xFFFF - len("shell,v2,TERM=xterm-256color,raw:") - 64
# A client must not go on pushing when nobody is left who would clean up.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")
# What a client says when the phone itself, or a file here, is the reason.
_FINAL = re.compile(
    r"\bremote (?!object)|cannot (stat|lstat|open|create|read|write)|"
    r"does not exist|No such file|Permission denied|not permitted|No space|"
    r"Read-only|[Nn]ot a directory|Is a directory|too (large|long)|quota"
)
_T = TypeVar("_T")


class Disconnected(DeviceError):
    """The phone went away; the same call may succeed when it is back."""


class TimedOut(DeviceError):
    """A command did not end in time."""


@dataclasses.dataclass(frozen=True)
class Completed:
    """A command that ended on the phone.

    Args:
        returncode: Its exit code.
        stdout: Its output, with plain line ends.
        stderr: Its error output; empty on phones that mix the two.
    """

    returncode: int
    stdout: str
    stderr: str

    @property
    def tail(self) -> str:
        """The end of what it said, for messages."""
        return f"{self.stdout}\n{self.stderr}".strip()[-800:]


@functools.cache
def _can_tie() -> bool:
    with contextlib.suppress(OSError):
        done = subprocess.run([*_TIED, "true"], capture_output=True)
        return done.returncode == 0
    return False


def _adb(args: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess:
    program = shutil.which("adb")
    if program is None:
        raise ConfigError(
            "Expected the program `adb` (Android platform tools; on Debian "
            "`apt-get install adb`)."
        )
    try:
        return subprocess.run(
            [*(_TIED if _can_tie() else ()), program, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise DeviceError(
            f"{program} cannot be run: {error.strerror}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TimedOut(
            f"`adb {_brief(shlex.join(args))}` took more than {timeout_s:g} s"
        ) from error


def _brief(text: str) -> str:
    """Returns a text as a part of one line."""
    return " ".join(text.split())[:200]


def attached(timeout_s: float = 30) -> list[Attached]:
    """Returns the phones that the adb server knows.

    Raises:
        ConfigError: when there is no `adb`.
        DeviceError: when its server does not answer.
    """
    return listing.parse(_devices([], timeout_s))


def _devices(options: Sequence[str], timeout_s: float) -> str:
    done = _adb(["devices", *options], timeout_s)
    if done.returncode:
        said = _brief(done.stderr or done.stdout)
        raise DeviceError(f"adb devices: {said}")
    return done.stdout


def find(serial: str | None = None) -> str:
    """Returns the serial number of a phone that is ready.

    Args:
        serial: The phone; `None` for the only one. One that is reached over
            the network (`host:port`, or an address alone) is connected.

    Raises:
        DeviceError: when there is no such phone, several of them, or it is
            not ready; the message says what there is, and what to do.
    """
    phones = attached()
    if serial is None:
        if len(phones) != 1:
            raise DeviceError(
                "Expected one phone, or a serial number to choose by. "
                f"Received: {_summary(phones)}"
            )
        serial = phones[0].serial
    serial = _with_port(serial)
    deadline = time.monotonic() + _SETTLE_S
    phone = _only(serial, phones)
    if not (phone and phone.state == READY) and _is_address(serial):
        _connect(serial)
        phone = _only(serial, attached())
    while phone and phone.state in PASSING and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        phone = _only(serial, attached())
    if phone is None:
        raise DeviceError(
            f"Expected an attached phone. Received: serial={serial!r}, "
            f"attached: {_summary(phones)}"
        )
    if phone.state != READY:
        raise DeviceError(phone.trouble)
    return serial


def _summary(phones: Sequence[Attached]) -> str:
    return ", ".join(f"{p.serial} ({p.state})" for p in phones) or "none"


def _only(serial: str, phones: Sequence[Attached]) -> Attached | None:
    """Returns the phone of a serial number.

    Raises:
        DeviceError: when there are two of them.
    """
    same = [phone for phone in phones if phone.serial == serial]
    if len(same) < 2:
        return same[0] if same else None
    ids = [
        phone.transport
        for phone in listing.parse(_devices(["-l"], 30))
        if phone.serial == serial and phone.transport
    ]
    one = ids[0] if ids else "TRANSPORT_ID"
    raise DeviceError(
        f"{serial}: {len(same)} phones have this serial number (transport "
        f"ids: {', '.join(ids) or 'not told'}). Unplug all but one, or reach "
        f"one over the network: `adb -t {one} tcpip {_PORT}`, then take its "
        f"address ADDRESS:{_PORT} for its serial number."
    )


def _with_port(serial: str) -> str:
    try:
        address = ipaddress.ip_address(serial.strip("[]"))
    except ValueError:
        return serial
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{_PORT}"


def _is_address(serial: str) -> bool:
    # Names that phones announce have no port, paths of USB (`usb:1-1.2`) no
    # number that could be one.
    form = r"(\[[^\]\s]+\]|[^:\s]+):[0-9]{1,5}"
    return re.fullmatch(form, serial) is not None


def _connect(serial: str) -> None:
    # A server that lost such a phone knows it as offline for a while, and
    # would not connect it again.
    _adb(["disconnect", serial], 30)
    with contextlib.suppress(TimedOut):
        _adb(["connect", serial], _CONNECT_S)


class Adb:
    """One phone.

    Args:
        serial: Its serial number, as `find` gives it.
        timeout_s: How long a command may take, unless it says otherwise.
        patience_s: How long to wait for a phone that went away.
        retries: How often to repeat a call after the phone came back.
    """

    def __init__(
        self,
        serial: str,
        timeout_s: float = 120,
        patience_s: float = 120,
        retries: int = 3,
    ):
        self.serial = serial
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        self.retries = retries

    def shell(
        self,
        words: Sequence[str],
        timeout_s: float | None = None,
        check: bool = True,
        step: str | None = None,
    ) -> Completed:
        """Runs a command on the phone.

        Args:
            words: The command and its arguments, which reach it as they are.
            timeout_s: How long it may take.
            check: Whether a non-zero exit code is an error.
            step: What it does, for messages: `"removing a folder"`; the
                command itself where nothing is said.

        Raises:
            DeviceError: when it fails, or the phone stays away.
            TimedOut: when it takes too long; it may still be running there.
        """
        step = step or f"`{_brief(shlex.join(words))}`"
        done = self._patiently(lambda: self._shell(words, timeout_s, step))
        if check and done.returncode:
            raise DeviceError(
                f"{self.serial}: {step} ended with {done.returncode}: "
                f"{' '.join(done.tail.split())}"
            )
        return done

    def _shell(
        self, words: Sequence[str], timeout_s: float | None, step: str
    ) -> Completed:
        command = f"{shlex.join(words)}\ncode=$?; echo; echo {_END}$code"
        if len(os.fsencode(command)) > _MAX_COMMAND_BYTES:
            raise DeviceError(
                f"{self.serial}: expected a command of at most "
                f"{_MAX_COMMAND_BYTES} bytes. Received: {step}"
            )
        try:
            done = self._client(["shell", command], timeout_s)
        except TimedOut as error:
            limit_s = timeout_s or self.timeout_s
            raise TimedOut(
                f"{self.serial} took more than {limit_s:g} s for {step}"
            ) from error
        output, end, code = done.stdout.replace("\r\n", "\n").rpartition(
            f"\n{_END}"
        )
        if not end or not code.strip().isdigit():
            said = _brief(done.stderr.strip() or done.stdout[-200:])
            raise Disconnected(
                f"{self.serial} went away during {step}"
                + (said and f": {said}")
            )
        return Completed(int(code), output, done.stderr)

    def push(self, sources: Sequence[str | os.PathLike], target: str) -> None:
        """Copies files and folders to the phone.

        Args:
            sources: What to copy.
            target: A folder there for several, or the new name of one.

        Raises:
            DeviceError: when the phone refuses (it is full, say) or stays
                away.
        """
        size_bytes = sum(map(_size_bytes, sources))
        words = ["push", *map(str, sources), target]
        timeout_s = self.timeout_s + size_bytes / _SLOWEST_BYTES_S
        self._patiently(lambda: self._copy(words, timeout_s))

    def pull(self, source: str, target: str | os.PathLike) -> None:
        """Copies a file from the phone; see `push`."""
        words = ["pull", source, str(target)]
        self._patiently(lambda: self._copy(words, self.timeout_s))

    def _copy(self, words: Sequence[str], timeout_s: float) -> None:
        done = self._client(words, timeout_s)
        if done.returncode == 0:
            return
        said = " ".join((done.stderr + done.stdout).split())
        reason = said
        for word in words[1:]:  # a name may be made of any words
            reason = reason.replace(word, "")
        kind = DeviceError if _FINAL.search(reason) else Disconnected
        raise kind(f"{self.serial}: adb {words[0]} failed: {said[-800:]}")

    def _client(
        self, words: Sequence[str], timeout_s: float | None = None
    ) -> subprocess.CompletedProcess:
        return _adb(["-s", self.serial, *words], timeout_s or self.timeout_s)

    def _patiently(self, call: Callable[[], _T]) -> _T:
        for _ in range(self.retries):
            try:
                return call()
            except Disconnected as gone:
                try:
                    self.wait()
                except DeviceError as error:
                    raise type(error)(f"{error} ({gone})") from gone
        return call()

    def wait(self) -> None:
        """Waits until the phone is ready.

        Raises:
            DeviceError: when it wants to be authorized first.
            Disconnected: when it does not come back.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            phone = _only(self.serial, attached())
            if phone and phone.state == READY and self._answers():
                return
            if phone and phone.state == "unauthorized":
                raise DeviceError(phone.trouble)
            if time.monotonic() > deadline:
                state = phone.state if phone else "away"
                raise Disconnected(
                    f"{self.serial} is {state} and did not come back within "
                    f"{self.patience_s:g} s"
                )
            if _is_address(self.serial):
                _connect(self.serial)
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        # The server learns late that a phone is gone.
        try:
            return self._client(["shell", "echo", _END], 10).stdout.startswith(
                _END
            )
        except TimedOut:
            return False


def _size_bytes(source: str | os.PathLike) -> int:
    try:
        return os.stat(source).st_size
    except OSError:  # `adb` says it better
        return 0
