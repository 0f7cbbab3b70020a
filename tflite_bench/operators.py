"""The operators of a `.tflite` file, and a file of one operator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_bench import options
from tflite_bench.flatbuffer import ModelBuilder
from tflite_bench.flatbuffer import usual_version
from tfnas import tflite_packing
from tfnas.lowering import emitter
from tfnas.lowering import operator
from tfnas.lowering.emitter import Quantization
from tfnas.lowering.operator import Call
from tfnas.lowering.operator import Operand
from tfnas.lowering.operator import Operator

# What these give has the scale of what they take.
_SAME_SCALE = (
    "PAD", "PADV2", "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "MAX_POOL_2D",
    "AVERAGE_POOL_2D", "CONCATENATION", "RESHAPE", "TRANSPOSE", "SQUEEZE",
    "EXPAND_DIMS", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
    "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPLIT", "SPLIT_V", "GATHER", "PACK",
    "UNPACK", "TILE", "REVERSE_V2", "MAXIMUM", "MINIMUM",
)
_FIXED = {
    "LOGISTIC": emitter.SIGMOID, "SOFTMAX": emitter.SIGMOID,
    "TANH": emitter.TANH,
}
_CHANNEL_AXES = {
    "CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0,
    "TRANSPOSE_CONV": 0,
}
_OF_POSITIVE = ("RSQRT", "SQRT", "LOG", "DIV", "POW")
_POSITIVE = Quantization((6 / 255,), -128)
_INT8_STD = 74.0  # of integers drawn from -127..127, near enough


def read(content: bytes, dtype: str) -> list[Operator]:
    """Returns the operators of the first subgraph of a file.

    Args:
        content: Of a whole `.tflite` file.
        dtype: The type that keys do not name, `"float32"` or `"int8"`.

    Raises:
        ValueError: when an operator is none of the schema's own, or has a
            type or an attribute that keys cannot tell.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    made = {int(i) for op in graph.operators for i in op.outputs}
    fed = {int(i) for i in graph.inputs}

    def operand(index: int) -> Operand | None:
        if index < 0:
            return None
        tensor = graph.tensors[index]
        own = tflite_packing.TYPES.get(int(tensor.type))
        if own not in operator.TYPES:
            raise ValueError(f"a tensor of type {tensor.type}")
        shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
        unlike = "" if own == dtype else own
        if index in made or index in fed:
            return operator.value(shape, unlike)
        data = model.buffers[tensor.buffer].data
        quantized = tensor.quantization is not None and (
            tensor.quantization.scale is not None
        )
        if own not in ("int32", "int64") or quantized or data is None:
            return operator.weights(shape, unlike)
        values = np.frombuffer(data.tobytes(), own)
        return operator.numbers(shape, tuple(map(int, values)), unlike)

    calls = [
        Call(
            _operator(model, op, operand),
            tuple(map(int, op.inputs)), tuple(map(int, op.outputs)),
        )
        for op in graph.operators
    ]
    return operator.fold_pads(calls, [int(i) for i in graph.outputs])


def _operator(model: Any, op: Any, operand: Any) -> Operator:
    code = model.operatorCodes[op.opcodeIndex]
    number = tflite_packing.operator_number(code)
    name = tflite_packing.OPERATORS.get(number, str(number))
    if name == "CUSTOM" or op.builtinOptions2 is not None:
        raise ValueError(f"an operator {name} of a form that keys cannot tell")
    attrs = options.from_schema(op.builtinOptions)
    inputs = [operand(int(i)) for i in op.inputs]
    outputs = [operand(int(i)) for i in op.outputs]
    found = operator.make(name, attrs, inputs, outputs)
    first = next(x for x in (*inputs, *outputs) if x is not None)
    if code.version != _usual_version(found, first.dtype or "int8"):
        if code.version != _usual_version(found, first.dtype or "float32"):
            attrs["version"] = str(code.version)
            found = operator.make(name, attrs, inputs, outputs)
    return found


def _usual_version(op: Operator, dtype: str) -> int:
    return usual_version(
        op.code, dtype, op.grouped, "dilation" in dict(op.attrs)
    )


def write(op: Operator, dtype: str, copies: int = 1, seed: int = 0) -> bytes:
    """Returns a file of an operator with random weights.

    Args:
        op: The operator.
        dtype: The type that it does not name, `"float32"` or `"int8"`.
        copies: How many to put in series; what one gives is the first input
            of the next.
        seed: Of the weights.

    Raises:
        ValueError: when it has an attribute that the schema does not know.
    """
    return _File(op, dtype, seed).write(copies)


