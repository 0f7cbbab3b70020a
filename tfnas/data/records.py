"""Record files, TFRecord and tfds, read one record at a time."""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from tfnas import artifacts
from tfnas import fields
from tfnas.data import checking
from tfnas.data import decoding
from tfnas.data import files
from tfnas.data.fields import Settings
from tfnas.data.images import IMAGENET_MEAN
from tfnas.data.images import IMAGENET_STD
from tfnas.data.images import Encoded
from tfnas.data.images import Part
from tfnas.data.images import Source
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.fields import Fields

IMAGE, LABEL = "image/encoded", "image/class/label"
FILE_NAME = "image/filename"

# The file lies beside records that this program wrote to their end.
PACKER = "tfnas-data pack"
CLASSES_FILE = "classes.json"
CLASSES_FORMAT = "tfnas-classes/1"

# A TFRecord is: length (8 bytes), checksum (4), the record, checksum (4).
_HEAD_BYTES, _TAIL_BYTES = 12, 4

# How the names of files for training and of those for testing start.
_PREFIXES = (("train",), ("val", "test"))


def tfrecord(where: str, settings: Settings) -> Source:
    """TFRecord files of `image/encoded` and `image/class/label`.

    Files whose names start with "train" are for training, those that start
    with "val" or "test" for testing. Labels are numbered anew from 0 in the
    order of the training labels. Loading reads every file once. Records that
    `tfnas-data pack` wrote have class names, and are checked again only where
    their opacity is read: packing looked at the colours.
    """
    train, test = (_scan(where, prefixes) for prefixes in _PREFIXES)
    values = np.unique(train.labels)
    unknown = np.setdiff1d(test.labels, values)
    if len(unknown):
        raise ArtifactError(
            f"{where}: expected test labels that occur in training. "
            f"Received: {unknown.tolist()}"
        )
    folder = pathlib.Path(train.places[0][0]).parent
    if (folder / CLASSES_FILE).exists():
        names = _packed_names(folder / CLASSES_FILE, values)
        _check_all_there(folder, where, train, test)
        again = settings.check_images and settings.channels == 4
        settings = dataclasses.replace(settings, check_images=again)
    else:
        _check_not_half_packed(folder)
        names = tuple(str(value) for value in values)
    return Source(
        names,
        _record_part(train, values, settings),
        _record_part(test, values, settings),
        IMAGENET_MEAN,
        IMAGENET_STD,
    )


def _packed_names(path: pathlib.Path, values: np.ndarray) -> tuple[str, ...]:
    file = Fields(artifacts.read_json(path, CLASSES_FORMAT), str(path))
    names = file.each("classes", fields.STRING)
    if len(values) and not 0 <= values[0] <= values[-1] < len(names):
        raise ArtifactError(
            f"{path}: expected a name for every label. Received: {len(names)} "
            f"names, labels {values[0]} to {values[-1]}"
        )
    return tuple(names[value] for value in values)


def _check_not_half_packed(folder: pathlib.Path) -> None:
    path = folder / "config.json"
    if path.exists() and artifacts.read_json(path).get("program") == PACKER:
        raise ArtifactError(
            f"{folder}: expected records that are complete: the same command "
            f"`{PACKER}` again goes on. Received: no {CLASSES_FILE}"
        )


def _check_all_there(
    folder: pathlib.Path, where: str, train: "_Records", test: "_Records"
) -> None:
    path = folder / "config.json"
    if not path.exists():
        return
    expected = artifacts.read_json(path).get("images")
    found = {"train": len(train.labels), "val": len(test.labels)}
    if expected != found:
        raise ArtifactError(
            f"{where}: expected all images that {path} counts, {expected}. "
            f"Received: {found}; is a file missing?"
        )


@dataclasses.dataclass(frozen=True)
class _Records:
    """What was found in record files.

    Attributes:
        places: file, offset and length of the image file in each record.
        labels: label of each.
        names: what each is called, each once.
        turns: the `decoding.orientation` of each.
    """

    places: list[tuple[str, int, int]]
    labels: np.ndarray
    names: Sequence[str]
    turns: np.ndarray

    def read(self, index: int) -> bytes:
        """Returns the image file of a record."""
        path, offset, size_bytes = self.places[index]
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size_bytes)


def check(where: str) -> None:
    """Refuses a pattern that finds no files for training, or for testing.

    Raises:
        ConfigError: naming the pattern.
    """
    for prefixes in _PREFIXES:
        _paths(where, prefixes, files.LeftOut())


def _paths(
    where: str, prefixes: tuple[str, ...], left_out: files.LeftOut
) -> list[str]:
    found = [
        path
        for path in sorted(glob.glob(where))
        if os.path.basename(path).startswith(prefixes)
    ]
    paths = files.regular(found, left_out)
    if not paths:
        raise ConfigError(
            f"Expected files whose names start with {' or '.join(prefixes)}. "
            f"Received: name=tfrecord:{files.printable(where)}"
            + (f"; {left_out}" if str(left_out) else "")
        )
    return paths


