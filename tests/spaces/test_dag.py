"""AutoShrink's space, and the published networks in it."""

import dataclasses
import re

import pytest

from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.masked_dag import MaskedDag
from tfnas.spaces.dag import draw_ops
from tfnas.spaces.dag_specs import SHRINK_CNN
from tfnas.spaces.dag_specs import SPECS

# Of the published networks, cell by cell: side and width of the input, pool,
# f, width of [x0, a], side and width of the output, shortcut.
CELLS = (
    (112, 44, 1, 12, 56, 112, 24, "1x1 s1"),
    (112, 24, 2, 24, 48, 56, 48, "1x1 s2"),
    *[(56, 48, 1, 24, 72, 56, 48, "identity")] * 2,
    (56, 48, 2, 44, 92, 28, 88, "1x1 s2"),
    *[(28, 88, 1, 44, 132, 28, 88, "identity")] * 3,
    (28, 88, 2, 88, 176, 14, 176, "1x1 s2"),
    *[(14, 176, 1, 88, 264, 14, 176, "identity")] * 5,
    (14, 176, 2, 180, 356, 7, 360, "1x1 s2"),
    *[(7, 360, 1, 180, 540, 7, 360, "identity")] * 3,
)
PUBLISHED = ("autoshrink_cnn", "autoshrink_cnn_swish")
NAMES = (*PUBLISHED, "autoshrink_cnn@32")


def published(name):
    return spaces.get(name).decode(SHRINK_CNN)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_the_published_table(name):
    arch = published(name)
    stem, *cells, head, classifier = arch.blocks
    shapes = ops.shapes(arch)
    found = []
    for block, shape, after in zip(
        cells, shapes[1:], shapes[2:], strict=False
    ):
        graph = ops.lower(block, shape)
        short = "identity"
        if "shortcut" in graph.shapes:
            (node,) = [n for n in graph.nodes if n.name == "shortcut"]
            short = f"1x1 s{node.attrs['stride']}"
        found.append(
            (shape[0], shape[2], block.stride, block.attrs["f"],
             graph.shapes["n3_in"][-1], after[0], after[2], short)
        )
    assert tuple(found) == CELLS
    assert (stem.out_channels, stem.stride, stem.attrs["k"]) == (44, 2, 3)
    assert (head.out_channels, head.attrs["k"]) == (1280, 1)
    assert shapes[-1] == (1001,)


def by_hand():
    """Parameters of the table without and with norms, multiply-adds."""
    params, madds, norms = 27 * 44, 27 * 44 * 112**2, 44 + 1280
    for _, width, _, f, joined, side, out, short in CELLS:
        own = 2 * (9 * width + width * f)  # a and b
        own += 9 * joined + joined * f  # l
        own += (width + f) * f  # r
        own += 0 if short == "identity" else width * out
        params, madds = params + own, madds + own * side**2
        # A separable convolution normalises its input's channels too.
        norms += 2 * (width + f) + (joined + f) + f
        norms += 0 if short == "identity" else out
    params += 360 * 1280 + 1281 * 1001
    madds += 360 * 1280 * 49 + 1280 * 1001
    return params, params + 2 * norms, madds


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_published_size(name):
    counts = count(published(name))
    found = counts.params_without_bn, counts.params, counts.madds
    assert found == by_hand()
    assert round(counts.params_without_bn / 1e6, 1) == 3.6
    assert round(counts.madds / 1e6) == 384


def test_published_networks_differ_in_their_activation_alone():
    relu, swish = (published(name) for name in PUBLISHED)
    assert relu.id != swish.id
    for a, b in zip(relu.blocks, swish.blocks, strict=True):
        assert {**a.attrs, "act": 0} == {**b.attrs, "act": 0} or not a.attrs
        assert a.attrs.get("act") in ("relu", None)
        assert b.attrs.get("act") in ("swish", None)


@pytest.mark.parametrize("name", NAMES)
def test_draws_belong_to_the_space_and_come_again(name):
    space = spaces.get(name)
    archs = [space.sample(seed) for seed in range(20)]
    assert len({arch.id for arch in archs}) > 15
    assert archs == [space.sample(seed) for seed in range(20)]
    for arch in archs:
        assert space.contains(arch)
        assert space.decode(space.encode(arch)) == arch
        assert ops.shapes(arch)[-1] == (space.classes,)
        assert Arch.from_json(arch.to_json()) == arch
        assert space.to_dag(arch).ops == space.node_ops


