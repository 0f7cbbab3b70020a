"""Language models: a table of words, a recurrent cell, a tied decoder.

What these blocks lower to is one time step, the one a phone runs: a word and
the state that the step before left give the logits of the next word and the
new state, which is the output of the cell. So the counts are those of a step.

Source: Zhang et al. 2020 (AutoShrink) and the recurrent cell of its release.
"""

from __future__ import annotations

import dataclasses
import re

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.base import Op
from tfnas.ops.base import get
from tfnas.ops.base import register
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape
from tfnas.ops.masked_dag import MaskedDag

# What a node may apply, and the activation that it is.
NODE_ACTS = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "identity": "linear",
}
MAX_WORDS = 1 << 20
_CHAIN = ["embedding", "rnn_cell", "decoder"]

Part = tuple[Block, Shape]


def read_cell(text: str) -> MaskedDag:
    """Returns the graph of a recurrent cell.

    Args:
        text: Activations of the nodes, and the edges, such as
            `"tanh.relu.identity:0-1.0-2"`.

    Raises:
        ArtifactError: for text that is no graph, an unknown activation, or
            edges that nothing flows through; the message gives the form
            without them.
    """
    dag = MaskedDag.decode(text, tuple(NODE_ACTS))
    canonical = dag.pruned().encode()
    if text != canonical:
        raise ArtifactError(
            "a cell states its graph without edges from nodes that cannot be "
            f"reached, as {canonical!r}. Received: {text!r}"
        )
    return dag


@register
class Embedding(Op):
    """From a sequence of words to the vector of one of them.

    The network takes `(steps,)` numbers of words, a step one of them.

    Attributes of a block: `words`, the size of the vocabulary.
    """

    name = "embedding"
    strides = (1,)
    rank = 1
    attrs = {"words": range(1, MAX_WORDS + 1)}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        words = self.attributes(block)["words"]
        g = Graph(())
        g.embed("input", "table", words, block.out_channels)
        return g


@register
class RnnCell(Op):
    """One step of a recurrent cell that is a graph of highways.

    Node 0 joins the input x and the state h: `s_0 = h + sigmoid(c) *
    (tanh(z) - h)` with `[c, z] = [x, h] W_0`. An edge from node i to node j
    carries `s_i + sigmoid(c) * (f_j(z) - s_i)` with `[c, z] = s_i W_ij`. A
    node is the mean of what its edges carry, the new state the mean of the
    leaves. There are no biases. Both halves of each W are layers of their
    own, so that nothing has to be cut apart.

    Attributes of a block: `graph`, see `read_cell`.
    """

    name = "rnn_cell"
    strides = (1,)
    rank = 1
    attrs = {"graph": re.compile("[^|=]+")}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        dag = read_cell(self.attributes(block)["graph"])
        g = Graph(in_shape)
        h = g.state("state", block.out_channels)
        x = g.concat(["input", h], "joined")
        nodes = {0: _highway(g, x, h, "node_0", "tanh")}
        for node in dag.reachable[1:]:
            act = NODE_ACTS[dag.ops[node]]
            carried = [
                _highway(g, nodes[i], nodes[i], f"edge_{i}_{node}", act)
                for i in dag.sources(node)
            ]
            nodes[node] = g.average(carried, f"node_{node}")
        g.output = g.average([nodes[leaf] for leaf in dag.leaves], "leaves")
        return g

    def parts(self, block: Block, in_shape: Shape) -> list[Part]:
        """Returns node 0 and the edges as blocks of their own.

        What takes the means of a few vectors is left out.
        """
        dag = read_cell(self.attributes(block)["graph"])
        width = block.out_channels
        edges = [edge_part(width, dag.ops[j]) for _, j in dag.edges]
        return [input_part(width), *edges]