def _scan(where: str, prefixes: tuple[str, ...]) -> _Records:
    import tensorflow as tf

    left_out = files.LeftOut()
    paths = _paths(where, prefixes, left_out)
    if remark := str(left_out):
        logging.warning("tfrecord:%s: %s", files.printable(where), remark)
    places, labels, file_names, numbers, turns = [], [], [], [], []
    for path in paths:
        offset, shown = _HEAD_BYTES, files.printable(os.path.basename(path))
        try:
            records = tf.data.TFRecordDataset(
                os.fsencode(path)
            ).as_numpy_iterator()
            for number, record in enumerate(records):
                image, label, file = _fields(path, record)
                # The image is read from there, without the record around it.
                start = offset + record.index(image)
                places.append((path, start, len(image)))
                turns.append(decoding.orientation(image))
                labels.append(label)
                file_names.append(file)
                numbers.append(f"{shown}:{number}")
                offset += len(record) + _TAIL_BYTES + _HEAD_BYTES
        except tf.errors.OpError as error:
            raise ArtifactError(
                f"{path}: damaged, or not an uncompressed TFRecord file"
            ) from error
    named = all(file_names) and len(set(file_names)) == len(file_names)
    return _Records(
        places, np.array(labels, np.int64), file_names if named else numbers,
        np.array(turns, np.uint8),
    )


def _fields(path: str, record: bytes) -> tuple[bytes, int, str]:
    """Returns image, label and file name of a record."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ArtifactError(
            f"{path}: expected records that are a tf.train.Example"
        ) from error
    found = sorted(features)  # looking a feature up adds it
    image, label = features[IMAGE].bytes_list, features[LABEL].int64_list
    if not (image.value and label.value):
        raise ArtifactError(
            f'{path}: expected the features "{IMAGE}" (bytes) and "{LABEL}" '
            f"(integer). Received: {found}"
        )
    names = features[FILE_NAME].bytes_list.value
    name = names[0].decode("utf-8", "replace") if names else ""
    return image.value[0], label.value[0], name


def _record_part(
    records: _Records, values: np.ndarray, settings: Settings
) -> Part:
    labels = np.searchsorted(values, records.labels)
    return _part(records.read, labels, records.names, settings, records.turns)


def tfds(where: str, settings: Settings) -> Source:
    """A set of TensorFlow Datasets that has images and labels.

    Its split "test" is for testing where it has labels, else "validation".
    Loading reads every record once.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ConfigError(
            "Sets of TensorFlow Datasets need `pip install tfnas[tfds]`. "
            f"Received: name=tfds:{where}"
        ) from error

    try:
        builder = tensorflow_datasets.builder(where, file_format="array_record")
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise ConfigError(
            "Expected a name that TensorFlow Datasets knows. "
            f"Received: name=tfds:{where}"
        ) from error
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise ConfigError(
            'Expected a set with the features "image" and "label". '
            f"Received: name=tfds:{where} with {sorted(features)}"
        )
    builder.download_and_prepare()
    names = tuple(features["label"].names)
    train = _tfds_part(tensorflow_datasets, builder, "train", settings)
    for half in ("test", "validation"):
        if half in builder.info.splits:
            test = _tfds_part(tensorflow_datasets, builder, half, settings)
            if test.labels.min(initial=0) >= 0:
                return Source(names, train, test, IMAGENET_MEAN, IMAGENET_STD)
    raise ConfigError(
        'Expected a split "test" or "validation" with labels. '
        f"Received: name=tfds:{where} with {sorted(builder.info.splits)}"
    )


def _tfds_part(
    module: Any, builder: Any, half: str, settings: Settings
) -> Part:
    held = builder.as_data_source(
        half, decoders={"image": module.decode.SkipDecoding()}
    )
    labels = np.array([record["label"] for record in held], np.int64)
    names = [f"{builder.name}/{half}:{i}" for i in range(len(labels))]
    return _part(lambda index: held[index]["image"], labels, names, settings)


def _part(
    read_image: Callable[[int], bytes],
    labels: np.ndarray,
    names: Sequence[str],
    settings: Settings,
    orientations: np.ndarray | None = None,
) -> Part:
    def read(picks):
        kept = picks
        turns = None if orientations is None else orientations[picks]
        if settings.check_images:
            kept, turns = checking.readable(
                picks, checking.decoded(read_image, settings.channels),
                lambda index: names[index], settings, settings.name,
            )

        def encoded(index):
            import tensorflow as tf

            # What has state runs in turn with the training under op
            # determinism: then nothing would be read ahead.
            data = tf.numpy_function(
                lambda i: read_image(int(kept[i])), [index], tf.string,
                stateful=False,
            )
            return tf.ensure_shape(data, ())

        return Encoded(encoded, turns, lambda i: names[kept[i]]), kept

    return Part(labels, read, names)
