"""Label files: the name of each class, one on a line."""

from __future__ import annotations

from tfnas.artifacts import PathLike
from tfnas.artifacts import read_text
from tfnas.errors import ArtifactError

_MARK = "\ufeff"  # some editors begin a UTF-8 file with it


def read_labels(path: PathLike) -> tuple[str, ...]:
    """Returns the labels in a text file, one a line.

    A byte order mark at the start and white space around a label do not
    count; a `#` is part of its label. Empty lines may stand at the end only.

    Args:
        path: A UTF-8 file; its lines may end as on any system.

    Raises:
        ArtifactError: when it is missing, empty or no UTF-8 text, or a label
            is empty.
    """
    lines = parse(read_text(path))
    if not lines or "" in lines:
        where = f"line {lines.index('') + 1} is empty" if lines else "nothing"
        raise ArtifactError(
            f"{path}: expected one label a line. Received: {where}"
        )
    return tuple(lines)


def parse(text: str) -> list[str]:
    """Returns the lines of a label file, without empty ones at its end."""
    lines = [line.strip() for line in text.removeprefix(_MARK).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
