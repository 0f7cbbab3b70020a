"""Puts tensors and operators together to a `.tflite` file."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_bench import options
from tfnas import tflite_packing
from tfnas.lowering import operator
from tfnas.lowering.emitter import Quantization

_SCHEMA_VERSION = 3
_TYPES = {
    name: getattr(schema.TensorType, name.upper()) for name in operator.TYPES
}
# Versions of (float32, int8) operators, as the converter gives them; others
# are 1 and 2.
_VERSIONS = {
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 4),
    "HARD_SWISH": (1, 1),
    "RESHAPE": (1, 1),
    "DEQUANTIZE": (2, 2),
    "QUANTIZE": (1, 1),
    "RESIZE_BILINEAR": (3, 3),  # from half-pixel centres on
    "RESIZE_NEAREST_NEIGHBOR": (3, 3),
}
_USUAL_VERSIONS = (1, 2)
_GROUPED_VERSION = 6
_DILATED_VERSION = 2


def usual_version(
    code: str, dtype: str, grouped: bool = False, dilated: bool = False
) -> int:
    """Returns the version that the converter gives an operator.

    Args:
        code: Its name in the schema.
        dtype: Type of its first input.
        grouped: Whether it is a convolution in groups.
        dilated: Whether its window is spread.
    """
    versions = _VERSIONS.get(code, _USUAL_VERSIONS)
    version = versions[dtype not in ("float32", "int32")]
    if code == "CONV_2D" and grouped:
        return max(version, _GROUPED_VERSION)
    if code == "DEPTHWISE_CONV_2D" and dilated:
        return max(version, _DILATED_VERSION)
    return version


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
        shape: Sequence[int],
        dtype: str,
        fill: Callable[[], np.ndarray],
        quantization: Quantization | None = None,
    ) -> int:
        """Adds a tensor that holds what `fill` returns."""
        index = self.tensor(name, shape, dtype, quantization)
        buffer = schema.BufferT()
        buffer.data = fill()
        self._graph.tensors[index].buffer = len(self._buffers)
        self._buffers.append(buffer)
        return index

    def op(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        version: int | None = None,
        **attrs: Any,
    ) -> None:
        """Adds an operator.

        Args:
            code: Its name in the schema, such as `"CONV_2D"`.
            inputs: Indices of tensors.
            outputs: Indices of tensors.
            version: Of the operator; by default the converter's.
            **attrs: Attributes, as in `tfnas.lowering.operator`.
        """
        made = schema.OperatorT()
        key = (code, version or self._version(code, inputs, attrs))
        made.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        made.inputs, made.outputs = list(inputs), list(outputs)
        made.builtinOptions = options.to_schema(code, attrs)
        if made.builtinOptions is not None:
            made.builtinOptionsType = options.kind(made.builtinOptions)
        self._graph.operators.append(made)

    def _version(
        self, code: str, inputs: Sequence[int], attrs: dict[str, Any]
    ) -> int:
        taken = [self._graph.tensors[i] for i in inputs if i >= 0]
        names = {value: name for name, value in _TYPES.items()}
        return usual_version(
            code,
            names[taken[0].type],
            code == "CONV_2D" and taken[1].shape[3] != taken[0].shape[3],
            "dilation" in attrs,
        )

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
