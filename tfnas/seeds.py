"""Which seeds there are: those that everything seeded takes as they are."""

from __future__ import annotations

from typing import Any

from absl import flags

from tfnas.errors import ConfigError

# Help lists the flag with the program that asked for it.
flags.disclaim_key_flags()

MAX = 2**31 - 1
RANGE = f"0 to {MAX}"


def check(value: Any, name: str) -> None:
    """Refuses what is no seed.

    Args:
        value: The value.
        name: The setting that it was given for.

    Raises:
        ConfigError: unless it is an integer in range.
    """
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not 0 <= value <= MAX:
        raise ConfigError(
            f"`{name}` must be an integer of {RANGE}. Received: {value!r}"
        )


def define(
    what: str, default: int | None = None, name: str = "seed"
) -> flags.FlagHolder:
    """Defines the flag of a seed; others than the legal ones are bad usage.

    Args:
        what: What the seed is of, as the help says it.
        default: Its value where the flag is not given.
        name: Name of the flag.
    """
    return flags.DEFINE_integer(
        name, default, f"{what} ({RANGE})", lower_bound=0, upper_bound=MAX
    )
