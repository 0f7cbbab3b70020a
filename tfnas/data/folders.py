"""Class folders: image files that are read while they are used."""

import concurrent.futures
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tqdm
from absl import logging
from PIL import Image

from tfnas.data.images import IMAGENET_MEAN
from tfnas.data.images import IMAGENET_STD
from tfnas.data.images import Encoded
from tfnas.data.images import Part
from tfnas.data.images import Source
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG")
_LISTED = 20


def folder(where: str, config: Mapping[str, Any]) -> Source:
    """JPEG and PNG files in train/<class>/ and val/<class>/, read while used.

    Labels follow the sorted names of the class folders in train/.
    """
    root = pathlib.Path(where)
    if not root.is_dir():
        raise ConfigError(f"Expected a folder. Received: name=folder:{where}")
    names = _class_folders(root / "train")
    unknown = set(_class_folders(root / "val")) - set(names)
    if unknown:
        raise ArtifactError(
            f"{root / 'val'}: expected the classes of train/ only. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    train = _file_part(root / "train", names, config)
    test = _file_part(root / "val", names, config)
    return Source(names, train, test, IMAGENET_MEAN, IMAGENET_STD)


def _class_folders(path: pathlib.Path) -> tuple[str, ...]:
    if not path.is_dir():
        raise ArtifactError(f"{path}: expected a folder of class folders")
    folders = (entry for entry in path.iterdir() if entry.is_dir())
    names = tuple(sorted(folder.name for folder in folders if _seen(folder)))
    if len(names) < 2:
        raise ArtifactError(
            f"{path}: expected at least 2 class folders. "
            f"Received: {len(names)} ({', '.join(names) or 'empty'})"
        )
    return names


def _seen(path: pathlib.Path) -> bool:
    """Whether a name is not hidden, as those that systems leave behind."""
    return not path.name.startswith(".")


def _file_part(
    root: pathlib.Path, names: tuple[str, ...], config: Mapping[str, Any]
) -> Part:
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(
            str(path)
            for path in (root / name).glob("*")
            if path.suffix.lower() in _SUFFIXES and _seen(path)
        )
        files += found
        labels += [label] * len(found)
    paths, label_array = np.array(files, object), np.array(labels, np.int64)

    def read(picks):
        wanted, wanted_labels = paths[picks], label_array[picks]
        if config.get("check_images", True):
            good = _readable(wanted, config.get("max_bad", 10))
            wanted, wanted_labels = wanted[good], wanted_labels[good]
        return _file_reader(wanted), wanted_labels

    return Part(label_array, read)


def _file_reader(paths: np.ndarray) -> Encoded:
    def read(index):
        import tensorflow as tf

        with tf.init_scope():  # a million paths are too much for a graph
            held = tf.constant(paths, tf.string)
        return tf.io.read_file(tf.gather(held, index))

    return read


def _readable(paths: np.ndarray, max_bad: int) -> np.ndarray:
    """Decodes every file once and returns which can be."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        problems = list(
            tqdm.tqdm(
                pool.map(_problem, paths),
                "checking images",
                total=len(paths),
                delay=2,
            )
        )
    bad = [
        f"{path}: {problem}"
        for path, problem in zip(paths, problems, strict=True)
        if problem
    ]
    listing = "\n  ".join(bad[:_LISTED])
    if len(bad) > _LISTED:
        listing += f"\n  and {len(bad) - _LISTED} more"
    if len(bad) > max_bad:
        raise ArtifactError(
            f"Expected at most max_bad={max_bad} unreadable images. "
            f"Received: {len(bad)}\n  {listing}"
        )
    if bad:
        logging.warning(
            "%d unreadable image(s) skipped:\n  %s", len(bad), listing
        )
    return np.array([not problem for problem in problems], bool)


def _problem(path: str) -> str | None:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # JPEGs decode at an eighth of their size: quick, yet every byte
            # is visited, so a file cut short is found.
            image.draft("RGB", (1, 1))
            image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        # PIL raises SyntaxError on broken PNG files.
        return str(error)
    return None
