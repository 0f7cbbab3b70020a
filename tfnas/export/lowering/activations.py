"""Activations that the delegate lacks, in operators that it has."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.export.lowering.editing import Editing

_CLOSE = 1e-4  # relatively; what float16 weights make of a constant is more
_SUMS = ("AddV2", "Add")


@dataclasses.dataclass(frozen=True)
class _Line:
    """`scale * x + offset` of a tensor."""

    ref: str
    scale: float
    offset: float


def _scalar(value: np.ndarray | None) -> float | None:
    if value is None or value.size != 1 or value.dtype != np.float32:
        return None
    return float(value.reshape(()))


def _line(graph: Editing, ref: str) -> _Line:
    """Sees a tensor as a straight line of another, as far back as it is."""
    scale, offset = 1.0, 0.0
    while True:
        step = _linear_step(graph, graph.node(ref))
        if step is None:
            return _Line(ref, scale, offset)
        ref, factor, summand = step
        scale, offset = scale * factor, scale * summand + offset


def _linear_step(
    graph: Editing, node: Any
) -> tuple[str, float, float] | None:
    """Returns what a node reads, its factor and its summand."""
    if node.op == "Neg":
        return graph.inputs(node)[0], -1.0, 0.0
    if node.op not in (*_SUMS, "Mul", "Sub", "RealDiv"):
        return None
    split = graph.split_constant(node)
    number = _scalar(split[1]) if split else None
    if split is None or number is None:
        return None
    ref = split[0]
    if node.op in _SUMS:
        return ref, 1.0, number
    if node.op == "Mul":
        return ref, number, 0.0
    first = graph.inputs(node)[0] == ref
    if node.op == "Sub":
        return (ref, 1.0, -number) if first else (ref, -1.0, number)
    return (ref, 1 / number, 0.0) if first and number else None


def _clipped(graph: Editing, ref: str) -> tuple[str, float] | None:
    """Returns what a tensor clips from below at 0, and its upper bound."""
    node = graph.node(ref)
    if node.op == "Relu6":
        return graph.inputs(node)[0], 6.0
    if node.op not in ("Minimum", "Maximum"):
        return None
    outer = _bounded(graph, node)
    if outer is None:
        return None
    inner_node = graph.node(outer[0])
    if node.op == "Minimum" and inner_node.op == "Relu":
        return graph.inputs(inner_node)[0], outer[1]
    inner = _bounded(graph, inner_node)
    if inner is None or {node.op, inner_node.op} != {"Minimum", "Maximum"}:
        return None
    low, high = sorted((outer[1], inner[1]))
    is_low = inner[1] if inner_node.op == "Maximum" else outer[1]
    return (inner[0], high) if low == 0 == is_low else None


def _bounded(graph: Editing, node: Any) -> tuple[str, float] | None:
    if node.op not in ("Minimum", "Maximum"):
        return None
    split = graph.split_constant(node)
    bound = _scalar(split[1]) if split else None
    return None if split is None or bound is None else (split[0], bound)


def hard_swish(graph: Editing) -> int:
    """Writes `x * relu6(x + 3) / 6` so that it stays three operators.

    In Keras' own order the converter makes one of it, which the delegate does
    not have in integers and the runtime not at all in int16.
    """
    count = 0
    for node in graph.of_kind("Mul", "RealDiv"):
        if not graph.has(node) or _goes_on(graph, node):
            continue
        x = _hard_swish_of(graph, node)
        if x is None:
            continue
        name = node.name
        three = graph.constant(f"{name}/three", np.float32(3))
        sixth = graph.constant(f"{name}/sixth", np.float32(1 / 6))
        shifted = graph.add(f"{name}/shifted", "AddV2", [x, three])
        clipped = graph.add(f"{name}/clipped", "Relu6", [shifted])
        product = graph.add(f"{name}/product", "Mul", [clipped, x])
        graph.become(node, "Mul", [product, sixth])
        count += 1
    return count


def _goes_on(graph: Editing, node: Any) -> bool:
    """Says whether a node is only a part of a product with a number."""
    after = graph.sole_user(node)
    return (
        after is not None
        and after.op in ("Mul", "RealDiv")
        and _linear_step(graph, after) is not None
    )


def _hard_swish_of(graph: Editing, root: Any) -> str | None:
    """Returns of what a node is the hard swish; `None` if it is not."""
    outer, product = 1.0, root
    while (step := _linear_step(graph, product)) is not None:
        ref, factor, summand = step
        before = graph.node(ref)
        if summand or graph.sole_user(before) is not product:
            return None
        outer, product = outer * factor, before
    if product.op != "Mul":
        return None
    refs = graph.inputs(product)
    for gate, other in (refs, refs[::-1]):
        line = _line(graph, gate)
        clipped = _clipped(graph, line.ref)
        if clipped is None or line.offset:
            continue
        given, x = _line(graph, clipped[0]), _line(graph, other)
        total = outer * line.scale * x.scale * given.scale
        if given.ref != x.ref or x.offset or not given.scale > 0:
            continue
        if not np.allclose(
            [given.offset / given.scale, clipped[1] / given.scale, 6 * total],
            [3, 6, 1], rtol=_CLOSE,
        ):
            continue
        if _alone(graph, gate, x.ref, product):
            return x.ref
    return None


def _alone(graph: Editing, ref: str, end: str, user: Any) -> bool:
    """Says whether no other reads what lies between two tensors."""
    node = graph.node(ref)
    while node.name != end:
        if graph.sole_user(node) is not user:
            return False
        user = node
        given = [r for r in graph.inputs(node) if graph.value(r) is None]
        node = graph.node(given[0])
    return True


def prelu(graph: Editing) -> int:
    """Writes `a * x + relu((1 - a) * x)` for slopes of at most 1."""
    count = 0
    for node in graph.of_kind("AddV2", "Add"):
        found = _prelu_of(graph, node)
        if found is None or (found[1] > 1).any():
            continue
        x, slopes = found
        count += 1
        if not slopes.any():  # as before training; 0 has no scale
            graph.become(node, "Relu", [x])
            continue
        name = node.name
        below = graph.constant(f"{name}/slopes", slopes)
        above = graph.constant(f"{name}/rest", 1 - slopes)
        sloped = graph.add(f"{name}/sloped", "Mul", [x, below])
        rest = graph.add(f"{name}/above", "Mul", [x, above])
        clipped = graph.add(f"{name}/clipped", "Relu", [rest])
        graph.become(node, "AddV2", [sloped, clipped])
    return count


def _prelu_of(graph: Editing, node: Any) -> tuple[str, np.ndarray] | None:
    """Returns what `relu(x) - a * relu(-x)` is made from: `x` and `a`."""
    refs = graph.inputs(node)
    for ref, other in (refs, refs[::-1]):
        positive, product = graph.node(ref), graph.node(other)
        if positive.op != "Relu" or product.op != "Mul":
            continue
        split = graph.split_constant(product)
        if split is None or graph.node(split[0]).op != "Relu":
            continue
        (x,) = graph.inputs(positive)
        negated = graph.node(graph.inputs(graph.node(split[0]))[0])
        if negated.op != "Neg" or graph.inputs(negated)[0] != x:
            continue
        if graph.sole_user(positive) is node is graph.sole_user(product):
            return x, -split[1]
    return None


def absolute(graph: Editing) -> int:
    """Writes an absolute value as a leaky ReLU of slope -1."""
    nodes = graph.of_kind("Abs")
    for node in nodes:
        graph.become(
            node, "LeakyRelu", graph.inputs(node), alpha=-1.0, T=tf.float32
        )
    return len(nodes)


def squared_difference(graph: Editing) -> int:
    """Writes the square of a difference as a product."""
    nodes = graph.of_kind("SquaredDifference")
    for node in nodes:
        name = f"{node.name}/difference"
        difference = graph.add(name, "Sub", graph.inputs(node))
        graph.become(node, "Mul", [difference, difference])
    return len(nodes)
