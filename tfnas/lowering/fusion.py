"""Folds and fuses primitive layers as the converter does.

Normalisations go into convolutions, activations into what they follow.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from tfnas.ops import Graph
from tfnas.ops import Node
from tfnas.ops import primitives
from tfnas.ops.graph import Shape

# Both sides share a quantization; the last two are steps of rewritings.
_KEEPS_SCALE = {*primitives.having("keeps_scale"), "rows", "resize"}


@dataclasses.dataclass
class Step:
    """A node with what the converter fuses into it.

    Args:
        node: The first of the nodes.
        output: Name of the tensor that comes out.
        act: The activation that is fused.
        shift: Number that is added to the bias.
    """

    node: Node
    output: str
    act: str = "linear"
    shift: float = 0.0


def chain(
    graphs: Sequence[Graph],
) -> tuple[list[Node], dict[str, Shape], str]:
    """Joins graphs in series, without layers that nothing depends on.

    Returns:
        The nodes, the shapes of all tensors, and the name of the output.
    """
    nodes: list[Node] = []
    shapes = {"input": graphs[0].input_shape}
    source = "input"
    for i, graph in enumerate(graphs):
        names = {"input": source}
        for node in graph.live:
            names[node.name] = name = f"b{i:02d}_{node.name}"
            inputs = tuple(names[x] for x in node.inputs)
            nodes.append(Node(name, node.kind, inputs, node.attrs))
            shapes[name] = graph.shapes[node.name]
        source = names[graph.output]
    return _merge_equal(nodes, shapes, source)


def _merge_equal(
    nodes: Sequence[Node], shapes: dict[str, Shape], output: str
) -> tuple[list[Node], dict[str, Shape], str]:
    """Computes once what several nodes compute alike."""
    kept: list[Node] = []
    names = {"input": "input"}
    seen: dict[tuple, str] = {}
    for node in nodes:
        inputs = tuple(names[x] for x in node.inputs)
        node = dataclasses.replace(node, inputs=inputs)
        what = (node.kind, inputs, str(sorted(node.attrs.items())))
        alike = inputs and node.primitive.variables is None
        equal = seen.get(what) if alike else None
        names[node.name] = equal or node.name
        if equal is None:
            seen[what] = node.name
            kept.append(node)
    return kept, shapes, names[output]


def fuse(nodes: Sequence[Node], output: str) -> list[Step]:
    """Folds normalisations and activations into what they follow.

    Args:
        nodes: Nodes in topological order.
        output: The tensor that is read at the end.

    Returns:
        What is left, in topological order.
    """
    nodes = _fold_zeros(nodes, output)
    uses = collections.Counter(x for node in nodes for x in node.inputs)
    uses[output] += 1
    steps: dict[str, Step] = {}
    for node in nodes:
        source = node.inputs[0] if node.inputs else ""
        before = steps.get(source)
        alone = uses[source] == 1
        if before is not None and alone and _takes_shift(node, before):
            # It does relu6(x + 3); a sixth of that is left.
            before.act, before.shift = "relu6", 3.0
            node = dataclasses.replace(node, attrs={"fn": "sixth"})
        if before is None or not alone or not _is_fused(node, before):
            steps[node.name] = Step(node, node.name)
            continue
        if node.kind == "act":
            before.act = node.attrs["fn"]
        before.output = node.name
        steps[node.name] = steps.pop(source)
    return list(steps.values())


def _fold_zeros(nodes: Sequence[Node], output: str) -> list[Node]:
    """Makes convolutions of zeros read what the zeros are made from.

    The factor 0 goes into their kernels; they are computed all the same.
    """
    made_from = {n.name: n.inputs for n in nodes if n.kind == "zeros"}
    folded = [
        dataclasses.replace(n, inputs=made_from.get(n.inputs[0], n.inputs))
        if n.kind == "conv"
        else n
        for n in nodes
    ]
    used = {output, *(x for n in folded for x in n.inputs)}
    return [n for n in folded if n.kind != "zeros" or n.name in used]


def _is_fused(node: Node, before: Step) -> bool:
    """Says whether the converter makes one operator of the two."""
    if before.act != "linear":
        return False
    if node.kind == "norm":
        return before.node.primitive.convolves
    return (
        node.kind == "act"
        and before.node.primitive.takes_relu
        and node.attrs["fn"] in primitives.FUSED
    )


def _takes_shift(node: Node, before: Step) -> bool:
    """Says whether the 3 of a hard sigmoid goes into the bias before it."""
    return (
        node.kind == "act"
        and node.attrs["fn"] == "hard_sigmoid"
        and before.node.primitive.weighted
        and before.act == "linear"
    )


def requantize(
    steps: Sequence[Step], shapes: dict[str, Shape]
) -> list[Step]:
    """Adds the steps that give a tensor the scale of each join it is in.

    All that a concatenation of integers takes has one scale. A tensor that
    is in several keeps that of the last; for each of the others there is a
    copy in another scale.

    Args:
        steps: In the order they run.
        shapes: Of all tensors; those of new ones are added.
    """
    last = {
        source: step.output
        for step in steps if step.node.kind == "concat"
        for source in step.node.inputs
    }
    found: list[Step] = []
    for step in steps:
        if step.node.kind == "concat":
            names = {}
            for source in step.node.inputs:
                names[source] = source
                if last[source] != step.output:
                    names[source] = copy = f"{step.output}/{source}"
                    shapes[copy] = shapes[source]
                    node = Node(copy, "requantize", (source,), {})
                    found.append(Step(node, copy))
            inputs = tuple(names[x] for x in step.node.inputs)
            node = dataclasses.replace(step.node, inputs=inputs)
            step = dataclasses.replace(step, node=node)
        found.append(step)
    return found


def tied(steps: Sequence[Step]) -> dict[str, int]:
    """Returns the tensors that concatenations tie to one quantization.

    Returns:
        Each such tensor, to the number of its group.
    """
    groups: dict[str, set[str]] = {}
    for step in steps:
        if step.node.kind in _KEEPS_SCALE:
            joined = {*step.node.inputs, step.output}
            for name in list(joined):
                joined |= groups.get(name, set())
            groups.update(dict.fromkeys(joined, joined))
    joins = [s.output for s in steps if s.node.kind == "concat"]
    found: dict[str, int] = {}
    for i, join in enumerate(joins):
        for name in groups[join]:
            found.setdefault(name, i)
    return found
