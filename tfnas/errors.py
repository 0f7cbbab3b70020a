"""The kinds of error a user of tfnas can meet."""

from __future__ import annotations

import signal
from collections.abc import Iterable

_MAX_LINE = 200


def printable(message: str) -> str:
    """Returns a message with nothing that commands a terminal; lines stay.

    Names in files and from devices may hold anything.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1]
        for c in message
    )


class TfnasError(Exception):
    """Base of every error that a user can put right.

    Attributes:
        exit_code: What a program that meets it ends with.
    """

    exit_code = 2


class ArtifactError(TfnasError):
    """A file, or a value read from one, is not what its format promises."""


class ConfigError(TfnasError):
    """A setting is wrong, or a workdir belongs to another configuration."""


class InfeasibleBudget(TfnasError):
    """A target lies outside the reachable range, which the message states."""


class ExportError(TfnasError):
    """A network cannot be converted as asked."""


class Diverged(TfnasError):
    """A training lost its way: its loss is no longer finite."""


class Locked(TfnasError):
    """Another process works on the same workdir or file."""


class RuntimeCrash(TfnasError):
    """The runtime crashed or hung on a `.tflite` file."""

    exit_code = 1

    @classmethod
    def of_process(
        cls, source: str, doing: str, code: int, noise: str = ""
    ) -> RuntimeCrash:
        """Returns the error that says how a process ended.

        Args:
            source: The file that it ran.
            doing: What it did with it: `"loading"`.
            code: Its exit status; the negative of a signal that ended it.
            noise: What it wrote to standard error; the last complaint in it
                is quoted.
        """
        how = f"ended with status {code}"
        if code < 0:
            named = {each.value: each.name for each in signal.Signals}
            how = f"crashed with {named.get(-code, f'signal {-code}')}"
        if how.endswith("SIGKILL"):
            how += " (out of memory?)"
        lines = [
            line.strip()
            for line in noise.splitlines()
            if not line.startswith("INFO:")
        ]
        last = next(filter(None, reversed(lines)), "")[:_MAX_LINE]
        said = f"; it said: {last}" if last else ""
        return cls(f"{source}: the runtime {how} while {doing}{said}")


class DeviceError(TfnasError):
    """A device cannot be reached or does not do what was asked of it."""


class LutMiss(TfnasError):
    """A latency table has no row for some operators.

    Args:
        keys: every missing key, not only the first one.
    """

    def __init__(self, keys: Iterable[str]):
        self.keys = tuple(keys)
        listing = "\n  ".join(self.keys)
        super().__init__(
            f"The latency table has no row for {len(self.keys)} "
            f"operator(s):\n  {listing}"
        )
