"""The numbers of the densely connected spaces (DenseNAS, CVPR 2020)."""

from __future__ import annotations

import dataclasses

MBCONVS = tuple(f"mbconv_k{k}_t{e}" for k in (3, 5, 7) for e in (3, 6))
NORM_MBV2 = {"eps": 1e-3, "momentum": 0.9, "affine": True}
NORM_RES = {"eps": 1e-5, "momentum": 0.9, "affine": True}


@dataclasses.dataclass(frozen=True)
class DenseSpec:
    """Block widths, resolutions and connections of one space.

    Block 0 is the output of the stem (and of the fixed block, in the
    MobileNetV2 form); block `len(widths)` is the tail.

    Args:
        net_type: `"mbv2"` or `"res"`, as published files name it.
        input_size: Side of the square input image.
        classes: Default width of the logits.
        widths: Width of each block.
        resolutions: Side of each block's output at `input_size`.
        stages: Stage label of each block and of the tail.
        layers: Number of stack layers of each block.
        last_dim: Width of the tail's 1x1 convolution.
        adjoin: Most connections that leave a block.
        head_ops: Candidates of a head layer, by published name.
        stack_ops: Candidates of a stack layer.
    """

    net_type: str
    input_size: int
    classes: int
    widths: tuple[int, ...]
    resolutions: tuple[int, ...]
    stages: tuple[int, ...]
    layers: tuple[int, ...]
    last_dim: int
    adjoin: int
    head_ops: tuple[str, ...]
    stack_ops: tuple[str, ...]

    @property
    def tail(self) -> int:
        """Index of the tail, one past the last block."""
        return len(self.widths)

    @property
    def stem_stride(self) -> int:
        """Stride of the stem convolution."""
        return self.input_size // self.resolutions[0]

    def tensor_width(self, block: int) -> int:
        """Channels of a block's output; bottlenecks are 4 times as wide."""
        wide = block > 0 and "bottle_neck" in self.stack_ops
        return self.widths[block] * (4 if wide else 1)

    def stride(self, source: int, to: int) -> int:
        """Stride of the connection between two blocks; 1 into the tail."""
        if to == self.tail:
            return 1
        return self.resolutions[source] // self.resolutions[to]

    def outgoing(self, block: int) -> tuple[int, ...]:
        """Destinations of a block's connections, ascending (section 3.1).

        The walk over later blocks stops at the first that is two stages
        away or needs another stride than 1 or 2.
        """
        resolutions = (*self.resolutions, self.resolutions[-1])
        result = []
        for to in range(block + 1, block + 1 + self.adjoin):
            if to > self.tail or self.stages[to] - self.stages[block] > 1:
                break
            if resolutions[block] / resolutions[to] not in (1, 2):
                break
            result.append(to)
        return tuple(result)

    def incoming(self, block: int) -> tuple[int, ...]:
        """Sources of a block's connections, nearest predecessor first."""
        return tuple(
            b for b in range(block - 1, -1, -1) if block in self.outgoing(b)
        )


SPECS = {
    "densenas_mbv2": DenseSpec(
        net_type="mbv2",
        input_size=224,
        classes=1000,
        widths=(
            16, 24, 32, 40, 48, 56, 64, 72, 96, 112, 128, 160, 176, 192, 320,
            352, 384,
        ),
        resolutions=(112, 56) + (28,) * 3 + (14,) * 6 + (7,) * 6,
        stages=(0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7),
        layers=(0,) + (3,) * 13 + (0,) * 3,
        last_dim=1984,
        adjoin=4,
        head_ops=MBCONVS,
        stack_ops=(*MBCONVS, "skip_connect"),
    ),
    "densenas_resnet": DenseSpec(
        net_type="res",
        input_size=224,
        classes=1000,
        widths=(
            32, 48, 56, 64, 72, 96, 112, 128, 144, 160, 176, 192, 208, 224,
            240, 256, 272, 288, 480, 496, 512,
        ),
        resolutions=(112,) + (56,) * 3 + (28,) * 3 + (14,) * 7 + (7,) * 7,
        stages=(0,) + (1,) * 3 + (2,) * 3 + (3,) * 4 + (4,) * 3 + (5,) * 4
        + (6,) * 3 + (7,),
        layers=(0,) * 4 + (5,) * 3 + (15,) * 4 + (5,) * 3 + (5,) * 4
        + (1,) * 3,
        last_dim=512,
        adjoin=10,
        head_ops=("basic_block",),
        stack_ops=("basic_block", "skip_connect"),
    ),
    "densenas_mbv2@32": DenseSpec(
        net_type="mbv2",
        input_size=32,
        classes=10,
        widths=(8, 16, 24, 32, 48, 64, 96),
        resolutions=(32, 16, 8, 8, 4, 4, 4),
        stages=(0, 1, 2, 2, 3, 3, 3, 4),
        layers=(0, 1, 1, 1, 1, 1, 0),
        last_dim=256,
        adjoin=3,
        head_ops=MBCONVS[:4],
        stack_ops=(*MBCONVS[:4], "skip_connect"),
    ),
    "densenas_resnet@32": DenseSpec(
        net_type="res",
        input_size=32,
        classes=10,
        widths=(32, 36, 40, 48, 56, 64, 72, 80, 96),
        resolutions=(32, 16, 16, 8, 8, 8, 4, 4, 4),
        stages=(0, 1, 1, 2, 2, 2, 3, 3, 3, 4),
        layers=(0, 0, 0, 2, 2, 2, 2, 2, 1),
        last_dim=96,
        adjoin=6,
        head_ops=("basic_block",),
        stack_ops=("basic_block", "skip_connect"),
    ),
}

# ResNet-50's block in the same space: widths are inner widths.
SPECS["densenas_resnet_bottleneck"] = dataclasses.replace(
    SPECS["densenas_resnet"],
    last_dim=4 * 512,
    head_ops=("bottle_neck",),
    stack_ops=("bottle_neck", "skip_connect"),
)
