"""The space of recurrent cells: drawn, varied, written and priced."""

import collections

import pytest

import tfnas
from tests.cost.lut_tables import make_table
from tfnas import ops
from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.recurrent import NODE_ACTS
from tfnas.ops.recurrent import language_parts
from tfnas.spaces.recurrent import SHRINK_RNN
from tfnas.spaces.recurrent import EdgeMadds
from tfnas.spaces.recurrent import draw_acts
from tfnas.spaces.recurrent import shrink_rnn


@pytest.fixture
def space():
    return spaces.get("autoshrink_rnn", classes=50)


def test_the_search_starts_from_fifteen_edges_of_six_nodes(space):
    arch = space.from_dag(space.complete)
    assert space.complete.num_edges == 15
    assert EdgeMadds(space).cost(arch) == 15 * 100**2 / 1e6
    parts = language_parts(arch)
    assert (parts.words, parts.width, parts.steps) == (50, 100, 35)


def test_the_published_cell_is_that_of_the_paper():
    cell = language_parts(shrink_rnn()).cell
    assert cell.ops == (
        "tanh", "identity", "sigmoid", "sigmoid", "tanh", "identity"
    )
    assert cell.edges == (
        (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 3), (1, 4), (1, 5),
        (2, 4), (2, 5), (3, 4), (3, 5),
    )
    assert cell.leaves == (4, 5)


def test_the_published_cell_is_of_the_space_at_its_width(space):
    arch = space.decode(SHRINK_RNN)
    assert space.contains(arch)
    assert space.encode(arch) == SHRINK_RNN
    assert not space.contains(shrink_rnn(words=50))  # 745 units


def test_activations_are_drawn_alike_and_repeatable():
    assert draw_acts(6, 1) == draw_acts(6, 1)
    many = collections.Counter(draw_acts(4000, 3))
    assert set(many) == set(NODE_ACTS)
    assert min(many.values()) > 900


def test_another_draw_gives_other_activations(space):
    drawn = space.drawn(4, 7)
    assert drawn.node_ops == draw_acts(4, 7)
    assert (drawn.width, drawn.classes) == (space.width, space.classes)


@pytest.mark.parametrize("seed", range(10))
def test_draws_and_neighbors_belong_to_the_space(space, seed):
    arch = space.sample(seed)
    near = space.random_neighbor(arch, seed)
    assert space.contains(arch) and space.contains(near)
    assert space.sample(seed).id == arch.id != near.id
    assert space.decode(space.encode(arch)).id == arch.id


def test_a_table_of_seven_rows_prices_every_cell(space):
    keys = space.lut_keys()
    assert len(keys) == 3 + len(NODE_ACTS)
    table = make_table(keys)
    for arch in (space.sample(0), space.decode(SHRINK_RNN)):
        assert not table.missing(arch)
        dag = space.to_dag(arch)
        assert len(table.keys_of(arch)) == 3 + dag.num_edges


def test_keys_of_the_space_stand_for_blocks(space):
    for key in space.lut_keys():
        block, shape = ops.parse_lut_key(key)
        assert ops.lut_key(block, shape) == key


def test_another_width_and_another_vocabulary_are_not_of_the_space(space):
    with pytest.raises(ArtifactError, match="100 units and 50 words"):
        space.to_dag(shrink_rnn(words=50))
    with pytest.raises(ArtifactError, match="100 units and 50 words"):
        space.to_dag(spaces.get("autoshrink_rnn").sample(0))
    image = spaces.get("densenas_mbv2@32").sample(0)
    assert not space.contains(image)


def test_an_image_is_refused():
    with pytest.raises(ConfigError, match=r"take \(steps,\)"):
        spaces.get("autoshrink_rnn", 10, (32, 32, 3))


def test_counts_work_for_every_network(space):
    counts = tfnas.count(space.sample(3))
    edges = space.to_dag(space.sample(3)).num_edges
    assert counts.params == 50 * 100 + 50 + (4 + 2 * edges) * 100**2
