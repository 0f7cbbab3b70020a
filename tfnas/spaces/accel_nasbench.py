"""The networks of Accel-NASBench: seven blocks of inverted residuals.

Source: Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for
Accelerator-Aware NAS", DAC 2024, and its release; the space is that of MnasNet
(Tan et al., CVPR 2019).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.spaces.base import image_shape
from tfnas.spaces.base import register
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

STEM, LAST = 32, 1280
WIDTHS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first layer of a block
EXPANSIONS, KERNELS, DEPTHS, GATED = (1, 4, 6), (3, 5), (1, 2, 3, 4), (0, 1)
# What the four codes of a block choose from.
CHOICES = (EXPANSIONS, KERNELS, DEPTHS, GATED)
_DEEP = 5  # only this block may have four layers
NORM = {"eps": 1e-5, "momentum": 0.9, "affine": True}
_STRIDE = 32


class BlockChoice(NamedTuple):
    """What a block is made of; its layers are alike but for the first.

    Args:
        expansion: Expansion ratio.
        kernel: Kernel size.
        depth: Layers.
        gated: 1 with squeeze-and-excitation, else 0.
    """

    expansion: int
    kernel: int
    depth: int
    gated: int


class AccelNasBenchSpace(CodedSpace):
    """Seven blocks; four codes each: expansion, kernel, depth, gate.

    A code is an index into the values of `CHOICES`. The release names neither
    activation nor gate of its networks; here they are ReLU and the hard
    sigmoid of MobileNetV3. Neither has parameters or multiply-adds.

    Args:
        name: Registered name.
        classes: Width of the logits; 1000 by default.
        input_shape: `(height, width, channels)`; `(224, 224, 3)` by default.

    Raises:
        ConfigError: when the image is too small for the strides.
    """

    alphabets = tuple(len(values) for values in CHOICES)
    alphabet_of = np.tile(np.arange(len(CHOICES)), len(WIDTHS))
    legal = np.arange(max(alphabets)) < np.array(alphabets)[alphabet_of, None]
    legal[[4 * i + 2 for i in range(len(WIDTHS)) if i != _DEEP], 3] = False

    def __init__(
        self,
        name: str = "accel_nasbench",
        classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ):
        shape = image_shape(name, input_shape, 224, _STRIDE)
        super().__init__(name, shape, 1000 if classes is None else classes)

    def to_choices(self, codes: Sequence[int]) -> tuple[BlockChoice, ...]:
        """Returns what legal codes mean, block by block.

        Raises:
            ArtifactError: for codes that `check_codes` refuses.
        """
        values = [
            CHOICES[i % len(CHOICES)][code]
            for i, code in enumerate(self.check_codes(codes))
        ]
        return tuple(
            BlockChoice(*values[i : i + len(CHOICES)])
            for i in range(0, len(values), len(CHOICES))
        )

    def from_choices(self, choices: Sequence[BlockChoice]) -> Codes:
        """Returns the codes of blocks.

        Raises:
            ArtifactError: for a choice that the space does not have.
        """
        codes = []
        for number, choice in enumerate(choices):
            for field, value, known in zip(
                BlockChoice._fields, choice, CHOICES, strict=True
            ):
                if value not in known:
                    raise ArtifactError(
                        f"space `{self.name}`: field `{field}` of block "
                        f"{number} must be one of {[*known]}. "
                        f"Received: {value}"
                    )
                codes.append(known.index(value))
        return self.check_codes(codes)

    def from_codes(self, codes: Sequence[int]) -> Arch:
        """Returns the network of legal codes.

        Raises:
            ArtifactError: for codes that `check_codes` refuses.
        """
        return _network(
            self.to_choices(codes), self.input_shape, self.classes, self.name
        )

    def codes(self, arch: Arch) -> Codes:
        """Returns the codes of a network of this space.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        choices = []
        for stage in range(1, len(WIDTHS) + 1):
            layers = [b for b in arch.blocks if b.stage == stage]
            first = layers[0] if layers else Block("skip", 1, 1)
            choices.append(
                BlockChoice(
                    first.attrs.get("e", 0), first.attrs.get("k", 0),
                    len(layers), int(first.op == "mbconv_se_narrow"),
                )
            )
        try:
            codes = self.from_choices(choices)
            same = self.from_codes(codes).id == arch.id
        except ArtifactError:
            same = False
        if not same:
            raise ArtifactError(
                f"space `{self.name}` does not contain this network. "
                f"Received: arch={arch.id}, space={arch.space!r}"
            )
        return codes

    def blocks(self) -> Iterator[tuple[Block, tuple[int, ...]]]:
        """Yields each block and its input shape."""
        seen = set()
        for expansion in EXPANSIONS:
            for kernel in KERNELS:
                for gated in GATED:
                    choice = BlockChoice(expansion, kernel, 2, gated)
                    arch = self.from_codes(
                        self.from_choices([choice] * len(WIDTHS))
                    )
                    for block, shape in zip(
                        arch.blocks, ops.shapes(arch), strict=False
                    ):
                        key = ops.lut_key(block, shape)
                        if key not in seen:
                            seen.add(key)
                            yield block, shape


# Searches ask for the same networks, made of the same blocks, again and again.
@functools.lru_cache(maxsize=1 << 13)
def _network(
    choices: tuple[BlockChoice, ...], input_shape: tuple[int, ...],
    classes: int, space: str,
) -> Arch:
    last = len(WIDTHS) + 1
    blocks = [Block("conv", input_shape[-1], STEM, 2, 0, _attrs(k=3))]
    for stage, choice in enumerate(choices, 1):
        blocks += [_layer(stage, i > 0, choice) for i in range(choice.depth)]
    blocks += [
        Block("conv", WIDTHS[-1], LAST, 1, last, _attrs(k=1)),
        Block("classifier", LAST, classes, 1, last),
    ]
    return Arch(tuple(blocks), input_shape, classes, space)


@functools.cache
def _layer(stage: int, repeated: bool, choice: BlockChoice) -> Block:
    """The first layer of a block, or one of those after it."""
    width = WIDTHS[stage - 1]
    before = width if repeated else (STEM, *WIDTHS)[stage - 1]
    return Block(
        "mbconv_se_narrow" if choice.gated else "mbconv", before, width,
        1 if repeated else STRIDES[stage - 1], stage,
        _attrs(k=choice.kernel, e=choice.expansion),
    )


def _attrs(**sizes: int) -> dict[str, object]:
    return {**sizes, "act": "relu", "pad": "sym", "norm": NORM}


register(
    "accel_nasbench",
    lambda classes=None, input_shape=None: AccelNasBenchSpace(
        "accel_nasbench", classes, input_shape
    ),
)
