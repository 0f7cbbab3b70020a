"""Sets that are held in memory: digits, CIFAR, npz files, webp strips."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from tfnas import artifacts
from tfnas.data import files
from tfnas.data.fields import CHANNELS
from tfnas.data.fields import Settings
from tfnas.data.images import Part
from tfnas.data.images import Pixels
from tfnas.data.images import Source
from tfnas.data.images import part_of
from tfnas.data.split import rank_in_class
from tfnas.errors import ArtifactError

_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
# Mean and standard deviation of the training images, as published.
CIFAR_STATISTICS = {
    "cifar10": (
        (0.49139968, 0.48215841, 0.44653091),
        (0.24703223, 0.24348513, 0.26158784),
    ),
    "cifar100": (
        (0.50707516, 0.48654887, 0.44091784),
        (0.26733429, 0.25643846, 0.27615047),
    ),
}


def digits(where: str, settings: Settings) -> Source:
    """Handwritten digits, 1797 grey images of 8x8, shipped with tfnas.

    Every fifth image of a class is a test image: 1442 train, 355 test.

    The file `digits.npz` holds the images of `sklearn.datasets.load_digits`
    (scikit-learn, BSD 3-Clause), pixel values 0 to 16. They are the test set
    of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C.
    Kaynak (UCI Machine Learning Repository, 1998, CC BY 4.0).
    """
    held = artifacts.read_npz(pathlib.Path(__file__).with_name("digits.npz"))
    images = np.round(held["images"] * (255 / 16)).astype(np.uint8)
    labels = held["labels"].astype(np.int64)
    test = rank_in_class(labels) % 5 == 4
    return Source(
        class_names=tuple(str(digit) for digit in range(10)),
        train=part_of(images[~test], labels[~test]),
        test=part_of(images[test], labels[test]),
    )


def cifar(where: str, settings: Settings) -> Source:
    """CIFAR-10 or CIFAR-100, fetched by Keras on first use."""
    import keras

    name = settings.name
    held = getattr(keras.datasets, name).load_data()
    train, test = (
        part_of(images, labels.reshape(-1).astype(np.int64))
        for images, labels in held
    )
    classes = int(train.labels.max()) + 1
    names = _CIFAR10_CLASSES.split()
    mean, std = CIFAR_STATISTICS[name]
    return Source(
        tuple(names if name == "cifar10" else map(str, range(classes))),
        train,
        test,
        mean=tuple(255 * value for value in mean),
        std=tuple(255 * value for value in std),
    )


def npz(where: str, settings: Settings) -> Source:
    """Arrays x_train, y_train, x_test, y_test and maybe class_names.

    Images are uint8 (images, height, width[, 1, 3 or 4]), labels integers from
    0.
    """
    _check_regular(where)
    held = artifacts.read_npz(where)

    def part(half: str) -> Part:
        images = _field(where, held, f"x_{half}")
        if images.dtype != np.uint8 or not _is_image_shape(images.shape):
            raise ArtifactError(
                f'{where}: field "x_{half}": expected uint8 (images, height, '
                "width[, 1, 3 or 4]). "
                f"Received: {images.dtype} {images.shape}"
            )
        labels = _labels(where, held, f"y_{half}", len(images))
        return part_of(images, labels)

    train = part("train")
    return Source(_class_names(held, train.labels), train, part("test"))


def webp(where: str, settings: Settings) -> Source:
    """A folder of square images stacked into strips, and labels.npz.

    `train_*.webp` and `test_*.webp`, in the order of their names, match
    `y_train` and `y_test` of `labels.npz`, which may also hold `class_names`.
    Only the strips that hold a wanted image are decoded.
    """
    path = pathlib.Path(where) / "labels.npz"
    _check_regular(path)
    held = artifacts.read_npz(path)

    def part(half: str) -> Part:
        strips = sorted(pathlib.Path(where).glob(f"{half}_*.webp"))
        for strip in strips:
            _check_regular(strip)
        lengths = [_strip_length(strip) for strip in strips]
        labels = _labels(path, held, f"y_{half}", sum(lengths))
        return _strip_part(strips, np.cumsum([0, *lengths]), labels)

    train = part("train")
    return Source(_class_names(held, train.labels), train, part("test"))


def _strip_part(
    paths: list[pathlib.Path], starts: np.ndarray, labels: np.ndarray
) -> Part:
    def read(picks):
        images = []
        for path, start, stop in zip(paths, starts, starts[1:], strict=False):
            wanted = picks[(picks >= start) & (picks < stop)] - start
            if len(wanted):
                images.append(_decode_strip(path)[wanted])
        return Pixels(np.concatenate(images)), picks

    return Part(labels, read)


def check(path: artifacts.PathLike) -> None:
    """Refuses a file that is not there, or no regular one.

    Raises:
        ArtifactError: naming it.
    """
    _check_regular(path)
    if not os.path.lexists(path):
        raise ArtifactError(f"{path}: No such file or directory")


def _check_regular(path: artifacts.PathLike) -> None:
    """Refuses what is there but no regular file: reading could wait."""
    left_out = files.LeftOut()
    if os.path.lexists(path) and not files.regular([str(path)], left_out):
        raise ArtifactError(f"Expected a regular file. Received: {left_out}")


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except ArtifactError:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise ArtifactError(f"{path}: not a readable image: {error}") from error


def _strip_length(path: pathlib.Path) -> int:
    with _opened(path) as image:
        width, height = image.size
    if height % width:
        raise ArtifactError(
            f"{path}: expected square images stacked into a strip, so a height "
            f"that is a multiple of the width. Received: width={width}, "
            f"height={height}"
        )
    return height // width


def _decode_strip(path: pathlib.Path) -> np.ndarray:
    with _opened(path) as image:
        strip = np.asarray(image.convert("RGB"))
    return strip.reshape(-1, strip.shape[1], strip.shape[1], 3)


def _is_image_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 or (len(shape) == 4 and shape[3] in CHANNELS)


def _field(path: Any, held: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in held:
        raise ArtifactError(
            f'{path}: expected a field "{name}". Received: {sorted(held)}'
        )
    return held[name]


def _labels(
    path: Any, held: dict[str, np.ndarray], name: str, count: int
) -> np.ndarray:
    labels = _field(path, held, name)
    if labels.dtype.kind not in "iu" or labels.size != count:
        raise ArtifactError(
            f'{path}: field "{name}": expected {count} integers, one for each '
            f"image. Received: {labels.dtype} {labels.shape}"
        )
    return labels.reshape(-1).astype(np.int64)


def _class_names(
    held: dict[str, np.ndarray], labels: np.ndarray
) -> tuple[str, ...]:
    if "class_names" in held:
        return tuple(str(name) for name in held["class_names"])
    return tuple(str(label) for label in range(labels.max(initial=-1) + 1))
