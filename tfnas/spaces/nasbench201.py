"""The 15,625 cells of NAS-Bench-201, each in one and the same network.

Source: Dong and Yang 2020, "NAS-Bench-201: Extending the Scope of
Reproducible Neural Architecture Search", section 2.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.nasbench201 import CELL_OPS
from tfnas.ops.nasbench201 import EDGES
from tfnas.ops.nasbench201 import read_cell
from tfnas.ops.nasbench201 import write_cell
from tfnas.spaces.base import register
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

CELLS_PER_STAGE = 5
WIDTHS = (16, 32, 64)
NORM = {"eps": 1e-5, "momentum": 0.9, "affine": True}
_MAX_CHARS = 256
_EDGES_OF_PIECE = 3


class NasBench201Space(CodedSpace):
    """One cell of six edges, five operations each, repeated fifteen times.

    The codes of a network are its cell's operations: `CELL_OPS` in the order
    of `EDGES`.

    Args:
        name: Registered name.
        classes: Width of the logits; 10 by default.
        input_shape: `(height, width, channels)`; `(32, 32, 3)` by default.

    Raises:
        ConfigError: for an image whose sides are not multiples of 4.
    """

    # A cell begins with a ReLU, which what stands before it takes in, and
    # there are 46,000 of them.
    entries = "operators"
    alphabets = (len(CELL_OPS),)
    alphabet_of = np.zeros(len(EDGES), np.int64)
    legal = np.ones((len(EDGES), len(CELL_OPS)), bool)

    def __init__(
        self,
        name: str = "nasbench201",
        classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ):
        shape = (32, 32, 3) if input_shape is None else tuple(input_shape)
        if len(shape) != 3 or shape[0] % 4 or shape[1] % 4:
            raise ConfigError(
                f"space `{name}` takes images whose height and width are "
                f"multiples of 4. Received: input_shape={shape}"
            )
        super().__init__(name, shape, 10 if classes is None else classes)

    def from_codes(self, codes: Sequence[int]) -> Arch:
        """Returns the network of a cell."""
        cell = write_cell(self.check_codes(codes))
        return _network(cell, self.input_shape, self.classes, self.name)

    def codes(self, arch: Arch) -> Codes:
        """Returns the operations of the network's cell.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        cells = [b for b in arch.blocks if b.op == "nasbench_cell"]
        if cells:
            codes = read_cell(cells[0].attrs.get("cell"))
            own = self.from_codes(codes)
            if own is arch or own.id == arch.id:
                return codes
        raise ArtifactError(
            f"space `{self.name}` has one cell and its own network around "
            f"it, for images {self.input_shape} of {self.classes} classes. "
            f"Received: arch={arch.id}, images {tuple(arch.input_shape)} of "
            f"{arch.classes} classes"
        )

    def encode(self, arch: Arch) -> str:
        """Writes the cell as the benchmark does: `|op~0|+|op~0|op~1|+...`."""
        return write(self.codes(arch))

    def decode(self, text: str) -> Arch:
        """Reads a cell as the benchmark writes it.

        Raises:
            ArtifactError: naming the node and the edge that is wrong.
        """
        return self.from_codes(parse(text))

    def equivalence(self, codes: Sequence[int]) -> str:
        """Returns a key that is equal for cells that compute the same.

        See `canonical_text`; the space has 6,466 different ones.
        """
        return canonical_text(self.check_codes(codes))

    def blocks(self) -> Iterator[tuple[Block, tuple[int, ...]]]:
        """Yields each block and its input shape; a cell once per width."""
        arch = self.from_codes([0] * self.length)
        seen = set()
        for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False):
            if block in seen:
                continue
            seen.add(block)
            if block.op != "nasbench_cell":
                yield block, shape
                continue
            for codes in itertools.product(range(5), repeat=self.length):
                attrs = {**block.attrs, "cell": write_cell(codes)}
                width = block.in_channels
                yield (
                    Block(block.op, width, width, 1, block.stage, attrs),
                    shape,
                )

    def pieces(self) -> Iterator[tuple[list[Block], tuple[int, ...]]]:
        """Yields networks that hold every runtime operator of the space.

        Two cells of each width show all borders, and what an operation
        becomes depends on one other: cells of few edges show all of them.
        """
        none = CELL_OPS.index("none")
        cells = {
            canonical_text(codes): codes
            for codes in itertools.product(range(5), repeat=self.length)
            if sum(code != none for code in codes) <= _EDGES_OF_PIECE
        }
        for codes in cells.values():
            blocks = list(self.from_codes(codes).blocks)
            yield _two_cells_a_stage(blocks), self.input_shape


