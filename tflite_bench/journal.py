"""An append-only record of what was measured, so that a kill loses little.

The first line says where the numbers come from; each further line is one
finished visit. A line that a kill tore is dropped. Each line is sealed with
its own digest; those of older versions have none.
"""

from __future__ import annotations

import json
import os
import pathlib
import shlex
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
        if not self.path.exists():
            first = {"format": FORMAT, **provenance}
            seal = {artifacts.SEAL: artifacts.digest(first)}
            artifacts.write_text(path, json.dumps({**first, **seal}) + "\n")
            return
        try:
            lines = artifacts.read_jsonl(path)
        except ArtifactError as error:
            raise ArtifactError(f"{error}. {self._afresh()}") from error
        if not lines:
            raise ArtifactError(
                f"{path}: expected a line that says where the numbers are "
                f"from. Received: an empty file. {self._afresh()}"
            )
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

    def _afresh(self) -> str:
        return f"To measure afresh: rm {shlex.quote(str(self.path))}"

    def append(self, record: dict[str, Any]) -> None:
        """Adds one record to the file."""
        artifacts.append_jsonl(self.path, record, sealed=True)
        self.records.append(record)
