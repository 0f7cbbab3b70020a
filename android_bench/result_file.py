"""The two binary files of benchmark programs: figures, and who runs what.

Both are protocol buffers. Only the fields that are read are declared here, by
name and number as LiteRT has them (`benchmark_result.proto` and
`model_runtime_info.proto`, 2026-08); a reader of protocol buffers passes over
the rest.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message
from google.protobuf import message_factory

from tfnas.errors import DeviceError

_PACKAGE = "tfnas.device"
_FLOAT = descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT
_INT = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
# Message to fields: name, number, type or message, whether it repeats.
_FIELDS: dict[str, tuple[tuple[str, int, int | str, bool], ...]] = {
    "Latency": (
        ("avg_ms", 1, _FLOAT, False),
        ("min_ms", 2, _FLOAT, False),
        ("max_ms", 3, _FLOAT, False),
        ("stddev_ms", 4, _FLOAT, False),
        ("median_ms", 5, _FLOAT, False),
        ("p5_ms", 6, _FLOAT, False),
        ("p95_ms", 7, _FLOAT, False),
        ("init_ms", 8, _FLOAT, False),
    ),
    "Memory": (("peak_mem_mb", 3, _FLOAT, False),),
    "Misc": (("num_runs", 2, _INT, False),),
    "Result": (
        ("latency", 2, "Latency", False),
        ("memory", 3, "Memory", False),
        ("misc", 4, "Misc", False),
    ),
    "Delegate": (
        ("name", 1, _TEXT, False),
        ("replaced", 2, _INT, True),
    ),
    "Node": (
        ("id", 1, _INT, False),
        ("name", 2, _TEXT, False),
        ("delegate", 8, "Delegate", False),
        ("delegated_to", 9, _INT, False),
    ),
    "Subgraph": (
        ("nodes", 3, "Node", True),
        ("plan", 4, _INT, True),
        ("kind", 5, _INT, False),
    ),
    "Details": (("subgraphs", 2, "Subgraph", True),),
}
_OF_A_DELEGATE = 2  # a subgraph's kind: inside of a delegate


@dataclasses.dataclass(frozen=True)
class Delegations:
    """Which delegate runs how much of a model.

    Args:
        nodes: Operators of the model.
        taken: Delegate's name to the operators that it runs.
        pieces: Delegate's name to the parts that these make.
    """

    nodes: int
    taken: Mapping[str, int]
    pieces: Mapping[str, int]


def figures(data: bytes, source: str) -> dict[str, float]:
    """Reads a file of figures (`--result_file_path`).

    Args:
        data: Its content.
        source: What ran, for messages.

    Returns:
        Those that are there, in microseconds and megabytes: `count`,
        `min_us`, `avg_us`, `max_us`, `std_us`, `median_us`, `p5_us`,
        `p95_us`, `init_us`, `peak_mb`.

    Raises:
        DeviceError: when it is no such file.
    """
    result = _parse("Result", data, source)
    found = {}
    for field, value in result.latency.ListFields():
        name = field.name.replace("stddev", "std").removesuffix("_ms")
        found[f"{name}_us"] = float(value) * 1e3
    if result.memory.HasField("peak_mem_mb"):
        found["peak_mb"] = float(result.memory.peak_mem_mb)
    if result.misc.HasField("num_runs"):
        found["count"] = result.misc.num_runs
    if not found:
        raise DeviceError(
            f"{source}: expected a file of figures of the benchmark program. "
            f"Received: {len(data)} bytes without any"
        )
    return found


def delegations(data: bytes, source: str) -> Delegations:
    """Reads a file that says who runs what.

    Args:
        data: Its content (`--model_runtime_info_output_file`).
        source: What ran, for messages.

    Raises:
        DeviceError: when it is no such file.
    """
    details = _parse("Details", data, source)
    nodes, taken, pieces = 0, Counter[str](), Counter[str]()
    for subgraph in details.subgraphs:
        if subgraph.kind == _OF_A_DELEGATE:
            continue
        for node in subgraph.nodes:
            if node.HasField("delegate"):
                name = node.delegate.name or node.name
                taken[name] += len(set(node.delegate.replaced))
                pieces[name] += 1
            else:
                nodes += 1
    if not nodes or sum(taken.values()) > nodes:
        raise DeviceError(
            f"{source}: expected a file of the operators of a model and "
            f"their delegates. Received: {nodes} operators, of which "
            f"{sum(taken.values())} are delegated"
        )
    return Delegations(nodes, dict(taken), dict(pieces))


def _parse(name: str, data: bytes, source: str) -> Any:
    value = _messages()[name]()
    try:
        value.ParseFromString(data)
    except (message.DecodeError, ValueError) as error:
        raise DeviceError(
            f"{source}: expected a file that the benchmark program wrote. "
            f"Received: {len(data)} bytes that begin with {data[:8]!r}"
        ) from error
    return value


@functools.cache
def _messages() -> dict[str, Any]:
    """Returns the classes of the messages above."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tfnas/device.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, fields in _FIELDS.items():
        described = file.message_type.add(name=name)
        for field, number, kind, repeats in fields:
            entry = described.field.add(name=field, number=number)
            entry.label = (
                entry.LABEL_REPEATED if repeats else entry.LABEL_OPTIONAL
            )
            if isinstance(kind, str):
                entry.type, entry.type_name = _MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                entry.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
        )
        for name in _FIELDS
    }
