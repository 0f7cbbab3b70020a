"""Cells of four nodes between a 1x1 expansion and a 1x1 projection.

Source: Zhou et al., "AutoSpace: Neural Architecture Search with Less Human
Interference", ICCV 2021. The meaning of the codes is inferred from the
authors' released networks; what they leave open is marked "ours".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.base import ACTIVATIONS
from tfnas.ops.base import NORM
from tfnas.ops.base import PADDINGS
from tfnas.ops.base import Op
from tfnas.ops.base import register
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape

# Codes of an edge.
NONE, IDENTITY, CONV = 1, 2, 3
KERNELS = {5: 3, 7: 5, 9: 7}  # of depthwise convolutions
EXPANSIONS = (1, 3, 6)  # by `Cell.dim`
EDGES = ("e01", "e02", "e12", "e03", "e13", "e23")
SUM, PRODUCT = 0, 1  # how a node joins its inputs
MERGES = ("channel_gate", "hadamard")
LARGE_KERNELS = ("dense", "dilated")

_ANY = (NONE, IDENTITY, CONV, *KERNELS)
_LEGAL = {
    "dim": tuple(range(len(EXPANSIONS))),
    "mix2": (SUM, PRODUCT),
    "mix3": (SUM, PRODUCT),
    "e01": _ANY[1:],
    "e02": _ANY,
    "e12": _ANY[1:],
    "e03": (NONE,),
    "e13": _ANY,
    "e23": _ANY[1:],
}
_TEXT = re.compile(
    r"\.".join(f"[{''.join(map(str, codes))}]" for codes in _LEGAL.values())
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """The choices that make a cell, in the order of the compact form.

    Args:
        dim: Index of the expansion ratio in `EXPANSIONS`.
        mix2: How node 2 joins its inputs, `SUM` or `PRODUCT`.
        mix3: How node 3 does.
        e01: Code of the edge from node 0 to node 1, never `NONE`.
        e02: From 0 to 2.
        e12: From 1 to 2, never `NONE`.
        e03: From 0 to 3, always `NONE`.
        e13: From 1 to 3.
        e23: From 2 to 3, never `NONE`.
    """

    dim: int
    mix2: int
    mix3: int
    e01: int
    e02: int
    e12: int
    e03: int
    e13: int
    e23: int

    @classmethod
    def of(cls, codes: Sequence[Any], source: str = "cell") -> Cell:
        """Returns the cell of nine codes.

        Args:
            codes: In the order of the fields.
            source: What the codes stand in, for messages.

        Raises:
            ArtifactError: for a wrong length, or naming an illegal field.
        """
        if not isinstance(codes, list | tuple) or len(codes) != len(_LEGAL):
            raise ArtifactError(
                f"{source}: expected a list of the {len(_LEGAL)} codes "
                f"{', '.join(_LEGAL)}. Received: {codes!r}"
            )
        for (name, legal), code in zip(_LEGAL.items(), codes, strict=True):
            if type(code) is not int or code not in legal:
                raise ArtifactError(
                    f"{source}: field `{name}` must be one of {[*legal]}. "
                    f"Received: {name}={code!r}"
                )
        return cls(*codes)

    @classmethod
    def parse(cls, text: str, source: str = "cell") -> Cell:
        """Reads the compact text, such as `2.0.0.5.1.5.1.1.5`.

        Raises:
            ArtifactError: as `of` does.
        """
        parts = text.split(".")
        return cls.of([int(p) if p.isdecimal() else p for p in parts], source)

    def __str__(self) -> str:
        return ".".join(map(str, self.codes))

    @property
    def codes(self) -> tuple[int, ...]:
        """The nine codes in the order of the fields."""
        return dataclasses.astuple(self)

    def inputs(self, node: int) -> tuple[tuple[int, int], ...]:
        """Returns the live edges into a node, as `(source, code)` pairs."""
        edges = [(i, getattr(self, f"e{i}{node}")) for i in range(node)]
        return tuple(edge for edge in edges if edge[1] != NONE)

    def mix(self, node: int) -> int:
        """Returns how a node joins its inputs; one input is passed on."""
        return (SUM, self.mix2, self.mix3)[node - 1]


def merge(
    g: Graph, inputs: Sequence[str], name: str, mix: int, kind: str
) -> str:
    """Adds what joins the inputs of a node.

    Args:
        g: The graph.
        inputs: Tensors of one shape, in the order of their nodes.
        name: Prefix of the layers.
        mix: `SUM`, or `PRODUCT` for what `kind` says.
        kind: `channel_gate`: the first input times the sigmoid of the mean
            over height and width of each other one; `hadamard`: the product
            of all. Both are ours: the published form is unknown, but for
            having no parameters.
    """
    x, *others = inputs
    for i, other in enumerate(others, 1):
        if mix == SUM:
            x = g.add(x, other, f"{name}_sum{i}")
            continue
        if kind == "channel_gate":
            mean = g.mean(other, f"{name}_mean{i}", keepdims=True)
            other = g.act(mean, f"{name}_gate{i}", "sigmoid")
        x = g.mul(x, other, f"{name}_mul{i}")
    return x


@register
class CellOp(Op):
    """A cell: expansion, a graph of four nodes, projection.

    The sum with the input is there iff the shapes agree. With `e=1` there is
    no expansion convolution (ours, as in an inverted residual). In a stride-2
    cell every edge that leaves node 0 carries the stride.

    Attributes of a block: `cell` the compact text of a `Cell`, whose `dim`
    states nothing here, `e` the expansion ratio, `merge` (see there),
    `large_kernel` whether codes 7 and 9 are true 5x5 and 7x7 kernels
    (`dense`) or 3x3 kernels of dilation 2 and 3 (`dilated`), `act`, `pad`
    and `norm`.
    """

    name = "cell"
    attrs = {
        "cell": _TEXT, "e": range(1, 17), "merge": MERGES,
        "large_kernel": LARGE_KERNELS, "act": ACTIVATIONS, "pad": PADDINGS,
        "norm": dict,
    }
    defaults = {
        "merge": "channel_gate", "large_kernel": "dense", "act": "relu6",
        "pad": "sym", "norm": NORM,
    }

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        cell = Cell.parse(a["cell"])
        g, x = Graph(in_shape), "input"
        if a["e"] > 1:
            width = a["e"] * block.in_channels
            x = g.conv_norm_act(x, "expand", width, a["norm"], a["act"])
        nodes = [x]
        for node in (1, 2, 3):
            inputs = [
                _edge(
                    g, nodes[source], f"e{source}{node}", code,
                    block.stride if source == 0 else 1, a,
                )
                for source, code in cell.inputs(node)
            ]
            nodes.append(
                merge(g, inputs, f"n{node}", cell.mix(node), a["merge"])
            )
        x = g.conv(nodes[-1], "project", block.out_channels)
        x = g.norm(x, "project_bn", a["norm"])
        if g.shapes[x] == in_shape:
            g.add("input", x, "sum")
        return g


def _edge(
    g: Graph, x: str, name: str, code: int, stride: int, a: dict[str, Any]
) -> str:
    """Adds the operator of a live edge."""
    norm, act = a["norm"], a["act"]
    if code == IDENTITY:
        if stride == 1:
            return x
        # Ours: `same`, so that odd sides halve as those of convolutions do.
        # All strided edges leave node 0: one pool serves them.
        pool = "n0_pool"
        return pool if pool in g.shapes else g.avg_pool(x, pool, 2, 2, "same")
    if code == CONV:
        width = g.shapes[x][-1]
        return g.conv_norm_act(x, name, width, norm, act, 1, stride)
    size, dilation = KERNELS[code], 1
    if a["large_kernel"] == "dilated":
        size, dilation = 3, size // 2
    if dilation == 1:
        x = g.depthwise(x, name, size, stride, a["pad"])
    else:
        # Keras has no convolution with a stride and a dilation. Every second
        # pixel of a dilation of 2 is a dilation of 1 on every second pixel.
        before = stride > 1 and dilation == 2
        if before:
            half = "n0_half"
            if half not in g.shapes:
                g.max_pool(x, half, 1, 2, "valid")
            x, dilation = half, 1
        x = g.depthwise(x, name, size, 1, a["pad"], dilation)
        if stride > 1 and not before:
            x = g.max_pool(x, f"{name}_half", 1, 2, "valid")
    return g.act(g.norm(x, f"{name}_bn", norm), f"{name}_act", act)
