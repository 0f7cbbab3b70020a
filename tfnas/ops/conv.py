"""Plain convolution (stem, 1x1 tail) and the classifier."""

from __future__ import annotations

from tfnas.arch import Block
from tfnas.ops.base import ACTIVATIONS
from tfnas.ops.base import NORM
from tfnas.ops.base import PADDINGS
from tfnas.ops.base import Op
from tfnas.ops.base import register
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape

KERNELS = range(1, 12, 2)


@register
class Conv(Op):
    """Convolution without bias, batch normalisation, activation.

    Attributes of a block: `k` kernel size (odd), `act`, `pad` and `norm`.
    """

    name = "conv"
    attrs = {"k": KERNELS, "act": ACTIVATIONS, "pad": PADDINGS, "norm": dict}
    defaults = {"act": "relu6", "pad": "sym", "norm": NORM}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        g = Graph(in_shape)
        g.conv_norm_act(
            "input", "conv", block.out_channels, a["norm"], a["act"],
            a["k"], block.stride, a["pad"],
        )
        return g


@register
class Classifier(Op):
    """Global average pool and a dense layer with bias: the logits."""

    name = "classifier"
    strides = (1,)

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        self.attributes(block)
        g = Graph(in_shape)
        g.dense(g.mean("input", "pool"), "dense", block.out_channels)
        return g
