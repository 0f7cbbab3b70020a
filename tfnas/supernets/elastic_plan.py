"""What the candidates of an elastic place share, and their weights.

Every candidate is a part of the largest one: the first channels of its
kernels, the centre of its depthwise kernel through a learned matrix. The
vectors of a normalisation and the layers of a channel gate are cut alike.
Source: Cai et al. 2020 (Once-for-All), section 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas.ops.graph import Graph
from tfnas.ops.graph import Node
from tfnas.supernets.base import kernel_init
from tfnas.supernets.base import stream

# Attributes of nodes that a trace holds fixed.
_FIXED = ("stride", "padding", "bias", "eps", "affine", "fn", "keepdims")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the candidates of a place share, and where they differ.

    Args:
        graph: The largest candidate's.
        widths: Tensors whose number of channels differs.
        kernels: Depthwise nodes whose kernel size differs, with the odd sizes
            from the largest to the smallest.
        sizes: `(candidates, widths and kernels)` of each candidate.
    """

    graph: Graph
    widths: tuple[str, ...]
    kernels: tuple[tuple[str, tuple[int, ...]], ...]
    sizes: np.ndarray

    @property
    def form(self) -> tuple:
        """What must agree for two layers to share one traced function."""
        return _form(self.graph), self.widths, self.kernels


def _form(graph: Graph) -> tuple:
    return tuple(
        (n.kind, n.name, n.inputs, n.attrs.get("kernel") == 1)
        + tuple(n.attrs.get(name) for name in _FIXED)
        for n in graph.nodes
    )


def make_plan(graphs: Sequence[Graph]) -> Plan:
    """Returns the plan of candidates, the last of which is the largest.

    Raises:
        ValueError: when they are not of one form, or the last one is not the
            largest in every way.
    """
    largest = graphs[-1]
    if any(_form(g) != _form(largest) for g in graphs):
        raise ValueError(
            "Candidates of an elastic layer must have one form. "
            f"Received: {[[n.name for n in g.nodes] for g in graphs]}"
        )
    widths = {
        name: [g.shapes[name][-1] for g in graphs] for name in largest.shapes
    }
    kernels = {
        node.name: [g.nodes[i].attrs["kernel"] for g in graphs]
        for i, node in enumerate(largest.nodes)
        if node.kind == "depthwise"
    }
    widths, kernels = (
        {name: row for name, row in rows.items() if len(set(row)) > 1}
        for rows in (widths, kernels)
    )
    rows = [*widths.values(), *kernels.values()]
    sizes = np.array(rows, np.int32).reshape(len(rows), len(graphs)).T
    if (sizes > sizes[-1]).any():
        raise ValueError(
            "The last candidate of an elastic layer must be the largest. "
            f"Received: sizes={sizes.tolist()}"
        )
    chains = tuple(
        (name, tuple(range(max(row), min(row) - 1, -2)))
        for name, row in kernels.items()
    )
    return Plan(largest, tuple(widths), chains, sizes)


def initial(
    node: Node, plan: Plan, seed: int, path: str
) -> list[tuple[str, np.ndarray]]:
    """Returns names and initial values of a node's variables.

    Args:
        node: A node of `plan.graph`.
        plan: The plan of the layer.
        seed: Seed of the network.
        path: Name of the first variable, and the beginning of the others'.
    """
    a, width = node.attrs, plan.graph.shapes[node.inputs[0]][-1]
    if node.kind == "conv":
        shape = (a["kernel"], a["kernel"], width, a["filters"])
        values = [(path, kernel_init(shape, False, seed, path))]
        if a["bias"]:
            values.append((f"{path}/bias", np.zeros(a["filters"], "f")))
        return values
    if node.kind == "depthwise":
        shape = (a["kernel"], a["kernel"], width, 1)
        sizes = dict(plan.kernels).get(node.name, (0,))[1:]
        return [(path, kernel_init(shape, True, seed, path))] + [
            (f"{path}/to{k}", np.eye(k * k, dtype="f")) for k in sizes
        ]
    if node.kind == "norm" and a["affine"]:
        return [
            (f"{path}/scale", np.ones(width, "f")),
            (f"{path}/offset", np.zeros(width, "f")),
        ]
    if node.kind == "dense":
        limit = 1 / math.sqrt(width)
        draw = stream(seed, path).uniform(-limit, limit, (width, a["units"]))
        return [
            (path, draw.astype("f")),
            (f"{path}/bias", np.zeros(a["units"], "f")),
        ]
    return []


