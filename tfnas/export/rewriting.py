"""The same graph in the operators that TFLite can compute in integers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnas.errors import ExportError
from tfnas.export.tracing import from_definition

# TFLite has kernels of int8 for neither; a product says the same. Differences
# are squared in int8 up to this rank.
_AS_PRODUCT = ("Neg", "Square")
_RANK = 4
_GRADIENT = "_gradient_op_type"
# The converter dies of these when it looks for the range of a tensor.
_BRANCHES = ("While", "StatelessWhile", "If", "StatelessIf")


def integer_form(traced: Any) -> Any:
    """Returns a function without operators that know only floats.

    The mean of squares and the sign in Keras' layer normalisations are such.
    All tensors keep their names.

    Args:
        traced: A function of `tracing.trace`.

    Raises:
        ExportError: If the model has loops or branches, as recurrent layers
            have that are not unrolled.
    """
    definition = traced.graph.as_graph_def()
    for node in definition.node:
        if node.op in _BRANCHES:
            raise ExportError(
                "TFLite cannot hold this model in integers: expected no loops "
                "or branches (recurrent layers have `unroll=True`). Received: "
                f"{node.name}"
            )
    found = [
        node for node in definition.node if _needs(node, traced.graph)
    ]
    if not found:
        return traced
    for node in found:
        _as_product(definition, node)
    without_gradients(definition)
    return from_definition(definition, traced)


def without_gradients(definition: Any) -> None:
    """Takes from a graph what it says of gradients.

    An activation like `silu` has one of its own, for a graph of its own: in
    another the converter would lose the signature.
    """
    for node in definition.node:
        if _GRADIENT in node.attr:
            del node.attr[_GRADIENT]


def _needs(node: Any, graph: Any) -> bool:
    if node.attr["T"].type != tf.float32:
        return False
    if node.op not in (*_AS_PRODUCT, "SquaredDifference"):
        return False
    (result,) = graph.get_operation_by_name(node.name).outputs
    if node.op == "SquaredDifference":
        return result.shape.rank > _RANK
    # There is an operator for a whole GELU, which has this in the middle.
    after = result.consumers()
    after += [op for near in after for op in near.outputs[0].consumers()]
    return "Erfc" not in (op.type for op in after)


def _as_product(definition: Any, node: Any) -> None:
    """Makes a product of a square, or of a change of sign."""
    value, *controls = node.input
    factor = value
    if node.op == "SquaredDifference":
        value = factor = f"{node.name}/difference"
        difference = definition.node.add(op="Sub", name=value)
        difference.attr["T"].CopyFrom(node.attr["T"])
        difference.input.extend(node.input[:2])
        controls = node.input[2:]
    elif node.op == "Neg":
        factor = f"{node.name}/factor"
        constant = definition.node.add(op="Const", name=factor)
        constant.attr["dtype"].type = tf.float32.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(
            tf.make_tensor_proto(-1.0, tf.float32)
        )
    node.op = "Mul"
    del node.input[:]
    node.input.extend([value, factor, *controls])
