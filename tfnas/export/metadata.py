"""What a `.tflite` says of itself: labels, normalisation, architecture.

It stands in the model's metadata as one JSON text under a name of ours, which
every TFLite runtime passes over. The toolkit of TensorFlow that writes such
entries has no packages for today's Pythons.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfnas import tflite_packing
from tfnas.artifacts import PathLike
from tfnas.artifacts import read_text
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.export.runtime import open_interpreter

NAME = b"TFNAS_METADATA"
FORMAT = "tfnas-metadata/1"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a file says of itself.

    Args:
        arch_id: Id of the architecture; `None` if it is not known.
        labels: Name of each class, in the order of the logits; `None` if the
            classes have no names.
        mean: What to subtract from the pixels of each channel, on the 0 to
            255 scale; `None` if it is not known.
        std: What to divide by then.
        quantize: How the file was quantized, as `to_tflite` calls it.
        inputs: Names of the signature's inputs; filled in by
            `with_metadata`.
        outputs: Names of its outputs.
    """

    arch_id: str | None = None
    labels: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    quantize: str = "none"
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def read_labels(path: PathLike) -> tuple[str, ...]:
    """Returns the labels in a text file, one a line.

    Raises:
        ArtifactError: when it is missing, empty, or no UTF-8 text, or a label
            is empty.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or "" in lines:
        where = f"line {lines.index('') + 1} is empty" if lines else "nothing"
        raise ArtifactError(
            f"{path}: expected one label a line. Received: {where}"
        )
    return tuple(lines)


def with_metadata(blob: bytes, metadata: Metadata) -> bytes:
    """Returns a `.tflite` with metadata in it, in place of what it had.

    Args:
        blob: Content of a file.
        metadata: What to say; the names of the signature are the file's own.

    Returns:
        Content of a file that computes the same.

    Raises:
        ConfigError: when there are more or fewer labels than logits.
        ArtifactError: when the bytes are no such model.
    """
    interpreter = open_interpreter(blob)
    classes = int(interpreter.get_output_details()[0]["shape"][-1])
    labels = metadata.labels
    if labels is not None and len(labels) != classes:
        raise ConfigError(
            f"Expected {classes} labels, one for each logit. "
            f"Received: {len(labels)} labels"
        )
    signatures = interpreter.get_signature_list()
    if signatures:
        (names,) = signatures.values()
        metadata = dataclasses.replace(
            metadata, inputs=tuple(names["inputs"]),
            outputs=tuple(names["outputs"]),
        )
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(metadata)})
    return _with_entry(blob, text.encode())


def read_metadata(blob: bytes) -> Metadata:
    """Returns the metadata in a `.tflite`.

    Args:
        blob: Content of a file of `tfnas-export`.

    Raises:
        ArtifactError: when the bytes are no such model, or one without
            metadata of ours, or with damaged ones.
    """
    model = _parse(blob)
    for entry in model.metadata or []:
        if bytes(entry.name) == NAME:
            data = model.buffers[entry.buffer].data
            return _decode(b"" if data is None else bytes(data))
    raise ArtifactError(
        "Expected a .tflite with metadata of tfnas-export. Received: one "
        "without"
    )


def _decode(data: bytes) -> Metadata:
    try:
        value = json.loads(data)
        if value.pop("format") != FORMAT:
            raise ValueError(f"not {FORMAT}")
        made = Metadata(**{n: _frozen(v) for n, v in value.items()})
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ArtifactError(
            f"Expected metadata of the form {FORMAT} in the .tflite. "
            f"Received: {data[:100]!r} ({error})"
        ) from error
    return made


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(
        value, str
    ) else value


def _parse(blob: bytes) -> Any:
    if blob[4:8] != tflite_packing.IDENTIFIER:
        raise ArtifactError(
            "Expected the content of a .tflite file. "
            f"Received: {len(blob)} bytes"
        )
    open_interpreter(blob)  # checks that every offset stays inside
    return schema.ModelT.InitFromPackedBuf(blob)


def _with_entry(blob: bytes, text: bytes) -> bytes:
    model = _parse(blob)
    entries = model.metadata or []
    kept = [entry for entry in entries if bytes(entry.name) != NAME]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(text, np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers = [*model.buffers, buffer]
    model.metadata = [*kept, entry]
    return tflite_packing.pack(model)
