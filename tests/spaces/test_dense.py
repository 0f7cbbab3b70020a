"""The dense spaces are the published ones, and their members stay inside."""

import ast
import dataclasses
import itertools

import numpy as np
import pytest

import tfnas
from tests.published_nets import NETS
from tests.published_nets import A
from tests.published_nets import C
from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces.dense_specs import SPECS

# Section 3.2 of the specification: where each width leads.
MBV2_OUTGOING = {
    16: [24],
    24: [32, 40, 48],
    32: [40, 48, 56, 64],
    40: [48, 56, 64, 72],
    48: [56, 64, 72],
    56: [64, 72, 96, 112],
    64: [72, 96, 112, 128],
    72: [96, 112, 128],
    96: [112, 128, 160, 176],
    112: [128, 160, 176, 192],
    128: [160, 176, 192],
    160: [176, 192, 320, 352],
    176: [192, 320, 352, 384],
    192: [320, 352, 384],
    320: [352, 384, "tail"],
    352: [384, "tail"],
    384: ["tail"],
}
MBV2_STRIDE_2 = {16: [24], 24: [32, 40, 48]} | {
    source: [to for to in MBV2_OUTGOING[source] if to >= least]
    for sources, least in [((32, 40, 48), 56), ((96, 112, 128), 160)]
    for source in sources
}
RESNET_GROUPS = [
    [32],
    [48, 56, 64],
    [72, 96, 112],
    [128, 144, 160, 176],
    [192, 208, 224],
    [240, 256, 272, 288],
    [480, 496, 512],
    ["tail"],
]


def _spec(name):
    return spaces.get(name).spec


def _links(spec):
    widths = [*spec.widths, "tail"]
    return {
        widths[b]: [widths[to] for to in spec.outgoing(b)]
        for b in range(spec.tail)
    }


def test_mbv2_connections_are_the_published_table():
    assert _links(_spec("densenas_mbv2")) == MBV2_OUTGOING


def test_mbv2_strides_are_the_published_ones():
    spec = _spec("densenas_mbv2")
    for b in range(spec.tail):
        halved = [
            spec.widths[to] for to in spec.outgoing(b) if spec.stride(b, to) > 1
        ]
        assert halved == MBV2_STRIDE_2.get(spec.widths[b], [])


def test_resnet_blocks_reach_their_own_group_and_the_next():
    links = _links(_spec("densenas_resnet"))
    for group, following in itertools.pairwise(RESNET_GROUPS):
        for i, width in enumerate(group):
            assert links[width] == group[i + 1 :] + following
    assert len(links) == 21


def test_incoming_connections_are_listed_nearest_first():
    spec = _spec("densenas_mbv2")
    assert [spec.widths[b] for b in spec.incoming(spec.widths.index(176))] == [
        160,
        128,
        112,
        96,
    ]
    assert [spec.widths[b] for b in spec.incoming(spec.tail)] == [384, 352, 320]


@pytest.mark.parametrize(
    "name, connections, paths, architectures, parameters",
    [
        ("densenas_mbv2", 54, 15_456, 4.1e45, 633),
        ("densenas_resnet", 87, 540_225, 3.2e35, 397),
    ],
)
def test_the_space_is_as_large_as_published(
    name, connections, paths, architectures, parameters
):
    space = spaces.get(name)
    spec = space.spec
    beta = sum(len(spec.outgoing(b)) for b in range(spec.tail))
    assert beta == connections
    assert space.num_paths[0] == paths

    nets = [0.0] * spec.tail + [1.0]
    for b in reversed(range(spec.tail)):
        own = float(len(spec.stack_ops)) ** spec.layers[b]
        own *= len(spec.head_ops) if b else 1
        nets[b] = own * sum(nets[to] for to in spec.outgoing(b))
    assert nets[0] == pytest.approx(architectures, rel=0.015)

    alpha_head = (connections - 3) * len(spec.head_ops)
    alpha_stack = sum(spec.layers) * len(spec.stack_ops)
    assert beta + alpha_head + alpha_stack == parameters


def _candidates(space):
    """Yields (block, input shape) of every candidate of the supernet."""
    spec = space.spec
    for b in range(spec.tail):
        for to in spec.outgoing(b):
            for op in spec.head_ops if to != spec.tail else ():
                yield space.head(b, to, op), space.shape(b)
        for _, op in itertools.product(range(spec.layers[b]), spec.stack_ops):
            yield space.stack(b, op), space.shape(b)


