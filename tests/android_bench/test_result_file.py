"""The two binary files of the programs, written here byte by byte."""

import struct

import pytest

from android_bench.result_file import Delegations
from android_bench.result_file import delegations
from android_bench.result_file import figures
from tfnas.errors import DeviceError


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """One field of a protocol buffer, as its encoding is described."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(number, name, delegate=None, replaced=(), packed=True):
    parts = field(1, number) + field(2, name)
    if delegate is not None:
        ids = field(2, b"".join(map(varint, replaced)))
        if not packed:
            ids = b"".join(field(2, i) for i in replaced)
        parts += field(8, field(1, delegate) + ids)
    return field(3, parts)


def test_figures():
    latency = b"".join(
        field(i, ms)
        for i, ms in enumerate(
            (1.5, 1.25, 2.0, 0.125, 1.375, 1.25, 1.75, 30.0, 3.0, 2.5), 1
        )
    )
    data = (
        field(1, "named") + field(2, latency) + field(3, field(3, 12.5))
        + field(4, field(1, 0.5) + field(2, 20) + field(3, 2))
    )
    assert figures(data, "m") == {
        "avg_us": 1500, "min_us": 1250, "max_us": 2000, "std_us": 125,
        "median_us": 1375, "p5_us": 1250, "p95_us": 1750, "init_us": 30000,
        "peak_mb": 12.5, "count": 20,
    }


@pytest.mark.parametrize("packed", [True, False])
def test_who_runs_what(packed):
    nodes = b"".join(node(i, "CONV_2D") for i in range(5))
    nodes += node(5, "TfLiteGpuDelegateV2", "TfLiteGpuDelegateV2", [0, 1],
                  packed)
    nodes += node(6, "TfLiteGpuDelegateV2", "TfLiteGpuDelegateV2", [3],
                  packed)
    inside = node(0, "inside") * 9
    data = field(2, nodes + field(5, 1)) + field(2, inside + field(5, 2))
    assert delegations(data, "m") == Delegations(
        5, {"TfLiteGpuDelegateV2": 3}, {"TfLiteGpuDelegateV2": 2}
    )


def test_two_delegates_and_two_subgraphs():
    first = node(0, "ADD") + node(1, "ADD")
    first += node(2, "x", "TfLiteXNNPackDelegate", [0, 1])
    second = node(0, "MUL") + node(1, "x", "DispatchDelegate", [0])
    data = field(2, first) + field(2, second)
    assert delegations(data, "m") == Delegations(
        3, {"TfLiteXNNPackDelegate": 2, "DispatchDelegate": 1},
        {"TfLiteXNNPackDelegate": 1, "DispatchDelegate": 1},
    )


@pytest.mark.parametrize("read", [figures, delegations])
@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 9, b"INFO: no file", field(2, b"\xff\xff")]
)
def test_other_bytes_are_refused_by_name(read, data):
    with pytest.raises(DeviceError, match="m.tflite: expected a file"):
        read(data, "m.tflite")


def test_more_replaced_than_there_is_is_refused():
    nodes = node(0, "ADD") + node(1, "x", "TfLiteXNNPackDelegate", [0, 7])
    with pytest.raises(DeviceError, match="1 operators, of which 2"):
        delegations(field(2, nodes), "m")