# Searches ask for the same networks again and again.
@functools.lru_cache(maxsize=1 << 14)
def _network(
    cell: str, input_shape: tuple[int, ...], classes: int, space: str
) -> Arch:
    stem = {"k": 3, "act": "linear", "pad": "sym", "norm": NORM}
    down = {"pad": "sym", "norm": NORM}
    attrs = {"cell": cell, "norm": NORM}
    before = input_shape[-1]
    blocks = []
    for stage, width in enumerate(WIDTHS, 1):
        blocks.append(
            Block("conv", before, width, 1, 0, stem)
            if stage == 1
            else Block("nasbench_down", before, width, 2, stage, down)
        )
        repeated = Block("nasbench_cell", width, width, 1, stage, attrs)
        blocks += [repeated] * CELLS_PER_STAGE
        before = width
    last = {"act": "relu", "norm": NORM}
    blocks.append(Block("norm_act", before, before, 1, 4, last))
    blocks.append(Block("classifier", before, classes, 1, 4))
    return Arch(tuple(blocks), input_shape, classes, space)


def _two_cells_a_stage(blocks: Sequence[Block]) -> list[Block]:
    kept: list[Block] = []
    for block in blocks:
        if kept[-2:] != [block, block]:
            kept.append(block)
    return kept


def write(codes: Sequence[int]) -> str:
    """Writes op codes as the benchmark does.

    Args:
        codes: Six indices into `CELL_OPS`, in the order of `EDGES`.

    Returns:
        Text such as `|none~0|+|none~0|none~1|+|none~0|none~1|none~2|`.
    """
    nodes: dict[int, str] = {}
    for (source, target), code in zip(EDGES, codes, strict=True):
        before = nodes.get(target, "|")
        nodes[target] = f"{before}{CELL_OPS[code]}~{source}|"
    return "+".join(nodes.values())


def parse(text: str) -> Codes:
    """Reads the op codes of a cell in the benchmark's form.

    Args:
        text: As `write` writes it; blanks around it are ignored.

    Raises:
        ArtifactError: naming the node and the edge that is wrong.
    """
    nodes = text[:_MAX_CHARS].strip().split("+")
    if len(text) > _MAX_CHARS or len(nodes) != 3:
        raise _fail("three nodes: `|a~0|+|b~0|c~1|+|d~0|e~1|f~2|`", text)
    codes = []
    for target, node in enumerate(nodes, 1):
        edges = node[1:-1].split("|")
        if node != f"|{'|'.join(edges)}|" or len(edges) != target:
            raise _fail(f"{target} edges between bars at node {target}", node)
        for source, edge in enumerate(edges):
            op, _, end = edge.partition("~")
            if op not in CELL_OPS or end != str(source):
                raise _fail(
                    f"`op~{source}` with an op of {', '.join(CELL_OPS)} at "
                    f"edge {source} of node {target}",
                    edge,
                )
            codes.append(CELL_OPS.index(op))
    return tuple(codes)


def _fail(expected: str, received: str) -> ArtifactError:
    return ArtifactError(
        f"a cell of NAS-Bench-201 has {expected}. "
        f"Received: {received[:_MAX_CHARS]!r}"
    )


def canonical_text(codes: Sequence[int]) -> str:
    """Writes what a cell computes, alike for trivially equal cells.

    From node to node: an operation is written after what it takes, a skip is
    what it skips from, nothing (`#`) is made of nothing, and a sum is in the
    order of its texts. This very rule makes the published 6,466 cells; as a
    sum that a skip hands on stays in one piece, some cells that compute the
    same are told apart. Taken to pieces, sums make 4,930.

    Args:
        codes: Six indices into `CELL_OPS`, in the order of `EDGES`.
    """
    texts, terms = {0: "0"}, []
    for (source, target), code in zip(EDGES, codes, strict=True):
        op, value = CELL_OPS[code], texts[source]
        if op == "none" or value == "#":
            terms.append("#")
        else:
            terms.append(value if op == "skip_connect" else f"({value}){op}")
        if source == target - 1:
            texts[target], terms = "+".join(sorted(terms)), []
    return texts[3]


def is_connected(codes: Sequence[int]) -> bool:
    """Says whether anything leads from a cell's input to its output.

    Without such a path the logits are the same for every image. 341 cells
    have none.

    Args:
        codes: Six indices into `CELL_OPS`, in the order of `EDGES`.
    """
    reached = {0}
    for (source, target), code in zip(EDGES, codes, strict=True):
        if source in reached and CELL_OPS[code] != "none":
            reached.add(target)
    return 3 in reached


register(
    "nasbench201",
    lambda classes=None, input_shape=None: NasBench201Space(
        "nasbench201", classes, input_shape
    ),
)
