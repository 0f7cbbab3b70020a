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

from tfnas import feed as feeds
from tfnas import tflite_packing
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.export import tflite_metadata
from tfnas.export.runtime import open_interpreter
from tfnas.feed import Feed

NAME = b"TFNAS_METADATA"
FORMAT = "tfnas-metadata/1"
_MAX_ENTRIES = 1000
METADATA = "its metadata"
# What these say of a scale needs no words.
PLAIN = ("", "a flag", "itself", METADATA, "the config")


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
        scores: What the outputs of the classes are: `"logits"` or
            `"probabilities"`; `None` if it is not known.
        scale_by: Who said mean and std, where it was neither the model's own
            file nor a flag: whoever reads them is told.
    """

    arch_id: str | None = None
    labels: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    quantize: str = "none"
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    scores: str | None = None
    scale_by: str | None = None

    @classmethod
    def of(
        cls, feed: Feed, arch_id: str | None = None, quantize: str = "none"
    ) -> Metadata:
        """Returns the metadata that say how a model wants to be fed.

        Args:
            feed: Its image size and channels are the file's own.
            arch_id: Id of the architecture, if it is known.
            quantize: How the file was quantized.
        """
        who = feed.said_by.get("mean", "")
        return cls(
            arch_id, feed.labels, feed.mean, feed.std, quantize,
            scores=feed.scores, scale_by=None if who in PLAIN else who,
        )


def with_metadata(blob: bytes, metadata: Metadata) -> bytes:
    """Returns a `.tflite` with metadata in it, in place of what it had.

    Args:
        blob: Content of a file.
        metadata: What to say; the names of the signature are the file's own.

    Returns:
        Content of a file that computes the same.

    Raises:
        ConfigError: when there are more or fewer labels than logits, or a
            scale is not one number above 0 for each channel.
        ArtifactError: when the bytes are no such model.
    """
    interpreter = open_interpreter(blob)
    labels = metadata.labels
    widths = [
        int(output["shape"][-1]) for output in interpreter.get_output_details()
        if len(output["shape"])
    ]
    if labels is not None and not set(widths) & _logits_of(labels):
        raise ConfigError(
            f"Expected {' or '.join(map(str, widths))} labels, one for each "
            f"logit. Received: {len(labels)} labels"
        )
    signatures = interpreter.get_signature_list()
    if signatures:
        names = next(iter(signatures.values()))
        metadata = dataclasses.replace(
            metadata, inputs=tuple(names["inputs"]),
            outputs=tuple(names["outputs"]),
        )
    record = _checked(metadata, interpreter.get_input_details()[0]["shape"])
    return _with_entry(blob, json.dumps(record).encode())


def _checked(metadata: Metadata, shape: Sequence[int]) -> dict[str, Any]:
    """Returns what is written, which can be read back.

    Raises:
        ConfigError: when a field is not what it should be.
    """
    record = {"format": FORMAT, **dataclasses.asdict(metadata)}
    for name in ("mean", "std"):
        if record[name] is not None:
            record[name] = [float(value) for value in record[name]]
    channels = int(shape[-1]) if len(shape) == 4 else None
    known = channels if channels in (1, 3, 4) else None
    try:
        feeds.from_json({**record, "channels": known}, "metadata")
    except ArtifactError as error:
        raise ConfigError(str(error)) from error
    return record


def _logits_of(labels: Sequence[str]) -> set[int]:
    """Returns how many scores such labels may stand for: one tells two."""
    return {len(labels), 1} if len(labels) == 2 else {len(labels)}


def read_metadata(blob: bytes, source: str = "model") -> Metadata:
    """Returns the metadata of ours in a `.tflite`.

    Args:
        blob: Content of a file of `tfnas-export`.
        source: Its name, for messages.

    Raises:
        ArtifactError: when the bytes are no such model, or one without
            metadata of ours, or with damaged ones.
    """
    data = _entry(blob, NAME, source)
    if data is None:
        raise ArtifactError(
            f"{source}: expected a .tflite with metadata of tfnas-export. "
            "Received: one without"
        )
    return _decode(data, source)


def read_feed(blob: bytes, source: str = "model", output: int = 0) -> Feed:
    """Returns what a `.tflite` itself says of how it wants to be fed.

    Metadata of ours come first, then those of TensorFlow's own tools.

    Args:
        blob: Content of the file; it is not run.
        source: Its name, for messages.
        output: Number of the output whose labels are wanted.

    Raises:
        ArtifactError: when there are metadata, but damaged ones.
    """
    data = _entry(blob, NAME, source)
    if data is not None:
        held = _decode(data, source)
        feed = feeds.from_json(dataclasses.asdict(held), source).by(METADATA)
        if held.scale_by is None:
            return feed
        who = f"{METADATA}, which have it from {held.scale_by}"
        said = {**feed.said_by, "mean": who, "std": who}
        return dataclasses.replace(feed, said_by=said)
    data = _entry(blob, tflite_metadata.NAME, source)
    if data is None:
        return Feed()
    found = tflite_metadata.read(blob, data, output, source)
    return feeds.from_json(found.to_json(), source).by(METADATA)


def _decode(data: bytes, source: str) -> Metadata:
    try:
        value = json.loads(data)
        if value.pop("format") != FORMAT:
            raise ValueError(f"not {FORMAT}")
        made = Metadata(**{n: _frozen(v) for n, v in value.items()})
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ArtifactError(
            f"{source}: expected metadata of the form {FORMAT} in the "
            f".tflite. Received: {data[:100]!r} ({error})"
        ) from error
    feeds.from_json(dataclasses.asdict(made), source)  # checks the fields
    return made


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(
        value, str
    ) else value


def _entry(blob: bytes, name: bytes, source: str) -> bytes | None:
    """Returns a metadata entry of a `.tflite`, without running it."""
    if blob[4:8] != tflite_packing.IDENTIFIER:
        raise ArtifactError(
            f"{source}: expected the content of a .tflite file. "
            f"Received: {len(blob)} bytes"
        )
    try:
        model = schema.Model.GetRootAs(blob)
        for i in range(min(model.MetadataLength(), _MAX_ENTRIES)):
            entry = model.Metadata(i)
            if entry.Name() == name:
                data = model.Buffers(entry.Buffer()).DataAsNumpy()
                # Without data there is a 0 in place of an array.
                return data.tobytes() if isinstance(data, np.ndarray) else b""
    except Exception as error:  # damaged offsets raise nearly anything
        raise ArtifactError(
            f"{source}: expected a whole .tflite model. Received: "
            f"{len(blob)} bytes ({type(error).__name__}: {error})"
        ) from error
    return None


def _with_entry(blob: bytes, text: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(blob)  # of a file that opens
    entries = model.metadata or []
    kept = [entry for entry in entries if bytes(entry.name) != NAME]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(text, np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers = [*model.buffers, buffer]
    model.metadata = [*kept, entry]
    return tflite_packing.pack(model)
