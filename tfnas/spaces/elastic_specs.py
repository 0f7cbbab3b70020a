"""The numbers of the elastic MobileNetV3 spaces (ASE-NAS, Once-for-All)."""

from __future__ import annotations

import dataclasses
import math

from tfnas.ops.base import make_divisible

NORM = {"eps": 1e-5, "momentum": 0.9, "affine": True}


@dataclasses.dataclass(frozen=True)
class Unit:
    """Layers of one width; the first of them changes it.

    Args:
        width: Channels of the output at width multiplier 1.
        stride: Stride of the first layer.
        act: Activation.
        se: Whether the layers have squeeze-and-excitation.
    """

    width: int
    stride: int
    act: str
    se: bool


@dataclasses.dataclass(frozen=True)
class ElasticSpec:
    """Widths, strides and choices of one space.

    Args:
        input_size: Side of the square input image.
        classes: Default width of the logits.
        stem: Width of the stem and of the fixed layer after it.
        stem_stride: Stride of the stem.
        units: The units in order.
        last: Width of the last 1x1 convolution.
        mix: Width of the 1x1 convolution after the pool.
        layers: Most layers of a unit.
        min_layers: Least layers of a unit.
        kernels: Kernel sizes of a layer.
        expansions: Expansion ratios of a layer.
        width: Multiplier of all widths.
        resolutions: Sides of the image to choose from; with none of them the
            resolution is no choice.
    """

    input_size: int
    classes: int
    stem: int
    stem_stride: int
    units: tuple[Unit, ...]
    last: int
    mix: int
    layers: int = 4
    min_layers: int = 2
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 4, 6)
    width: float = 1.2
    resolutions: tuple[int, ...] = ()

    @property
    def slots(self) -> int:
        """Number of layers of the deepest network, fixed ones aside."""
        return len(self.units) * self.layers

    @property
    def operations(self) -> tuple[tuple[int, int], ...]:
        """Kernel size and expansion ratio that each code means.

        Code 0 is an absent layer, `(0, 0)`.
        """
        pairs = [(k, e) for k in self.kernels for e in self.expansions]
        return ((0, 0), *pairs)

    @property
    def stride(self) -> int:
        """Stride of the last feature map."""
        return self.stem_stride * math.prod(u.stride for u in self.units)

    def scaled(self, width: int) -> int:
        """Returns a width times the multiplier, a multiple of 8."""
        return make_divisible(width * self.width)


MOBILENETV3 = ElasticSpec(
    input_size=224,
    classes=1000,
    stem=16,
    stem_stride=2,
    units=(
        Unit(24, 2, "relu", se=False),
        Unit(40, 2, "relu", se=True),
        Unit(80, 2, "hard_swish", se=False),
        Unit(112, 1, "hard_swish", se=True),
        Unit(160, 2, "hard_swish", se=True),
    ),
    last=960,
    mix=1280,
)

SPECS = {
    "mobilenetv3": MOBILENETV3,
    "mobilenetv3_resolution": dataclasses.replace(
        MOBILENETV3, resolutions=(192, 208, 224, 240, 256)
    ),
    "mobilenetv3@32": ElasticSpec(
        input_size=32,
        classes=10,
        stem=8,
        stem_stride=1,
        units=(
            Unit(16, 2, "relu", se=False),
            Unit(24, 2, "relu", se=True),
            Unit(40, 2, "hard_swish", se=True),
        ),
        last=160,
        mix=256,
        width=1.0,
    ),
}

# Codes of the networks that the authors of ASE-NAS found, for `mobilenetv3`.
ASE_NAS = "6,6,7,0,6,5,9,0,6,9,6,0,6,6,6,8,6,9,8,8"
ASE_NAS_PLUS = "3,6,4,4,7,9,1,9,6,1,9,0,6,4,9,8,3,6,5,3"