class _File:
    def __init__(self, op: Operator, dtype: str, seed: int):
        self.op, self.dtype = op, dtype
        self.rng = np.random.default_rng(seed)
        self.model = ModelBuilder()

    def write(self, copies: int) -> bytes:
        attrs = dict(self.op.attrs)
        version = int(attrs.pop("version", 0)) or None
        pads = [int(n) for n in attrs.pop("pads", "").split(".") if n]
        fed: list[int] = []
        before: int | None = None
        for copy in range(copies):
            inputs = []
            for i, operand in enumerate(self.op.inputs):
                if operand is None:
                    inputs.append(-1)
                elif operand.constant:
                    inputs.append(self._constant(f"{copy}/{i}", i, operand))
                elif before is not None:
                    inputs.append(before)
                    before = None
                else:
                    name = f"input{len(fed)}"
                    fed.append(self._tensor(name, operand, self._taken()))
                    inputs.append(fed[-1])
            if pads:
                inputs[0] = self._padded(f"{copy}/pad", inputs[0], pads)
            outputs = [
                self._tensor(f"output{copy}/{i}", operand, self._given())
                for i, operand in enumerate(self.op.outputs)
            ]
            self.model.op(self.op.code, inputs, outputs, version, **attrs)
            before = outputs[0]
        return self.model.finish(fed, outputs)

    def _padded(self, name: str, source: int, pads: Sequence[int]) -> int:
        """Adds a pad of rows and columns."""
        first = self.op.computed[0]
        batch, height, width, channels = first.shape
        top, bottom, left, right = pads
        amounts = np.array(
            [[0, 0], [top, bottom], [left, right], [0, 0]], np.int32
        )
        shape = (batch, height + top + bottom, width + left + right, channels)
        held = self.model.constant(
            f"{name}/amounts", amounts.shape, "int32", lambda: amounts
        )
        output = self._tensor(
            name, dataclasses.replace(first, shape=shape), self._taken()
        )
        self.model.op("PAD", [source, held], [output])
        return output

    def _tensor(self, name: str, operand: Operand, quant: Quantization) -> int:
        dtype = operand.dtype or self.dtype
        quantized = dtype in ("int8", "uint8", "int16")
        if dtype == "int16":
            quant = Quantization((quant.scale[0] / 256,))
        elif dtype == "uint8":
            quant = Quantization(quant.scale, quant.zero_point + 128)
        return self.model.tensor(
            name, operand.shape, dtype, quant if quantized else None
        )

    def _taken(self) -> Quantization:
        if self.op.code in _OF_POSITIVE:
            return _POSITIVE
        return emitter.linear(1.0)

    def _given(self) -> Quantization:
        act = dict(self.op.attrs).get("act")
        if self.op.code in _FIXED:
            return _FIXED[self.op.code]
        if act and self.op.code not in _SAME_SCALE:
            return _POSITIVE
        return emitter.linear(1.0)

    def _constant(self, name: str, place: int, operand: Operand) -> int:
        dtype, shape = operand.dtype or self.dtype, operand.shape
        if operand.numbers is not None:
            values = np.array(operand.numbers, dtype).reshape(shape)
            return self.model.constant(name, shape, dtype, lambda: values)
        if dtype.startswith("float"):
            spread = 1 / math.sqrt(self._fan_in())
            return self.model.constant(
                name, shape, dtype,
                lambda: (self.rng.normal(size=shape) * spread).astype(dtype),
            )
        if dtype in ("int8", "uint8"):
            limits = np.iinfo(dtype)
            return self.model.constant(
                name, shape, dtype,
                lambda: self.rng.integers(
                    limits.min + 1, limits.max, shape, dtype
                ),
                self._weight_scale(place, shape),
            )
        return self.model.constant(
            name, shape, dtype, lambda: np.zeros(shape, dtype),
            self._bias_scale(shape) if self._is_bias(place) else None,
        )

    def _is_bias(self, place: int) -> bool:
        return self.op.code in _CHANNEL_AXES and place > 1

    def _fan_in(self) -> int:
        """Returns how many products a number of the output is a sum of."""
        if self.op.code not in _CHANNEL_AXES:
            return 1
        shape = self.op.inputs[1].shape  # type: ignore[union-attr]
        axis = _CHANNEL_AXES[self.op.code]
        return math.prod(shape) // shape[axis]

    def _weight_scale(
        self, place: int, shape: Sequence[int]
    ) -> Quantization:
        scale = 1 / (_INT8_STD * math.sqrt(self._fan_in()))
        axis = _CHANNEL_AXES.get(self.op.code)
        if axis is None or place != 1:
            return Quantization((scale,))
        return Quantization((scale,) * shape[axis], axis=axis)

    def _bias_scale(self, shape: Sequence[int]) -> Quantization:
        scale = 1 / (_INT8_STD * math.sqrt(self._fan_in()))
        return Quantization((scale * self._taken().scale[0],) * shape[0])