def test_neighbours_differ_in_one_edge_and_what_it_cut_off():
    space = spaces.get("autoshrink_cnn@32")
    arch = space.sample(3)
    before = set(space.to_dag(arch).edges)
    seen = set()
    for seed in range(60):
        near = space.random_neighbor(arch, seed)
        assert space.contains(near) and near.id != arch.id
        after = set(space.to_dag(near).edges)
        assert len(after - before) == 1 or after < before
        seen.add(len(after) - len(before))
    assert 1 in seen and min(seen) < 0


def test_a_space_of_one_graph_has_no_neighbours():
    space = spaces.get("autoshrink_cnn@32").drawn(2, 0)
    with pytest.raises(ConfigError, match="has no neighbour"):
        space.random_neighbor(space.sample(0), 0)


def test_operations_are_drawn_once_half_of_each_kind():
    for nodes, seps in ((8, 4), (6, 3), (5, 3)):
        draws = {draw_ops(nodes, seed) for seed in range(50)}
        assert len(draws) > 5
        assert {names.count("sep") for names in draws} == {seps}
    space = spaces.get("autoshrink_cnn@32")
    assert space.node_ops == draw_ops(8, 5)
    assert space.drawn(6, 1).node_ops == draw_ops(6, 1)


@pytest.mark.parametrize(
    "scale, filters",
    [(0.7, 12), (1.4, 24), (2.8, 44), (5.6, 88), (11.2, 180), (1, 16)]
    + [(0.01, 4), (0.625, 8), (0.875, 16)],  # 2.5 and 3.5: halves to even
)
def test_widths_are_rounded_as_published(scale, filters):
    spec = dataclasses.replace(SPECS["autoshrink_cnn@32"], scales=(scale,) * 3)
    assert [f for _, f, _ in spec.cells()] == [filters] * 3


def test_the_proxy_has_three_stages_of_one_cell():
    space = spaces.get("autoshrink_cnn@32")
    arch = space.from_dag(space.complete)
    assert [
        (b.op, b.attrs.get("f"), b.stride, b.attrs["norm"]["eps"])
        for b in arch.blocks[:-1]
    ] == [
        ("conv", None, 1, 1e-5),
        *[("shrink_cell", f, s, 1e-5) for f, s in ((16, 1), (32, 2), (64, 2))],
    ]


def test_without_edges_a_network_is_its_pools_and_shortcuts():
    space = spaces.get("autoshrink_cnn@32")
    arch = space.from_dag(MaskedDag(space.node_ops, ()))
    assert [b.out_channels for b in arch.blocks] == [32, 32, 32, 32, 10]
    # Stem, two projections of stride 2, dense layer.
    assert count(arch).params_without_bn == 27 * 32 + 2 * 32**2 + 330


@pytest.mark.parametrize(
    "name, draws", [("autoshrink_cnn", 5), ("autoshrink_cnn@32", 30)]
)
def test_tables_of_parts_price_every_network(name, draws):
    space = spaces.get(name)
    keys = set(space.lut_keys())
    archs = [space.sample(seed) for seed in range(draws)]
    archs += [space.from_dag(space.complete), space.decode("sep.sep:")]
    for arch in archs:
        for block, shape in zip(
            arch.blocks, ops.shapes(arch), strict=False
        ):
            for part in ops.parts(block, shape):
                assert ops.lut_key(*part) in keys


@pytest.mark.parametrize(
    "text, problem",
    [
        ("sep.conv:1-0", "no cycle"),
        ("sep.tanh:0-1", "one of conv, sep"),
        ("sep.sep.sep:1-2", "reachable from node 0"),
        ("[[0, 1], [0, 0]]", "such as"),
    ],
)
def test_wrong_text_is_refused(text, problem):
    with pytest.raises(ArtifactError, match=re.escape(problem)):
        spaces.get("autoshrink_cnn").decode(text)


def test_foreign_networks_are_no_part_of_the_space():
    space = spaces.get("autoshrink_cnn@32")
    dense = spaces.get("densenas_mbv2@32").sample(0)
    assert not space.contains(dense)
    with pytest.raises(ArtifactError, match="cells have one graph"):
        space.encode(dense)
    assert not space.contains(published("autoshrink_cnn"))


def test_images_must_be_large_enough_for_the_strides():
    with pytest.raises(ConfigError, match="at least 32 x 32"):
        spaces.get("autoshrink_cnn", input_shape=(16, 32, 3))
    arch = spaces.get("autoshrink_cnn", 10, (48, 40, 3)).decode(SHRINK_CNN)
    # Sides that a stride does not divide are rounded up everywhere.
    assert ops.shapes(arch)[-3] == (2, 2, 360)
