"""Packs a model of TFLite's schema, and the names of what is in one.

The classes that are generated from the schema write constants byte by byte
and unaligned; here they are copied whole, to where the schema demands them.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
# The schema's numbers of operators and of types of tensors, to their names.
OPERATORS = {
    number: name for name, number in vars(schema.BuiltinOperator).items()
    if not name.startswith("_")
}
TYPES = {
    number: name.lower() for name, number in vars(schema.TensorType).items()
    if not name.startswith("_")
}
_ALIGNMENT = 16  # of constants, in bytes
_ROOM = 1 << 16  # for all that is no constant; the builder takes more itself


def operator_number(code: schema.OperatorCode | schema.OperatorCodeT) -> int:
    """Returns the schema's number of an operator.

    Old files have it in another field than new ones; in the field that a
    file does not use stands a smaller number.
    """
    if isinstance(code, schema.OperatorCode):
        return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def pack(model: schema.ModelT) -> bytes:
    """Returns the content of a file.

    Args:
        model: The model; its constants may be NumPy arrays of any type.
    """
    size_bytes = sum(
        np.asarray(buffer.data).nbytes + _ALIGNMENT
        for buffer in model.buffers
        if buffer.data is not None
    )
    model.buffers = [_Aligned(buffer) for buffer in model.buffers]
    builder = flatbuffers.Builder(size_bytes + _ROOM)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _Aligned(schema.BufferT):
    """A constant at an aligned place."""

    def __init__(self, buffer: schema.BufferT):
        super().__init__(buffer.data, buffer.offset, buffer.size)

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self.data is None:
            return super().Pack(builder)
        payload = np.ascontiguousarray(self.data).tobytes()
        builder.StartVector(1, len(payload), _ALIGNMENT)
        builder.head -= len(payload)
        builder.Bytes[builder.head : builder.head + len(payload)] = payload
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)
