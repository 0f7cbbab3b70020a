"""Networks of one choice at each place of a chain.

The candidates come from a learned space (AutoSpace, Zhou et al., ICCV 2021)
or are those of ProxylessNAS (Cai et al., ICLR 2019), made by hand.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Hashable
from collections.abc import Sequence

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.cell import Cell
from tfnas.spaces import autospace_files
from tfnas.spaces import cells
from tfnas.spaces.autospace import JOIN
from tfnas.spaces.autospace import cell_block
from tfnas.spaces.autospace_specs import CHAINS
from tfnas.spaces.autospace_specs import NORM_PROXYLESS
from tfnas.spaces.base import register
from tfnas.spaces.base import register_from_file
from tfnas.spaces.chain import ChainSpace
from tfnas.spaces.chain import ChainSpec
from tfnas.spaces.chain import Place
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link
from tfnas.spaces.lattice import Route

_MBCONV = re.compile("mbconv_k([0-9]{1,2})_e([0-9]{1,2})")
_SKIP = "skip"


class CandidateSpace(ChainSpace, CodedSpace, LatticeSpace):
    """Networks of one candidate at each place.

    Text is a word for each place, joined by `|`: a compact cell as networks
    hold it (fused), `mbconv_k3_e6`, or `skip`, which stands for the
    identity.

    Args:
        name: Registered name, with its file if it was made from one.
        spec: The chain.
        candidates: The words of each place, without `skip`, which every
            residual block has.
        classes: See `ChainSpace`.
        input_shape: See `ChainSpace`.
        merge: See `ops.cell.merge`.
        large_kernel: See `ops.cell.CellOp`.

    Attributes:
        candidates: The blocks of each place; a skip comes last.
    """

    def __init__(
        self, name: str, spec: ChainSpec,
        candidates: Sequence[Sequence[str]], classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
        merge: str = "channel_gate", large_kernel: str = "dense",
    ):
        super().__init__(name, spec, classes, input_shape)
        self.merge, self.large_kernel = merge, large_kernel
        self.candidates = tuple(
            tuple(
                self._block(place, word)
                for word in [*words, *[_SKIP] * place.residual]
            )
            for place, words in zip(spec.places, candidates, strict=True)
        )
        sizes = np.array([len(blocks) for blocks in self.candidates])
        self.alphabets = (int(sizes.max()),)
        self.alphabet_of = np.zeros(len(sizes), np.int64)
        self.legal = np.arange(sizes.max()) < sizes[:, None]

    def _block(self, place: Place, word: str) -> Block:
        """Returns the block of a word.

        Raises:
            ArtifactError: for a word that the place cannot have.
        """
        match = _MBCONV.fullmatch(word)
        if match:
            return place.block(
                "mbconv", k=int(match[1]), e=int(match[2]), act="relu6",
                pad="sym", norm=self.spec.norm,
            )
        if word == _SKIP:
            if not place.residual:
                raise ArtifactError(
                    f"block {place.number} changes its input's shape, so it "
                    "cannot be skipped. Received: skip"
                )
            return place.block(_SKIP)
        if not word[:1].isdecimal():
            raise ArtifactError(
                f"block {place.number}: expected a compact cell, "
                f"`mbconv_k3_e6` or `skip`. Received: {word!r}"
            )
        cell = Cell.parse(word, f"block {place.number}")
        return cell_block(
            place, cell, self.spec, self.merge, self.large_kernel
        )

    @property
    def words(self) -> list[list[str]]:
        """The words of each place's candidates."""
        return [list(map(_word, row)) for row in self.candidates]

    def from_codes(self, codes: Sequence[int]) -> Arch:
        """Returns the network of an index for each place."""
        chosen = self.check_codes(codes)
        return self.whole(
            [row[i] for row, i in zip(self.candidates, chosen, strict=True)],
            self.name,
        )

    def codes(self, arch: Arch) -> Codes:
        """Returns the index of each place's candidate.

        Raises:
            ArtifactError: when a block is no candidate of its place.
        """
        blocks = self.searched(arch)
        found = [
            row.index(block)
            for row, block in zip(self.candidates, blocks, strict=False)
            if block in row
        ]
        complete = len(found) == len(self.candidates)
        if not complete or self.from_codes(found).id != arch.id:
            raise ArtifactError(
                f"space `{self.name}` does not contain this network. "
                f"Received: arch={arch.id}, space={arch.space!r}"
            )
        return tuple(found)

    def equivalence(self, codes: Sequence[int]) -> Hashable:
        """Returns the operators in order: where a skip stands is no matter."""
        arch = self.from_codes(codes)
        keys = map(ops.lut_key, arch.blocks, ops.shapes(arch))
        return tuple(key for key in keys if key is not None)

    def encode(self, arch: Arch) -> str:
        """Writes a network of this chain, also one outside the space.

        Raises:
            ArtifactError: when words cannot express the network.
        """
        text = JOIN.join(map(_word, self.searched(arch)))
        if self.decode(text).id != arch.id:
            raise ArtifactError(
                f"space `{self.name}`: a text states the operators of the "
                "places; everything else must be as in the space. "
                f"Received: arch={arch.id}"
            )
        return text

    def decode(self, text: str) -> Arch:
        """Reads a network, also one outside the space.

        Other cells and inverted residuals than the candidates are read too;
        `arch.space` is then `None`.

        Raises:
            ArtifactError: naming the block and what is wrong with it.
        """
        words, places = text.strip().split(JOIN), self.spec.places
        if len(words) != len(places):
            raise ArtifactError(
                f"space `{self.name}` has {len(places)} blocks, joined by "
                f"`{JOIN}`. Received: {len(words)} in {text[:200]!r}"
            )
        blocks = [
            self._block(place, word.strip())
            for place, word in zip(places, words, strict=True)
        ]
        arch = self.whole(blocks, self.name)
        ops.shapes(arch)
        return arch if self.contains(arch) else self.whole(blocks, None)

    def links(self) -> list[Link]:
        """Returns a line of the places' candidates; see `ChainSpace.line`."""
        return self.line([(block,) for block in row] for row in self.candidates)

    def route(self, arch: Arch) -> Route:
        """Returns the route of a network; see `codes`."""
        steps = (0, *self.codes(arch), 0)
        return tuple(enumerate(steps))

    def from_route(self, route: Route) -> Arch:
        """Returns the network of a route."""
        return self.from_codes([k for _, k in route[1:-1]])