@register
class RnnEdge(Op):
    """What one edge of a recurrent cell carries, alone: see `RnnCell`.

    Attributes of a block: `act`, the activation of the target.
    """

    name = "rnn_edge"
    strides = (1,)
    rank = 1
    attrs = {"act": tuple(NODE_ACTS)}

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        act = self.attributes(block)["act"]
        if block.in_channels != block.out_channels:
            raise ArtifactError(
                "op `rnn_edge` keeps its input's width. Received: "
                f"in={block.in_channels}, out={block.out_channels}"
            )
        g = Graph(in_shape)
        _highway(g, "input", "input", "edge", NODE_ACTS[act])
        return g


def input_part(width: int) -> Part:
    """Returns a cell of node 0 alone."""
    attrs = {"graph": MaskedDag(("tanh",), ()).encode()}
    return Block("rnn_cell", width, width, attrs=attrs), (width,)


def edge_part(width: int, act: str) -> Part:
    """Returns an edge of a cell; `act` is one of `NODE_ACTS`."""
    return Block("rnn_edge", width, width, attrs={"act": act}), (width,)


def _highway(g: Graph, x: str, carry: str, name: str, act: str) -> str:
    """Adds `carry + sigmoid(c) * (act(z) - carry)`, with `[c, z] = x W`.

    The sum is written as a difference: the converter makes two operators of
    Keras' sum of vectors.
    """
    units = g.shapes[carry][-1]
    gate = g.dense(x, f"{name}_gate", units, bias=False)
    gate = g.act(gate, f"{name}_gate_act", "sigmoid")
    new = g.dense(x, f"{name}_new", units, bias=False)
    new = g.act(new, f"{name}_new_act", act)
    change = g.sub(carry, new, f"{name}_change")
    return g.sub(carry, g.mul(gate, change, f"{name}_gated"), name)


@register
class Decoder(Op):
    """Logits of the next word: `h E^T + b`, with the table E of the words.

    The kernel is that of `embedding` and counts no parameters here.
    """

    name = "decoder"
    strides = (1,)
    rank = 1

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        self.attributes(block)
        g = Graph(in_shape)
        g.dense("input", "logits", block.out_channels, tied=True)
        return g


@dataclasses.dataclass(frozen=True)
class LanguageParts:
    """What a language model is made of.

    Args:
        cell: Graph of the recurrent cell.
        words: Size of the vocabulary.
        width: Width of the word vectors and of the state.
        steps: Steps of a training sequence; no weight depends on it.
    """

    cell: MaskedDag
    words: int
    width: int
    steps: int

    def arch(self, space: str | None = None) -> Arch:
        """Returns the network.

        Args:
            space: Name of the search space that it belongs to.
        """
        graph = self.cell.pruned().encode()
        blocks = (
            Block(
                "embedding", self.steps, self.width,
                attrs={"words": self.words},
            ),
            Block("rnn_cell", self.width, self.width, attrs={"graph": graph}),
            Block("decoder", self.width, self.words),
        )
        return Arch(blocks, (self.steps,), self.words, space)


def is_language_model(arch: Arch) -> bool:
    """Says whether a network takes words, not an image."""
    return len(arch.input_shape) == 1


def language_parts(arch: Arch) -> LanguageParts:
    """Returns what a language model is made of.

    Raises:
        ArtifactError: when the network is not a table of words, a cell and a
            decoder that fit each other.
    """
    chain = [block.op for block in arch.blocks]
    if chain != _CHAIN or not is_language_model(arch):
        raise ArtifactError(
            f"arch {arch.id}: a language model takes (steps,) and is made of "
            f"{_CHAIN}. Received: {arch.input_shape}, {chain}"
        )
    table, cell, decoder = arch.blocks
    words = get("embedding").attributes(table)["words"]
    graph = get("rnn_cell").attributes(cell)["graph"]
    parts = LanguageParts(
        read_cell(graph), words, table.out_channels, table.in_channels
    )
    expected = parts.arch(arch.space)
    if arch != expected:
        raise ArtifactError(
            f"arch {arch.id}: steps, words and widths must agree; the decoder "
            f"is the table of words. Expected: {expected.to_json()}. "
            f"Received: {arch.to_json()}"
        )
    return parts
