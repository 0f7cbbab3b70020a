"""SIGTERM and Ctrl-C: work ends in good order, and says how it goes on.

Inside `deferred` the first signal waits until the work looks (`check`), which
it does after each step. A second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(KeyboardInterrupt):
    """A signal asked for the end, and nothing that was done is lost.

    Like `KeyboardInterrupt` it is no `Exception`: who handles errors of
    candidates or trials does not take it for one.

    Attributes:
        exit_code: What a shell calls it: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class _State:
    asked: int | None = None
    deferring = False


def _note(number: int, frame: FrameType | None) -> None:
    # From now on Ctrl-C is the system's: it ends even what hangs.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not _State.deferring:
        raise Stopped(number)
    _State.asked = number
    # Not `print`: the signal may have come in the middle of another one.
    os.write(2, b"\nthe step is finished and saved; Ctrl-C ends at once\n")


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Turns SIGTERM and SIGINT into `Stopped` while it is open.

    A signal that is ignored, as in a process that a shell has put into the
    background, stays ignored. Only the main thread can handle signals; in
    others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Lets signals wait for the next `check` while it is open."""
    with handled():
        _State.deferring, _State.asked = True, None
        try:
            yield
        finally:
            _State.deferring, _State.asked = False, None


def check() -> None:
    """Raises `Stopped` where a signal has asked for it."""
    if _State.asked is not None:
        raise Stopped(_State.asked)
