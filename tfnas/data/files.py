"""The files of a folder: which are pictures, what else lies there.

Only regular files count, and only those are ever opened: a named pipe would
wait for ever, and a device has no end.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import functools
import os
import stat
from collections.abc import Iterable

from PIL import Image

from tfnas.errors import ArtifactError

# As many as the largest picture that is decoded has uncompressed, with room.
MAX_FILE_BYTES = 1 << 29
_LISTED = 20
_ESCAPED = {*range(32), *range(127, 160), 0x2028, 0x2029}
# Forms that Pillow knows by name only, or that it hands to another program.
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_FOLDER = "a folder"
_KINDS = (
    (stat.S_ISDIR, _FOLDER), (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns the forms of picture that the installed Pillow decodes."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NO_PICTURES)


@functools.cache
def suffixes() -> frozenset[str]:
    """Returns the suffixes of those, in small letters, with their dot."""
    known = {*formats(), "MPO"}  # opened as JPEG
    found = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in found if name in known)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A regular file with the suffix of a picture.

    Attributes:
        path: where it is; a name that is no UTF-8 has surrogates in it.
        size_bytes: when it was found.
    """

    path: str
    size_bytes: int


class LeftOut:
    """Counts what lies in folders and is not used."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._named: list[str] = []

    def add(self, path: str, kind: str | None = None) -> None:
        """Counts a file by its suffix, or names it as the `kind` that it is."""
        if kind is None:
            suffix = printable(os.path.splitext(path)[1].lower())
            self._counts[suffix or "without a suffix"] += 1
        elif kind == _FOLDER:
            self._counts["in folders of their own"] += 1
        else:
            self._named.append(f"{printable(path)} ({kind})")

    def __str__(self) -> str:
        parts = [f"{n} {what}" for what, n in self._counts.most_common()]
        parts += self._named
        shown, rest = parts[:_LISTED], len(parts) - _LISTED
        shown += [f"{rest} more"] * (rest > 0)
        return f"left out: {', '.join(shown)}" if shown else ""


def folders(path: str, left_out: LeftOut) -> list[str]:
    """Returns the sorted names of the folders in a folder.

    Names that begin with a dot are those that systems leave behind.

    Args:
        path: the folder.
        left_out: is told of everything else.

    Raises:
        ArtifactError: if the folder cannot be read.
    """
    names = []
    for entry in _entries(path):
        kind, _ = _look(entry.path)
        if kind == _FOLDER:
            names.append(entry.name)
        else:
            left_out.add(entry.path, kind)
    return names


def pictures(path: str, left_out: LeftOut) -> list[Picture]:
    """Returns the pictures in a folder, sorted by name; see `folders`."""
    found = []
    for entry in _entries(path):
        kind, size_bytes = _look(entry.path)
        suffix = os.path.splitext(entry.name)[1].lower()
        if kind is None and suffix in suffixes():
            found.append(Picture(entry.path, size_bytes))
        else:
            left_out.add(entry.path, kind)
    return found


def regular(paths: Iterable[str], left_out: LeftOut) -> list[str]:
    """Returns those paths that are regular files; tells of the others."""
    kept = []
    for path in paths:
        kind, _ = _look(path)
        if kind is None:
            kept.append(path)
        else:
            left_out.add(path, kind)
    return kept


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        raise ArtifactError(
            f"{printable(path)}: expected a folder that can be read. "
            f"Received: {error.strerror}"
        ) from error


def _look(path: str) -> tuple[str | None, int]:
    """Returns what a path is, None for a regular file, and its size."""
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads to itself", 0
        if error.errno == errno.ENOENT:
            return "a link to nowhere", 0
        return error.strerror or str(error), 0
    if stat.S_ISREG(found.st_mode):
        return None, found.st_size
    kinds = (kind for is_so, kind in _KINDS if is_so(found.st_mode))
    kind = next(kinds, "no file")
    linked = kind != _FOLDER and os.path.islink(path)
    return f"a link to {kind}" if linked else kind, 0


def read(path: str | bytes) -> bytes:
    """Returns the bytes of a regular file of bounded size.

    Raises:
        OSError: if it cannot be read, is no regular file or too large.
    """
    # A pipe that has taken the place of a file does not stop this.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("no regular file")
        what = size_problem(found.st_size)
        if what is not None:
            raise OSError(what)
        return file.read(found.st_size)


def size_problem(size_bytes: int) -> str | None:
    """Returns what is wrong with the size of an image file, or None."""
    if not size_bytes:
        return "empty"
    if size_bytes > MAX_FILE_BYTES:
        return f"{size_bytes} bytes; at most {MAX_FILE_BYTES} are read"
    return None


def printable(name: str) -> str:
    r"""Returns a file name that any terminal and any JSON file can hold.

    Bytes that are no UTF-8 and control characters become `\xe9` and the like.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        char.encode("unicode_escape").decode() if ord(char) in _ESCAPED
        else char
        for char in text
    )


def printable_names(names: Iterable[str]) -> list[str]:
    """Returns printable forms of different names that differ as well."""
    names = list(names)
    taken = {name for name in names if printable(name) == name}
    shown = []
    for name in names:
        form, number = printable(name), 1
        while form != name and form in taken:
            number += 1
            form = f"{printable(name)} ({number})"
        taken.add(form)
        shown.append(form)
    return shown
