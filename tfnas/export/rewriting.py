"""The same graph in the operators that TFLite can compute in integers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnas.export.tracing import IMAGE

# TFLite has kernels of int8 for neither; a product says the same. Differences
# are squared in int8 up to this rank.
_AS_PRODUCT = ("Neg", "Square")
_RANK = 4


def integer_form(traced: Any) -> Any:
    """Returns a function without operators that know only floats.

    The mean of squares and the sign in Keras' layer normalisations are such.
    All tensors keep their names.

    Args:
        traced: A function of `tracing.trace`.
    """
    definition = traced.graph.as_graph_def()
    found = [
        node for node in definition.node if _needs(node, traced.graph)
    ]
    if not found:
        return traced
    for node in found:
        _as_product(definition, node)
    (image,) = (node for node in definition.node if node.name == IMAGE)
    definition.node.remove(image)
    wanted = traced.structured_outputs

    @tf.function(autograph=False)
    def outputs(image):
        values = tf.graph_util.import_graph_def(
            definition, {f"{IMAGE}:0": image},
            [tensor.name for tensor in wanted.values()], name="",
        )
        return dict(zip(wanted, values, strict=True))

    (given,) = traced.inputs
    return outputs.get_concrete_function(
        tf.TensorSpec(given.shape, given.dtype, name=IMAGE)
    )


def _needs(node: Any, graph: Any) -> bool:
    if node.attr["T"].type != tf.float32:
        return False
    if node.op == "SquaredDifference":
        (result,) = graph.get_operation_by_name(node.name).outputs
        return result.shape.rank > _RANK
    return node.op in _AS_PRODUCT


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
