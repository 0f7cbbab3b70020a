"""Spaces of graphs that shrink, and AutoShrink's convolutional one.

The operations of the nodes are drawn once and kept; which edges there are is
the choice. Every cell of a network has the same graph. Source: Zhang et al.,
"AutoShrink", AAAI 2020, and the authors' release.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops import dag as dag_ops
from tfnas.ops.masked_dag import Edge
from tfnas.ops.masked_dag import MaskedDag
from tfnas.spaces.base import Space
from tfnas.spaces.base import image_shape
from tfnas.spaces.base import register
from tfnas.spaces.dag_specs import DRAW_SEED
from tfnas.spaces.dag_specs import SPECS
from tfnas.spaces.dag_specs import ShrinkSpec

__all__ = ["DagSpace", "Edge", "MaskedDag", "ShrinkSpace", "draw_ops"]

_Part = tuple[Block, tuple[int, ...]]


class DagSpace(Space):
    """Networks whose cell is a graph over nodes with given operations.

    Any graph of known operations belongs to the space; `sample`, and a
    search, keep to the operations that were drawn.

    Args:
        name: Registered name.
        input_shape: Shape of the networks' input.
        classes: Width of their logits.
        node_ops: The operations drawn, one for each node.

    Attributes:
        known_ops: All operations that a node may have.
    """

    known_ops: tuple[str, ...] = ()

    def __init__(
        self, name: str, input_shape: tuple[int, ...], classes: int,
        node_ops: tuple[str, ...],
    ):
        super().__init__(name, input_shape, classes)
        self.node_ops = node_ops

    @abc.abstractmethod
    def from_dag(self, dag: MaskedDag) -> Arch:
        """Returns the network of a graph, pruned or not."""

    @abc.abstractmethod
    def to_dag(self, arch: Arch) -> MaskedDag:
        """Returns the graph of a network's cell, pruned.

        Raises:
            ArtifactError: when the network has no such cell.
        """

    @abc.abstractmethod
    def drawn(self, nodes: int, seed: int) -> DagSpace:
        """Returns the space with another draw of the operations."""

    @property
    def complete(self) -> MaskedDag:
        """The graph with all edges, where shrinking starts."""
        return MaskedDag.complete(self.node_ops)

    @property
    def num_choices(self) -> int:
        """Number of graphs over the nodes, pruned or not."""
        return 2 ** len(self.complete.edges)

    def sample(self, seed: int) -> Arch:
        """Draws a number of edges, then as many edges, and prunes."""
        rng = np.random.default_rng(seed)
        edges = self.complete.edges
        while True:
            number = int(rng.integers(1, len(edges) + 1))
            kept = sorted(rng.choice(len(edges), number, replace=False))
            dag = MaskedDag(self.node_ops, tuple(edges[i] for i in kept))
            if dag.num_edges:
                return self.from_dag(dag)

    def random_neighbor(self, arch: Arch, seed: int) -> Arch:
        """Drops one edge, or adds one that starts at a reachable node."""
        rng = np.random.default_rng(seed)
        dag = self.to_dag(arch)
        pairs = itertools.combinations(range(len(dag.ops)), 2)
        near = []
        for edge in pairs:
            edges = set(dag.edges) ^ {edge}
            moved = MaskedDag(dag.ops, tuple(sorted(edges))).pruned()
            if moved.num_edges and moved != dag:
                near.append(moved)
        if not near:
            raise ConfigError(
                "a graph with one edge between two nodes has no neighbour. "
                f"Received: {dag.encode()}"
            )
        return self.from_dag(near[int(rng.integers(len(near)))])

    def contains(self, arch: Arch) -> bool:
        """Says whether the network is that of its graph in this space."""
        try:
            return self.from_dag(self.to_dag(arch)).id == arch.id
        except ArtifactError:
            return False

    def encode(self, arch: Arch) -> str:
        """Writes the graph, such as `sep.conv.sep:0-1.0-2.1-2`."""
        return self.to_dag(arch).encode()

    def decode(self, text: str) -> Arch:
        """Reads a graph; see `MaskedDag.decode`."""
        return self.from_dag(MaskedDag.decode(text, self.known_ops))


def draw_ops(nodes: int, seed: int = DRAW_SEED) -> tuple[str, ...]:
    """Draws the operations of convolutional nodes.

    The list sep, conv, sep, ... is shuffled, so both are there equally often
    (section 2.1 of the release's conventions).

    Args:
        nodes: Number of nodes, the input included.
        seed: Seed of the shuffle.
    """
    names = [dag_ops.NODE_OPS[i % 2] for i in range(nodes)]
    order = np.random.default_rng(seed).permutation(nodes)
    return tuple(names[i] for i in order)


class ShrinkSpace(DagSpace):
    """Convolutional networks of one repeated cell.

    Args:
        name: Key of `SPECS`.
        spec: The numbers around the cells.
        classes: Width of the logits; defaults to the spec's.
        input_shape: `(height, width, channels)`; defaults to the spec's
            square RGB image.
        node_ops: Operations of the nodes; drawn by default.

    Raises:
        ConfigError: when the image is too small for the strides.
    """

    # Joins of integers copy what is in several of them, and joins of equal
    # inputs are made once: what a node costs depends on the others.
    entries = "operators"
    known_ops = dag_ops.NODE_OPS

    def __init__(
        self, name: str, spec: ShrinkSpec, classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
        node_ops: tuple[str, ...] | None = None,
    ):
        stride = spec.stem_stride * math.prod(spec.pools)
        super().__init__(
            name, image_shape(name, input_shape, spec.input_size, stride),
            spec.classes if classes is None else classes,
            draw_ops(spec.nodes) if node_ops is None else node_ops,
        )
        self.spec = spec

    def drawn(self, nodes: int, seed: int = DRAW_SEED) -> ShrinkSpace:
        return ShrinkSpace(
            self.name, self.spec, self.classes, self.input_shape,
            draw_ops(nodes, seed),
        )

    def from_dag(self, dag: MaskedDag) -> Arch:
        spec, text = self.spec, dag.pruned().encode()
        blocks = [self._conv(self.input_shape[-1], *spec.stem)]
        width = blocks[0].out_channels
        for stage, filters, stride in spec.cells():
            out = spec.filters_of(filters) * len(dag.leaves)
            if dag.leaves == (0,):
                out = width
            attrs = {"graph": text, "f": filters, **spec.cell_attrs}
            blocks.append(
                Block("shrink_cell", width, out, stride, stage, attrs)
            )
            width = out
        return Arch(
            (*blocks, *self._head(width)), self.input_shape, self.classes,
            self.name,
        )

    def _conv(
        self, width: int, filters: int, size: int, stride: int, stage: int = 0
    ) -> Block:
        attrs = {
            "k": size, "act": self.spec.act, "pad": "same",
            "norm": dict(self.spec.norm),
        }
        return Block("conv", width, filters, stride, stage, attrs)

    def _head(self, width: int) -> list[Block]:
        spec, stage = self.spec, len(self.spec.scales) + 1
        head = []
        if spec.head_filters:
            head.append(self._conv(width, spec.head_filters, 1, 1, stage))
            width = spec.head_filters
        return [*head, Block("classifier", width, self.classes, stage=stage)]

    def to_dag(self, arch: Arch) -> MaskedDag:
        texts = {
            block.attrs.get("graph")
            for block in arch.blocks if block.op == "shrink_cell"
        }
        if len(texts) != 1:
            raise ArtifactError(
                f"space `{self.name}` has networks whose cells have one "
                f"graph. Received: arch={arch.id}, {len(texts)} graphs"
            )
        return dag_ops.read_graph(str(texts.pop()))

    def blocks(self) -> Iterator[_Part]:
        """Yields the parts of which the space's cells are made.

        Cells are too many to measure each; a table of their parts prices
        them all. Stem and head are yielded as they are.
        """
        stem = self._conv(self.input_shape[-1], *self.spec.stem)
        yield stem, self.input_shape
        shape = ops.lower(stem, self.input_shape).output_shape
        for leaves in range(len(self.node_ops)):
            out = shape
            for _, filters, stride in self.spec.cells():
                before = out
                out = (*(-(-n // stride) for n in before[:2]), before[-1])
                if leaves:
                    filters = self.spec.filters_of(filters)
                    yield from self._nodes(out, filters, leaves)
                    out = (*out[:2], filters * leaves)
                if leaves > 1:
                    yield dag_ops.join_part(out)
                if stride > 1:
                    yield dag_ops.pool_part(before)
                if self.spec.residual:
                    yield from dag_ops.shortcut_parts(before, out, stride)
            for block in self._head(out[-1]):
                yield block, out
                out = ops.lower(block, out).output_shape

    def pieces(self) -> Iterator[tuple[list[Block], tuple[int, ...]]]:
        """Yields networks that hold every runtime operator of the space.

        Cells of each number of leaves, in which a node joins each number of
        others with and without the input, and in which two joins share
        tensors.
        """
        for op in self.known_ops:
            for edges in _covering(len(self.node_ops) - 1):
                dag = MaskedDag((op,) * len(self.node_ops), edges)
                yield list(self.from_dag(dag).blocks), self.input_shape

    def _nodes(
        self, in_shape: tuple[int, ...], filters: int, leaves: int
    ) -> Iterator[_Part]:
        """Yields what a node of a cell with so many leaves may be.

        A node joins the cell's input, some nodes before it, or both; nodes
        that are joined are no leaves.
        """
        spec = self.spec
        acts = ("linear", spec.act) if spec.residual else (spec.act,)
        for others in range(len(self.node_ops) - leaves):
            for x in (0, in_shape[-1]):
                shape = (*in_shape[:2], x + others * filters)
                if (others and x) or others > 1:
                    yield dag_ops.join_part(shape)
                if not shape[-1]:
                    continue
                for op, act in itertools.product(self.known_ops, acts):
                    yield dag_ops.node_part(
                        shape, filters, op, act, spec.inner
                    )


def _covering(nodes: int) -> Iterator[tuple[Edge, ...]]:
    """Yields the edges of the graphs of `ShrinkSpace.pieces`.

    Args:
        nodes: How many there may be beside the input.
    """
    for leaves in range(1, nodes + 1):
        for others in range(nodes - leaves + 1):
            for x in (False, True):
                for behind in (False, True):  # another node takes the join
                    sources = [*range(1, others + 1), *([0] if x else [])]
                    join = others + 1
                    last = join + leaves - 1 + behind
                    if not sources or last > nodes:
                        continue
                    edges = [(0, i) for i in range(1, others + 1)]
                    edges += [(i, join) for i in sources]
                    edges += [(join, join + 1)] if behind else []
                    rest = range(join + behind + 1, last + 1)
                    yield tuple(sorted([*edges, *((0, i) for i in rest)]))
        shared = [(0, 1), (0, 2), (0, 3), (1, 3), (0, 4), (1, 4), (2, 4)]
        if leaves == 1:
            shared += [(3, 5), (4, 5)]
        rest = range(5, leaves + 3)
        if max((edge[1] for edge in shared), default=0) <= nodes >= leaves + 2:
            yield tuple(sorted([*shared, *((0, i) for i in rest)]))


def _register(name: str, spec: ShrinkSpec) -> None:
    def make(classes: Any = None, input_shape: Any = None) -> ShrinkSpace:
        return ShrinkSpace(name, spec, classes, input_shape)

    register(name, make)


for _name, _spec in SPECS.items():
    _register(_name, _spec)
