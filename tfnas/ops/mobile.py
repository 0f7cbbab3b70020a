"""Inverted residual blocks and the identity."""

from __future__ import annotations

from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.base import ACTIVATIONS
from tfnas.ops.base import NORM
from tfnas.ops.base import PADDINGS
from tfnas.ops.base import Op
from tfnas.ops.base import make_divisible
from tfnas.ops.base import register
from tfnas.ops.conv import KERNELS
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape


@register
class MBConv(Op):
    """Inverted residual: 1x1 expansion, depthwise kxk, 1x1 projection.

    The sum with the input is there iff the shapes agree. With `e=1` there is
    no expansion convolution. Source: Sandler et al. 2018 (MobileNetV2), as
    used by Fang et al. 2020 (DenseNAS).

    Attributes of a block: `k` kernel size (odd), `e` expansion ratio, `act`,
    `pad` and `norm`.
    """

    name = "mbconv"
    attrs = {
        "k": KERNELS, "e": range(1, 17), "act": ACTIVATIONS, "pad": PADDINGS,
        "norm": dict,
    }
    defaults = {"act": "relu6", "pad": "sym", "norm": NORM}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        g, x = Graph(in_shape), "input"
        if a["e"] > 1:
            width = a["e"] * block.in_channels
            x = g.conv_norm_act(x, "expand", width, a["norm"], a["act"])
        x = g.depthwise(x, "depthwise", a["k"], block.stride, a["pad"])
        x = g.norm(x, "depthwise_bn", a["norm"])
        x = self.gate(g, g.act(x, "depthwise_act", a["act"]))
        x = g.conv(x, "project", block.out_channels)
        x = g.norm(x, "project_bn", a["norm"])
        if g.shapes[x] == in_shape:
            g.add("input", x, "sum")
        return g

    def gate(self, g: Graph, x: str) -> str:
        """Adds what stands between the depthwise and the projection."""
        return x


@register
class MBConvSE(MBConv):
    """Inverted residual with squeeze-and-excitation (MobileNetV3).

    The channels are gated after the depthwise activation, by way of a fourth
    of their number. Source: Howard et al. 2019.
    """

    name = "mbconv_se"

    def gate(self, g: Graph, x: str) -> str:
        return g.squeeze_excite(x, "se", make_divisible(g.shapes[x][-1] // 4))


@register
class MBConvSENarrow(MBConv):
    """The same by way of a fourth of the block's input width.

    Source: Tan et al. 2019 (MnasNet) and Tan and Le 2019 (EfficientNet).
    """

    name = "mbconv_se_narrow"

    def gate(self, g: Graph, x: str) -> str:
        return g.squeeze_excite(x, "se", max(1, g.input_shape[-1] // 4))


@register
class Skip(Op):
    """The identity: width and resolution unchanged, nothing computed."""

    name = "skip"
    strides = (1,)

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        self.attributes(block)
        if block.in_channels != block.out_channels:
            raise ArtifactError(
                "op `skip` keeps its input's width. Received: "
                f"in={block.in_channels}, out={block.out_channels}"
            )
        return Graph(in_shape)
