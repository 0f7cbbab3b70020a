"""Scales of int8 tensors that lie too far apart for the delegate.

Only after calibration is it known that a sum has an operand of which next to
nothing arrives: where a network doubles a tensor again and again, or untrained
layers fade. XNNPACK refuses such an operator, and the file falls into pieces.
"""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfnas import tflite_packing

_SUMS = (schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB)
_QUANTIZE = schema.BuiltinOperator.QUANTIZE
# They compute in the steps that they are given; a pool, say, in its input's.
_FREE = (
    *_SUMS, schema.BuiltinOperator.MUL, schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
    schema.BuiltinOperator.TRANSPOSE_CONV,
)
# Of the scale of an operand by that of the sum, and of what goes into a
# QUANTIZE by that of what comes out, XNNPACK takes these (LiteRT 2.3.0).
_SUM_LEAST = 1 / 1024
_HOP_LEAST, _HOP_MOST = 1 / 256, 128
# With room for the rounding of scales.
_SUM_AIM = 1 / 512
_HOP_UP, _HOP_DOWN = 128.0, 64.0


def bring_together(blob: bytes) -> tuple[bytes, int]:
    """Gives operands of sums coarser steps where scales lie too far apart.

    Who computes an operand for the sum alone does it in these steps; else a
    QUANTIZE makes a copy. What is lost is less than a quarter of a step of
    the sum.

    Args:
        blob: Content of a file that computes in int8.

    Returns:
        The file, and how many operators were mended; the same content where
        there is none.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob))
    mended = sum(_Subgraph(model, graph).mend() for graph in model.subgraphs)
    return (tflite_packing.pack(model), mended) if mended else (blob, 0)


class _Subgraph:
    """One graph of a file, into which operators are put."""

    def __init__(self, model: schema.ModelT, graph: schema.SubGraphT):
        self._model, self._graph = model, graph
        uses = [i for op in graph.operators for i in op.inputs]
        self._uses = Counter([*uses, *graph.outputs])
        self._makers = {
            index: op for op in graph.operators for index in op.outputs
        }
        self._added: list[schema.OperatorT] = []

    def mend(self) -> int:
        """Mends all operators; returns how many that were.

        The last ones first, since an operand may be a sum itself.
        """
        operators: list[schema.OperatorT] = []
        mended = 0
        for op in reversed(self._graph.operators):
            self._added = []
            code = self._code(op)
            if code in _SUMS:
                mended += self._mend_sum(op)
            elif code == _QUANTIZE:
                mended += self._mend_hop(op)
            operators += [op, *reversed(self._added)]
        self._graph.operators = operators[::-1]
        return mended

    def _code(self, op: schema.OperatorT) -> int:
        return tflite_packing.operator_number(
            self._model.operatorCodes[op.opcodeIndex]
        )

    def _scale(self, index: int) -> float | None:
        """Returns the one scale of an int8 tensor."""
        tensor = self._graph.tensors[index]
        if tensor.type != schema.TensorType.INT8 or not tensor.quantization:
            return None
        scales = tensor.quantization.scale
        return float(scales[0]) if scales is not None and len(scales) else None

    def _mend_sum(self, op: schema.OperatorT) -> bool:
        """Brings operands that are too fine near the scale of their sum."""
        to = self._scale(op.outputs[0])
        inputs, mended = list(op.inputs), False
        for place, index in enumerate(inputs):
            scale = self._scale(index)
            if to and scale and scale / to < _SUM_LEAST:
                inputs[place] = self._coarser(index, to * _SUM_AIM)
                mended = True
        op.inputs = inputs
        return mended

    def _mend_hop(self, op: schema.OperatorT) -> bool:
        """Splits a step between scales that is too wide."""
        scale, to = self._scale(op.inputs[0]), self._scale(op.outputs[0])
        if not scale or not to or _HOP_LEAST <= scale / to < _HOP_MOST:
            return False
        near = to / _HOP_UP if scale < to else to * _HOP_DOWN
        op.inputs = [self._copy(op.inputs[0], near)]
        return True

    def _coarser(self, index: int, to: float) -> int:
        """Returns a tensor of the same content at a scale."""
        maker = self._makers.get(index)
        if self._uses[index] == 1 and maker and self._code(maker) in _FREE:
            quantization = self._graph.tensors[index].quantization
            quantization.scale = [to]
            quantization.min = quantization.max = None
            return index
        return self._copy(index, to)

    def _copy(self, index: int, to: float) -> int:
        """Returns a copy of a tensor at a scale."""
        scale = self._scale(index)
        if scale is None or scale == to:
            return index
        if self._model.buffers[self._graph.tensors[index].buffer].data is None:
            # No wider than one operator may go.
            low, high = scale / _HOP_DOWN, scale * _HOP_UP
            near = min(max(to, low), high)
        else:
            near = to
        return self._copy(self._quantized(index, near), to)

    def _quantized(self, index: int, scale: float) -> int:
        """Adds a tensor of another scale, and what computes it."""
        source = self._graph.tensors[index]
        tensor = copy.deepcopy(source)
        tensor.name = bytes(tensor.name or b"") + b"/nearer"
        tensor.quantization.scale = [scale]
        tensor.quantization.min = tensor.quantization.max = None
        data = self._model.buffers[source.buffer].data
        self._graph.tensors.append(tensor)
        added = len(self._graph.tensors) - 1
        if data is not None:
            zero = int(source.quantization.zeroPoint[0])
            values = np.asarray(data, np.uint8).view(np.int8) - zero
            ratio = float(source.quantization.scale[0]) / scale
            rounded = np.rint(values * ratio) + zero
            buffer = schema.BufferT()
            buffer.data = np.clip(rounded, -128, 127).astype(np.int8)
            self._model.buffers.append(buffer)
            tensor.buffer = len(self._model.buffers) - 1
            return added
        op = schema.OperatorT()
        op.opcodeIndex = self._quantize_code()
        op.inputs, op.outputs = [index], [added]
        op.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
        op.builtinOptions = schema.QuantizeOptionsT()
        self._added.append(op)
        return added

    def _quantize_code(self) -> int:
        codes = self._model.operatorCodes
        for number, code in enumerate(codes):
            if tflite_packing.operator_number(code) == _QUANTIZE:
                return number
        made = schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = _QUANTIZE
        made.version = 2  # from int8 to int8
        codes.append(made)
        return len(codes) - 1
