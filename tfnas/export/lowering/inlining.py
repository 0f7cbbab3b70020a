"""Functions inside of a graph, put where they are called.

Keras calls some convolutions of several groups through a function of their
own, where no pattern could see them.
"""

from __future__ import annotations

from typing import Any

from tfnas.export.tracing import from_definition

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Of one result each, so that a reference needs no number.
_PLAIN = (
    "Add", "AddV2", "BiasAdd", "Const", "Conv2D", "DepthwiseConv2dNative",
    "Identity", "Mul", "Reshape", "Squeeze", "Sub", "Transpose",
)


def inline(traced: Any) -> Any:
    """Returns a function that calls no others of a few simple operators.

    Args:
        traced: A function of `tracing.trace`.
    """
    if not any(op.type in _CALLS for op in traced.graph.get_operations()):
        return traced
    definition = traced.graph.as_graph_def()
    functions = {f.signature.name: f for f in definition.library.function}
    nodes: list[Any] = []
    found = False
    for node in definition.node:
        called = None
        if node.op in _CALLS:
            called = functions.get(node.attr["f"].func.name)
        if called is not None and _is_plain(called):
            nodes += _body(node, called)
            found = True
        else:
            nodes.append(node)
    if not found:
        return traced
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del definition.node[:]
    definition.node.extend(copies)
    return from_definition(definition, traced)


def _is_plain(function: Any) -> bool:
    return len(function.signature.output_arg) == 1 and all(
        node.op in _PLAIN for node in function.node_def
    )


def _body(call: Any, function: Any) -> list[Any]:
    """Returns the nodes of a function; the last has the name of its call."""
    names = [arg.name for arg in function.signature.input_arg]
    given = [ref for ref in call.input if not ref.startswith("^")]
    known = dict(zip(names, given, strict=True))

    def outside(ref: str) -> str:
        if ref.startswith("^"):
            return f"^{call.name}/{ref[1:]}"
        return known.get(ref) or f"{call.name}/{ref.partition(':')[0]}"

    nodes = []
    for inner in function.node_def:
        node = type(call).FromString(inner.SerializeToString())
        node.name = f"{call.name}/{inner.name}"
        refs = [outside(ref) for ref in inner.input]
        del node.input[:]
        node.input.extend(refs)
        nodes.append(node)
    result = outside(next(iter(function.ret.values())))
    last = type(call)(name=call.name, op="Identity", input=[result])
    last.attr["T"].type = function.signature.output_arg[0].type
    return [*nodes, last]