def _count(block, in_shape):
    return tfnas.count(Arch((block,), in_shape, 1))


def _count_supernet(name):
    """Kernel parameters and multiply-adds of candidates and tails."""
    space = spaces.get(name, classes=100)
    spec = space.spec
    counts = [_count(*candidate) for candidate in _candidates(space)]
    tails = [spec.widths[b] * spec.last_dim for b in spec.incoming(spec.tail)]
    dense = spec.last_dim * 100
    return (
        sum(c.params_without_bn for c in counts) + sum(tails) + dense + 100,
        sum(c.madds for c in counts) + 49 * sum(tails) + dense,
    )


def test_mbv2_supernet_has_the_published_counts():
    params, madds = _count_supernet("densenas_mbv2")
    stem, fixed = 27 * 16, 9 * 16 + 16 * 16
    scale_and_offset = 2 * 16
    assert params + stem + fixed + scale_and_offset + 633 == 90_430_733
    # The published sum is of the stem, without the fixed block.
    assert madds + stem * 112**2 == 9_305_618_272


def test_resnet_supernet_has_the_published_counts():
    params, madds = _count_supernet("densenas_resnet")
    stem, scale_and_offset = 27 * 32, 2 * 32
    assert params + stem + scale_and_offset + 397 == 178_131_665
    # The published sum charges each skip a tenth of its layer's other op.
    spec = _spec("densenas_resnet")
    skips = sum(
        layers * 2 * 9 * width**2 * side**2 / 10
        for width, side, layers in zip(
            spec.widths, spec.resolutions, spec.layers, strict=True
        )
    )
    assert madds + stem * 112**2 + skips == pytest.approx(22_067_606_528)


def test_distinct_operators_are_as_many_as_the_tables_say():
    # Heads: no two connections have the same widths. Stacks: one per block.
    assert len(spaces.get("densenas_mbv2").lut_keys()) == (
        51 * 6 + 13 * 6 + 2 + 3 + 1
    )
    assert len(spaces.get("densenas_resnet").lut_keys()) == 84 + 17 + 1 + 3


@pytest.mark.parametrize("name", SPECS)
def test_samples_are_deterministic_inside_and_encodable(name):
    space = spaces.get(name)
    keys = set(space.lut_keys())
    archs = [space.sample(seed) for seed in range(12)]
    assert archs == [space.sample(seed) for seed in range(12)]
    assert len({arch.id for arch in archs}) > 9
    for arch in archs:
        assert arch.space == name
        assert space.contains(arch)
        assert space.decode(space.encode(arch)) == arch
        assert space.to_arch(space.to_choice(arch)) == arch
        used = zip(arch.blocks, ops.shapes(arch), strict=False)
        assert {ops.lut_key(b, s) for b, s in used} <= keys


def test_every_path_is_equally_likely():
    space = spaces.get("densenas_mbv2@32")
    draws = 2000
    lengths = np.zeros(space.num_paths[0])
    paths: dict[tuple[int, ...], int] = {}
    for seed in range(draws):
        path = space.to_choice(space.sample(seed)).path
        lengths[paths.setdefault(path, len(paths))] += 1
    expected = draws / space.num_paths[0]
    chi2 = float(np.sum((lengths - expected) ** 2 / expected))
    freedom = space.num_paths[0] - 1
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)


def _rows(space, arch):
    """Block width -> (head, stack), read from the text, without the tail."""
    text = space.encode(arch)
    return {
        row[0][1]: (row[1], row[2])
        for row in map(ast.literal_eval, text.split("|"))
        if len(row) == 5
    }


def _edits(a, b):
    """Least number of insertions, deletions and replacements."""
    best = np.arange(len(b) + 1)
    for i, x in enumerate(a, 1):
        last, best[0] = best.copy(), i
        for j, y in enumerate(b, 1):
            best[j] = min(last[j] + 1, best[j - 1] + 1, last[j - 1] + (x != y))
    return best[-1]


