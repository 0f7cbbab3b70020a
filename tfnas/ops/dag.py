"""Cells that are graphs of convolutions, and their parts (AutoShrink).

Source: Zhang et al., AAAI 2020, and the authors' release: edges and leaves
are joined by concatenation, only the cell's shortcut adds.
"""

from __future__ import annotations

import re
from typing import Any

from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.base import ACTIVATIONS
from tfnas.ops.base import NORM
from tfnas.ops.base import Op
from tfnas.ops.base import register
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape
from tfnas.ops.masked_dag import MaskedDag

# Operations of a node: separable 3x3 convolution, 1x1 convolution.
NODE_OPS = ("sep", "conv")
_NO_EDGES = MaskedDag(("conv",), ()).encode()

Part = tuple[Block, Shape]


def read_graph(text: str) -> MaskedDag:
    """Reads the graph of a cell as blocks state it.

    Raises:
        ArtifactError: for text that is no graph, or has edges that lead
            nowhere; the message gives the form without them.
    """
    dag = MaskedDag.decode(text, NODE_OPS)
    canonical = dag.pruned().encode()
    if text != canonical:
        raise ArtifactError(
            "a cell states its graph without edges from nodes that cannot be "
            f"reached, as {canonical!r}. Received: {text!r}"
        )
    return dag


