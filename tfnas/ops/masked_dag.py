"""Graphs of numbered nodes that lose their edges one by one (AutoShrink).

Source: Zhang et al., "AutoShrink: A Topology-Aware NAS for Discovering
Efficient Neural Architecture", AAAI 2020, and the authors' release. Cells of
convolutional networks and recurrent cells are both such graphs.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Collection
from collections.abc import Sequence

from tfnas.errors import ArtifactError

Edge = tuple[int, int]

MAX_NODES = 64
_MAX_CHARS = 16384
_TEXT = re.compile(
    r"([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*):"
    r"([0-9]{1,2}-[0-9]{1,2}(?:\.[0-9]{1,2}-[0-9]{1,2})*)?"
)


@dataclasses.dataclass(frozen=True)
class MaskedDag:
    """Nodes with fixed operations, and the edges that are left between them.

    Node 0 is the input; its operation is never used. Every edge goes from a
    lower to a higher node, so there is no cycle. Edges whose source cannot be
    reached from node 0 may be there, and count for nothing.

    Args:
        ops: Name of each node's operation.
        edges: `(source, target)` of each edge, ascending.

    Raises:
        ArtifactError: for an edge that does not go from a lower to a higher
            node, edges out of order or there twice, or too many nodes.
    """

    ops: tuple[str, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.ops) <= MAX_NODES:
            raise ArtifactError(
                f"a graph has 1 to {MAX_NODES} nodes. "
                f"Received: {len(self.ops)} nodes"
            )
        for source, target in self.edges:
            if not 0 <= source < target < len(self.ops):
                raise ArtifactError(
                    "an edge goes from a lower to a higher node, so that "
                    f"there is no cycle, of nodes 0..{len(self.ops) - 1}. "
                    f"Received: edge {source}-{target}"
                )
        if list(self.edges) != sorted(set(self.edges)):
            raise ArtifactError(
                "edges must be in ascending order, each once. "
                f"Received: {_join(self.edges)}"
            )

    @classmethod
    def complete(cls, ops: Sequence[str]) -> MaskedDag:
        """Returns the graph with all edges from lower to higher nodes."""
        edges = itertools.combinations(range(len(ops)), 2)
        return cls(tuple(ops), tuple(edges))

    @classmethod
    def decode(cls, text: str, known: Collection[str]) -> MaskedDag:
        """Reads what `encode` wrote.

        Args:
            text: For example `"sep.conv.sep:0-1.0-2.1-2"`.
            known: Operations that a node may have.

        Raises:
            ArtifactError: for text of another form, an unknown operation, a
                cycle, or a graph whose output cannot be reached.
        """
        match = _TEXT.fullmatch(text) if len(text) <= _MAX_CHARS else None
        if not match:
            raise ArtifactError(
                "a graph is written as the operations of its nodes and its "
                "edges, such as `sep.conv.sep:0-1.0-2.1-2`. "
                f"Received: {text[:200]!r}"
            )
        names = match[1].split(".")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ArtifactError(
                "a node's operation must be one of "
                f"{', '.join(sorted(known))}. Received: {unknown}"
            )
        pairs = [pair.split("-") for pair in (match[2] or "").split(".")]
        edges = tuple((int(p[0]), int(p[1])) for p in pairs if len(p) == 2)
        return cls(tuple(names), edges)._with_output()

    def encode(self) -> str:
        """Writes the graph as one word without `|` and `=`."""
        return f"{'.'.join(self.ops)}:{_join(self.edges)}"

    def _with_output(self) -> MaskedDag:
        """Refuses a foreign graph none of whose edges leaves the input."""
        if self.edges and not self.live_edges:
            raise ArtifactError(
                "the output of a graph must be reachable from node 0. "
                f"Received: edges {_join(self.edges)}"
            )
        return self

    @functools.cached_property
    def reachable(self) -> tuple[int, ...]:
        """Node 0 and the nodes that a path of edges leads to, ascending."""
        found = {0}
        for source, target in self.edges:
            if source in found:
                found.add(target)
        return tuple(sorted(found))

    @functools.cached_property
    def live_edges(self) -> tuple[Edge, ...]:
        """The edges whose source is reachable."""
        reached = set(self.reachable)
        return tuple(edge for edge in self.edges if edge[0] in reached)

    @property
    def num_edges(self) -> int:
        """Number of edges whose source is reachable."""
        return len(self.live_edges)

    @functools.cached_property
    def leaves(self) -> tuple[int, ...]:
        """Reachable nodes without an outgoing edge, ascending."""
        sources = {source for source, _ in self.edges}
        return tuple(node for node in self.reachable if node not in sources)

    def sources(self, node: int) -> tuple[int, ...]:
        """Returns the reachable nodes with an edge to a node, ascending."""
        return tuple(i for i, j in self.live_edges if j == node)

    def pruned(self) -> MaskedDag:
        """Returns the graph without edges whose source is not reachable."""
        return MaskedDag(self.ops, self.live_edges)

    def without(self, edge: Edge) -> MaskedDag:
        """Returns the graph without one edge, not pruned.

        Raises:
            ValueError: when there is no such edge.
        """
        left = list(self.edges)
        left.remove(edge)
        return MaskedDag(self.ops, tuple(left))


def _join(edges: Sequence[Edge]) -> str:
    return ".".join(f"{source}-{target}" for source, target in edges)
