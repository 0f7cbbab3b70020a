"""What TensorFlow's own tools write into a `.tflite` is understood."""

import io
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest

from tfnas import export
from tfnas import tflite_packing
from tfnas.errors import ArtifactError
from tfnas.export.metadata import schema

L = keras.layers


@pytest.fixture(scope="module")
def blob():
    image = keras.Input((8, 8, 3))
    x = L.Dense(3)(L.GlobalAveragePooling2D()(image))
    return export.to_tflite(keras.Model(image, x))


def _floats(builder, values):
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def _table(builder, size, **slots):
    """Writes a table; a slot is `s<number>=(kind, value)`."""
    builder.StartObject(size)
    for name, (kind, value) in slots.items():
        slot = int(name[1:])
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        else:
            builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()


def _vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return ("offset", builder.EndVector())


def _metadata(mean, std, label_file="labels.txt"):
    """Returns the flatbuffer, put together by the schema."""
    b = flatbuffers.Builder(0)
    name = ("offset", b.CreateString(label_file))
    file = _table(b, 5, s0=name, s2=("byte", 2))
    output = _table(b, 7, s6=_vector(b, [file]))
    options = _table(
        b, 2, s0=("offset", _floats(b, mean)), s1=("offset", _floats(b, std))
    )
    unit = _table(b, 2, s0=("byte", 1), s1=("offset", options))
    given = _table(
        b, 7, s0=("offset", b.CreateString("image")), s4=_vector(b, [unit])
    )
    graph = _table(b, 9, s2=_vector(b, [given]), s3=_vector(b, [output]))
    model = _table(
        b, 8, s0=("offset", b.CreateString("net")), s3=_vector(b, [graph])
    )
    b.Finish(model, b"M001")
    return bytes(b.Output())


def _with(blob, metadata, files):
    model = schema.ModelT.InitFromPackedBuf(blob)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(metadata, np.uint8)
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
    model.buffers, model.metadata = [*model.buffers, buffer], [entry]
    held = io.BytesIO()
    held.write(tflite_packing.pack(model))
    with zipfile.ZipFile(held, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return held.getvalue()


def test_normalisation_and_labels_of_a_strangers_file_are_read(blob):
    made = _with(
        blob, _metadata([127.5], [128.0]), {"labels.txt": "cat\r\ndog\nowl\n"}
    )
    feed = export.read_feed(made)
    assert (feed.mean, feed.std) == ((127.5,), (128.0,))
    assert feed.labels == ("cat", "dog", "owl")
    assert feed.said_by["mean"] == "its metadata"
    # The file still runs, and the classifier knows the same.
    assert export.TFLiteClassifier(made).feed.labels == feed.labels


def test_our_own_metadata_come_first(blob):
    made = _with(blob, _metadata([1.0] * 3, [2.0] * 3), {"labels.txt": "a\nb"})
    ours = export.Metadata(labels=("x", "y", "z"), mean=(0.0,), std=(255.0,))
    feed = export.read_feed(export.with_metadata(made, ours))
    assert (feed.labels, feed.std) == (("x", "y", "z"), (255.0,))


@pytest.mark.parametrize(
    "metadata, files, message",
    [
        (b"\0" * 4 + b"M002" + b"\0" * 40, {}, "M001"),
        (_metadata([0.0], [1.0])[:60], {}, "damaged"),
        (_metadata([0.0], [1.0]), {}, r"labels\.txt"),
        (_metadata([0.0], [0.0]), {"labels.txt": "a\nb\nc"}, "std"),
        (_metadata([0.0] * 2, [1.0] * 2), {"labels.txt": "a\nb\nc"}, "mean"),
        (_metadata([0.0], [1.0]), {"labels.txt": b"\xff\xfe\xfd"}, "label"),
    ],
)
def test_broken_metadata_are_one_line_with_the_name_of_the_file(
    blob, metadata, files, message
):
    with pytest.raises(ArtifactError, match=message) as caught:
        export.read_feed(_with(blob, metadata, files), "a.tflite")
    assert "a.tflite" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_of_another_model_are_refused(blob):
    made = _with(blob, _metadata([0.0], [1.0]), {"labels.txt": "a\nb\nc\nd"})
    with pytest.raises(ArtifactError, match="4 labels.*another model"):
        export.TFLiteClassifier(made, "a.tflite")
