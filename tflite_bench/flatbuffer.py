"""Puts tensors and operators together to a `.tflite` file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfnas import tflite_packing

_SCHEMA_VERSION = 3
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
_OPTIONS_BY_OP = {
    "CONV_2D": schema.Conv2DOptionsT,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptionsT,
    "PAD": schema.PadOptionsT,
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
    "CONCATENATION": schema.ConcatenationOptionsT,
    "MEAN": schema.ReducerOptionsT,
    "FULLY_CONNECTED": schema.FullyConnectedOptionsT,
    "MAX_POOL_2D": schema.Pool2DOptionsT,
    "AVERAGE_POOL_2D": schema.Pool2DOptionsT,
}


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How the integers of a tensor stand for real numbers.

    Args:
        scale: One value, or one for each channel.
        zero_point: The integer that stands for 0.
        axis: The axis of the channels.
    """

    scale: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


class ModelBuilder:
    """Builds a model of one subgraph, operator by operator.

    Tensors are named by their index, in the order they were added.
    """

    def __init__(self) -> None:
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        # Buffer 0 is the one of all tensors that are not constant.
        self._buffers: list[schema.BufferT] = [schema.BufferT()]
        self._codes: dict[tuple[str, int], int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        quantization: Quantization | None = None,
    ) -> int:
        """Adds a tensor that is computed or fed."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = list(shape)
        tensor.type = _TYPES[dtype]
        tensor.buffer = 0
        if quantization:
            tensor.quantization = _quantization(quantization)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(
        self,
        name: str,
        data: np.ndarray,
        quantization: Quantization | None = None,
    ) -> int:
        """Adds a tensor that holds `data`."""
        index = self.tensor(name, data.shape, data.dtype.name, quantization)
        buffer = schema.BufferT()
        buffer.data = data
        self._graph.tensors[index].buffer = len(self._buffers)
        self._buffers.append(buffer)
        return index

    def op(
        self,
        code: str,
        version: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        **options: Any,
    ) -> None:
        """Adds an operator.

        Args:
            code: Its name in the schema, such as `"CONV_2D"`.
            version: Version of the operator.
            inputs: Indices of tensors.
            outputs: Indices of tensors.
            **options: Fields of its options, as the schema calls them.
        """
        operator = schema.OperatorT()
        key = (code, version)
        operator.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if code in _OPTIONS_BY_OP:
            made = _OPTIONS_BY_OP[code]()
            for name, value in options.items():
                setattr(made, name, value)
            kind = type(made).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = made
        self._graph.operators.append(operator)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Returns the file's content.

        Args:
            inputs: Indices of the tensors that are fed.
            outputs: Indices of the tensors that are read.
        """
        self._graph.name = "main"
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = "tfnas"
        model.subgraphs = [self._graph]
        model.buffers = self._buffers
        model.operatorCodes = [_code(*key) for key in self._codes]
        return tflite_packing.pack(model)


def _code(name: str, version: int) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    # Readers older than the 128th operator look here.
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code


def _quantization(value: Quantization) -> schema.QuantizationParametersT:
    made = schema.QuantizationParametersT()
    made.scale = np.asarray(value.scale, np.float32)
    made.zeroPoint = np.full(len(value.scale), value.zero_point, np.int64)
    made.quantizedDimension = value.axis
    return made
