"""Images that a program in Python holds, in the place of a set with a name."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeAlias

import numpy as np

from tfnas.data.fields import CHANNELS
from tfnas.data.fields import Settings
from tfnas.data.images import Source
from tfnas.data.images import part_of
from tfnas.data.text import is_text
from tfnas.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

    Half: TypeAlias = tf.data.Dataset | tuple[Any, Any]

SCHEME = "arrays:"
MAX_BYTES = 4 << 30  # of a `tf.data.Dataset`, as it gives its images
_CHUNK = 1000
_EXPECTED = (
    "`data` must be `(images, labels)` or a tf.data.Dataset of such pairs, or "
    "two of them, to train and to test on"
)

_held: dict[str, Source] = {}


@contextlib.contextmanager
def held(
    config: Any, data: Half | tuple[Half, Half] | None, tested: bool = False
) -> Iterator[Any]:
    """Gives a config whose images are those in `data`, while a block runs.

    Their name is `arrays:` and a digest of their pixels and labels, in order.
    It stands in the config, so that a workdir knows its images: it goes on
    with equal ones, however they are held, and refuses others.

    Args:
        config: The whole config.
        data: `(images, labels)`, or a `tf.data.Dataset` of such pairs, in
            batches or not; two of them in a tuple are training and test
            images. Images are `(images, height, width[, 1, 3 or 4])`:
            integers from 0 to 255, or floats from 0 to 255 or from 0 to 1,
            which are rounded to 256 steps. Labels are integers from 0. A
            `tf.data.Dataset` is read once, in its order, into memory: it
            ends, has at most `MAX_BYTES`, and gives the same order in each
            run (`shuffle` with a seed, or later). `None`: the set that the
            config names.
        tested: Whether images to test on are needed.

    Yields:
        The config, or a copy that names the images.

    Raises:
        ConfigError: when the images or labels are something else, or the
            search takes none.
    """
    if data is None:
        yield config
        return
    section = config.get("data") or {"name": None}
    if section["name"] == "none" or is_text(str(section["name"])):
        raise ConfigError(
            "`data` is for configs whose `data.name` is a set of images. "
            f"Received: data.name={section['name']}"
        )
    train, test = _halves(data)
    if tested and not len(test[1]):
        raise ConfigError(
            "`data` must have images to test on, ((x_train, y_train), "
            "(x_test, y_test)). Received: images to train on"
        )
    most = train[1].max(initial=-1)
    if most >= len(train[1]) > 0:
        raise ConfigError(
            "The labels of `data` must count the classes from 0, with images "
            f"of each. Received: label={most} of {len(train[1])} images"
        )
    name = SCHEME + _digest(*train, *test)
    config = config.copy_and_resolve_references()
    config.data.name = name
    outer = _held.get(name)
    _held[name] = Source(
        tuple(str(label) for label in range(most + 1)),
        part_of(*train), part_of(*test), untested=not len(test[1]),
    )
    try:
        yield config
    finally:
        del _held[name]
        if outer is not None:
            _held[name] = outer


def check(where: str) -> None:
    """Refuses images that are held by another process, or no more.

    Raises:
        ConfigError: saying what to do.
    """
    if SCHEME + where not in _held:
        raise ConfigError(
            "images that a program in Python gives as `data` are there while "
            "its call runs, and for no other process; npz:FILE is there for "
            f"all. Received: name={SCHEME}{where}"
        )


def source(where: str, settings: Settings) -> Source:
    """Images by the digest of their content; see `held`."""
    check(where)
    return _held[settings.name]


def _halves(data: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns pixels and labels to train on, and those to test on."""
    given = [data]
    if isinstance(data, tuple) and data and all(map(_is_half, data)):
        given = list(data)
    if len(given) > 2:
        raise ConfigError(f"{_EXPECTED}. Received: {len(given)} of them")
    halves = [_pair(half) for half in given]
    floats = [x for x, _ in halves if x.dtype.kind == "f" and x.size]
    shares = {bool(x.max() <= 1) for x in floats}
    if len(shares) > 1:
        raise ConfigError(
            "The images of `data` must be from 0 to 255, or all floats from 0 "
            "to 1, to train and to test on alike. Received: up to "
            + " and ".join(f"{x.max():g}" for x in floats)
        )
    unit = 255.0 if True in shares else 1.0
    pairs = [(_pixels(images, unit), labels) for images, labels in halves]
    if len(pairs) == 1:
        pairs.append((pairs[0][0][:0], pairs[0][1][:0]))
    return pairs