def _word(block: Block) -> str:
    """Returns the word of a searched block."""
    if block.op == _SKIP:
        return _SKIP
    a = ops.get(block.op).attributes(block)
    if block.op == "mbconv":
        return f"mbconv_k{a['k']}_e{a['e']}"
    return a.get("cell", block.op)


def candidate_words(
    file: autospace_files.SpaceFile, spec: ChainSpec
) -> list[list[str]]:
    """Returns the candidates that a learned space gives each place.

    The fused cells of the place's position, each computation once (ours),
    and the inverted residuals of kernel 3 that the authors' network has.
    """
    rows = []
    for place in spec.places:
        unlike: dict[Cell, Cell] = {}
        for cell in file.positions[place.position]:
            unlike.setdefault(cells.canonical(cell), cell)
        words = [str(cells.fuse(cell)) for cell in unlike.values()]
        rows.append([*words, "mbconv_k3_e3", "mbconv_k3_e6"])
    return rows


def from_file(
    name: str, spec: ChainSpec, path: str | pathlib.Path,
    classes: int | None = None, input_shape: tuple[int, ...] | None = None,
    width: float = 1.0, head_width: int | None = None,
) -> CandidateSpace:
    """Returns the space of the candidates that a file lists.

    Args:
        name: Name of the space.
        spec: The chain that the file is of.
        path: A file of format `tfnas-autospace-space/1`.
        classes: Width of the logits; defaults to the spec's.
        input_shape: `(height, width, channels)`; defaults to the spec's.
        width: Factor of all widths; see `ChainSpec.widened`.
        head_width: Width of the tail's convolution; see there.

    Raises:
        ArtifactError: when the file is damaged or of another chain.
    """
    file = autospace_files.read_space(path, spec.places)
    return CandidateSpace(
        name, spec.widened(width, head_width), candidate_words(file, spec),
        classes, input_shape, file.merge, file.large_kernel,
    )


def hand_made(
    name: str, spec: ChainSpec, classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> CandidateSpace:
    """Returns the space of ProxylessNAS: inverted residuals only.

    Kernels 3, 5 and 7, expansions 3 and 6, and skips of residual blocks.
    """
    spec = dataclasses.replace(spec, norm=NORM_PROXYLESS)
    words = [f"mbconv_k{k}_e{e}" for k in (3, 5, 7) for e in (3, 6)]
    return CandidateSpace(
        name, spec, [words] * len(spec.places), classes, input_shape
    )


def _register(suffix: str) -> None:
    spec, path = CHAINS[suffix]
    hand, learned = (
        f"proxyless_mbconv{suffix}", f"autospace_proxyless{suffix}"
    )
    register(hand, functools.partial(hand_made, hand, spec))
    register(learned, functools.partial(from_file, learned, spec, path))
    register_from_file(
        learned,
        lambda name, path, **shape: from_file(name, spec, path, **shape),
    )


for _suffix in CHAINS:
    _register(_suffix)
# The published 1.4x row fits a head that is not widened.
register(
    "autospace_proxyless@1.4",
    functools.partial(
        from_file, "autospace_proxyless@1.4", *CHAINS[""], width=1.4,
        head_width=CHAINS[""][0].head,
    ),
)
