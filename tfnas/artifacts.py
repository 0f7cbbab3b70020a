"""Files as tfnas writes and reads them.

Writing is atomic: the bytes go to a temporary name, are flushed to the disk
and then take the place of the old file, which stays whole if anything fails.
Reading is checked: a file that is missing, damaged or of another format is an
`ArtifactError` that names the path and the place. Nothing here can execute
what it reads.

A sealed JSON file carries the digest of its own content, and the digests of
the files that it names: no bit of them can change unnoticed.
"""

import contextlib
import glob
import hashlib
import io
import json
import math
import os
import pathlib
import re
import sys
import zipfile
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import BinaryIO

import numpy as np

from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import printable

PathLike = str | os.PathLike[str]

MAX_JSON_BYTES = 64 << 20
MAX_NPZ_BYTES = 4 << 30

SEAL = "content_sha256"
_ABSENT = "absent"
_MAX_FIELDS = 10  # that differ, in a message
_DIVERGED, _CHANGES = "diverged.json", "changes.json"

# Names of files that are being written: `.<process id>.tmp.<final name>`.
_TEMPORARY = re.compile(r"\.(\d+)\.tmp\..+")


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[pathlib.Path]:
    """Gives a temporary name; what is written there becomes the file `path`.

    Folders on the way are made. If anything fails, the old file stays as it
    was and no temporary file stays behind; one that a killed process left is
    removed. The temporary name ends as `path` does. For files that another
    library writes; others are written by the functions below.

    Args:
        path: the file to write.

    Raises:
        ArtifactError: if there is a folder in its place.
        OSError: if it cannot be written (disk full, no permission).
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ArtifactError(
            f"{path}: expected a file, or nothing yet. Received: a folder"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        with _named(path):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: PathLike) -> Iterator[None]:
    """Names the file in an error: a failed write knows no name."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_leftovers(folder: PathLike, name: str | None = None) -> None:
    """Removes temporary files of processes that are gone.

    Args:
        folder: where they would be.
        name: the file that was being written; any if `None`.
    """
    name = "*" if name is None else glob.escape(name)
    for path in pathlib.Path(folder).glob(f".*.tmp.{name}"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and not _is_alive(int(found[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


def write_bytes(path: PathLike, data: bytes) -> None:
    """Replaces a file by `data`, or leaves it as it was; see `replacing`.

    Args:
        path: the file to write.
        data: its whole content.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: PathLike, text: str) -> None:
    """Replaces a file by `text` in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: PathLike, value: Any, sealed: bool = False) -> None:
    """Replaces a file by `value` as JSON; see `write_bytes`.

    Args:
        path: the file to write.
        value: an object where `sealed`, else any JSON value.
        sealed: whether to add the digest of the content, which `read_json`
            checks.

    Raises:
        ValueError: if a number is NaN or infinite, which JSON cannot hold.
    """
    if sealed:
        value = {**value, SEAL: digest(value)}
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def digest(value: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a JSON object, its seal and its order left out.

    A config dict counts as the object that `config.json` holds of it.
    """
    plain = json.loads(json.dumps(value, default=dict))
    plain.pop(SEAL, None)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def config_digest(config: Mapping[str, Any]) -> str:
    """Returns the digest of settings, where null counts as absent.

    Checkpoints and results carry it, so that they are known to belong to a
    config even where `config.json` is lost.
    """
    plain = json.loads(json.dumps(config, default=dict))
    return digest({k: v for k, v in _settings(plain) if v is not None})


def write_npz(path: PathLike, **arrays: Any) -> None:
    """Replaces a file by named arrays; see `write_bytes`.

    Raises:
        ValueError: if an array holds Python objects.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(
                "Expected arrays of numbers or text. "
                f"Received: {name} with dtype=object"
            )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def append_jsonl(
    path: PathLike, record: dict[str, Any], sealed: bool = False
) -> None:
    """Adds one record to a file of JSON lines.

    A line that a killed process left half written is dropped first.

    Args:
        path: the file, made if there is none.
        record: what to add.
        sealed: whether the line carries its own digest; see `write_json`.

    Raises:
        ValueError: if a number is NaN or infinite, which JSON cannot hold.
        OSError: if it cannot be written.
    """
    if sealed:
        record = {**record, SEAL: digest(record)}
    line = json.dumps(record, allow_nan=False) + "\n"
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named(path), open(path, "ab+") as file:
        _drop_torn_line(file)
        file.write(line.encode("utf-8"))


def _drop_torn_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def read_text(path: PathLike, max_bytes: int = MAX_JSON_BYTES) -> str:
    """Returns the text of a UTF-8 file.

    Args:
        path: the file to read.
        max_bytes: a larger file is refused unread.

    Raises:
        ArtifactError: if it is missing, too large or not UTF-8 text.
    """
    try:
        size_bytes = os.stat(path).st_size
        if size_bytes > max_bytes:
            raise ArtifactError(
                f"{path}: expected at most {max_bytes} bytes. "
                f"Received: size_bytes={size_bytes}"
            )
        return pathlib.Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: byte {error.start} is not UTF-8 text"
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: PathLike, error: OSError | ValueError) -> ArtifactError:
    """Returns the error of a file, or of a name that no file can have."""
    return ArtifactError(f"{path}: {getattr(error, 'strerror', error)}")


def read_json(
    path: PathLike,
    format: str | None = None,
    max_bytes: int = MAX_JSON_BYTES,
    sealed: bool = False,
) -> dict[str, Any]:
    """Returns the object in a JSON file, without its seal.

    Args:
        path: the file to read.
        format: what its field "format" has to say, e.g. "tfnas-arch/1"; None
            for files without one.
        max_bytes: a larger file is refused unread.
        sealed: whether it must have a seal. One that is there is checked in
            any case.

    Raises:
        ArtifactError: if it is missing, too large, truncated, not a JSON
            object, of another format, or not what was sealed.
    """
    value = _parse(read_text(path, max_bytes), str(path))
    if format is not None and value.get("format") != format:
        raise ArtifactError(
            f'{path}: field "format": expected {format!r}. '
            f"Received: format={value.get('format')!r}"
        )
    if sealed and SEAL not in value:
        raise ArtifactError(
            f'{path}: expected a field "{SEAL}" that vouches for the others; '
            "older versions of tfnas wrote none. Received: none"
        )
    return unsealed(value, str(path))


def unsealed(value: dict[str, Any], source: str) -> dict[str, Any]:
    """Returns a JSON object without its seal, which is checked.

    Args:
        value: parsed JSON, with a seal or without one.
        source: file name for the message.

    Raises:
        ArtifactError: if the object is not what was sealed.
    """
    seal = value.pop(SEAL, None)
    if seal is not None and seal != digest(value):
        raise ArtifactError(
            f'{source}: field "{SEAL}" must be the digest of the other '
            f"fields, {digest(value)}: the file is damaged (if it was changed "
            f"on purpose, remove the field). Received: {str(seal)[:80]!r}"
        )
    return value


def read_jsonl(
    path: PathLike, max_bytes: int = MAX_JSON_BYTES
) -> list[dict[str, Any]]:
    """Returns the records of a file of JSON lines, without their seals.

    A last line without its newline was torn by a kill and is left out.

    Raises:
        ArtifactError: if it is missing or too large, or if another line is
            not a JSON object, or not what was sealed.
    """
    lines = read_text(path, max_bytes).split("\n")[:-1]
    named = [
        (line, f"{path}: record {index}")
        for index, line in enumerate(lines, start=1)
    ]
    return [unsealed(_parse(line, source), source) for line, source in named]


def _parse(text: str, source: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON number")

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            refuse(number)
        return value

    try:
        value = json.loads(text, parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{source}: not valid JSON (damaged or truncated?): {error}"
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(
            f"{source}: expected a JSON object. "
            f"Received: a {type(value).__name__}"
        )
    return value


def read_npz(
    path: PathLike, max_bytes: int = MAX_NPZ_BYTES
) -> dict[str, np.ndarray]:
    """Returns the named arrays of an .npz file.

    Args:
        path: the file to read.
        max_bytes: a file that unpacks to more than this is refused.

    Raises:
        ArtifactError: if it is missing, damaged, too large, or holds Python
            objects.
    """
    place = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(item.file_size for item in archive.infolist())
            for item in archive.infolist():
                place = f'{path}: field "{item.filename.removesuffix(".npy")}"'
                _check_member(archive, item)
            place = str(path)
        if size_bytes > max_bytes:
            raise ArtifactError(
                f"{path}: expected at most {max_bytes} bytes unpacked. "
                f"Received: size_bytes={size_bytes}"
            )
        arrays = {}
        with np.load(path, allow_pickle=False) as npz:
            for name in npz.files:
                place = f'{path}: field "{name}"'
                arrays[name] = npz[name]
        return arrays
    except Exception as error:  # numpy and zipfile raise nearly anything
        raise ArtifactError(f"{place}: not a readable .npz: {error}") from error


def _check_member(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> None:
    """Checks that an array is as large as it says, before numpy makes room."""
    with archive.open(item) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        end = file.tell() + dtype.itemsize * math.prod(shape)
    if end != item.file_size:
        raise ValueError(
            f"{shape} {dtype} needs {end} bytes, there are {item.file_size}"
        )


def sha256(path: PathLike) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        ArtifactError: if the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def claim_workdir(
    workdir: PathLike, config: Mapping[str, Any], flag: str = "workdir"
) -> pathlib.Path:
    """Makes a workdir the one of `config`, or checks that it is.

    The first caller's settings stay in `config.json`; the same command again
    finds its own workdir and goes on. A field that is null counts as absent:
    a workdir made before there was such a field goes on. Where `config.json`
    is lost, the digests in the result and the checkpoints say whose they
    are; a folder with such files but without a digest is refused.

    After a training diverged (`note_divergence`) its learning rates may be
    changed; `changes` tells.

    Args:
        workdir: the folder, made if there is none.
        config: all settings that the results in the folder depend on.
        flag: the flag that names the folder, for the error message.

    Returns:
        The folder as a path.

    Raises:
        ConfigError: if the folder belongs to other settings; the message
            names the first ten fields that differ.
        ArtifactError: if `config.json` is damaged, or is lost and nothing
            tells whose folder it is.
    """
    path = pathlib.Path(workdir) / "config.json"
    # A config dict is no dict, and tuples come back from a file as lists.
    ours = json.loads(json.dumps(config, default=dict))
    if not path.exists():
        _check_lost_config(path, config_digest(ours), flag)
        write_json(path, ours)
        return path.parent
    try:
        before = read_json(path)
    except ArtifactError as error:
        raise ArtifactError(
            f"{error}. Remove it and it is written anew, if the digests in "
            "the folder are those of this config"
        ) from error
    differing = _differing(before, ours)
    if not differing:
        return path.parent
    if _may_change(path.parent, differing):
        _change(path, before, ours, differing)
        return path.parent
    lines = [
        f"{field}: {there} there, {here} here"
        for field, (there, here) in differing.items()
    ]
    if len(lines) > _MAX_FIELDS:
        lines[_MAX_FIELDS:] = [f"and {len(lines) - _MAX_FIELDS} others"]
    gone = any(here == _ABSENT for _, here in differing.values())
    hint = (
        "Fields absent here may be those of another version of tfnas, which "
        "can finish that run. "
    )
    raise ConfigError(
        f"Expected a new --{flag}, or the settings this one was made with. "
        f"{hint if gone else ''}"
        f"Received: {flag}={workdir} with\n  " + "\n  ".join(lines)
    )


def _differing(
    before: Mapping[str, Any], ours: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Returns the fields that differ, with both values."""
    there, here = dict(_settings(before)), dict(_settings(ours))
    return {
        field: (there.get(field, _ABSENT), here.get(field, _ABSENT))
        for field in sorted(there.keys() | here.keys())
        if there.get(field) != here.get(field)
    }


def _settings(
    config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _check_lost_config(path: pathlib.Path, ours: str, flag: str) -> None:
    """Checks a folder without `config.json`: it is new, or it is ours."""
    folder = path.parent
    held = [
        name
        for name in ("checkpoints", "log.jsonl", "result.json", "table.json")
        if (folder / name).exists()
    ]
    if not held:
        return
    named = set()
    for witness in (
        folder / "result.json", *folder.glob("checkpoints/*/state.json")
    ):
        with contextlib.suppress(ArtifactError):
            named.add(read_json(witness).get("config_sha256"))
    if ours not in named:
        raise ArtifactError(
            f"{path}: lost, and the folder holds {', '.join(held)} of "
            f"{'other' if named - {None} else 'unknown'} settings. Put the "
            f"file back, or give a new --{flag}."
        )
    warn(f"{path} was lost; it is written anew, as {held} are of this config")


def warn(message: str) -> None:
    """Tells the user, on standard error, of something that was put right."""
    print(f"warning: {printable(message)}", file=sys.stderr, flush=True)


def note_divergence(workdir: PathLike, message: str) -> None:
    """Notes that a training diverged: its learning rates may be changed."""
    write_json(pathlib.Path(workdir) / _DIVERGED, {"message": message}, True)


def changes(workdir: PathLike) -> list[dict[str, Any]]:
    """Returns how settings were changed after a training diverged.

    Returns:
        For each change `config_sha256`, the digest of the config before it,
        and `settings`, the values before and after by name.

    Raises:
        ArtifactError: if the record is damaged.
    """
    path = pathlib.Path(workdir) / _CHANGES
    if not path.exists():
        return []
    return read_json(path, "tfnas-changes/1", sealed=True)["changes"]


def _may_change(folder: pathlib.Path, fields: Mapping[str, Any]) -> bool:
    rates = all(re.fullmatch(r"(.*[._])?lr", field) for field in fields)
    return rates and (folder / _DIVERGED).exists()


def _change(
    path: pathlib.Path, before: Mapping[str, Any], ours: Mapping[str, Any],
    fields: Mapping[str, tuple[Any, Any]],
) -> None:
    record = {
        "config_sha256": config_digest(before),
        "settings": {name: list(pair) for name, pair in fields.items()},
    }
    known = [c for c in changes(path.parent) if c != record]
    write_json(
        path.with_name(_CHANGES),
        {"format": "tfnas-changes/1", "changes": [*known, record]}, True,
    )
    write_json(path, ours)
    (path.parent / _DIVERGED).unlink()
    warn(
        f"{path}: after the training diverged, "
        + ", ".join(f"{k} from {a} to {b}" for k, (a, b) in fields.items())
    )
