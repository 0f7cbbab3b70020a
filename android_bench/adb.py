"""The `adb` client: argument lists on this side, quoted words on the phone's.

A phone may go away at any moment. Every call here may be made twice, so each
is repeated, a few times at most, once the phone has come back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import TypeVar

from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

_READY = "device"
_ADVICE = {
    "unauthorized": "allow USB debugging in the dialog on the phone",
    "offline": "plug the phone in again, or restart it",
    "no permissions": "give this user access to the USB device (udev rules)",
}
# A connection that breaks looks like a command that ended well, with less
# output. So each command says itself that it has ended, and how.
_END = "tfnas-exit:"
_POLL_S = 0.2
_CONNECT_S = 5
_T = TypeVar("_T")


class Disconnected(DeviceError):
    """The phone went away; the same call may succeed when it is back."""


class TimedOut(DeviceError):
    """A command did not end in time."""


@dataclasses.dataclass(frozen=True)
class Attached:
    """A phone that the adb server knows.

    Args:
        serial: Its serial number, or `host:port`.
        state: `"device"` when it is ready.
    """

    serial: str
    state: str


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


def _adb(args: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(
            ["adb", *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except FileNotFoundError as error:
        raise ConfigError(
            "Expected the program `adb` (Android platform tools; on Debian "
            "`apt-get install adb`)."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TimedOut(
            f"`adb {shlex.join(args)[:200]}` took more than {timeout_s:g} s"
        ) from error


def attached(timeout_s: float = 30) -> list[Attached]:
    """Returns the phones that the adb server knows.

    Raises:
        ConfigError: when there is no `adb`.
        DeviceError: when its server does not answer.
    """
    done = _adb(["devices"], timeout_s)
    if done.returncode:
        raise DeviceError(f"adb devices: {done.stderr.strip()}")
    # Lines before this one are about the server being started.
    _, _, listing = done.stdout.partition("List of devices attached\n")
    lines = [line.partition("\t") for line in listing.splitlines() if line]
    return [Attached(serial, state) for serial, _, state in lines]


def find(serial: str | None = None) -> str:
    """Returns the serial number of a phone that is ready.

    Args:
        serial: The phone; `None` for the only one. One that is reached over
            the network (`host:port`) is connected.

    Raises:
        DeviceError: when there is no such phone, several of them, or it is
            not ready; the message says what there is, and what to do.
    """
    phones = attached()
    listing = ", ".join(f"{p.serial} ({p.state})" for p in phones) or "none"
    if serial is None:
        if len(phones) != 1:
            raise DeviceError(
                "Expected one phone, or a serial number to choose by. "
                f"Received: {listing}"
            )
        serial = phones[0].serial
    states = {phone.serial: phone.state for phone in phones}
    if states.get(serial) != _READY and _is_address(serial):
        _connect(serial)
        states = {phone.serial: phone.state for phone in attached()}
    if serial not in states:
        raise DeviceError(
            f"Expected an attached phone. Received: serial={serial!r}, "
            f"attached: {listing}"
        )
    if states[serial] != _READY:
        raise _not_ready(serial, states[serial])
    return serial


def _not_ready(serial: str, state: str) -> DeviceError:
    advice = [text for name, text in _ADVICE.items() if name in state]
    return DeviceError(
        f"{serial} is {state}" + "".join(f": {text}" for text in advice)
    )


def _is_address(serial: str) -> bool:
    return ":" in serial


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
    ) -> Completed:
        """Runs a command on the phone.

        Args:
            words: The command and its arguments, which reach it as they are.
            timeout_s: How long it may take.
            check: Whether a non-zero exit code is an error.

        Raises:
            DeviceError: when it fails, or the phone stays away.
            TimedOut: when it takes too long; it may still be running there.
        """
        done = self._patiently(lambda: self._shell(words, timeout_s))
        if check and done.returncode:
            raise DeviceError(
                f"{self.serial}: `{shlex.join(words)[:200]}` ended with "
                f"{done.returncode}: {done.tail}"
            )
        return done

    def _shell(
        self, words: Sequence[str], timeout_s: float | None
    ) -> Completed:
        command = f"{shlex.join(words)}\ncode=$?; echo; echo {_END}$code"
        done = self._client(["shell", command], timeout_s)
        output, end, code = done.stdout.replace("\r\n", "\n").rpartition(
            f"\n{_END}"
        )
        if not end or not code.strip().isdigit():
            raise Disconnected(
                f"{self.serial} went away during `{shlex.join(words)[:200]}`: "
                f"{done.stderr.strip() or done.stdout[-200:]}"
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
        words = ["push", *map(str, sources), target]
        self._patiently(lambda: self._copy(words))

    def pull(self, source: str, target: str | os.PathLike) -> None:
        """Copies a file from the phone; see `push`."""
        self._patiently(lambda: self._copy(["pull", source, str(target)]))

    def _copy(self, words: Sequence[str]) -> None:
        done = self._client(words)
        if done.returncode == 0:
            return
        said = (done.stderr + done.stdout).strip()[-800:]
        # What the phone itself answered will not change; the rest is the
        # connection.
        final = ("remote", "No such file", "cannot stat", "Permission denied")
        kind = DeviceError if any(x in said for x in final) else Disconnected
        raise kind(f"{self.serial}: adb {words[0]} failed: {said}")

    def _client(
        self, words: Sequence[str], timeout_s: float | None = None
    ) -> subprocess.CompletedProcess:
        return _adb(["-s", self.serial, *words], timeout_s or self.timeout_s)

    def _patiently(self, call: Callable[[], _T]) -> _T:
        for _ in range(self.retries):
            try:
                return call()
            except Disconnected:
                self.wait()
        return call()

    def wait(self) -> None:
        """Waits until the phone is ready.

        Raises:
            DeviceError: when it wants to be authorized first.
            Disconnected: when it does not come back.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            states = {phone.serial: phone.state for phone in attached()}
            state = states.get(self.serial, "away")
            if state == _READY and self._answers():
                return
            if state == "unauthorized":
                raise _not_ready(self.serial, state)
            if time.monotonic() > deadline:
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
