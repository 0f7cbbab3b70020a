"""A new operator, from its layers to its time on this machine.

    python examples/new_operator.py

The ghost module of Han et al. (GhostNet, CVPR 2020): half of the channels are
convolved, the others made of those by a depthwise convolution. What it is
stands once, in `lower`; everything below that class follows from it.
"""

import pathlib
import tempfile

from tflite_bench import writer
from tflite_bench.device import HostDevice
from tfnas import Arch
from tfnas import build_model
from tfnas import ops
from tfnas.arch import Block
from tfnas.ops.base import ACTIVATIONS
from tfnas.ops.base import NORM


@ops.base.register
class Ghost(ops.Op):
    """1x1 convolution to half the width, depthwise kxk beside it."""

    name = "ghost"
    strides = (1,)
    attrs = {"k": range(3, 8, 2), "act": ACTIVATIONS}
    defaults = {"act": "relu"}

    def lower(self, block, in_shape):
        a, half = self.attributes(block), block.out_channels // 2
        g = ops.Graph(in_shape)
        x = g.conv_norm_act("input", "primary", half, NORM, a["act"])
        y = g.norm(g.depthwise(x, "cheap", a["k"]), "cheap_bn", NORM)
        g.concat([x, g.act(y, "cheap_act", a["act"])], "concat")
        return g


arch = Arch(
    (
        Block("conv", 3, 16, 2, attrs={"k": 3}),
        Block("ghost", 16, 32, attrs={"k": 5}),
        Block("classifier", 32, 10),
    ),
    input_shape=(32, 32, 3), classes=10,
)
arch.summary()
trained = build_model(arch).trainable_variables
print("parameters in Keras:", sum(v.numpy().size for v in trained))
print("key:", key := ops.lut_key(arch.blocks[1], (16, 16, 16)))

with tempfile.TemporaryDirectory() as folder:
    for dtype in ("float32", "int8"):
        path = pathlib.Path(folder) / f"{dtype}.tflite"
        path.write_bytes(writer.write_key(key, dtype))
        (alone,) = HostDevice().measure([str(path)], rounds=25)
        print(f"{dtype}: {alone.latency_ms:.4f} ms")
