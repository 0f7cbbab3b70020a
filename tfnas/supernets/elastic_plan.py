"""What the candidates of an elastic place share, and their weights.

Every candidate is a part of the largest one: the first channels of its
kernels, the centre of its depthwise kernel through a learned matrix. The
vectors of a normalisation and the layers of a channel gate are cut alike.
Source: Cai et al. 2020 (Once-for-All), section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas.ops.graph import Graph
from tfnas.ops.graph import Node
from tfnas.supernets.primitives import first_values
from tfnas.supernets.primitives import form
from tfnas.supernets.primitives import held
from tfnas.supernets.primitives import weight_ranks


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
        return form(self.graph), self.widths, self.kernels

    def smaller(self, node: Node) -> tuple[int, ...]:
        """Returns the sizes of a node's kernel below the largest."""
        return dict(self.kernels).get(node.name, (0,))[1:]


def make_plan(graphs: Sequence[Graph]) -> Plan:
    """Returns the plan of candidates, the last of which is the largest.

    Raises:
        ValueError: when they are not of one form, or the last one is not the
            largest in every way.
    """
    largest = graphs[-1]
    if any(form(g) != form(largest) for g in graphs):
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
    """Returns names and first values of a node's variables.

    Behind the kernel of a depthwise node stand the matrices that make the
    smaller ones.

    Args:
        node: A node of `plan.graph`.
        plan: The plan of the layer.
        seed: Seed of the network.
        path: Name of the first variable, and the beginning of the others'.
    """
    values = first_values(path, node, plan.graph.width(node), seed)
    return values + [
        (f"{path}/to{k}", np.eye(k * k, dtype="f")) for k in plan.smaller(node)
    ]


def ranks(node: Node, plan: Plan) -> list[int]:
    """Returns the ranks of a node's variables, in order."""
    return weight_ranks(node) + [2] * len(plan.smaller(node))


def _first(value: tf.Tensor, *widths: tf.Tensor | None) -> tf.Tensor:
    """The first entries along each axis; `None` keeps an axis whole."""
    if all(width is None for width in widths):
        return value
    size = [-1 if width is None else width for width in widths]
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
        channels = {"i": width.get(node.inputs[0]), "o": width.get(node.name)}
        part = [
            _first(left.pop(0), *map(channels.get, variable.axes))
            for variable in held(node)
        ]
        if node.name in chains:
            matrices = [left.pop(0) for _ in plan.smaller(node)]
            part[0] = _smaller_kernel(
                part[0], matrices, chains[node.name], size[node.name]
            )
        parts[node.name] = part
    return parts