def _is_half(value: Any) -> bool:
    return _is_dataset(value) or isinstance(value, tuple) and len(value) == 2


def _is_dataset(value: Any) -> bool:
    tf = sys.modules.get("tensorflow")  # who has one has loaded it
    return tf is not None and isinstance(value, tf.data.Dataset)


def _pair(half: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels as they were given, checked but for values."""
    if _is_dataset(half):
        half = _read(half)
    if not isinstance(half, (tuple, list)) or len(half) != 2:
        raise ConfigError(f"{_EXPECTED}. Received: {type(half).__name__}")
    try:
        images, labels = np.asarray(half[0]), np.asarray(half[1])
    except (TypeError, ValueError) as error:  # rows of unlike lengths
        raise ConfigError(f"{_EXPECTED}. Received: {error}") from error
    if images.ndim == 3:
        images = images[..., None]
    if (
        images.dtype.kind not in "fiu"
        or images.ndim != 4 or images.shape[3] not in CHANNELS
        or 0 in images.shape[1:]
    ):
        raise ConfigError(
            "The images of `data` must be numbers (images, height, width[, 1, "
            f"3 or 4]). Received: {images.dtype} {images.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.size != len(images):
        raise ConfigError(
            f"The labels of `data` must be {len(images)} integers, one for "
            "each image (of one-hot rows: labels.argmax(-1)). "
            f"Received: {labels.dtype} {labels.shape}"
        )
    return images, labels.reshape(-1).astype(np.int64)


def _read(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Reads all of a `tf.data.Dataset` into memory, in its order."""
    import tensorflow as tf

    spec = dataset.element_spec
    if (
        not isinstance(spec, tuple) or len(spec) != 2
        or not all(isinstance(part, tf.TensorSpec) for part in spec)
        or not all(p.dtype.is_floating or p.dtype.is_integer for p in spec)
    ):
        raise ConfigError(f"{_EXPECTED}. Received: a set of {spec}")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ConfigError(
            "A tf.data.Dataset is read to its end, so without `repeat`. "
            "Received: one without an end"
        )
    images, labels, size_bytes = [], [], 0
    for image, label in dataset.as_numpy_iterator():
        alone = np.ndim(label) == 0  # else they are batches
        images.append(image[None] if alone else image)
        labels.append(np.reshape(label, -1))
        size_bytes += image.nbytes
        if size_bytes > MAX_BYTES:
            raise ConfigError(
                f"A tf.data.Dataset is held in memory, up to {MAX_BYTES} "
                "bytes; folder:DIR and tfrecord:GLOB are read while they are "
                f"used. Received: {size_bytes} bytes, and there are more"
            )
    if not images:
        raise ConfigError(f"{_EXPECTED}. Received: one without images")
    try:
        return np.concatenate(images), np.concatenate(labels)
    except ValueError as error:
        raise ConfigError(
            "The images of a tf.data.Dataset must be of one size. "
            f"Received: {error}"
        ) from error


def _pixels(images: np.ndarray, unit: float) -> np.ndarray:
    """Returns images as uint8 from 0 to 255.

    Args:
        images: numbers (images, height, width, channels).
        unit: what to multiply floats by.
    """
    if images.dtype == np.uint8:
        return images
    pixels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _CHUNK):
        given = chunk = images[start : start + _CHUNK]
        if given.dtype.kind == "f":
            chunk = np.rint(given.astype(np.float64) * unit)
        if not (chunk >= 0).all() or not (chunk <= 255).all():
            raise ConfigError(
                "The images of `data` must be from 0 to 255, or all floats "
                "from 0 to 1; `data.mean` and `data.std` of the config "
                f"normalise them. Received: {given.min():g} to "
                f"{given.max():g}"
            )
        pixels[start : start + _CHUNK] = chunk
    return pixels


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
