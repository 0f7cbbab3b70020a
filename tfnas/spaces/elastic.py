"""MobileNetV3 with elastic kernels, widths, depths and resolution.

Five units of two to four inverted residual layers; each layer chooses its
kernel size and its expansion ratio. Sources: Cai et al., "Once-for-All", ICLR
2020; Chen et al., "Automatic Subspace Evoking for Efficient Neural
Architecture Search", arXiv 2210.17180.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces.base import image_shape
from tfnas.spaces.base import register
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes
from tfnas.spaces.coded import parse_integers
from tfnas.spaces.elastic_specs import NORM
from tfnas.spaces.elastic_specs import SPECS
from tfnas.spaces.elastic_specs import ElasticSpec

_FIRST_STAGE = 2  # of the units: 0 is the stem, 1 the fixed layer


@dataclasses.dataclass(frozen=True)
class ElasticChoice:
    """The choices that make one network of an elastic space.

    Args:
        depths: Layers of each unit.
        kernels: Kernel size of each slot, 0 where the layer is absent.
        expansions: Expansion ratio of each slot, 0 where it is absent.
        resolution: Side of the image where it is a choice.
    """

    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    resolution: int | None = None


class ElasticSpace(CodedSpace):
    """An elastic space; one code for each layer slot of each unit.

    Code 0 is an absent layer, `1 + 3 i + j` the i-th kernel size with the
    j-th expansion ratio. Where the resolution is a choice its code is the
    first.

    Args:
        name: Name of the space.
        spec: The space's numbers.
        classes: Width of the logits; defaults to the spec's.
        input_shape: `(height, width, channels)`; defaults to the spec's
            square RGB image, the largest where the resolution is a choice.

    Raises:
        ConfigError: when the image is too small for the strides, or is not
            the largest where the resolution is a choice.
    """

    def __init__(
        self,
        name: str,
        spec: ElasticSpec,
        classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ):
        size = max(spec.resolutions, default=spec.input_size)
        input_shape = image_shape(name, input_shape, size, spec.stride)
        if spec.resolutions and input_shape[:2] != (size, size):
            raise ConfigError(
                f"space `{name}` chooses among the sides {spec.resolutions} "
                f"and takes images of {size} x {size} pixels. "
                f"Received: input_shape={input_shape}"
            )
        super().__init__(
            name, input_shape, spec.classes if classes is None else classes
        )
        self.spec = spec
        self._make_alphabets()

    def _make_alphabets(self) -> None:
        spec, choices = self.spec, len(self.spec.operations)
        sides = len(spec.resolutions)
        self.alphabets = (sides, choices) if sides else (choices,)
        first = [0] if sides else []
        self.alphabet_of = np.array(
            first + [len(self.alphabets) - 1] * spec.slots
        )
        sizes = np.array(self.alphabets)[self.alphabet_of]
        self.legal = np.arange(max(self.alphabets)) < sizes[:, None]
        for slot in range(spec.slots):
            if slot % spec.layers < spec.min_layers:
                self.legal[len(first) + slot, 0] = False

    def _split(self, codes: Sequence[int]) -> tuple[Codes, Codes]:
        """Returns the codes before the slots (none or one), and the slots'."""
        first = self.length - self.spec.slots
        return tuple(codes[:first]), tuple(codes[first:])

    def canonical(self, codes: Sequence[int]) -> Codes:
        """Returns the codes with absent layers at the end of their units."""
        result, slots = self._split(codes)
        layers = self.spec.layers
        for i in range(0, len(slots), layers):
            result += tuple(
                sorted(slots[i : i + layers], key=lambda code: code == 0)
            )
        return result

    @property
    def num_choices(self) -> int:
        """Number of networks."""
        spec, choices = self.spec, len(self.spec.operations) - 1
        unit = sum(
            choices**depth for depth in range(spec.min_layers, spec.layers + 1)
        )
        return unit ** len(spec.units) * max(len(spec.resolutions), 1)

    def sample_codes(self, rng: np.random.Generator) -> Codes:
        """Draws codes.

        Every depth of a unit is equally likely, and so is every kernel size
        and every expansion ratio of each layer, and every resolution.
        """
        spec = self.spec
        low, high = spec.min_layers, spec.layers
        depths = rng.integers(low, high + 1, len(spec.units))
        drawn = rng.integers(1, len(spec.operations), spec.slots)
        present = np.arange(high) < depths[:, None]
        slots = np.where(present.reshape(-1), drawn, 0)
        sides = len(spec.resolutions)
        first = [int(rng.integers(sides))] if sides else []
        return (*first, *slots.tolist())

    def to_choice(self, codes: Sequence[int]) -> ElasticChoice:
        """Returns what legal codes mean.

        Raises:
            ArtifactError: for codes that `check_codes` refuses.
        """
        first, slots = self._split(self.canonical(self.check_codes(codes)))
        layers = self.spec.layers
        pairs = [self.spec.operations[code] for code in slots]
        return ElasticChoice(
            tuple(
                sum(code > 0 for code in slots[i : i + layers])
                for i in range(0, len(slots), layers)
            ),
            tuple(k for k, _ in pairs),
            tuple(e for _, e in pairs),
            self.spec.resolutions[first[0]] if first else None,
        )

    def from_choice(self, choice: ElasticChoice) -> Codes:
        """Returns the canonical codes of choices.

        Raises:
            ArtifactError: for choices that the space does not have, or
                depths that are not those of the layers.
        """
        spec = self.spec
        pairs = list(zip(choice.kernels, choice.expansions, strict=True))
        for slot, pair in enumerate(pairs):
            if pair not in spec.operations:
                raise ArtifactError(
                    f"space `{self.name}`: slot {slot} must have a kernel "
                    f"size in {spec.kernels} and an expansion ratio in "
                    f"{spec.expansions}, or 0 and 0. Received: {pair}"
                )
        first = [] if choice.resolution is None else [choice.resolution]
        if not {*first} <= {*spec.resolutions}:
            raise ArtifactError(
                f"space `{self.name}`: the resolution must be one of "
                f"{[*spec.resolutions]}. Received: {choice.resolution}"
            )
        codes = self.canonical(
            self.check_codes(
                [spec.resolutions.index(side) for side in first]
                + [spec.operations.index(pair) for pair in pairs]
            )
        )
        if self.to_choice(codes).depths != choice.depths:
            raise ArtifactError(
                f"space `{self.name}`: the depths must count the layers, "
                f"{self.to_choice(codes).depths}. Received: {choice.depths}"
            )
        return codes

    @functools.cached_property
    def _widths(self) -> tuple[int, ...]:
        """Output width of the fixed layer and of each unit."""
        spec = self.spec
        return tuple(
            spec.scaled(w) for w in (spec.stem, *(u.width for u in spec.units))
        )

    def stem(self) -> list[Block]:
        """The stem and the fixed layer."""
        spec, width = self.spec, self._widths[0]
        stem = Block(
            "conv", self.input_shape[-1], width, spec.stem_stride, 0,
            _attrs("hard_swish", k=3),
        )
        fixed = Block("mbconv", width, width, 1, 1, _attrs("relu", k=3, e=1))
        return [stem, fixed]

    def layer(self, slot: int, code: int) -> Block:
        """The layer that a code means at a slot.

        Args:
            slot: Index of the slot, units in order; the first slot of a unit
                changes width and resolution.
            code: A code other than 0.
        """
        index, position = divmod(slot, self.spec.layers)
        unit, width = self.spec.units[index], self._widths[index + 1]
        kernel, expansion = self.spec.operations[code]
        return Block(
            "mbconv_se" if unit.se else "mbconv",
            width if position else self._widths[index], width,
            1 if position else unit.stride, index + _FIRST_STAGE,
            _attrs(unit.act, k=kernel, e=expansion),
        )

    def tail(self) -> list[Block]:
        """The last convolution, the pool with its convolution, the logits."""
        spec, stage = self.spec, len(self.spec.units) + _FIRST_STAGE
        last, mix = spec.scaled(spec.last), spec.scaled(spec.mix)
        return [
            Block(
                "conv", self._widths[-1], last, 1, stage,
                _attrs("hard_swish", k=1),
            ),
            Block("pooled_conv", last, mix, 1, stage, {"act": "hard_swish"}),
            Block("classifier", mix, self.classes, 1, stage),
        ]

    def from_codes(self, codes: Sequence[int]) -> Arch:
        """Returns the network of legal codes, canonical or not.

        Raises:
            ArtifactError: for codes that `check_codes` refuses.
        """
        first, slots = self._split(self.canonical(self.check_codes(codes)))
        layers = [self.layer(i, code) for i, code in enumerate(slots) if code]
        return Arch(
            (*self.stem(), *layers, *self.tail()), self._shape(*first),
            self.classes, self.name,
        )

    def _shape(self, code: int | None = None) -> tuple[int, ...]:
        """Returns the input shape of networks with this resolution code."""
        if code is None:
            return self.input_shape
        side = self.spec.resolutions[code]
        return (side, side, self.input_shape[-1])

    def codes(self, arch: Arch) -> Codes:
        """Returns the canonical codes of a network of this space.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        try:
            codes = self._read(arch)
            same = self.from_codes(codes).id == arch.id
        except (ArtifactError, ValueError, IndexError):
            same = False
        if not same:
            raise ArtifactError(
                f"space `{self.name}` does not contain this network. "
                f"Received: arch={arch.id}, space={arch.space!r}"
            )
        return codes

    def _read(self, arch: Arch) -> Codes:
        """Reads kernels and expansions, and believes everything else.

        Raises:
            ArtifactError, ValueError, IndexError: when they are not in the
                space.
        """
        spec = self.spec
        slots, depths = [0] * spec.slots, [0] * len(spec.units)
        body = arch.blocks[len(self.stem()) : -len(self.tail())]
        for block in body:
            unit = block.stage - _FIRST_STAGE
            slot = unit * spec.layers + depths[unit]
            pair = (block.attrs.get("k"), block.attrs.get("e"))
            slots[slot] = spec.operations.index(pair)
            depths[unit] += 1
        first: list[int] = []
        if spec.resolutions:
            first = [spec.resolutions.index(arch.input_shape[0])]
        return self.canonical(self.check_codes(first + slots))

    def encode_long(self, arch: Arch) -> str:
        """Writes a network as `depths:kernels:expansions`.

        Each is a list of integers joined by commas, kernels and expansions
        with 0 for absent layers. Where the resolution is a choice its side
        in pixels comes first, as in `224:2,3,...`.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        choice = self.to_choice(self.codes(arch))
        lists = [choice.depths, choice.kernels, choice.expansions]
        if choice.resolution is not None:
            lists.insert(0, (choice.resolution,))
        return ":".join(",".join(map(str, values)) for values in lists)

    def decode(self, text: str) -> Arch:
        """Reads a network from its codes, or from the form of `encode_long`.

        Raises:
            ArtifactError: naming what is wrong with the text.
        """
        if ":" not in text:
            return super().decode(text)
        lists = [parse_integers(part) or () for part in text.split(":")]
        form = "depths:kernels:expansions"
        sizes = [len(self.spec.units), self.spec.slots, self.spec.slots]
        if self.spec.resolutions:
            form, sizes = f"resolution:{form}", [1, *sizes]
        if [len(values) for values in lists] != sizes:
            raise ArtifactError(
                f"space `{self.name}` writes an architecture as `{form}`, "
                f"lists of {sizes} integers. Received: {text[:200]!r}"
            )
        *first, depths, kernels, expansions = lists
        resolution = first[0][0] if first else None
        return self.from_codes(
            self.from_choice(
                ElasticChoice(depths, kernels, expansions, resolution)
            )
        )

    def blocks(self) -> Iterator[tuple[Block, tuple[int, ...]]]:
        """Yields each block and its input shape, for each resolution."""
        spec = self.spec
        sides: Sequence[int | None] = range(len(spec.resolutions))
        for side in sides or [None]:
            shape = self._shape(side)
            for block in self.stem():
                yield block, shape
                shape = ops.lower(block, shape).output_shape
            for slot in range(spec.slots):
                if slot % spec.layers < 2:  # later layers are like the second
                    for code in range(1, len(spec.operations)):
                        yield self.layer(slot, code), shape
                    shape = ops.lower(self.layer(slot, 1), shape).output_shape
            for block in self.tail():
                yield block, shape
                shape = ops.lower(block, shape).output_shape


def _attrs(act: str, **sizes: int) -> dict[str, Any]:
    return {**sizes, "act": act, "pad": "sym", "norm": NORM}


def _register(name: str, spec: ElasticSpec) -> None:
    register(
        name,
        lambda classes=None, input_shape=None: ElasticSpace(
            name, spec, classes, input_shape
        ),
    )


for _name, _spec in SPECS.items():
    _register(_name, _spec)
