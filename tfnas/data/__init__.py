"""Images and labels: `load(config)` gives a `Dataset`.

Language models read a `Text`, which `load_text(config)` gives.

Example:
    >>> digits = tfnas.data.load({"name": "digits", "image_size": 16})
    >>> digits.image_shape, digits.classes, len(digits.train)
    ((16, 16, 3), 10, 1442)
"""

import os
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas.data import arrays
from tfnas.data import channels
from tfnas.data import fields
from tfnas.data import files
from tfnas.data import folders
from tfnas.data import records
from tfnas.data import sources
from tfnas.data import split_list
from tfnas.data import text as texts
from tfnas.data.dataset import Dataset
from tfnas.data.dataset import Split
from tfnas.data.fields import Settings
from tfnas.data.images import Part
from tfnas.data.images import Pixels
from tfnas.data.images import Source
from tfnas.data.split_list import SplitList
from tfnas.data.text import Text
from tfnas.data.text import is_text
from tfnas.data.text import load_text
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

__all__ = [
    "Dataset",
    "Split",
    "SplitList",
    "Text",
    "check",
    "check_images",
    "find",
    "is_text",
    "load",
    "load_text",
]

_LISTED = 5

# What a name, or what stands before its colon, is read by.
_SOURCES: dict[str, Callable[[str, Settings], Source]] = {
    "digits": sources.digits,
    "cifar10": sources.cifar,
    "cifar100": sources.cifar,
    "folder:": folders.folder,
    "npz:": sources.npz,
    "webp:": sources.webp,
    "tfrecord:": records.tfrecord,
    "tfds:": records.tfds,
    arrays.SCHEME: arrays.source,
}

# How it is seen at once, without TensorFlow, that there is no such set.
_CHECKS: dict[str, Callable[[str], None]] = {
    "folder:": folders.check,
    "npz:": sources.check,
    "webp:": lambda where: sources.check(os.path.join(where, "labels.npz")),
    "tfrecord:": records.check,
    arrays.SCHEME: arrays.check,
}


def check(config: Mapping[str, Any]) -> None:
    """Refuses at once a set or a text that cannot be loaded.

    Looks at the fields and for the files; `load` says what is in them.

    Args:
        config: as for `load` or `load_text`.

    Raises:
        ConfigError: if a field is wrong or names something that is not there.
        ArtifactError: if files that must be there are not.
    """
    if is_text(str(config.get("name"))):
        texts.check(config["name"])
    else:
        check_images(config)


def check_images(config: Mapping[str, Any]) -> None:
    """Refuses at once a set of images that cannot be loaded; see `check`.

    Args:
        config: as for `load`.

    Raises:
        ConfigError: if a field is wrong or names something that is not there,
            or a text.
        ArtifactError: if files that must be there are not.
    """
    settings = fields.read(config)
    scheme, where = _parted(settings.name)
    if scheme in _CHECKS:
        _CHECKS[scheme](where)
    if settings.split_list is not None:
        sources.check(settings.split_list)


def load(config: Mapping[str, Any]) -> Dataset:
    """Loads a set of images.

    Args:
        config: a dict or ConfigDict with
            `name`: "digits", "cifar10", "cifar100", "folder:<dir>",
                "npz:<file>", "webp:<dir>", "tfrecord:<glob>" or "tfds:<name>";
            `image_size` (32): height and width that the network sees, one
                number for both or two;
            `channels` (3): 1 for grey, 3 for RGB, 4 for RGB and opacity;
            `classes` (null): use only that many classes, the first ones, or
                with `class_seed` (null) some drawn with that seed;
            `limit_train`, `limit_test` (null): use at most that many images,
                the first ones of every class in equal numbers;
            `mean`, `std` (null): what to normalise with, a number or one for
                each channel, on the 0 to 255 scale; null for the usual values;
            `split_list` (null): a file that `tfnas-data split` wrote: use
                its classes and training images only, and split them for a
                search as it says;
            `max_bad` (10): how many unreadable images of the training and of
                the test half are skipped before that is an error;
            `check_images` (true): whether to look for those first, which
                decodes every image once. Without it an unreadable image ends
                the training that meets it;
            `exif_rotation` (true): whether to turn images as their EXIF data
                say.

    Returns:
        The data set. Folders and record files are read while it is used.

    Raises:
        ConfigError: if a field is wrong or names something that is not there.
        ArtifactError: if the files are not what they should be.
    """
    settings = fields.read(config)
    source = _find(settings)
    kept, located = split_list.choose(source, settings)
    mean, std = (
        fields.per_channel(
            getattr(settings, field), field,
            channels.statistics(getattr(source, field), settings.channels),
        )
        for field in ("mean", "std")
    )

    def split(half: str, part: Part, listed=None) -> tuple[Split, np.ndarray]:
        _check_range(settings.name, half, part.labels, len(source.class_names))
        limit = getattr(settings, f"limit_{half}")
        picks = split_list.pick(part, kept, listed, limit)
        needed = _needed(half, source, kept, part.labels[picks], limit)
        _check_there(settings.name, half, source, needed, part.labels[picks])
        images, picks = part.read(picks)
        _check_there(settings.name, half, source, needed, part.labels[picks])
        if isinstance(images, Pixels):
            images = Pixels(channels.of_array(images.array, settings.channels))
        labels = np.searchsorted(kept, part.labels[picks])
        whole = np.arange(len(labels))
        return Split(
            images, labels, whole, settings.image_size, mean, std,
            settings.exif_rotation,
        ), picks

    train, picks = split("train", source.train, located)
    test, _ = split("test", source.test)
    return Dataset(
        name=settings.name,
        class_names=tuple(source.class_names[label] for label in kept),
        image_shape=(*settings.image_size, settings.channels),
        train=train,
        test=test,
        mean=mean,
        std=std,
        parts=None if located is None else _parts(train, picks, located),
    )


