"""Graphs that lose edges: what is reachable, what counts, how it is written."""

import re

import numpy as np
import pytest

from tfnas.errors import ArtifactError
from tfnas.ops.masked_dag import MaskedDag

KNOWN = ("sep", "conv")


def dag(nodes, *edges):
    return MaskedDag(("sep",) * nodes, tuple(sorted(edges)))


def edges_of(mask):
    """Returns the edges of `(nodes, nodes)` of 0 and 1."""
    return tuple((int(i), int(j)) for i, j in np.argwhere(mask))


def test_edges_that_cannot_be_reached_count_for_nothing():
    graph = dag(5, (1, 2), (2, 3), (0, 4))
    assert graph.reachable == (0, 4)
    assert graph.num_edges == 1
    assert graph.leaves == (4,)
    assert graph.pruned().edges == ((0, 4),)


def test_a_complete_graph_has_every_edge_once():
    for nodes, edges in ((8, 28), (6, 15), (1, 0)):
        graph = MaskedDag.complete(("conv",) * nodes)
        assert graph.num_edges == edges
        assert graph.leaves == (nodes - 1,)
        assert graph.edges == edges_of(np.triu(np.ones((nodes, nodes)), 1))


def test_pruning_cuts_off_everything_behind_a_removed_edge():
    graph = dag(5, (0, 1), (1, 2), (2, 3), (0, 4))
    left = graph.without((0, 1))
    assert left.edges == ((0, 4), (1, 2), (2, 3))
    assert left.pruned().edges == ((0, 4),)
    assert left.num_edges == 1


def test_the_input_is_the_leaf_when_no_edge_is_left():
    graph = dag(3, (0, 2)).without((0, 2))
    assert (graph.reachable, graph.leaves) == ((0,), (0,))


def test_sources_are_reachable_and_ascending():
    graph = dag(5, (0, 1), (0, 4), (1, 4), (2, 4))
    assert graph.sources(4) == (0, 1)
    assert graph.sources(3) == ()


@pytest.mark.parametrize("seed", range(20))
def test_walks_from_the_input_say_what_is_reachable(seed):
    """Reachable is what powers of the mask reach."""
    rng = np.random.default_rng(seed)
    mask = np.triu(rng.integers(0, 2, (7, 7)), 1)
    mask[0, 6] = 1
    graph = MaskedDag(("sep",) * 7, edges_of(mask))
    walks = sum(np.linalg.matrix_power(mask, k) for k in range(7))[0]
    assert graph.reachable == tuple(np.flatnonzero(walks))
    assert graph.num_edges == mask[walks > 0].sum()
    ends = (walks > 0) & (mask.sum(1) == 0)
    assert graph.leaves == tuple(np.flatnonzero(ends))
    assert MaskedDag.decode(graph.encode(), KNOWN) == graph


@pytest.mark.parametrize(
    "graph, text",
    [
        (
            MaskedDag(("sep", "conv", "sep"), ((0, 1), (0, 2), (1, 2))),
            "sep.conv.sep:0-1.0-2.1-2",
        ),
        (MaskedDag(("conv",), ()), "conv:"),
        (
            MaskedDag(("sep",) * 12, ((0, 11),)),
            "sep.sep.sep.sep.sep.sep.sep.sep.sep.sep.sep.sep:0-11",
        ),
    ],
)
def test_text_is_read_as_it_was_written(graph, text):
    assert graph.encode() == text
    assert MaskedDag.decode(text, KNOWN) == graph
    assert not set("|=> ") & set(text)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "such as `sep.conv.sep:0-1.0-2.1-2`"),
        ("sep.sep", "such as"),
        ("sep.sep:0-1.", "such as"),
        ("sep.sep:0>1", "such as"),
        ("sep.sep:0-1\n", "such as"),
        ("sep.sep:²-1", "such as"),
        ("sep." * 10000 + "sep:0-1", "such as"),
        ("sep.pool:0-1", "must be one of conv, sep. Received: ['pool']"),
        ("sep.sep.sep:0-2.2-1", "no cycle"),
        ("sep.sep:0-0", "Received: edge 0-0"),
        ("sep.sep:0-2", "of nodes 0..1. Received: edge 0-2"),
        ("sep.sep.sep:0-2.0-1", "ascending order"),
        ("sep.sep:0-1.0-1", "each once"),
        ("sep.sep.sep:1-2", "reachable from node 0. Received: edges 1-2"),
        (".".join(["sep"] * 65) + ":0-1", "1 to 64 nodes"),
    ],
)
def test_wrong_text_is_refused_with_the_reason(text, problem):
    with pytest.raises(ArtifactError, match=re.escape(problem)):
        MaskedDag.decode(text, KNOWN)


def test_only_an_edge_that_is_there_can_go():
    with pytest.raises(ValueError):
        dag(3, (0, 1)).without((0, 2))
