"""Spaces whose networks are chains: stem, places to fill, tail."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.ops.base import make_divisible
from tfnas.ops.graph import Shape
from tfnas.spaces.base import Space
from tfnas.spaces.base import image_shape
from tfnas.spaces.lattice import Link

PAIR = 2  # consecutive places that make a position
# Stages label drawings: stem, fixed block, then the positions.
_FIRST_STAGE = 2


@dataclasses.dataclass(frozen=True)
class Place:
    """A searched block: what is given before its operator is chosen.

    Args:
        number: From 1 on; block 0 is the fixed one.
        in_channels: Width of the input.
        out_channels: Width of the output.
        stride: 1 or 2.
    """

    number: int
    in_channels: int
    out_channels: int
    stride: int

    @property
    def position(self) -> int:
        """Index of the pair of places that this one belongs to."""
        return (self.number - 1) // PAIR

    @property
    def residual(self) -> bool:
        """Whether the input is added to what the operator gives."""
        return self.stride == 1 and self.in_channels == self.out_channels

    def block(self, op: str, **attrs: Any) -> Block:
        """Returns the block of an operator at this place."""
        return Block(
            op, self.in_channels, self.out_channels, self.stride,
            stage_of(self.number), attrs,
        )


def stage_of(number: int) -> int:
    """Returns the stage label of block `number` of a chain, 0 the fixed."""
    return _FIRST_STAGE + (number - 1) // PAIR


@dataclasses.dataclass(frozen=True)
class ChainSpec:
    """The numbers of a chain.

    Args:
        input_size: Side of the square input image.
        classes: Default width of the logits.
        stem: Width of the 3x3 stem convolution.
        stem_stride: Its stride.
        fixed: Width of the inverted residual (e=1, k=3) after it.
        stages: `(width, blocks, stride)` of each stage of searched blocks.
        head: Width of the 1x1 convolution of the tail.
        norm: Batch-norm settings of every layer.
    """

    input_size: int
    classes: int
    stem: int
    stem_stride: int
    fixed: int
    stages: tuple[tuple[int, int, int], ...]
    head: int
    norm: Mapping[str, Any]

    @functools.cached_property
    def places(self) -> tuple[Place, ...]:
        """The searched blocks in order."""
        found: list[Place] = []
        source = self.fixed
        for width, blocks, stride in self.stages:
            for i in range(blocks):
                found.append(
                    Place(
                        len(found) + 1, source, width, 1 if i else stride
                    )
                )
                source = width
        return tuple(found)

    @property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the blocks of each position."""
        last = self.places[-1].position
        return tuple(
            tuple(p.number for p in self.places if p.position == position)
            for position in range(last + 1)
        )

    def widened(self, width: float, head_width: int | None = None) -> ChainSpec:
        """Returns the numbers of a wider or narrower chain.

        Args:
            width: Factor of all widths, which stay multiples of 8.
            head_width: Width of the tail's convolution; by default it grows
                with the factor and never shrinks (ProxylessNAS).
        """
        def scale(channels: int) -> int:
            return make_divisible(channels * width)

        if head_width is None:
            head_width = scale(self.head) if width > 1 else self.head
        return dataclasses.replace(
            self, stem=scale(self.stem), fixed=scale(self.fixed),
            stages=tuple((scale(w), n, s) for w, n, s in self.stages),
            head=head_width,
        )


class ChainSpace(Space):
    """What all spaces over a chain share.

    Args:
        name: Registered name.
        spec: The chain's numbers.
        classes: Width of the logits; defaults to the spec's.
        input_shape: `(height, width, channels)`; defaults to the spec's
            square RGB image.

    Raises:
        ConfigError: when the image is too small for the strides.
    """

    def __init__(
        self, name: str, spec: ChainSpec, classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ):
        stride = spec.stem_stride * math.prod(s for _, _, s in spec.stages)
        super().__init__(
            name, image_shape(name, input_shape, spec.input_size, stride),
            spec.classes if classes is None else classes,
        )
        self.spec = spec

    @functools.cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Input shape of each searched block, then that of the tail."""
        spec = self.spec
        height, width = (
            math.ceil(n / spec.stem_stride) for n in self.input_shape[:2]
        )
        found: list[Shape] = [(height, width, spec.fixed)]
        for place in spec.places:
            height, width = (
                math.ceil(n / place.stride) for n in found[-1][:2]
            )
            found.append((height, width, place.out_channels))
        return tuple(found)

    def stem(self) -> list[Block]:
        """The stem convolution and the fixed block."""
        spec = self.spec
        attrs = {"act": "relu6", "pad": "sym", "norm": spec.norm}
        return [
            Block(
                "conv", self.input_shape[-1], spec.stem, spec.stem_stride, 0,
                {"k": 3, **attrs},
            ),
            Block("mbconv", spec.stem, spec.fixed, 1, 1,
                  {"k": 3, "e": 1, **attrs}),
        ]

    def tail(self) -> list[Block]:
        """The 1x1 convolution and the classifier."""
        spec, last = self.spec, self.spec.places[-1]
        stage = stage_of(last.number) + 1
        attrs = {"k": 1, "act": "relu6", "pad": "sym", "norm": spec.norm}
        return [
            Block("conv", last.out_channels, spec.head, 1, stage, attrs),
            Block("classifier", spec.head, self.classes, 1, stage + 1),
        ]

    def whole(self, blocks: Sequence[Block], name: str | None) -> Arch:
        """Returns the network with these searched blocks.

        Args:
            blocks: One block for each place.
            name: Name of the space to write into the network.
        """
        return Arch(
            (*self.stem(), *blocks, *self.tail()), self.input_shape,
            self.classes, name,
        )

    def line(self, rows: Iterable[Sequence[tuple[Block, ...]]]) -> list[Link]:
        """Returns the links of candidates in series: `block1`...

        Args:
            rows: The candidates of each link, which hold one or more places.
        """
        links = [Link.fixed("stem+fixed", -1, 0, self.stem(), self.input_shape)]
        at = 0
        for options in rows:
            end = at + len(options[0])
            links.append(
                Link(f"block{at + 1}", at, end, tuple(options), self.shapes[at])
            )
            at = end
        tail, shape = self.tail(), self.shapes[-1]
        links.append(
            Link.fixed("tail+classifier", at, at + 1, tail, shape)
        )
        return links

    def frame(self) -> Iterator[tuple[Block, Shape]]:
        """Yields stem, fixed block and tail with their input shapes."""
        stem, fixed = self.stem()
        tail, classifier = self.tail()
        height, width, _ = self.shapes[0]
        yield stem, self.input_shape
        yield fixed, (height, width, self.spec.stem)
        yield tail, self.shapes[-1]
        yield classifier, (*self.shapes[-1][:2], self.spec.head)

    def searched(self, arch: Arch) -> tuple[Block, ...]:
        """Returns the blocks of a network that stand at the places."""
        return arch.blocks[2 : 2 + len(self.spec.places)]
