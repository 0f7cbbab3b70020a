"""Record files, TFRecord and tfds, read one record at a time."""

import glob
import os
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas.data.images import IMAGENET_MEAN
from tfnas.data.images import IMAGENET_STD
from tfnas.data.images import Part
from tfnas.data.images import Source
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

_IMAGE, _LABEL = "image/encoded", "image/class/label"

# A TFRecord is: length (8 bytes), checksum (4), the record, checksum (4).
_HEAD_BYTES, _TAIL_BYTES = 12, 4


def tfrecord(where: str, config: Mapping[str, Any]) -> Source:
    """TFRecord files of `image/encoded` and `image/class/label`.

    Files whose names start with "train" are for training, those that start
    with "val" or "test" for testing. Labels are numbered anew from 0 in the
    order of the training labels. Loading reads every file once.
    """
    train_images, train_values = _scan(where, ("train",))
    test_images, test_values = _scan(where, ("val", "test"))
    values = np.unique(train_values)
    unknown = np.setdiff1d(test_values, values)
    if len(unknown):
        raise ArtifactError(
            f"{where}: expected test labels that occur in training. "
            f"Received: {unknown.tolist()}"
        )
    return Source(
        tuple(str(value) for value in values),
        _part(train_images, np.searchsorted(values, train_values)),
        _part(test_images, np.searchsorted(values, test_values)),
        IMAGENET_MEAN,
        IMAGENET_STD,
    )


def _scan(
    where: str, prefixes: tuple[str, ...]
) -> tuple[Callable[[int], bytes], np.ndarray]:
    """Returns a function from index to image file, and the labels."""
    import tensorflow as tf

    paths = [
        path
        for path in sorted(glob.glob(where))
        if os.path.basename(path).startswith(prefixes)
    ]
    if not paths:
        raise ConfigError(
            f"Expected files whose names start with {' or '.join(prefixes)}. "
            f"Received: name=tfrecord:{where}"
        )
    places, labels = [], []
    for path in paths:
        offset = 0
        try:
            for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
                features = _features(path, record)
                labels.append(features[_LABEL].int64_list.value[0])
                places.append((path, offset + _HEAD_BYTES, len(record)))
                offset += _HEAD_BYTES + len(record) + _TAIL_BYTES
        except tf.errors.DataLossError as error:
            raise ArtifactError(
                f"{path}: damaged, or not an uncompressed TFRecord file"
            ) from error

    def read(index: int) -> bytes:
        path, offset, size_bytes = places[index]
        with open(path, "rb") as file:
            file.seek(offset)
            record = file.read(size_bytes)
        return _features(path, record)[_IMAGE].bytes_list.value[0]

    return read, np.array(labels, np.int64)


def _features(path: str, record: bytes) -> Any:
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    found = sorted(features)  # looking a feature up adds it
    if not (
        features[_IMAGE].bytes_list.value and features[_LABEL].int64_list.value
    ):
        raise ArtifactError(
            f'{path}: expected the features "{_IMAGE}" (bytes) and "{_LABEL}" '
            f"(integer). Received: {found}"
        )
    return features


def tfds(where: str, config: Mapping[str, Any]) -> Source:
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
    train = _tfds_part(tensorflow_datasets, builder, "train")
    for half in ("test", "validation"):
        if half in builder.info.splits:
            test = _tfds_part(tensorflow_datasets, builder, half)
            if test.labels.min(initial=0) >= 0:
                return Source(names, train, test, IMAGENET_MEAN, IMAGENET_STD)
    raise ConfigError(
        'Expected a split "test" or "validation" with labels. '
        f"Received: name=tfds:{where} with {sorted(builder.info.splits)}"
    )


def _tfds_part(module: Any, builder: Any, half: str) -> Part:
    held = builder.as_data_source(
        half, decoders={"image": module.decode.SkipDecoding()}
    )
    labels = np.array([record["label"] for record in held], np.int64)
    return _part(lambda index: held[index]["image"], labels)


def _part(read_image: Callable[[int], bytes], labels: np.ndarray) -> Part:
    def read(picks):
        def encoded(index):
            import tensorflow as tf

            return tf.numpy_function(
                lambda i: read_image(int(picks[i])), [index], tf.string
            )

        return encoded, labels[picks]

    return Part(labels, read)
