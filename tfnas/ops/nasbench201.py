"""Cells of four nodes and the blocks around them (NAS-Bench-201).

Source: Dong and Yang 2020, "NAS-Bench-201: Extending the Scope of
Reproducible Neural Architecture Search", section 2.1, and its release.
"""

from __future__ import annotations

import re
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

# A cell says the operation of each edge by its index.
CELL_OPS = (
    "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"
)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_CELL = re.compile(r"[0-4](\.[0-4]){5}")
_NORM = {**NORM, "eps": 1e-5}


def write_cell(codes: tuple[int, ...]) -> str:
    """Writes the six op codes of a cell as the attribute `cell`."""
    return ".".join(map(str, codes))


def read_cell(text: Any) -> tuple[int, ...]:
    """Reads the attribute `cell`: the op codes in the order of `EDGES`.

    Raises:
        ArtifactError: unless it is six digits 0..4, joined by dots.
    """
    if not isinstance(text, str) or not _CELL.fullmatch(text):
        raise ArtifactError(
            "a cell is six op codes 0..4 joined by dots. "
            f"Received: cell={text!r}"
        )
    return tuple(map(int, text.split(".")))


@register
class NasBenchCell(Op):
    """A graph of four nodes with an operation on each of its six edges.

    Node 0 is the input, node 3 the output, and a node is the sum of its
    incoming edges. Convolutions are ReLU, convolution, normalisation, and
    take also zeros, of which they make their offset. As in the benchmark,
    convolutions count that lead nowhere; they are not built.

    Attributes of a block: `cell`, such as `"3.1.0.2.4.3"` (`CELL_OPS` in the
    order of `EDGES`), and `norm`.
    """

    name = "nasbench_cell"
    strides = (1,)
    attrs = {"cell": _CELL, "norm": dict}
    defaults = {"norm": _NORM}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        if block.in_channels != block.out_channels:
            raise ArtifactError(
                f"op `{self.name}` keeps its input's width. Received: "
                f"in={block.in_channels}, out={block.out_channels}"
            )
        g = Graph(in_shape)
        # The tensor of each node; `None` while it is zeros.
        tensors: list[str | None] = ["input", None, None, None]
        for (i, j), code in zip(EDGES, read_cell(a["cell"]), strict=True):
            name = f"edge{i}{j}"
            term = _edge(g, tensors[i], CELL_OPS[code], name, a["norm"])
            before = tensors[j]
            if before is not None and term is not None:
                term = _sum(g, before, term, f"{name}_sum")
            tensors[j] = term or before
        g.output = tensors[3] or _zeros(g)
        return g


def _edge(
    g: Graph, x: str | None, op: str, name: str, norm: dict[str, Any]
) -> str | None:
    """Adds the operation of one edge; `None` stands for zeros."""
    if op in _KERNELS:
        source = _zeros(g) if x is None else _relu(g, x)
        x = g.conv(source, name, g.input_shape[-1], _KERNELS[op])
        return g.norm(x, f"{name}_bn", norm)
    if op == "none" or x is None:
        return None
    return _pool(g, x) if op == "avg_pool_3x3" else x


def _relu(g: Graph, x: str) -> str:
    return _found(g, "act", x) or g.act(x, f"{x}_relu", "relu")


def _pool(g: Graph, x: str) -> str:
    return _found(g, "avg_pool", x) or g.avg_pool(
        x, f"{x}_pool", 3, 1, "same"
    )


def _sum(g: Graph, a: str, b: str, name: str) -> str:
    return _found(g, "add", a, b) or g.add(a, b, name)


def _found(g: Graph, kind: str, *inputs: str) -> str | None:
    """Returns the equal tensor that there is: nothing is computed twice."""
    for node in g.nodes:
        if node.kind == kind and sorted(node.inputs) == sorted(inputs):
            return node.name
    return None


def _zeros(g: Graph) -> str:
    return "zeros" if "zeros" in g.shapes else g.zeros("input", "zeros")


@register
class NasBenchDown(Op):
    """Residual block of stride 2 between the stages of the benchmark's net.

    Two times ReLU, 3x3 convolution, normalisation; the shortcut is a 2x2
    average pool and a 1x1 convolution without normalisation.

    Attributes of a block: `pad` and `norm`.
    """

    name = "nasbench_down"
    strides = (2,)
    attrs = {"pad": PADDINGS, "norm": dict}
    defaults = {"pad": "sym", "norm": _NORM}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        if in_shape[0] % 2 or in_shape[1] % 2:
            raise ArtifactError(
                f"op `{self.name}` halves even heights and widths. "
                f"Received: in_shape={in_shape}"
            )
        g, out = Graph(in_shape), block.out_channels
        x = g.act("input", "relu1", "relu")
        x = g.conv(x, "conv1", out, 3, 2, a["pad"])
        x = g.act(g.norm(x, "conv1_bn", a["norm"]), "relu2", "relu")
        x = g.norm(g.conv(x, "conv2", out, 3), "conv2_bn", a["norm"])
        short = g.avg_pool("input", "pool", 2, 2, "valid")
        g.add(x, g.conv(short, "shortcut", out), "sum")
        return g


@register
class NormAct(Op):
    """Batch normalisation and activation alone.

    They end networks whose convolutions are preceded by their activation.

    Attributes of a block: `act` and `norm`.
    """

    name = "norm_act"
    strides = (1,)
    attrs = {"act": ACTIVATIONS, "norm": dict}
    defaults = {"act": "relu", "norm": NORM}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        if block.in_channels != block.out_channels:
            raise ArtifactError(
                f"op `{self.name}` keeps its input's width. Received: "
                f"in={block.in_channels}, out={block.out_channels}"
            )
        g = Graph(in_shape)
        g.act(g.norm("input", "bn", a["norm"]), "act", a["act"])
        return g