def _parts(
    train: Split, picks: np.ndarray, located: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of both parts in `train`, whose images are `picks`.

    Unreadable images, and those beyond a limit, are in neither.
    """
    weights, arch = (
        np.flatnonzero(np.isin(picks, indices)) for indices in located
    )
    for name, part in (("weights", weights), ("arch", arch)):
        missing = set(train.labels) - set(train.labels[part])
        if missing:
            raise ConfigError(
                f"Both parts of a split list need an image of every class. "
                f"Received: none in `{name}` of label(s) "
                f"{', '.join(map(str, sorted(missing)))}; is `limit_train` "
                "too small?"
            )
    return weights, arch


def find(config: Mapping[str, Any]) -> Source:
    """Returns the set that a config names, before images are read.

    Args:
        config: as for `load`.

    Raises:
        ConfigError: if there is no such set.
        ArtifactError: if its files are not what they should be.
    """
    return _find(fields.read(config))


def _find(settings: Settings) -> Source:
    name = settings.name
    scheme, where = _parted(name)
    source = _SOURCES[scheme](where, settings)
    if len(source.class_names) < 2:
        raise ArtifactError(
            f"{name}: expected at least 2 classes. "
            f"Received: {', '.join(source.class_names) or 'none'}"
        )
    return source


def _parted(name: str) -> tuple[str, str]:
    """Returns which source reads a set, and what it reads."""
    scheme, colon, where = name.partition(":")
    if is_text(name):
        raise ConfigError(
            "this needs images, and a text is for language models. "
            f"Received: name={name}"
        )
    if scheme + colon not in _SOURCES:
        raise ConfigError(
            f"`name` must be one of {', '.join(_SOURCES)}, with a file or "
            f"name after a colon. Received: name={name}"
        )
    return scheme + colon, where


def _check_range(name: str, half: str, labels: np.ndarray, classes: int):
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ArtifactError(
            f"{name}: expected {half} labels from 0 to {classes - 1}. "
            f"Received: label={wrong[0]}"
        )


def _needed(
    half: str,
    source: Source,
    kept: np.ndarray,
    labels: np.ndarray,
    limit: int | None,
) -> np.ndarray:
    """Returns the labels of which a half must have an image.

    Args:
        half: "train" or "test".
        source: the set.
        kept: labels of the classes that are used.
        labels: of the images that are wanted.
        limit: how many are wanted at most; fewer than classes leave some out.
    """
    if half == "train":
        return kept
    if not source.all_tested:
        return kept[:0]
    return kept if limit is None or limit >= len(kept) else np.unique(labels)


def _check_there(
    name: str, half: str, source: Source, needed: np.ndarray, found: np.ndarray
) -> None:
    missing = np.setdiff1d(needed, found)
    enough = len(found) or (half == "test" and source.untested)
    if not len(missing) and enough:
        return
    names = [source.class_names[label] for label in missing]
    shown = ", ".join(names[:_LISTED]) + ", ..." * (len(names) > _LISTED)
    where = files.printable(name)
    word = "training" if half == "train" else "test"
    of_every = " of every class" if len(missing) else ""
    raise ArtifactError(
        f"{where}: expected {word} images{of_every}. Received: "
        + (f"{len(found)} images, none of {shown}" if names else "none")
        + (f"; {source.remark}" if source.remark else "")
    )
