"""What a `.tflite` model is made of."""

import collections
from typing import Any

import numpy as np

from tfnas.errors import ExportError
from tfnas.export.runtime import delegate_fault
from tfnas.export.runtime import open_interpreter


def describe(blob: bytes) -> dict[str, Any]:
    """Returns what a `.tflite` model is made of.

    Args:
        blob: content of a `.tflite` file.

    Returns:
        A dict of `size_bytes`; `ops`, op name to how often it occurs, most
        frequent first; `tensor_dtypes`, the same for the tensors; and
        `delegate_nodes`, the number of pieces that XNNPACK runs: 1 if the
        whole model is one piece. Where it refuses the model, which then runs
        without, `delegate_error` says why.

    Raises:
        ArtifactError: if the bytes are no such model.
    """
    plain = open_interpreter(blob, delegate=False)
    delegated = _count(op["op_name"] for op in list_ops(open_interpreter(blob)))
    dtypes = (np.dtype(t["dtype"]).name for t in plain.get_tensor_details())
    described = {
        "size_bytes": len(blob),
        "ops": _count(op["op_name"] for op in list_ops(plain)),
        "tensor_dtypes": _count(dtypes),
        "delegate_nodes": delegated.get("DELEGATE", 0),
    }
    if not described["delegate_nodes"] and (fault := delegate_fault(blob)):
        described["delegate_error"] = fault
    return described


def require_int8(blob: bytes, float_io: bool = False) -> None:
    """Makes sure that a `.tflite` model computes in int8 from end to end.

    See `require_integers`.
    """
    require_integers(blob, "int8", float_io)


def require_integers(
    blob: bytes, activations: str = "int8", float_io: bool = False
) -> None:
    """Makes sure that a `.tflite` model computes in integers only.

    Every tensor that an op computes or is fed must be of one type, or of
    those of counts and choices: int32, int64, bool. Constants may also be
    int8 (weights); int64 are the biases of int16 activations.

    Args:
        blob: content of a `.tflite` file.
        activations: the type of what is computed, `"int8"` or `"int16"`.
        float_io: whether the model may take and give float32, with one op
            at either end that converts.

    Raises:
        ExportError: if an op is otherwise; the message lists all of them.
    """
    interpreter = open_interpreter(blob, delegate=False)
    operators = list_ops(interpreter)
    given = [t["index"] for t in interpreter.get_input_details()]
    computed = {*given, *(i for op in operators for i in op["outputs"])}
    # A shape, an index, the class that an argmax chooses.
    allowed = {activations, "int32", "int64", "bool"}
    constants = {"int8", *allowed}
    outside = set()
    if float_io:
        outputs = interpreter.get_output_details()
        outside = {*given, *(t["index"] for t in outputs)}

    wrong = [
        f"{op['op_name']}: {dtype} {role}"
        for op in operators
        for role, indices, dtypes in (
            ("input", op["inputs"], op["operand_types"]),
            ("output", op["outputs"], op["result_types"]),
        )
        for index, dtype in _names(indices, dtypes)
        if dtype not in (allowed if index in computed else constants)
        and not (index in outside and dtype == "float32")
    ]
    if wrong:
        raise ExportError(
            f"Expected ops on {activations} tensors only. Received: "
            + "; ".join(sorted(set(wrong)))
        )


def _names(indices: Any, dtypes: Any) -> list[tuple[int, str]]:
    """Pairs tensors with the names of their types, absent ones left out."""
    present = [int(index) for index in indices if index >= 0]
    return [
        (index, np.dtype(dtype).name)
        for index, dtype in zip(present, dtypes, strict=True)
    ]


def list_ops(interpreter: Any) -> list[dict[str, Any]]:
    """Returns the operators of an open model in the order they run."""
    # The runtime has no public way to list the ops of a model.
    return interpreter._get_ops_details()


def _count(names: Any) -> dict[str, int]:
    return dict(collections.Counter(names).most_common())
