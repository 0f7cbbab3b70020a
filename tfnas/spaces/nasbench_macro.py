"""The networks of NAS-Bench-Macro: a choice at each of eight layers.

Source: Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree
Search", CVPR 2021, section 5.1, and its release.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.spaces.base import image_shape
from tfnas.spaces.base import register
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

IDENTITY = 0
# Kernel and expansion of the inverted residuals, the codes 1 and 2.
LAYERS = {1: (3, 3), 2: (5, 6)}
STAGES = (2, 3, 3)
STEM, LAST = 32, 1280
NORM = {"eps": 1e-5, "momentum": 0.9, "affine": True}
_STRIDE = 8


class NasBenchMacroSpace(CodedSpace):
    """Three stages of two, three and three layers, one code for each.

    Code 0 is an identity, 1 and 2 are inverted residuals (`LAYERS`). The
    first layer of a stage halves the image and doubles the width; an identity
    there is a 1x1 convolution with normalisation. Elsewhere it is nothing, so
    that its place in a stage does not matter: of 6,561 codes 3,969 are
    networks of their own. In canonical codes identities are last.

    Args:
        name: Registered name.
        classes: Width of the logits; 10 by default.
        input_shape: `(height, width, channels)`; `(32, 32, 3)` by default.

    Raises:
        ConfigError: when the image is too small for the strides.

    Example:
        >>> space = NasBenchMacroSpace()
        >>> space.canonical((0, 1, 2, 0, 1, 1, 0, 2))
        (0, 1, 2, 1, 0, 1, 2, 0)
    """

    alphabets = (1 + len(LAYERS),)
    alphabet_of = np.zeros(sum(STAGES), np.int64)
    legal = np.ones((sum(STAGES), 1 + len(LAYERS)), bool)

    def __init__(
        self,
        name: str = "nasbench_macro",
        classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ):
        shape = image_shape(name, input_shape, 32, _STRIDE)
        super().__init__(name, shape, 10 if classes is None else classes)

    def canonical(self, codes: Sequence[int]) -> Codes:
        """Returns the codes with identities at the end of their stages."""
        result: list[int] = []
        for first, *others in _by_stage(codes):
            result += [first, *sorted(others, key=lambda code: code == 0)]
        return tuple(result)

    def from_codes(self, codes: Sequence[int]) -> Arch:
        """Returns the network of legal codes, canonical or not.

        Raises:
            ArtifactError: for codes that `check_codes` refuses.
        """
        return _network(
            self.canonical(self.check_codes(codes)), self.input_shape,
            self.classes, self.name,
        )

    def codes(self, arch: Arch) -> Codes:
        """Returns the canonical codes of a network of this space.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        codes: list[int] = []
        for stage, layers in enumerate(STAGES, 1):
            # Longer ones are refused below: they make another network.
            found = [_code(b) for b in arch.blocks if b.stage == stage]
            codes += (found + [IDENTITY] * layers)[:layers]
        own = self.from_codes(codes)
        if own is not arch and own.id != arch.id:
            raise ArtifactError(
                f"space `{self.name}` does not contain this network. "
                f"Received: arch={arch.id}, space={arch.space!r}"
            )
        return self.canonical(codes)

    def blocks(self) -> Iterator[tuple[Block, tuple[int, ...]]]:
        """Yields each block and its input shape."""
        seen = set()
        for code in (IDENTITY, *LAYERS):
            arch = self.from_codes([code] * self.length)
            shapes = ops.shapes(arch)
            for block, shape in zip(arch.blocks, shapes, strict=False):
                key = ops.lut_key(block, shape)
                if key not in seen:
                    seen.add(key)
                    yield block, shape


def _by_stage(codes: Sequence[int]) -> Iterator[Sequence[int]]:
    start = 0
    for layers in STAGES:
        yield codes[start : start + layers]
        start += layers


def _code(block: Block) -> int:
    """The code of a layer; what is none of the space is an identity."""
    sizes = (block.attrs.get("k"), block.attrs.get("e"))
    return next((c for c, pair in LAYERS.items() if pair == sizes), IDENTITY)


# Searches ask for the same networks, made of the same blocks, again and again.
@functools.lru_cache(maxsize=1 << 13)
def _network(
    codes: Codes, input_shape: tuple[int, ...], classes: int, space: str
) -> Arch:
    last, width = len(STAGES) + 1, STEM << len(STAGES)
    blocks = [Block("conv", input_shape[-1], STEM, 1, 0, _attrs("relu", k=3))]
    for stage, chosen in enumerate(_by_stage(codes), 1):
        blocks += [
            _layer(stage, i > 0, code)
            for i, code in enumerate(chosen)
            if i == 0 or code != IDENTITY
        ]
    blocks += [
        Block("conv", width, LAST, 1, last, _attrs("relu", k=1)),
        Block("classifier", LAST, classes, 1, last),
    ]
    return Arch(tuple(blocks), input_shape, classes, space)


@functools.cache
def _layer(stage: int, repeated: bool, code: int) -> Block:
    """The first layer of a stage, or one of those after it."""
    width = STEM << stage
    before, stride = (width, 1) if repeated else (width // 2, 2)
    if code == IDENTITY:
        attrs = _attrs("linear", k=1)
        return Block("conv", before, width, stride, stage, attrs)
    kernel, expansion = LAYERS[code]
    attrs = _attrs("relu", k=kernel, e=expansion)
    return Block("mbconv", before, width, stride, stage, attrs)


def _attrs(act: str, **sizes: int) -> dict[str, object]:
    return {**sizes, "act": act, "pad": "sym", "norm": NORM}


register(
    "nasbench_macro",
    lambda classes=None, input_shape=None: NasBenchMacroSpace(
        "nasbench_macro", classes, input_shape
    ),
)
