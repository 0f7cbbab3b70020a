"""Whether a program fits a phone and a model, before it is copied there."""

from __future__ import annotations

import os
import pathlib
import re
import struct

from android_bench.adb import Adb
from tfnas.errors import ArtifactError

_ELF = b"\x7fELF"
_HEADER = struct.Struct("<4sBB10xHH")  # magic, class, order, type, machine
_LITTLE_ENDIAN = 1
# Of ELF's machines: what a kernel, and what Android, calls them.
_MACHINES = {
    3: ("i386", "i486", "i586", "i686", "x86"),
    40: ("arm", "armv6l", "armv7l", "armv8l", "armeabi-v7a", "armeabi"),
    62: ("x86_64", "amd64"),
    183: ("aarch64", "arm64-v8a"),
    243: ("riscv64",),
}
# LiteRT still calls itself so (2026-08), and asks for 2.23 for new operators.
_LAST_TOLD = (2, 19)
# Kernels of the first also run programs of the second, mostly.
_ALSO = {"x86_64": "i686"}


def architecture(path: str | os.PathLike) -> str | None:
    """Returns what processor a program is for, `None` for a script.

    Raises:
        ArtifactError: when it is no program of Linux or Android.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER.size)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    if head.startswith(b"#!"):
        return None
    if len(head) == _HEADER.size and head.startswith(_ELF):
        _, _, order, _, machine = _HEADER.unpack(head)
        if order == _LITTLE_ENDIAN and machine in _MACHINES:
            return _MACHINES[machine][0]
    raise ArtifactError(
        f"{path}: expected a program for Android or Linux (ELF). Received: "
        f"{pathlib.Path(path).stat().st_size} bytes that begin with "
        f"{head[:8]!r}"
    )


def check_fits(path: str | os.PathLike, adb: Adb) -> None:
    """Refuses a program for another processor than the phone's.

    Args:
        path: The program.
        adb: The phone.

    Raises:
        ArtifactError: when the phone cannot run it.
    """
    wanted = architecture(path)
    if wanted is None:
        return
    words = ["sh", "-c", "uname -m; getprop ro.product.cpu.abilist"]
    text = adb.shell(words, check=False).stdout.replace(",", " ")
    said = list(dict.fromkeys(text.split()))
    known = [*said, *(_ALSO[word] for word in said if word in _ALSO)]
    for names in _MACHINES.values():
        if wanted == names[0] and not set(names) & set(known):
            raise ArtifactError(
                f"{path}: expected a program for {' or '.join(said)}, which "
                f"{adb.serial} runs. Received: one for {wanted}"
            )


def check_version(
    path: str | os.PathLike, version: str, model: str, needed: str | None
) -> None:
    """Refuses a program that is too old for a model.

    Args:
        path: The program.
        version: Its version, `"unknown"` where it does not carry one.
        model: The model's file.
        needed: The version that the model's converter says it needs.

    Raises:
        ArtifactError: when the program is older.
    """
    has, needs = _numbers(version), _numbers(needed)
    if has and needs and has < min(needs, _LAST_TOLD):
        raise ArtifactError(
            f"{path}: expected TensorFlow Lite {needed} or later, which "
            f"{model} needs. Received: {version}"
        )


def _numbers(version: str | None) -> tuple[int, ...]:
    found = re.match(r"([0-9]+)\.([0-9]+)", version or "")
    return tuple(map(int, found.groups())) if found else ()
