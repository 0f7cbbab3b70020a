"""The runtime operators of blocks, networks and spaces, as keys."""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.lowering import operator
from tfnas.lowering.emitter import Emitter
from tfnas.lowering.emitter import Quantization
from tfnas.lowering.operator import Call
from tfnas.lowering.operator import Operand
from tfnas.lowering.operator import Operator
from tfnas.ops import Graph
from tfnas.ops.graph import Shape


class HasPieces(Protocol):
    """What is asked of a search space."""

    def pieces(self) -> Iterable[tuple[Sequence[Block], Shape]]:
        """Yields chains of blocks that hold every operator of the space."""


class _Recorder:
    """A sink that keeps the operators and no weights."""

    def __init__(self, dtype: str):
        self._dtype = dtype
        self._operands: list[Operand] = []
        self.calls: list[Call] = []

    def _add(self, operand: Operand) -> int:
        self._operands.append(operand)
        return len(self._operands) - 1

    def _unlike(self, dtype: str) -> str:
        return "" if dtype == self._dtype else dtype

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str,
        quantization: Quantization | None = None,
    ) -> int:
        """Keeps its shape; see `Sink`."""
        return self._add(operator.value(tuple(shape), self._unlike(dtype)))

    def constant(
        self, name: str, shape: Sequence[int], dtype: str,
        fill: Callable[[], np.ndarray],
        quantization: Quantization | None = None,
    ) -> int:
        """Keeps its shape, and numbers that matter; see `Sink`."""
        unlike = self._unlike(dtype)
        if dtype != "int32" or quantization is not None:
            return self._add(operator.weights(tuple(shape), unlike))
        values = tuple(int(n) for n in fill().ravel())
        return self._add(operator.numbers(tuple(shape), values, unlike))

    def op(
        self, code: str, inputs: Sequence[int], outputs: Sequence[int],
        **attrs: Any,
    ) -> None:
        """Keeps it; see `Sink`."""
        made = operator.make(
            code,
            attrs,
            [None if i < 0 else self._operands[i] for i in inputs],
            [self._operands[i] for i in outputs],
        )
        self.calls.append(Call(made, tuple(inputs), tuple(outputs)))


def graph_operators(
    graphs: Sequence[Graph], dtype: str, lower: str
) -> list[Operator]:
    """Returns the operators of graphs in series, in the order they run.

    Args:
        graphs: Graphs whose shapes fit.
        dtype: `"float32"` or `"int8"`.
        lower: One of `rewritings.BACKENDS`.

    Raises:
        UnsupportedNode: when a layer needs the converter.
    """
    recorder = _Recorder(dtype)
    _, read = Emitter(recorder, dtype, lower).emit(graphs)
    return operator.fold_pads(recorder.calls, read)


@functools.lru_cache(maxsize=1 << 14)
def _keys(
    blocks: tuple[Block, ...], shape: Shape, dtype: str, lower: str
) -> tuple[str, ...]:
    graphs = []
    for block in blocks:
        graphs.append(ops.lower(block, shape))
        shape = graphs[-1].output_shape
    return tuple(op.key for op in graph_operators(graphs, dtype, lower))


def operator_keys(
    arch: Arch, dtype: str, lower: str = "xnnpack"
) -> list[str]:
    """Returns the keys of all operators of a network, with repeats.

    Operators are fused over the borders of blocks, as in the file.

    Args:
        arch: The network.
        dtype: `"float32"` or `"int8"`.
        lower: The backend that the file is for.

    Raises:
        UnsupportedNode: when a layer needs the converter.
    """
    return list(_keys(arch.blocks, tuple(arch.input_shape), dtype, lower))


def block_operator_keys(
    block: Block, in_shape: Shape, dtype: str, lower: str = "xnnpack"
) -> list[str]:
    """Returns the keys of one block alone; see `operator_keys`."""
    return list(_keys((block,), tuple(in_shape), dtype, lower))


def space_operator_keys(
    space: HasPieces, dtype: str, lower: str = "xnnpack"
) -> list[str]:
    """Returns the distinct keys that networks of a space need, sorted."""
    return sorted({
        key
        for blocks, shape in space.pieces()
        for key in _keys(tuple(blocks), tuple(shape), dtype, lower)
    })
