"""Ranges of tensors as they are, where TFLite's calibrator sees others.

The runtime lets an element-wise operator write its result over an operand that
nobody needs any more. The calibrator reads operands once more afterwards, and
so takes the range of the result for a part of theirs: in a residual block the
branch is rounded in steps of the sum (TensorFlow 2.21, issue 127842).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python import interpreter as tf_interpreter
from tensorflow.lite.python.optimize import calibrator

from tfnas import tflite_packing

# Who writes over an operand, in LiteRT of August 2026.
_IN_PLACE = ("ADD", "SUB", "MUL", "DIV", "SOFTMAX")


@contextlib.contextmanager
def true_ranges() -> Iterator[None]:
    """Lets the converter calibrate with tensors that are kept apart.

    Only int8: for int16 it calibrates where nobody can reach, and has steps
    to spare.
    """
    usual = calibrator.Calibrator.calibrate

    def calibrate(self: Any, samples: Callable[[], Iterable[Any]]) -> bytes:
        return corrected(usual(self, samples), samples)

    calibrator.Calibrator.calibrate = calibrate
    try:
        yield
    finally:
        calibrator.Calibrator.calibrate = usual


def corrected(blob: bytes, samples: Callable[[], Iterable[Any]]) -> bytes:
    """Returns a calibrated file with the ranges that operands have.

    Args:
        blob: A float file whose tensors have the ranges that the calibrator
            saw.
        samples: Gives the samples that it saw: a list of arrays each.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob))
    graph = model.subgraphs[0]
    doubtful = _overwritten(model, graph)
    if not doubtful or len(model.subgraphs) > 1:
        return blob
    resolver = tf_interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = tf_interpreter.Interpreter(
        model_content=blob, experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=resolver,
    )
    runner.allocate_tensors()
    inputs = [tensor["index"] for tensor in runner.get_input_details()]
    low = dict.fromkeys(doubtful, np.inf)
    high = dict.fromkeys(doubtful, -np.inf)
    for sample in samples():
        for index, value in zip(inputs, sample, strict=True):
            runner.set_tensor(index, np.asarray(value))
        runner.invoke()
        for index in doubtful:
            value = runner.get_tensor(index)
            low[index] = min(low[index], float(value.min()))
            high[index] = max(high[index], float(value.max()))
    for index in doubtful:
        seen = graph.tensors[index].quantization
        # Never wider than what was seen: the result is a part of that.
        seen.min = [max(float(seen.min[0]), low[index])]
        seen.max = [min(float(seen.max[0]), high[index])]
    return tflite_packing.pack(model)


def _overwritten(
    model: schema.ModelT, graph: schema.SubGraphT
) -> list[int]:
    """Returns the operands whose place may have held a result."""
    found: dict[int, None] = {}
    for op in graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        number = tflite_packing.operator_number(code)
        if tflite_packing.OPERATORS.get(number) not in _IN_PLACE:
            continue
        for index in map(int, op.inputs):
            if index >= 0 and _has_range(graph.tensors[index]):
                found[index] = None
    return list(found)


def _has_range(tensor: schema.TensorT) -> bool:
    seen = tensor.quantization
    return (
        tensor.type == schema.TensorType.FLOAT32 and seen is not None
        and seen.min is not None and len(seen.min) == 1
    )
