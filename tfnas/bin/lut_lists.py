"""Published lists of DenseNAS to latency tables, and back: `tfnas-lut`."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from tfnas import artifacts
from tfnas.cost import positional
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ConfigError
from tfnas.spaces import Space
from tfnas.spaces import dense_specs
from tfnas.spaces.dense import DenseSpace

# Help lists each flag with the program that asked for it.
flags.disclaim_key_flags()

_UNKNOWN = "as published"
_BATCH = 32
_MAX_BYTES = 4 << 20


def define_provenance() -> None:
    """Defines the flags that say where the numbers of a list come from."""
    flags.DEFINE_string(
        "published_device", _UNKNOWN,
        "Device of an imported list, which does not say.",
    )
    flags.DEFINE_string(
        "published_runtime", _UNKNOWN, "Runtime of an imported list."
    )
    flags.DEFINE_integer(
        "published_batch", _BATCH,
        "Images of which an imported list gives the time; 32 in those of the "
        "authors.", lower_bound=1,
    )


def import_list(
    space: Space, source: str | os.PathLike, path: str | os.PathLike
) -> LatencyTable:
    """Reads a published list and writes it as a latency table.

    Args:
        space: The space of the list.
        source: The list.
        path: Where to write the table.

    Returns:
        The table; its type is that of `--dtype` where it was given, else
        float32, which the authors measured.

    Raises:
        ConfigError: for a space without lists.
        ArtifactError: naming the list, the place and what is expected there.
    """
    _check(space)
    text = artifacts.read_text(source, _MAX_BYTES)
    header = _header(artifacts.sha256(source))
    table = positional.to_table(space, text, header, str(source))
    table.save(path)
    return table


def export_list(
    space: Space, source: str | os.PathLike, path: str | os.PathLike
) -> None:
    """Writes a latency table as the list that the authors' program reads.

    Args:
        space: The space of the table.
        source: The table.
        path: Where to write the list.

    Raises:
        ConfigError: for a space without lists.
        ArtifactError: when the table is damaged, or lacks rows of the space.
    """
    _check(space)
    table = LatencyTable.load(source)
    artifacts.write_text(path, positional.from_table(space, table))


def _check(space: Space) -> None:
    if not isinstance(space, DenseSpace):
        raise ConfigError(
            "Lists are of the spaces of DenseNAS: "
            f"{', '.join(sorted(dense_specs.SPECS))}. "
            f"Received: --space={space.name}"
        )


def _header(sha256: str) -> dict[str, Any]:
    given = flags.FLAGS
    device, runtime = given.published_device, given.published_runtime
    return {
        "unit": "ms",
        "device": {"name": device, "cpu": device},
        "runtime": {
            "tflite": {"name": runtime, "version": _UNKNOWN},
            "threads": 1,
            "delegate": _UNKNOWN,
            "dtype": given.dtype if given["dtype"].present else "float32",
            "lowering": "none",
        },
        "batch": given.published_batch,
        "statistic": _UNKNOWN,
        "clock": _UNKNOWN,
        "entries": "isolated",
        "rounds": 1,
        "date": _UNKNOWN,
        "tool": {"name": "tfnas-lut --mode=import", "sha256": sha256},
        "conditions": {},
    }
