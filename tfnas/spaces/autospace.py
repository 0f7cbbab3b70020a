"""The space that AutoSpace evolves: one cell at each position of a chain.

Source: Zhou et al., "AutoSpace", ICCV 2021.
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
from tfnas.ops.cell import EXPANSIONS
from tfnas.ops.cell import Cell
from tfnas.ops.graph import Shape
from tfnas.spaces import cells
from tfnas.spaces.autospace_specs import CHAINS
from tfnas.spaces.base import register
from tfnas.spaces.chain import ChainSpace
from tfnas.spaces.chain import ChainSpec
from tfnas.spaces.chain import Place
from tfnas.spaces.lattice import Lattice

JOIN = "|"  # between the words of a network's text


def cell_block(
    place: Place, cell: Cell, spec: ChainSpec, merge: str = "channel_gate",
    large_kernel: str = "dense",
) -> Block:
    """Returns the block of a cell at a place, the cell taken as it is."""
    return place.block(
        "cell", cell=str(cell), e=EXPANSIONS[cell.dim], merge=merge,
        large_kernel=large_kernel, act="relu6", pad="sym", norm=spec.norm,
    )


class CellSpace(ChainSpace):
    """All networks of one valid cell at each position (`autospace`).

    Networks hold fused cells; texts, and what evolution works on, are the
    cells before fusion. Blocks of one position have equal cells.

    Args:
        name: Registered name.
        spec: The chain.
        classes: See `ChainSpace`.
        input_shape: See `ChainSpace`.
        merge: See `ops.cell.merge`.
        large_kernel: See `ops.cell.CellOp`.
    """

    def __init__(
        self, name: str, spec: ChainSpec, classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
        merge: str = "channel_gate", large_kernel: str = "dense",
    ):
        super().__init__(name, spec, classes, input_shape)
        self.merge, self.large_kernel = merge, large_kernel

    def block(self, place: Place, cell: Cell) -> Block:
        """Returns the block of a cell, taken as it is."""
        return cell_block(
            place, cell, self.spec, self.merge, self.large_kernel
        )

    def to_arch(self, chosen: Sequence[Cell]) -> Arch:
        """Returns the network of the fusions of these cells.

        Args:
            chosen: A valid cell for each position.
        """
        return self.whole(
            [
                self.derived(place, chosen[place.position])
                for place in self.spec.places
            ],
            self.name,
        )

    def to_cells(self, arch: Arch) -> tuple[Cell, ...]:
        """Returns the cells of a network of the space, before fusion.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        blocks = self.searched(arch)
        found: dict[int, Cell] = {}
        for place, block in zip(self.spec.places, blocks, strict=False):
            if block.op == "cell":
                text = ops.get("cell").attributes(block)["cell"]
                found[place.position] = cells.unfuse(Cell.parse(text))
        whole = len(found) == len(self.spec.positions)
        chosen = tuple(found[i] for i in sorted(found))
        if (
            not whole or not all(map(cells.is_valid, chosen))
            or self.to_arch(chosen).id != arch.id
        ):
            raise ArtifactError(
                f"space `{self.name}` has one valid cell at each of "
                f"{len(self.spec.positions)} positions. Received: "
                f"arch={arch.id} with {[block.op for block in blocks]}"
            )
        return chosen

    def contains(self, arch: Arch) -> bool:
        """Says whether valid cells make this very network."""
        try:
            self.to_cells(arch)
        except ArtifactError:
            return False
        return True

    def encode(self, arch: Arch) -> str:
        """Writes the compact cells of the positions, joined by `|`."""
        return JOIN.join(map(str, self.to_cells(arch)))

    def decode(self, text: str) -> Arch:
        """Reads the compact cells of the positions, joined by `|`.

        Raises:
            ArtifactError: naming the position and what is wrong with it.
        """
        words, count = text.strip().split(JOIN), len(self.spec.positions)
        if len(words) != count:
            raise ArtifactError(
                f"space `{self.name}` has {count} positions, joined by "
                f"`{JOIN}`. Received: {len(words)} in {text[:200]!r}"
            )
        chosen = [
            Cell.parse(word.strip(), f"position {i}")
            for i, word in enumerate(words)
        ]
        for i, cell in enumerate(chosen):
            if not cells.is_valid(cell):
                raise ArtifactError(
                    f"position {i}: expected a cell before fusion, without "
                    f"1x1 convolutions at dim 2. Received: {cell}"
                )
        return self.to_arch(chosen)

    @property
    def num_choices(self) -> int:
        """Number of valid cells at all positions."""
        return cells.num_valid() ** len(self.spec.positions)

    def sample(self, seed: int) -> Arch:
        """Draws a cell for each position; see `cells.random_cell`."""
        rng = np.random.default_rng(seed)
        return self.to_arch(
            [cells.random_cell(rng) for _ in self.spec.positions]
        )

    def random_neighbor(self, arch: Arch, seed: int) -> Arch:
        """Mutates the cell of one position; see `cells.mutate`.

        A mutation that makes no other network (a merge of one input) is
        drawn again.
        """
        rng = np.random.default_rng(seed)
        chosen, near = list(self.to_cells(arch)), arch
        while near.id == arch.id:
            i = int(rng.integers(len(chosen)))
            child = cells.mutate(chosen[i], rng)
            near = self.to_arch([*chosen[:i], child, *chosen[i + 1 :]])
        return near

    def derived(self, place: Place, cell: Cell) -> Block:
        """Returns the block that networks hold for a cell: its fusion."""
        return self.block(place, cells.fuse(cell))

    def basis(self) -> list[Cell]:
        """Returns cells whose costs tell those of all others.

        A cell's latency is nearly a sum over its parts (`cost.cell_costs`),
        and these cells hold every part in more than one company.
        """
        return [Cell.parse(text) for text in _BASIS]

    def lattice(
        self, rows: Sequence[Sequence[Cell]], fused: bool = True
    ) -> Lattice:
        """Returns the line of some cells at each position.

        Args:
            rows: The cells of each position.
            fused: Whether cells are as networks hold them.
        """
        make = self.derived if fused else self.block
        places = self.spec.places
        return Lattice(
            tuple(
                self.line(
                    [
                        tuple(
                            make(place, cell) for place in places
                            if place.position == position
                        )
                        for cell in row
                    ]
                    for position, row in enumerate(rows)
                )
            )
        )

    def blocks(self) -> Iterator[tuple[Block, Shape]]:
        """Yields the frame, and the basis at every place.

        All valid cells are too many to measure.
        """
        rows = [self.basis()] * len(self.spec.positions)
        yield from self.lattice(rows, fused=False).blocks()


# Fused cells that hold every part at least twice; see `CellSpace.basis`.
_BASIS = [
    f"{dim}.{rest}"
    for dim in range(len(EXPANSIONS))
    for rest in (
        "0.0.5.1.2.1.1.2", "0.0.7.1.2.1.1.2", "0.0.9.1.2.1.1.2",
        "0.0.2.1.5.1.1.2", "0.0.2.1.5.1.1.5", "0.0.5.5.2.1.1.2",
        "1.0.5.5.2.1.1.2", "0.0.5.5.2.1.5.5", "1.1.5.5.2.1.5.5",
        "0.0.2.2.5.1.2.5", "0.0.7.5.2.1.2.5", "0.1.2.5.5.1.5.2",
    )
] + [
    f"{dim}.{rest}"
    for dim in range(len(EXPANSIONS) - 1)
    for rest in (
        "0.0.3.1.2.1.1.2", "0.0.2.1.3.1.1.3", "0.0.3.3.5.1.3.2",
        "0.0.5.3.3.1.5.3",
    )
]

for _suffix, (_spec, _) in CHAINS.items():
    register(
        f"autospace{_suffix}",
        functools.partial(CellSpace, f"autospace{_suffix}", _spec),
    )
