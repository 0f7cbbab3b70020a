"""Basic and bottleneck residual blocks."""

from __future__ import annotations

from typing import Any

from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.base import NORM
from tfnas.ops.base import PADDINGS
from tfnas.ops.base import Op
from tfnas.ops.base import register
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape

EXPANSION = 4  # a bottleneck's output is four times its inner width


def _join(
    g: Graph, x: str, out: int, stride: int, norm: dict[str, Any]
) -> None:
    """Sums the branch `x` with the (projected) input, then ReLU."""
    short = "input"
    if stride != 1 or g.input_shape[-1] != out:
        short = g.conv("input", "shortcut", out, 1, stride)
        short = g.norm(short, "shortcut_bn", norm)
    g.act(g.add(x, short, "sum"), "out", "relu")


@register
class Basic(Op):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, ResNet-18/34)."""

    name = "basic"
    attrs = {"pad": PADDINGS, "norm": dict}
    defaults = {"pad": "sym", "norm": {**NORM, "eps": 1e-5}}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        g, out = Graph(in_shape), block.out_channels
        x = g.conv_norm_act(
            "input", "conv1", out, a["norm"], "relu", 3, block.stride,
            a["pad"],
        )
        x = g.norm(g.conv(x, "conv2", out, 3), "conv2_bn", a["norm"])
        _join(g, x, out, block.stride, a["norm"])
        return g


@register
class Bottleneck(Op):
    """1x1, 3x3, 1x1 convolutions and a shortcut (ResNet-50).

    A block's `in` and `out` are inner widths ("planes"): the tensors are four
    times as wide, but for the stem's output, marked by `wide_input=0`.
    """

    name = "bottleneck"
    attrs = {"wide_input": (0, 1), "pad": PADDINGS, "norm": dict}
    defaults = {
        "wide_input": 1, "pad": "sym", "norm": {**NORM, "eps": 1e-5}
    }

    def input_channels(self, block: Block) -> int:
        wide = self.attributes(block)["wide_input"]
        return block.in_channels * (EXPANSION if wide else 1)

    def from_key(
        self, in_shape: Shape, out_shape: Shape, stride: int,
        attrs: dict[str, Any],
    ) -> Block:
        scale = EXPANSION if attrs.get("wide_input", 1) else 1
        if in_shape[-1] % scale or out_shape[-1] % EXPANSION:
            raise ArtifactError(
                "op `bottleneck` has widths that are multiples of "
                f"{EXPANSION}. Received: {in_shape} > {out_shape}"
            )
        return Block(
            self.name, in_shape[-1] // scale, out_shape[-1] // EXPANSION,
            stride, attrs=attrs,
        )

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        g, inner = Graph(in_shape), block.out_channels
        out = EXPANSION * inner
        x = g.conv_norm_act("input", "conv1", inner, a["norm"], "relu")
        x = g.conv_norm_act(
            x, "conv2", inner, a["norm"], "relu", 3, block.stride, a["pad"]
        )
        x = g.norm(g.conv(x, "conv3", out), "conv3_bn", a["norm"])
        _join(g, x, out, block.stride, a["norm"])
        return g
