"""Writes the `.tflite` model of an operator or a network directly.

A latency does not depend on the weights, so the model of a table row is
written without Keras and without the converter, hundreds of times faster.
What the converter would do is done by `tfnas.lowering`. Tests hold the graphs
written here against the converter's.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from tflite_bench import operators
from tflite_bench.flatbuffer import ModelBuilder
from tfnas import ops
from tfnas.arch import Arch
from tfnas.lowering import operator
from tfnas.lowering.emitter import Emitter
from tfnas.lowering.emitter import UnsupportedNode
from tfnas.ops import Graph

__all__ = [
    "UnsupportedNode", "write_arch", "write_call", "write_graphs", "write_key",
]


def write_key(
    key: str, dtype: str, copies: int = 1, lower: str = "xnnpack"
) -> bytes:
    """Returns the model of one latency-table key.

    Args:
        key: Of a block (`tfnas.ops.lut_key`) or of an operator
            (`tfnas.lowering.operator`).
        dtype: `"float32"`, or `"int8"` for a model with int8 input, output
            and everything between.
        copies: How many of it to put in series.
        lower: The backend that a block is written for, one of
            `tfnas.lowering.rewritings.BACKENDS`.

    Returns:
        The content of a `.tflite` file with random weights, the same for
        equal arguments.

    Raises:
        UnsupportedNode: when the operator needs the converter.
    """
    seed = zlib.crc32(key.encode())
    if operator.is_operator_key(key):
        return operators.write(operator.parse(key), dtype, copies, seed)
    block, shape = ops.parse_lut_key(key)
    graphs = [ops.lower(block, shape)] * copies
    return write_graphs(graphs, dtype, seed, lower)


def write_call(dtype: str) -> bytes:
    """Returns a model that computes nothing to speak of."""
    graph = Graph((1, 1, 1))
    graph.act("input", "act", "relu6")
    return write_graphs([graph], dtype, 0)


def write_arch(arch: Arch, dtype: str, lower: str = "xnnpack") -> bytes:
    """Returns the model of a whole network; see `write_key`."""
    graphs = [
        ops.lower(block, shape)
        for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False)
    ]
    return write_graphs(graphs, dtype, int(arch.id, 16), lower)


def write_graphs(
    graphs: Sequence[Graph], dtype: str, seed: int, lower: str = "xnnpack"
) -> bytes:
    """Returns the model of graphs in series; see `write_key`."""
    builder = ModelBuilder()
    return builder.finish(*Emitter(builder, dtype, lower, seed).emit(graphs))