@pytest.mark.parametrize("name", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_a_neighbor_stays_inside_and_differs_in_one_choice(name):
    space = spaces.get(name)
    arch = space.sample(4)
    kinds = set()
    for seed in range(200):
        near = space.random_neighbor(arch, seed)
        assert near == space.random_neighbor(arch, seed)
        assert space.contains(near)
        old, new = _rows(space, arch), _rows(space, near)
        kept = old.keys() & new.keys()
        changes = [
            (old[w][0] != new[w][0]) + _edits(old[w][1], new[w][1])
            for w in kept
        ]
        rerouted = _edits(list(old), list(new))
        assert rerouted + sum(changes) == 1
        kinds.add((rerouted, len(new) - len(old)))
        arch = near
    assert kinds >= {(0, 0), (1, 1), (1, -1)}


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_the_space_contains_its_published_nets(name):
    space = spaces.get("densenas_mbv2")
    arch = space.decode(NETS[name].text)
    assert arch.space == "densenas_mbv2"
    assert space.contains(arch)
    assert space.contains(dataclasses.replace(arch, space=None))


@pytest.mark.parametrize("name", ["first_A", "first_B", "first_C"])
def test_nets_of_an_earlier_space_are_read_but_not_contained(name):
    space = spaces.get("densenas_mbv2")
    arch = space.decode(NETS[name].text)
    assert arch.space is None
    assert not space.contains(arch)


def _with_block(arch, index, **changes):
    blocks = list(arch.blocks)
    blocks[index] = dataclasses.replace(blocks[index], **changes)
    return dataclasses.replace(arch, blocks=tuple(blocks))


def _foreign_nets():
    arch = spaces.get("densenas_mbv2").decode(A.text)
    attrs = dict(arch.blocks[2].attrs)
    yield spaces.get("densenas_resnet").sample(0)
    yield spaces.get("densenas_mbv2@32").sample(0)
    yield spaces.get("densenas_mbv2", classes=10).decode(A.text)
    yield spaces.get("densenas_mbv2", input_shape=(96, 96, 3)).sample(0)
    yield dataclasses.replace(arch, blocks=arch.blocks[:-1])
    yield dataclasses.replace(arch, blocks=arch.blocks[:1])
    yield dataclasses.replace(arch, blocks=(arch.blocks[0], arch.blocks[-1]))
    yield _with_block(arch, 2, op="teleport")
    yield _with_block(arch, 2, stage=77)
    yield _with_block(arch, 2, stride=1)
    yield _with_block(arch, 2, attrs={})
    yield _with_block(arch, 2, attrs={**attrs, "k": 9})
    yield _with_block(arch, 2, attrs={**attrs, "act": "relu"})
    yield _with_block(arch, 2, attrs={**attrs, "pad": "same"})
    yield _with_block(arch, 0, stride=1)
    yield Arch((Block("classifier", 3, 10),), (8, 8, 3), 10)


@pytest.mark.parametrize("arch", _foreign_nets())
def test_foreign_nets_are_not_contained(arch):
    space = spaces.get("densenas_mbv2")
    assert not space.contains(arch)
    with pytest.raises(ArtifactError):
        space.to_choice(arch)
    with pytest.raises(ArtifactError, match="does not contain"):
        space.require(arch)


@pytest.mark.parametrize(
    "changes",
    [{"op": "teleport"}, {"attrs": {}}, {"attrs": {"k": 3, "e": 3}}],
)
def test_what_the_text_cannot_express_is_not_written(changes):
    space = spaces.get("densenas_mbv2")
    arch = _with_block(space.decode(C.text), 3, **changes)
    with pytest.raises(ArtifactError):
        space.encode(arch)


def test_a_jump_that_the_space_does_not_have_is_not_contained():
    text = (
        "[[16, 16], 'mbconv_k3_t1', [], 0, 1]|"
        "[[16, 384], 'mbconv_k3_t3', [], 0, 2]|[[384, 1984], 'conv1_1']"
    )
    assert spaces.get("densenas_mbv2").decode(text).space is None


def test_more_layers_than_the_block_has_are_not_contained():
    text = C.text.replace("['mbconv_k3_t3'], 1", f"{['mbconv_k3_t3'] * 4}, 4")
    assert text != C.text
    assert spaces.get("densenas_mbv2").decode(text).space is None


def test_images_too_small_for_the_strides_are_refused():
    with pytest.raises(ConfigError, match="at least 32 x 32 pixels"):
        spaces.get("densenas_mbv2", input_shape=(31, 64, 3))
    small = spaces.get("densenas_mbv2", input_shape=(32, 33, 3))
    assert ops.shapes(small.sample(0))[-3][:2] == (1, 2)


def test_an_unknown_space_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="densenas_mbv2, densenas_mbv2@32"):
        spaces.get("densenas")
