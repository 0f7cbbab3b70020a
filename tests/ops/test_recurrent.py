"""One step of a language model as a graph of primitive layers, counted."""

import dataclasses
import json

import pytest

import tfnas
from tests import language_models as lm
from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.recurrent import LanguageParts
from tfnas.ops.recurrent import is_language_model
from tfnas.ops.recurrent import language_parts
from tfnas.ops.recurrent import read_cell

WIDTH, WORDS = lm.WIDTH, lm.WORDS


def test_shapes_are_those_of_one_step():
    assert ops.shapes(lm.make_arch()) == [
        (lm.STEPS,), (WIDTH,), (WIDTH,), (WORDS,)
    ]


def test_counts_are_those_made_by_hand():
    arch = lm.make_arch()
    edges = len(read_cell(lm.CELL).edges)
    cell = 2 * WIDTH * 2 * WIDTH + edges * WIDTH * 2 * WIDTH
    counts = tfnas.count(arch)
    assert counts.params == WORDS * WIDTH + WORDS + cell
    assert counts.params_without_bn == counts.params
    assert counts.madds == cell + WORDS * WIDTH
    assert [(b.params, b.madds) for b in counts.blocks] == [
        (WORDS * WIDTH, 0), (cell, cell), (WORDS, WORDS * WIDTH)
    ]


def test_the_state_counts_among_what_lives():
    # h, x beside h, the gate and what it will let in.
    peak = tfnas.count(lm.make_arch("tanh:")).peak_activation_bytes / 4
    assert peak == (1 + 2 + 1 + 1) * WIDTH


def test_a_word_needs_no_size_but_its_table():
    graph = ops.lower(
        Block("embedding", 35, WIDTH, attrs={"words": WORDS}), (35,)
    )
    assert graph.input_shape == ()
    assert graph.output_shape == (WIDTH,)


def test_nodes_out_of_reach_are_neither_built_nor_allowed():
    def kinds(text):
        block = Block("rnn_cell", WIDTH, WIDTH, attrs={"graph": text})
        return [node.kind for node in ops.lower(block, (WIDTH,)).nodes]

    acts = "tanh.relu.tanh.sigmoid.identity"
    assert kinds(f"{acts}:0-4").count("dense") == 4
    with pytest.raises(ArtifactError, match=f"as '{acts}:0-4'"):
        kinds(f"{acts}:0-4.1-2.2-3")


@pytest.mark.parametrize(
    "text, message",
    [
        ("tanh.relu:1-0", "lower to a higher node, so that there is no cycle"),
        ("tanh.relu:0-0", "lower to a higher node"),
        ("tanh.relu:0-2", r"of nodes 0\.\.1"),
        ("tanh.gelu:0-1", "one of identity, relu, sigmoid, tanh.*gelu"),
        ("tanh.relu.relu:1-2", "must be reachable from node 0"),
        ("tanh.relu:0-1.0-1", "ascending order, each once"),
        ("tanh relu", "a graph is written as"),
    ],
)
def test_a_wrong_cell_is_refused(text, message):
    block = Block("rnn_cell", WIDTH, WIDTH, attrs={"graph": text})
    with pytest.raises(ArtifactError, match=message):
        ops.lower(block, (WIDTH,))


@pytest.mark.parametrize("cell", [lm.CELL, "tanh:", "tanh.relu:0-1"])
def test_keys_are_invertible(cell):
    arch = lm.make_arch(cell)
    shapes = ops.shapes(arch)
    for block, shape in zip(arch.blocks, shapes, strict=False):
        for part, part_shape in [
            (block, shape), *ops.parts(block, shape)
        ]:
            key = ops.lut_key(part, part_shape)
            assert ops.parse_lut_key(key) == (part, part_shape)


def test_the_parts_of_a_cell_have_its_multiply_adds():
    arch = lm.make_arch()
    _, cell, _ = arch.blocks
    parts = ops.parts(cell, (WIDTH,))
    assert [block.op for block, _ in parts] == [
        "rnn_cell", *["rnn_edge"] * len(read_cell(lm.CELL).edges)
    ]
    graphs = [ops.lower(block, shape) for block, shape in parts]
    madds = sum(g.madds(node) for g in graphs for node in g.nodes)
    assert madds == tfnas.count(arch).blocks[1].madds


def test_an_edge_keeps_its_width():
    block = Block("rnn_edge", 8, 9, attrs={"act": "relu"})
    with pytest.raises(ArtifactError, match="keeps its input's width"):
        ops.lower(block, (8,))


def test_an_image_is_no_input_of_a_cell():
    block = lm.make_arch().blocks[1]
    with pytest.raises(ArtifactError, match=r"takes \(8,\).*\(4, 4, 8\)"):
        ops.lower(block, (4, 4, 8))


def test_a_language_model_survives_its_file(tmp_path):
    arch = lm.make_arch()
    arch.save(tmp_path / "a.json")
    loaded = Arch.load(tmp_path / "a.json")
    assert loaded == arch and loaded.id == arch.id
    assert is_language_model(loaded)
    assert language_parts(loaded) == LanguageParts(
        read_cell(lm.CELL), WORDS, WIDTH, lm.STEPS
    )


def _changed(field, value):
    """The JSON of a language model with one field of a block changed."""
    arch = json.loads(json.dumps(lm.make_arch().to_json()))
    block, name = field
    arch["blocks"][block][name] = value
    return Arch.from_json(arch)


@pytest.mark.parametrize(
    "field, value",
    [((0, "out"), 9), ((1, "in"), 9), ((2, "in"), 9), ((2, "out"), 9),
     ((0, "words"), 9), ((0, "in"), 9)],
)
def test_parts_that_do_not_fit_are_refused(field, value):
    with pytest.raises(ArtifactError, match="must agree"):
        language_parts(_changed(field, value))


def test_another_chain_is_no_language_model():
    arch = lm.make_arch()
    short = dataclasses.replace(arch, blocks=arch.blocks[:2])
    with pytest.raises(ArtifactError, match="is made of"):
        language_parts(short)
