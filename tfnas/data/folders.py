"""Class folders: image files that are read while they are used."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas.data import checking
from tfnas.data.images import IMAGENET_MEAN
from tfnas.data.images import IMAGENET_STD
from tfnas.data.images import Encoded
from tfnas.data.images import Part
from tfnas.data.images import Source
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

_SUFFIXES = (".jpg", ".jpeg", ".png")


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
        kept = checking.readable(
            picks,
            lambda index: pathlib.Path(paths[index]).read_bytes(),
            lambda index: paths[index],
            config,
        )
        return _file_reader(paths[kept]), kept

    own_names = ["/".join(pathlib.Path(path).parts[-2:]) for path in files]
    return Part(label_array, read, own_names)


def _file_reader(paths: np.ndarray) -> Encoded:
    def read(index):
        import tensorflow as tf

        with tf.init_scope():  # a million paths are too much for a graph
            held = tf.constant(paths, tf.string)
        return tf.io.read_file(tf.gather(held, index))

    return read