@register
class ShrinkCell(Op):
    """A cell of AutoShrink's convolutional networks.

    Node 0 is the input, max-pooled where the stride is 2. Every other
    reachable node joins its sources by channels, in ascending order, and
    applies its operation; the leaves, joined likewise, are added to a
    shortcut from the input before the pool. The shortcut is the identity, or
    a 1x1 convolution where shapes differ. Leaves are then linear.

    Attributes of a block: `graph` (see `MaskedDag.encode`), `f` filters of a
    node, `act`, `inner` the activation inside a separable convolution that is
    itself linear (otherwise it is `act`), `residual` 1 or 0 for no shortcut,
    `b` the factor by which a residual cell divides `f`, rounded down, `pad`
    and `norm`.
    """

    name = "shrink_cell"
    attrs = {
        "graph": re.compile("[^|=]+"), "f": range(1, 1 << 16),
        "act": ACTIVATIONS, "inner": ACTIVATIONS, "residual": (0, 1),
        "b": range(1, 17), "pad": ("same",), "norm": dict,
    }
    defaults = {
        "act": "relu", "inner": "relu", "residual": 1, "b": 1, "pad": "same",
        "norm": {**NORM, "eps": 1e-5},
    }

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        dag, g = read_graph(a["graph"]), Graph(in_shape)
        tensors = {0: "input"}
        if block.stride > 1:
            tensors[0] = g.max_pool("input", "pool", 2, block.stride, "same")
        for node in dag.reachable[1:]:
            sources = [tensors[i] for i in dag.sources(node)]
            tensors[node] = _node(
                g, g.concat(sources, f"n{node}_in"), f"n{node}",
                dag.ops[node], _filters(a), _act_of(a, dag, node), a,
            )
        out = g.concat([tensors[i] for i in dag.leaves], "leaves")
        width = g.shapes[out][-1]
        if a["residual"]:
            short = "input"
            if block.stride > 1 or width != block.in_channels:
                short = g.conv("input", "shortcut", width, 1, block.stride)
                short = g.norm(short, "shortcut_bn", a["norm"])
            g.add(short, out, "sum")
        if width != block.out_channels:
            raise ArtifactError(
                f"op `{self.name}`: the leaves of {a['graph']!r} are {width} "
                f"channels wide. Received: out={block.out_channels}"
            )
        return g

    def parts(self, block: Block, in_shape: Shape) -> list[Part]:
        """Returns pool, joins, nodes and shortcut as blocks of their own."""
        a = self.attributes(block)
        dag, stride = read_graph(a["graph"]), block.stride
        size = tuple(-(-n // stride) for n in in_shape[:2])
        widths = dict.fromkeys(dag.reachable, _filters(a))
        widths[0] = in_shape[-1]
        found = [pool_part(in_shape)] if stride > 1 else []
        for node in dag.reachable[1:]:
            sources = dag.sources(node)
            shape = (*size, sum(widths[i] for i in sources))
            if len(sources) > 1:
                found.append(join_part(shape))
            found.append(
                node_part(
                    shape, _filters(a), dag.ops[node], _act_of(a, dag, node),
                    a["inner"],
                )
            )
        out_shape = (*size, block.out_channels)
        if len(dag.leaves) > 1:
            found.append(join_part(out_shape))
        if a["residual"]:
            found += shortcut_parts(in_shape, out_shape, stride)
        return found


@register
class Concat(Op):
    """The input beside itself, `copies` times: what a join costs."""

    name = "concat"
    strides = (1,)
    attrs = {"copies": range(2, 17)}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        copies, g = self.attributes(block)["copies"], Graph(in_shape)
        g.concat(["input"] * copies, "concat")
        if g.output_shape[-1] != block.out_channels:
            raise ArtifactError(
                f"op `concat` gives {g.output_shape[-1]} channels. "
                f"Received: out={block.out_channels}"
            )
        return g


def _filters(a: dict[str, Any]) -> int:
    return max(a["f"] // a["b"], 1) if a["residual"] else a["f"]


def _act_of(a: dict[str, Any], dag: MaskedDag, node: int) -> str:
    return "linear" if a["residual"] and node in dag.leaves else a["act"]


def _node(
    g: Graph, x: str, name: str, op: str, filters: int, act: str,
    a: dict[str, Any],
) -> str:
    """Adds the operation of a node; returns its tensor."""
    if op == "sep":
        inner = a["inner"] if act == "linear" else act
        x = g.depthwise(x, f"{name}_depthwise", 3, pad=a["pad"])
        x = g.norm(x, f"{name}_depthwise_bn", a["norm"])
        x = g.act(x, f"{name}_depthwise_act", inner)
    return g.conv_norm_act(x, f"{name}_conv", filters, a["norm"], act)


def pool_part(in_shape: Shape) -> Part:
    """Returns the max pool of a cell of stride 2."""
    return _edgeless(in_shape, 2, 0)


def node_part(
    in_shape: Shape, filters: int, op: str, act: str, inner: str
) -> Part:
    """Returns the operation of one node.

    Args:
        in_shape: `(height, width, channels)` of its joined sources.
        filters: Its width.
        op: One of `NODE_OPS`.
        act: Its activation.
        inner: See `ShrinkCell`.
    """
    attrs = {
        "graph": MaskedDag.complete((op, op)).encode(), "f": filters,
        "act": act, "residual": 0,
        "inner": inner if (op, act) == ("sep", "linear") else "relu",
    }
    block = Block("shrink_cell", in_shape[-1], filters, attrs=attrs)
    return block, in_shape


def join_part(shape: Shape) -> Part:
    """Returns a concatenation of two halves to a shape, rounded up."""
    half = -(-shape[-1] // 2)
    block = Block("concat", half, 2 * half, attrs={"copies": 2})
    return block, (*shape[:-1], half)


def shortcut_parts(
    in_shape: Shape, out_shape: Shape, stride: int
) -> list[Part]:
    """Returns a cell's sum, and its shortcut where that is no identity."""
    found = [_edgeless(out_shape, 1, 1)]
    if in_shape[-1] != out_shape[-1] or stride > 1:
        attrs = {"k": 1, "act": "linear", "pad": "same"}
        conv = Block("conv", in_shape[-1], out_shape[-1], stride, attrs=attrs)
        found.append((conv, in_shape))
    return found


def _edgeless(in_shape: Shape, stride: int, residual: int) -> Part:
    """A cell without edges: the pool alone, or the sum of x and x."""
    attrs = {"graph": _NO_EDGES, "f": 1, "residual": residual}
    width = in_shape[-1]
    block = Block("shrink_cell", width, width, stride, attrs=attrs)
    return block, in_shape
