"""The list of images that a search reads, and what each is for.

A list names images; it does not depend on where they lie or in which order
they are found, so a folder and the records packed from it share one.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from tfnas import artifacts
from tfnas import fields
from tfnas.data.fields import Settings
from tfnas.data.images import Part
from tfnas.data.images import Source
from tfnas.data.split import choose_classes
from tfnas.data.split import select
from tfnas.data.split import split_by_class
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.fields import Fields
from tfnas.labels import read_labels

FORMAT = "tfnas-split/1"
IMAGENET100 = "imagenet100"
_MAX_BYTES = 1 << 30
_SHOWN = 5
_UNLISTED = -1  # no class has that label

# Indices of the images for the weights and of those for the architecture.
Located = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SplitList:
    """Which training images train the weights, and which the architecture.

    Attributes:
        data: name of the set that it was made from.
        classes: names of the classes.
        fraction: share of each class in `weights`.
        seed: that drew them, or None for the first ones of each class.
        weights: names of the images that train the weights.
        arch: names of those that train or score the architecture.
    """

    data: str
    classes: tuple[str, ...]
    fraction: float
    seed: int | None
    weights: tuple[str, ...]
    arch: tuple[str, ...]

    @classmethod
    def of(
        cls,
        data: str,
        class_names: Sequence[str],
        part: Part,
        kept: np.ndarray,
        fraction: float,
        seed: int | None,
    ) -> SplitList:
        """Makes the list of some classes of a set.

        Args:
            data: name of the set.
            class_names: of all its classes.
            part: its training half.
            kept: labels of the classes to use.
            fraction: share of every class that trains the weights.
            seed: as for `split.split_by_class`.

        Raises:
            ConfigError: if a class has too few images.
        """
        members = np.flatnonzero(np.isin(part.labels, kept))
        empty = set(kept.tolist()) - set(part.labels[members].tolist())
        if empty:
            raise ArtifactError(
                f"{data}: expected training images of every class. Received: "
                f"none of {', '.join(class_names[i] for i in sorted(empty))}"
            )
        weights, arch = split_by_class(part.labels[members], fraction, seed)
        names = part.names
        return cls(
            data,
            tuple(class_names[label] for label in kept),
            fraction,
            seed,
            tuple(names[i] for i in members[weights]),
            tuple(names[i] for i in members[arch]),
        )

    def save(self, path: artifacts.PathLike) -> None:
        """Writes the list as JSON, atomically."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        artifacts.write_json(path, {"format": FORMAT, **fields})

    @classmethod
    def load(cls, path: artifacts.PathLike) -> SplitList:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: if the file is missing or of another form, or if
                an image is named twice.
        """
        held = Fields(artifacts.read_json(path, FORMAT, _MAX_BYTES), str(path))
        classes, weights, arch = (
            held.each(name, fields.STRING)
            for name in ("classes", "weights", "arch")
        )
        for field, names in (
            ("classes", classes), ("weights` and `arch", weights + arch)
        ):
            (name, times), *_ = collections.Counter(names).most_common(1)
            if times > 1:
                raise ArtifactError(
                    f"{path}: `{field}` must name each once. "
                    f"Received: {name}, {times} times"
                )
        return cls(
            held.text("data"),
            classes,
            held.need("fraction", fields.NUMBER),
            held.need("seed", fields.optional(fields.whole(0))),
            weights,
            arch,
        )

    def locate(
        self, part: Part, kept: np.ndarray, data: str
    ) -> Located:
        """Returns where its images are in the training half of a set.

        Args:
            part: the training half.
            kept: labels of its classes there.
            data: name of the set, for the error message.

        Returns:
            Sorted indices of the images for the weights and of those for the
            architecture.

        Raises:
            ArtifactError: if the set lacks an image, or has one in a class
                that is not on the list.
        """
        index_of = {name: index for index, name in enumerate(part.names)}
        missing = [n for n in self.weights + self.arch if n not in index_of]
        if missing:
            raise ArtifactError(
                f"{data}: expected the images of the split list, which was "
                f"made from {self.data}. Received: {len(missing)} missing, "
                f"{_some(missing)}"
            )
        weights, arch = (
            np.sort(np.array([index_of[name] for name in names], np.int64))
            for names in (self.weights, self.arch)
        )
        found = np.concatenate([weights, arch])
        strays = found[~np.isin(part.labels[found], kept)]
        if len(strays):
            raise ArtifactError(
                f"{data}: expected images of the classes of the split list. "
                f"Received: {_some([part.names[i] for i in strays[:9]])} of "
                "others"
            )
        return weights, arch


def choose(
    source: Source, settings: Settings
) -> tuple[np.ndarray, Located | None]:
    """Returns which classes of a set to use, and where listed images are.

    Args:
        source: the set.
        settings: of the section `data`.

    Returns:
        The sorted labels, and what `SplitList.locate` gives, or None where
        there is no list.

    Raises:
        ConfigError: if the fields contradict each other.
        ArtifactError: if the list is damaged or of another set.
    """
    path, classes = settings.split_list, settings.classes
    seed, data = settings.class_seed, settings.name
    if path is None:
        return choose_classes(len(source.class_names), classes, seed), None
    held = SplitList.load(path)
    if seed is not None or classes not in (None, len(held.classes)):
        raise ConfigError(
            "`classes` and `class_seed` must be null beside `split_list`, "
            f"which has {len(held.classes)} classes. "
            f"Received: classes={classes}, class_seed={seed}"
        )
    kept = labels_of(held.classes, source.class_names, data)
    return kept, held.locate(source.train, kept, data)


def pick(
    part: Part, kept: np.ndarray, located: Located | None, limit: int | None
) -> np.ndarray:
    """Returns the sorted indices of the images of a half to use.

    Args:
        part: the half.
        kept: labels of the classes to use.
        located: the images to use, or None for all.
        limit: see `split.select`.
    """
    labels = part.labels
    if located is not None:
        listed = np.isin(np.arange(len(labels)), np.concatenate(located))
        labels = np.where(listed, labels, _UNLISTED)
    return select(labels, kept, limit)


def read_classes(where: str) -> tuple[str, ...]:
    """Reads names of classes, one on each line.

    Args:
        where: a file, or "imagenet100": the first 100 classes of ImageNet
            (ILSVRC 2012) in sorted order. DenseNAS took the first 100 of an
            unsorted listing of its folder, which its authors did not publish;
            their rule, with sorting, gives these.

    Raises:
        ArtifactError: if the file is missing or does not name 2 classes or
            more, each once.
    """
    path = pathlib.Path(where)
    if where == IMAGENET100:
        path = pathlib.Path(__file__).with_name(f"{IMAGENET100}.txt")
    names = read_labels(path)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ArtifactError(
            f"{path}: expected at least 2 classes, each once. "
            f"Received: {len(names)} lines, {len(set(names))} names"
        )
    return names


def labels_of(
    wanted: Sequence[str], class_names: Sequence[str], data: str
) -> np.ndarray:
    """Returns the sorted labels of some classes of a set.

    Raises:
        ArtifactError: if the set lacks one.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    missing = [name for name in wanted if name not in label_of]
    if missing:
        raise ArtifactError(
            f"{data}: expected the {len(wanted)} classes of the list. "
            f"Received: {len(missing)} missing, {_some(missing)}"
        )
    return np.sort(np.array([label_of[name] for name in wanted], np.int64))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown + (", ..." if len(names) > _SHOWN else "")
