"""Class folders: image files that are read while they are used."""

import os

import numpy as np
from absl import logging

from tfnas.data import checking
from tfnas.data import files
from tfnas.data.fields import Settings
from tfnas.data.images import IMAGENET_MEAN
from tfnas.data.images import IMAGENET_STD
from tfnas.data.images import Encoded
from tfnas.data.images import Part
from tfnas.data.images import Source
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

_LISTED = 5


def folder(where: str, settings: Settings) -> Source:
    """Pictures in train/<class>/ and val/<class>/, read while used.

    Labels follow the sorted names of the class folders in train/. What else
    lies there is counted in a warning.
    """
    left_out = files.LeftOut()
    names = _names(where, left_out)
    train, val = (os.path.join(where, half) for half in ("train", "val"))
    shown = tuple(files.printable_names(names))
    train_part, val_part = (
        _file_part(root, names, shown, settings, left_out)
        for root in (train, val)
    )
    if remark := str(left_out):
        logging.warning("%s: %s", files.printable(where), remark)
    return Source(
        shown, train_part, val_part, IMAGENET_MEAN, IMAGENET_STD,
        all_tested=True, remark=remark,
    )


def check(where: str) -> None:
    """Refuses a folder whose class folders are not as they should be.

    Raises:
        ConfigError: if it is no folder.
        ArtifactError: naming the folder that lacks class folders.
    """
    _names(where, files.LeftOut())


def _names(where: str, left_out: files.LeftOut) -> list[str]:
    """Returns the names of the class folders, sorted."""
    if not os.path.isdir(where):
        raise ConfigError(
            "Expected a folder. "
            f"Received: name=folder:{files.printable(where)}"
        )
    train, val = (os.path.join(where, half) for half in ("train", "val"))
    names = _class_folders(train, left_out)
    unknown = sorted(set(_class_folders(val, left_out)) - set(names))
    if unknown:
        raise ArtifactError(
            f"{files.printable(val)}: expected the classes of train/ only. "
            f"Received: {', '.join(map(files.printable, unknown))}"
        )
    return names


def _class_folders(path: str, left_out: files.LeftOut) -> list[str]:
    if not os.path.isdir(path):
        raise ArtifactError(
            f"{files.printable(path)}: expected a folder of class folders"
        )
    names = files.folders(path, left_out)
    if len(names) < 2:
        some = ", ".join(map(files.printable, names))
        raise ArtifactError(
            f"{files.printable(path)}: expected at least 2 class folders. "
            f"Received: {len(names)} ({some or str(left_out) or 'empty'})"
        )
    return names


def _file_part(
    root: str,
    names: list[str],
    shown: tuple[str, ...],
    settings: Settings,
    left_out: files.LeftOut,
) -> Part:
    paths: list[bytes] = []
    sizes: list[int] = []
    labels: list[int] = []
    own_names: list[str] = []
    for label, name in enumerate(names):
        place = os.path.join(root, name)
        if not os.path.lexists(place):  # of val/: no picture is an error later
            continue
        found = files.pictures(place, left_out)
        paths += [os.fsencode(picture.path) for picture in found]
        sizes += [picture.size_bytes for picture in found]
        labels += [label] * len(found)
        own_names += [
            f"{shown[label]}/{file_name}"
            for file_name in files.printable_names(
                os.path.basename(picture.path) for picture in found
            )
        ]

    def measured(index: int) -> tuple[str | None, int]:
        return files.size_problem(sizes[index]), 1

    decoded = checking.decoded(
        lambda index: files.read(paths[index]), settings.channels
    )

    def name_of(index: int) -> str:
        return files.printable(os.fsdecode(paths[index]))

    def read(picks):
        kept, turns = checking.readable(
            picks,
            decoded if settings.check_images else measured,
            name_of,
            settings,
            files.printable(root),
        )
        reader = _file_reader(np.array([paths[i] for i in kept], object))
        known = turns if settings.check_images else None
        return Encoded(reader, known, lambda i: name_of(kept[i])), kept

    return Part(np.array(labels, np.int64), read, own_names)


def _file_reader(paths: np.ndarray):
    def read(index):
        import tensorflow as tf

        with tf.init_scope():  # a million paths are too much for a graph
            held = tf.constant(paths, tf.string)
        return tf.io.read_file(tf.gather(held, index))

    return read
