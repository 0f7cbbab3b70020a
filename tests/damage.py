"""What can happen to a file, and who did it: for tests of survival."""

import random
import shutil


def _gone(path, draw):
    path.unlink()


def _emptied(path, draw):
    path.write_bytes(b"")


def _cut(path, draw):
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(1, max(2, len(data)))])


def _flipped(path, draw):
    flip(path, draw.randrange(8 * max(1, path.stat().st_size)))


def _garbage(path, draw):
    path.write_bytes(draw.randbytes(path.stat().st_size + 1))


def _folder(path, draw):
    path.unlink()
    path.mkdir()


KINDS = {
    "gone": _gone, "emptied": _emptied, "cut": _cut, "flipped": _flipped,
    "garbage": _garbage, "a folder": _folder,
}


def flip(path, bit):
    """Flips one bit of a file; one that is empty gets a byte."""
    data = bytearray(path.read_bytes() or b"\0")
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def files(workdir):
    """Returns all files below a folder, by their names from there."""
    return sorted(
        str(path.relative_to(workdir))
        for path in workdir.rglob("*")
        if path.is_file()
    )


def copies(workdir, scratch, names, kind, seed=0):
    """Yields for each file the name and a copy in which it is damaged."""
    for name in names:
        copy = shutil.copytree(workdir, scratch / "copy")
        KINDS[kind](copy / name, random.Random(f"{seed} {kind} {name}"))
        yield name, copy
        shutil.rmtree(copy)
