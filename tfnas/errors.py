"""The kinds of error a user of tfnas can meet."""

from collections.abc import Iterable


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


class RuntimeCrash(TfnasError):
    """The runtime crashed or hung on a `.tflite` file."""

    exit_code = 1


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
