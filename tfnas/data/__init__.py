"""Images and labels: `load(config)` gives a `Dataset`.

Language models read a `Text`, which `load_text(config)` gives.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas.data import folders
from tfnas.data import records
from tfnas.data import sources
from tfnas.data import split_list
from tfnas.data.dataset import Dataset
from tfnas.data.dataset import Split
from tfnas.data.images import Part
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
    "find",
    "is_text",
    "load",
    "load_text",
]

_IMAGE_SIZE = 32
_MIN_IMAGE_SIZE = 8  # spaces say what more they need

# What a name, or what stands before its colon, is read by.
_SOURCES: dict[str, Callable[[str, Mapping[str, Any]], Source]] = {
    "digits": sources.digits,
    "cifar10": sources.cifar,
    "cifar100": sources.cifar,
    "folder:": folders.folder,
    "npz:": sources.npz,
    "webp:": sources.webp,
    "tfrecord:": records.tfrecord,
    "tfds:": records.tfds,
}


def load(config: Mapping[str, Any]) -> Dataset:
    """Loads a set of images.

    Args:
        config: a dict or ConfigDict with
            `name`: "digits", "cifar10", "cifar100", "folder:<dir>",
                "npz:<file>", "webp:<dir>", "tfrecord:<glob>" or "tfds:<name>";
            `image_size` (32): height and width that the network sees;
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
                decodes every JPEG or PNG once. Without it an unreadable image
                ends the training that meets it.

    Returns:
        The data set. Folders and record files are read while it is used.

    Raises:
        ConfigError: if a field is wrong or names something that is not there.
        ArtifactError: if the files are not what they should be.
    """
    size = config.get("image_size", _IMAGE_SIZE)
    if size < _MIN_IMAGE_SIZE:
        raise ConfigError(
            f"`image_size` must be at least {_MIN_IMAGE_SIZE}. "
            f"Received: image_size={size}"
        )
    source = find(config)
    kept, located = split_list.choose(source, config)
    mean = _per_channel(config, "mean", source.mean)
    std = _per_channel(config, "std", source.std)

    def split(half: str, part: Part, listed=None) -> tuple[Split, np.ndarray]:
        _check_range(config["name"], half, part.labels, len(source.class_names))
        picks = split_list.pick(part, kept, listed, config.get(f"limit_{half}"))
        images, picks = part.read(picks)
        labels = np.searchsorted(kept, part.labels[picks])
        whole = np.arange(len(labels))
        return Split(images, labels, whole, size, mean, std), picks

    train, picks = split("train", source.train, located)
    test, _ = split("test", source.test)
    dataset = Dataset(
        name=config["name"],
        class_names=tuple(source.class_names[label] for label in kept),
        image_shape=(size, size, 3),
        train=train,
        test=test,
        mean=mean,
        std=std,
        parts=None if located is None else _parts(train, picks, located),
    )
    _check_not_empty(dataset)
    return dataset


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
    """Returns the set that `config["name"]` names, before images are read.

    Raises:
        ConfigError: if there is no such set.
        ArtifactError: if its files are not what they should be.
    """
    name = config["name"]
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
    source = _SOURCES[scheme + colon](where, config)
    if len(source.class_names) < 2:
        raise ArtifactError(
            f"{name}: expected at least 2 classes. "
            f"Received: {', '.join(source.class_names) or 'none'}"
        )
    return source


def _check_range(name: str, half: str, labels: np.ndarray, classes: int):
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ArtifactError(
            f"{name}: expected {half} labels from 0 to {classes - 1}. "
            f"Received: label={wrong[0]}"
        )


def _check_not_empty(dataset: Dataset) -> None:
    missing = set(range(dataset.classes)) - set(dataset.train.labels)
    if missing:
        names = ", ".join(dataset.class_names[i] for i in sorted(missing))
        raise ArtifactError(
            f"{dataset.name}: expected training images of every class. "
            f"Received: {len(dataset.train)} images, none of {names}"
        )
    if not len(dataset.test):
        raise ArtifactError(
            f"{dataset.name}: expected test images. Received: none"
        )


def _per_channel(
    config: Mapping[str, Any], field: str, default: tuple[float, ...]
) -> tuple[float, ...]:
    value = config.get(field)
    values = np.ravel(default if value is None else value)
    if len(values) not in (1, 3) or (field == "std" and np.any(values <= 0)):
        raise ConfigError(
            f"`{field}` must be a number or one for each of 3 channels"
            f"{', above 0' if field == 'std' else ''}. "
            f"Received: {field}={value}"
        )
    return tuple(float(v) for v in np.broadcast_to(values, 3))
