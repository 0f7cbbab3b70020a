"""Recurrent cells of a language model, as graphs that shrink (AutoShrink).

Source: Zhang et al. 2020, and the recurrent search of the authors' release.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.masked_dag import MaskedDag
from tfnas.ops.recurrent import NODE_ACTS
from tfnas.ops.recurrent import LanguageParts
from tfnas.ops.recurrent import edge_part
from tfnas.ops.recurrent import input_part
from tfnas.ops.recurrent import language_parts
from tfnas.ops.recurrent import read_cell
from tfnas.spaces.base import register
from tfnas.spaces.dag import DagSpace

DRAW_SEED = 189  # what the release seeds, though not this draw
_NODES = 6
_WIDTH = 100
_STEPS = 35
WORDS = 10_000  # of the Penn Treebank
# The cell that the authors trained, and its width.
SHRINK_RNN = (
    "tanh.identity.sigmoid.sigmoid.tanh.identity:"
    "0-1.0-2.0-3.0-4.0-5.1-3.1-4.1-5.2-4.2-5.3-4.3-5"
)
SHRINK_RNN_WIDTH = 745


def draw_acts(nodes: int, seed: int = DRAW_SEED) -> tuple[str, ...]:
    """Draws the activation of each node, all equally likely.

    Args:
        nodes: Number of nodes; the draw of node 0 is never used.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    return tuple(str(act) for act in rng.choice([*NODE_ACTS], nodes))


class RecurrentSpace(DagSpace):
    """Language models of one recurrent cell.

    Args:
        name: Registered name.
        width: Width of the word vectors and of the state.
        classes: Size of the vocabulary; defaults to that of the Penn
            Treebank.
        input_shape: `(steps,)` of a training sequence.
        node_ops: Activations of the nodes; drawn by default.

    Raises:
        ConfigError: for the shape of an image.
    """

    known_ops = tuple(NODE_ACTS)

    def __init__(
        self, name: str, width: int, classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
        node_ops: tuple[str, ...] | None = None,
    ):
        shape = (_STEPS,) if input_shape is None else tuple(input_shape)
        if len(shape) != 1:
            raise ConfigError(
                f"space `{name}` holds language models, which take (steps,). "
                f"Received: input_shape={shape}"
            )
        super().__init__(
            name, shape, WORDS if classes is None else classes,
            draw_acts(_NODES) if node_ops is None else node_ops,
        )
        self.width = width

    def drawn(self, nodes: int, seed: int = DRAW_SEED) -> RecurrentSpace:
        return RecurrentSpace(
            self.name, self.width, self.classes, self.input_shape,
            draw_acts(nodes, seed),
        )

    def from_dag(self, dag: MaskedDag) -> Arch:
        (steps,) = self.input_shape
        parts = LanguageParts(dag, self.classes, self.width, steps)
        return parts.arch(self.name)

    def to_dag(self, arch: Arch) -> MaskedDag:
        parts = language_parts(arch)
        if parts.width != self.width or parts.words != self.classes:
            raise ArtifactError(
                f"space `{self.name}` has language models of {self.width} "
                f"units and {self.classes} words. "
                f"Received: arch={arch.id}, {parts.width}, {parts.words}"
            )
        return parts.cell

    def blocks(self) -> Iterator[tuple[Block, tuple[int, ...]]]:
        """Yields the parts of which the networks are made.

        Cells are too many to measure each: a table of an input node and of
        the edges prices them all, but for the means of a few vectors.
        """
        arch = self.from_dag(self.complete)
        table, _, decoder = arch.blocks
        yield table, self.input_shape
        yield input_part(self.width)
        for act in self.known_ops:
            yield edge_part(self.width, act)
        yield decoder, (self.width,)


class EdgeMadds:
    """Millions of multiply-adds as the published search counts them.

    `edges * width^2`: its metric is calibrated on that, though it leaves out
    the input, the words, and one half of every kernel.

    Args:
        space: Where the networks are from.
    """

    unit = "madds_m"

    def __init__(self, space: RecurrentSpace):
        self._space = space

    def cost(self, arch: Arch) -> float:
        """Returns the cost of a network of the space."""
        edges = self._space.to_dag(arch).num_edges
        return edges * self._space.width**2 / 1e6


def shrink_rnn(words: int = WORDS, width: int = SHRINK_RNN_WIDTH) -> Arch:
    """Returns ShrinkRNN, the language model of the paper.

    12 edges and 745 units make 23,000,700 parameters with 10,000 words; the
    paper says 24 M, which 13 edges would have.

    Args:
        words: Size of the vocabulary.
        width: Width of the word vectors and of the state.
    """
    return LanguageParts(read_cell(SHRINK_RNN), words, width, _STEPS).arch()


def _register(name: str, width: int) -> None:
    register(
        name,
        lambda classes=None, input_shape=None: RecurrentSpace(
            name, width, classes, input_shape
        ),
    )


_register("autoshrink_rnn", _WIDTH)
for _units in (32, 48):  # for small texts
    _register(f"autoshrink_rnn@{_units}", _units)