def ranks(node: Node, plan: Plan) -> tuple[int, ...]:
    """Returns the ranks of a node's variables, in order."""
    if node.kind == "conv":
        return (4, 1) if node.attrs["bias"] else (4,)
    if node.kind == "depthwise":
        smaller = len(dict(plan.kernels).get(node.name, (0,))) - 1
        return (4,) + (2,) * smaller
    if node.kind == "norm" and node.attrs["affine"]:
        return (1, 1)
    return (2, 1) if node.kind == "dense" else ()


def _first(value: tf.Tensor, *widths: tf.Tensor | None) -> tf.Tensor:
    """The first entries along the last axes; `None` keeps an axis whole."""
    if all(width is None for width in widths):
        return value
    size = [-1] * (value.shape.rank - len(widths))
    size += [-1 if width is None else width for width in widths]
    return tf.slice(value, [0] * value.shape.rank, tf.stack(size))


def _smaller_kernel(
    kernel: tf.Tensor, matrices: Sequence[tf.Tensor],
    chain: tuple[int, ...], size: tf.Tensor,
) -> tf.Tensor:
    """The kernel of one of the sizes, each made from the next larger one.

    All are made, which is little work beside their use: so there is nothing
    to branch on.
    """
    forms = [kernel]
    for k, matrix in zip(chain[1:], matrices, strict=True):
        centre = forms[-1][1:-1, 1:-1]
        flat = matrix @ tf.reshape(centre, [k * k, -1])
        forms.append(tf.reshape(flat, tf.shape(centre)))
    padded = [
        tf.pad(form, [[i, i], [i, i], [0, 0], [0, 0]])
        for i, form in enumerate(forms)
    ]
    edge = (chain[0] - size) // 2
    end = edge + size
    return tf.stack(padded)[edge][edge:end, edge:end]


def cut(
    plan: Plan, sizes: tf.Tensor, values: Sequence[tf.Tensor]
) -> dict[str, list[tf.Tensor]]:
    """Returns the weights of one candidate by node.

    Args:
        plan: The plan of the layer.
        sizes: The candidate's row of `plan.sizes`.
        values: The layer's weights, largest sizes, in the order of the nodes.
    """
    width = {name: sizes[i] for i, name in enumerate(plan.widths)}
    size = {
        name: sizes[len(width) + i]
        for i, (name, _) in enumerate(plan.kernels)
    }
    chains, left, parts = dict(plan.kernels), list(values), {}
    for node in plan.graph.nodes:
        before, after = width.get(node.inputs[0]), width.get(node.name)
        if node.kind == "conv":
            part = [_first(left.pop(0), before, after)]
            if node.attrs["bias"]:
                part.append(_first(left.pop(0), after))
        elif node.kind == "depthwise":
            part = [_first(left.pop(0), before, None)]
            if node.name in chains:
                chain = chains[node.name]
                matrices = [left.pop(0) for _ in chain[1:]]
                part = [
                    _smaller_kernel(part[0], matrices, chain, size[node.name])
                ]
        elif node.kind == "norm" and node.attrs["affine"]:
            part = [_first(left.pop(0), after) for _ in range(2)]
        elif node.kind == "dense":
            part = [_first(left.pop(0), before, None), left.pop(0)]
        else:
            part = []
        parts[node.name] = part
    return parts
