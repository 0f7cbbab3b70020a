"""Writes a set of images as TFRecord files, which `tfrecord:` reads back."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from PIL import Image

from tfnas import artifacts
from tfnas.data import decoding
from tfnas.data import records
from tfnas.data import split_list
from tfnas.data.fields import Settings
from tfnas.data.images import Images
from tfnas.data.images import Part
from tfnas.data.images import Pixels
from tfnas.data.images import Source


@dataclasses.dataclass(frozen=True, eq=False)
class Half:
    """Images to pack.

    Attributes:
        name: "train" or "val", how the files begin.
        images: where they are from.
        labels: one for each.
        names: one for each.
    """

    name: str
    images: Images
    labels: np.ndarray
    names: list[str]


def halves(
    source: Source, settings: Settings
) -> tuple[tuple[str, ...], tuple[Half, ...]]:
    """Returns what is to be packed of a set: class names and both halves.

    Args:
        source: the set.
        settings: of the section `data`.

    Raises:
        ConfigError: if a field is wrong.
        ArtifactError: if there are too many unreadable images.
    """
    kept, located = split_list.choose(source, settings)

    def half(name: str, part: Part, listed: Any) -> Half:
        images, picks = part.read(split_list.pick(part, kept, listed, None))
        labels, names = np.searchsorted(kept, part.labels[picks]), part.names
        return Half(name, images, labels, [names[i] for i in picks])

    names = tuple(source.class_names[label] for label in kept)
    return names, (
        half("train", source.train, located), half("val", source.test, None)
    )


def pack(
    folder: artifacts.PathLike,
    data: str,
    class_names: tuple[str, ...],
    parts: tuple[Half, ...],
    images_per_file: int,
) -> dict[str, int]:
    """Packs images into `folder`; the same call again goes on.

    Image files are taken byte for byte, pixels in memory become PNG.
    Each half is shuffled, so that programs which read in order meet all
    classes. A file is there when it is complete; `classes.json` is written
    last.

    Args:
        folder: made if there is none.
        data: name of the set, for the record.
        class_names: name of each label.
        parts: what to pack.
        images_per_file: images in a file; the last one may have fewer.

    Returns:
        Number of images in each half.

    Raises:
        ConfigError: if the folder holds another set.
        OSError: if it cannot be written.
    """
    settings = _settings(data, class_names, parts, images_per_file)
    folder = artifacts.claim_workdir(folder, settings, "output")
    total = sum(len(half.labels) for half in parts)
    with tqdm.tqdm(total=total, desc="packing", unit="img") as progress:
        for half in parts:
            for path, rows in _files(folder, half, images_per_file):
                if not path.exists():
                    _write(path, half, rows, class_names, progress.update)
                else:
                    progress.update(len(rows))
    artifacts.write_json(
        folder / records.CLASSES_FILE,
        {"format": records.CLASSES_FORMAT, "classes": class_names},
    )
    return {half.name: len(half.labels) for half in parts}


def _settings(
    data: str,
    class_names: tuple[str, ...],
    parts: tuple[Half, ...],
    images_per_file: int,
) -> dict[str, Any]:
    """Returns what has to be the same for a call to go on."""
    digest = hashlib.sha256("\n".join(class_names).encode())
    for half in parts:
        for name, label in zip(half.names, half.labels, strict=True):
            digest.update(f"\n{half.name}/{name}\n{label}".encode())
    return {
        "program": records.PACKER,
        "data": data,
        "classes": len(class_names),
        "images": {half.name: len(half.labels) for half in parts},
        "names_sha256": digest.hexdigest(),
        "images_per_file": images_per_file,
    }


def _files(
    folder: pathlib.Path, half: Half, images_per_file: int
) -> Iterator[tuple[pathlib.Path, np.ndarray]]:
    """Yields each file of a half with the positions of its images."""
    order = np.random.default_rng(0).permutation(len(half.labels))
    starts = range(0, len(order), images_per_file)
    for number, start in enumerate(starts):
        name = f"{half.name}-{number:05}-of-{len(starts):05}.tfrecord"
        yield folder / name, order[start : start + images_per_file]


def _write(
    path: pathlib.Path,
    half: Half,
    rows: np.ndarray,
    class_names: tuple[str, ...],
    advance: Callable[[int], Any],
) -> None:
    with artifacts.replacing(path) as temporary:
        with tf.io.TFRecordWriter(os.fsencode(temporary)) as writer:
            for row in rows:
                data = file_of(half.images, row)
                label = int(half.labels[row])
                name = half.names[row]
                record = _record(data, label, class_names[label], name)
                writer.write(record)
                advance(1)


def file_of(images: Images, row: int) -> bytes:
    """Returns an image as the bytes of an image file.

    Args:
        images: where it is from.
        row: its number there.
    """
    if not isinstance(images, Pixels):
        return images.read(tf.constant(row)).numpy()
    pixels, buffer = images.array[row], io.BytesIO()
    if pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _record(data: bytes, label: int, class_name: str, name: str) -> bytes:
    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    feature = {
        records.IMAGE: text(data),
        "image/format": text(decoding.form(data).encode()),
        records.FILE_NAME: text(name.encode()),
        "image/class/text": text(class_name.encode()),
        records.LABEL: tf.train.Feature(
            int64_list=tf.train.Int64List(value=[label])
        ),
    }
    features = tf.train.Features(feature=feature)
    return tf.train.Example(features=features).SerializeToString()
