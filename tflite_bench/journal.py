"""An append-only record of what was measured, so that a kill loses little.

The first line says where the numbers come from; each further line is one
finished visit. A line that a kill tore is dropped.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

FORMAT = "tfnas-journal/1"


class Journal:
    """A journal file, made if there is none.

    Args:
        path: The file.
        provenance: Where the numbers come from. A journal of other numbers
            is not continued.

    Attributes:
        records: What the file holds, in order, without its first line.

    Raises:
        ConfigError: when the file is of another provenance; the message
            names the fields.
        ArtifactError: when the file is no journal.
    """

    def __init__(
        self, path: str | os.PathLike, provenance: Mapping[str, Any]
    ):
        self.path = pathlib.Path(path)
        self.records: list[dict[str, Any]] = []
        lines = artifacts.read_jsonl(path) if self.path.exists() else []
        if not lines:
            first = {"format": FORMAT, **provenance}
            artifacts.append_jsonl(path, first)
            return
        first, *self.records = lines
        if first.get("format") != FORMAT:
            raise ArtifactError(
                f"{path}: field `format` must be {FORMAT!r}. "
                f"Received: {first.get('format')!r}"
            )
        unlike = [
            f"{field}: {first.get(field)} there, {value} here"
            for field, value in provenance.items()
            if first.get(field) != value
        ]
        if unlike:
            raise ConfigError(
                "Expected a new file, or one of the same provenance. "
                f"Received: {path} with\n  " + "\n  ".join(unlike)
            )

    def append(self, record: dict[str, Any]) -> None:
        """Adds one record to the file."""
        artifacts.append_jsonl(self.path, record)
        self.records.append(record)
