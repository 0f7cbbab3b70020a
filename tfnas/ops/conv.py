"""Plain convolution (stem, 1x1 tail), pooled convolution, classifier."""

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
class PooledConv(Op):
    """Global average pool, 1x1 convolution, activation (MobileNetV3's head).

    Neither bias nor normalisation; the output is `(1, 1, channels)`.
    Source: Howard et al. 2019, section 5.1; without bias as in Once-for-All.
    """

    name = "pooled_conv"
    strides = (1,)
    attrs = {"act": ACTIVATIONS}
    defaults = {"act": "hard_swish"}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        a = self.attributes(block)
        g = Graph(in_shape)
        x = g.mean("input", "pool", keepdims=True)
        g.act(g.conv(x, "conv", block.out_channels), "conv_act", a["act"])
        return g


@register
class Classifier(Op):
    """Global average pool and a dense layer with bias: the logits.

    What is pooled already is not pooled again.
    """

    name = "classifier"
    strides = (1,)

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        self.attributes(block)
        g = Graph(in_shape)
        pool = g.flatten if in_shape[:2] == (1, 1) else g.mean
        g.dense(pool("input", "pool"), "dense", block.out_channels)
        return g
