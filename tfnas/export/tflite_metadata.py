"""The metadata that TensorFlow's own tools put into a `.tflite`.

Model Maker, AutoML, Teachable Machine and the Task Library write a second
flatbuffer under the name `TFLITE_METADATA`: how pixels are normalised, and
which of the files that hang on the model as a zip archive names the classes.
Fields are read by their place in the schema (`metadata_schema.fbs` of
tensorflow/tflite-support, version 1.5), as no package for today's Pythons
has its classes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import flatbuffers
from flatbuffers import number_types as N
from flatbuffers.table import Table

from tfnas import labels
from tfnas.errors import ArtifactError
from tfnas.feed import Feed

NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_MAX_LABEL_BYTES = 16 << 20

# Fields of the tables, by their number in the schema.
_MODEL_SUBGRAPHS = 3
_GRAPH_INPUTS, _GRAPH_OUTPUTS = 2, 3
_TENSOR_UNITS, _TENSOR_FILES = 4, 6
_UNIT_KIND, _UNIT_OPTIONS = 0, 1
_NORMALIZATION = 1  # the kind
_MEAN, _STD = 0, 1
_FILE_NAME, _FILE_KIND = 0, 2
_AXIS_LABELS = 2  # the kind


def read(blob: bytes, metadata: bytes, output: int, source: str) -> Feed:
    """Returns what the metadata say.

    Args:
        blob: Content of the `.tflite`, with the files that hang on it.
        metadata: The flatbuffer in it.
        output: Number of the output whose labels are wanted.
        source: The file, for messages.

    Returns:
        A `Feed` with `mean` and `std`, and with `labels`, where there are
        such.

    Raises:
        ArtifactError: when the metadata are damaged.
    """
    if metadata[4:8] != _IDENTIFIER:
        raise ArtifactError(
            f"{source}: expected TFLite metadata that begin with "
            f"{_IDENTIFIER!r}. Received: {metadata[:8]!r}"
        )
    try:
        start = flatbuffers.encode.Get(N.UOffsetTFlags.packer_type, metadata, 0)
        graphs = list(_tables(Table(metadata, start), _MODEL_SUBGRAPHS))
        inputs = [t for g in graphs[:1] for t in _tables(g, _GRAPH_INPUTS)]
        outputs = [t for g in graphs[:1] for t in _tables(g, _GRAPH_OUTPUTS)]
        mean, std = _normalization(inputs[0]) if inputs else ((), ())
        name = _label_file(outputs[output]) if len(outputs) > output else None
    except Exception as error:  # damaged offsets raise nearly anything
        raise ArtifactError(
            f"{source}: its TFLite metadata are damaged "
            f"({type(error).__name__}: {error})"
        ) from error
    names = None if name is None else _labels(blob, name, source)
    return Feed(mean=mean or None, std=std or None, labels=names)


def _place(table: Table, field: int) -> int:
    """Returns where a field of a table stands; 0 if it is not there."""
    return table.Offset(4 + 2 * field)


def _tables(table: Table, field: int) -> Iterator[Table]:
    """Yields the tables of a field that is a vector of them."""
    place = _place(table, field)
    if not place:
        return
    start = table.Vector(place)
    for i in range(min(table.VectorLen(place), len(table.Bytes))):
        yield Table(table.Bytes, table.Indirect(start + 4 * i))


def _floats(table: Table, field: int) -> tuple[float, ...]:
    place = _place(table, field)
    if not place:
        return ()
    start = table.Vector(place)
    count = min(table.VectorLen(place), len(table.Bytes))
    return tuple(
        float(table.Get(N.Float32Flags, start + 4 * i)) for i in range(count)
    )


def _number(table: Table, field: int, kind: type) -> int:
    place = _place(table, field)
    return int(table.Get(kind, place + table.Pos)) if place else 0


def _normalization(
    tensor: Table,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in _tables(tensor, _TENSOR_UNITS):
        place = _place(unit, _UNIT_OPTIONS)
        if _number(unit, _UNIT_KIND, N.Uint8Flags) == _NORMALIZATION and place:
            options = Table(unit.Bytes, unit.Indirect(unit.Pos + place))
            return _floats(options, _MEAN), _floats(options, _STD)
    return (), ()


def _label_file(tensor: Table) -> str | None:
    """Returns the name of the file that names the classes of an output."""
    for file in _tables(tensor, _TENSOR_FILES):
        place = _place(file, _FILE_NAME)
        if _number(file, _FILE_KIND, N.Int8Flags) == _AXIS_LABELS and place:
            return file.String(file.Pos + place).decode("utf-8")
    return None


def _labels(blob: bytes, name: str, source: str) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            if archive.getinfo(name).file_size > _MAX_LABEL_BYTES:
                raise ValueError(f"over {_MAX_LABEL_BYTES} bytes")
            return tuple(labels.parse(archive.read(name).decode("utf-8")))
    except Exception as error:  # a damaged archive raises nearly anything
        raise ArtifactError(
            f"{source}: expected the label file {name!r} that its metadata "
            f"name. Received: {type(error).__name__}: {error}"
        ) from error
