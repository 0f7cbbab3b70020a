"""The elastic MobileNetV3 spaces are the published ones, strictly read."""

import dataclasses
import itertools

import numpy as np
import pytest

import tfnas
from tests.published_nets import ASE_NAS
from tests.published_nets import ASE_NAS_PLUS
from tests.published_nets import LARGEST_ELASTIC
from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces import elastic_specs
from tfnas.spaces.elastic import ElasticChoice
from tfnas.spaces.elastic import ElasticSpace

NAMES = ("mobilenetv3", "mobilenetv3_resolution", "mobilenetv3@32")
LONG = ASE_NAS.text
CODES = elastic_specs.ASE_NAS
# Section 10: widths at multipliers 1 and 1.2, stride, activation, gate.
PARTS = [
    ((16, 24), 2, "hard_swish", False),
    ((16, 24), 1, "relu", False),
    ((24, 32), 2, "relu", False),
    ((40, 48), 2, "relu", True),
    ((80, 96), 2, "hard_swish", False),
    ((112, 136), 1, "hard_swish", True),
    ((160, 192), 2, "hard_swish", True),
    ((960, 1152), 1, "hard_swish", False),
    ((1280, 1536), 1, "hard_swish", False),
]


@pytest.fixture(scope="module")
def space():
    return spaces.get("mobilenetv3")


@pytest.mark.parametrize(
    "codes, net, conv_madds_m",
    [
        (elastic_specs.ASE_NAS, ASE_NAS, 586.32),
        (elastic_specs.ASE_NAS_PLUS, ASE_NAS_PLUS, 581.78),
    ],
)
def test_published_networks_are_read_and_counted(
    space, codes, net, conv_madds_m
):
    arch = space.decode(codes)
    assert space.decode(net.text) == arch
    assert space.encode(arch) == codes
    assert space.encode_long(arch) == net.text
    counts = tfnas.count(arch)
    assert (counts.params, counts.madds) == (net.params, net.madds)
    assert round(counts.madds_conv / 1e6, 2) == conv_madds_m
    assert counts.madds - counts.madds_conv == 1_536_000


def test_the_largest_network_has_the_published_size(space):
    arch = space.from_codes([9] * 20)
    assert space.encode_long(arch) == LARGEST_ELASTIC.text
    assert tfnas.count(arch).params == LARGEST_ELASTIC.params


@pytest.mark.parametrize("column, width", [(0, 1.0), (1, 1.2)])
def test_widths_strides_activations_and_gates_are_the_published_ones(
    column, width
):
    spec = dataclasses.replace(elastic_specs.MOBILENETV3, width=width)
    # Units of two layers, the second of which shows what the first gives.
    arch = ElasticSpace("x", spec).from_codes([6, 2, 0, 0] * 5)
    stem, fixed, *layers, last, mix, classifier = arch.blocks
    firsts = [stem, fixed, *layers[::2], last, mix]
    assert PARTS == [
        (
            tuple(
                block.out_channels if i == column else part[0][i]
                for i in range(2)
            ),
            block.stride,
            block.attrs["act"],
            block.op == "mbconv_se",
        )
        for block, part in zip(firsts, PARTS, strict=True)
    ]
    assert {block.attrs["norm"]["eps"] for block in arch.blocks[:-2]} == {1e-5}
    assert (fixed.attrs["k"], fixed.attrs["e"]) == (3, 1)
    for first, second in zip(layers[::2], layers[1::2], strict=True):
        assert second.in_channels == second.out_channels == first.out_channels
        assert second.stride == 1
        assert (first.attrs["k"], first.attrs["e"]) == (5, 6)
        assert (second.attrs["k"], second.attrs["e"]) == (3, 4)
    assert classifier.out_channels == 1000


def test_codes_mean_kernels_and_expansions_in_the_published_order(space):
    pairs = [(k, e) for k in (3, 5, 7) for e in (3, 4, 6)]
    for code, (kernel, expansion) in enumerate(pairs, 1):
        block = space.layer(0, code)
        assert (block.attrs["k"], block.attrs["e"]) == (kernel, expansion)


def _is_legal(codes, layers):
    """Whether at least two layers lead each unit and nothing follows a gap."""
    units = zip(*[iter(codes)] * layers, strict=True)
    return all(
        0 not in unit[:2] and not (unit[2] == 0 and any(unit[3:]))
        for unit in units
    )


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_samples_are_legal_and_canonical(name):
    space, rng = spaces.get(name), np.random.default_rng(0)
    slots, sides = space.spec.slots, len(space.spec.resolutions)
    for _ in range(10_000):
        codes = space.sample_codes(rng)
        assert len(codes) == space.length == slots + bool(sides)
        assert all(0 <= code < 10 for code in codes)
        assert not sides or codes[0] < sides
        assert _is_legal(codes[-slots:], space.spec.layers)
        assert space.canonical(codes) == codes == space.check_codes(codes)


def _deviation(counts):
    """Chi-square over its freedom, in standard deviations from its mean."""
    counts = np.asarray(counts, float)
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    chi2 = np.sum((counts - expected) ** 2 / expected)
    return (chi2 - freedom) / np.sqrt(2 * freedom)


def test_depths_kernels_expansions_and_resolutions_are_uniform():
    space, rng = spaces.get("mobilenetv3_resolution"), np.random.default_rng(0)
    choices = [
        space.to_choice(space.sample_codes(rng)) for _ in range(4000)
    ]
    for field in ("depths", "kernels", "expansions"):
        values = np.array([getattr(choice, field) for choice in choices])
        for column in values.T:
            _, counts = np.unique(column[column > 0], return_counts=True)
            assert len(counts) == 3
            assert _deviation(counts) < 5
    sides = [choice.resolution for choice in choices]
    _, counts = np.unique(sides, return_counts=True)
    assert len(counts) == 5 and _deviation(counts) < 5


def test_a_third_layer_left_out_is_taken_by_the_fourth(space):
    codes = [1, 2, 0, 3] + [4, 5, 6, 0] + [7, 8, 9, 1] + [1, 1, 0, 0] * 2
    assert space.canonical(codes)[:12] == (1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 1)
    arch = space.from_codes(codes)
    assert space.codes(arch) == space.canonical(codes)
    assert space.to_choice(codes).depths == (3, 3, 4, 2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_inside_and_read_back_from_both_forms(name):
    space = spaces.get(name)
    keys = set(space.lut_keys())
    for seed in range(12):
        arch = space.sample(seed)
        assert arch == space.sample(seed)
        assert arch.space == name
        assert space.contains(dataclasses.replace(arch, space=None))
        assert space.from_codes(space.codes(arch)) == arch
        assert space.decode(space.encode(arch)) == arch
        assert space.decode(space.encode_long(arch)) == arch
        assert Arch.from_json(arch.to_json()) == arch
        shapes = ops.shapes(arch)
        assert shapes[-1] == (space.classes,)
        used = zip(arch.blocks, shapes, strict=False)
        assert {ops.lut_key(b, s) for b, s in used} <= keys


@pytest.mark.parametrize("name", NAMES)
def test_neighbors_are_canonical_and_differ_in_one_layer(name):
    space = spaces.get(name)
    arch = space.sample(1)
    for seed in range(50):
        old, arch = space.codes(arch), space.random_neighbor(arch, seed)
        new = space.codes(arch)
        assert space.contains(arch)
        layers, first = space.spec.layers, space.length - space.spec.slots
        changes = int(old[:first] != new[:first])
        for i in range(first, len(old), layers):
            a, b = ([c for c in x[i : i + layers] if c] for x in (old, new))
            shorter, longer = sorted((a, b), key=len)
            dropped = itertools.combinations(longer, len(shorter))
            if len(a) != len(b):
                assert tuple(shorter) in dropped
                changes += len(longer) - len(shorter)
            else:
                changes += sum(x != y for x, y in zip(a, b, strict=True))
        assert changes == 1


def test_the_mask_allows_every_code_but_absent_leading_layers(space):
    assert space.alphabets == (10,)
    assert space.alphabet_of.tolist() == [0] * 20
    expected = np.ones((20, 10), bool)
    expected[[0, 1, 4, 5, 8, 9, 12, 13, 16, 17], 0] = False
    np.testing.assert_array_equal(space.legal, expected)


def test_the_resolution_is_the_first_code():
    space = spaces.get("mobilenetv3_resolution")
    assert space.alphabets == (5, 10)
    assert space.alphabet_of.tolist() == [0] + [1] * 20
    assert space.legal[0].tolist() == [True] * 5 + [False] * 5
    for code, side in enumerate((192, 208, 224, 240, 256)):
        arch = space.decode(f"{code},{CODES}")
        assert arch.input_shape == (side, side, 3)
        assert space.encode_long(arch) == f"{side}:{LONG}"
        assert tfnas.count(arch).params == 8_939_576
    assert space.input_shape == (256, 256, 3)
    at_224 = space.decode(f"224:{LONG}")
    assert at_224.id == spaces.get("mobilenetv3").decode(LONG).id


def test_distinct_operators_are_first_and_later_layers_and_fixed_ones(space):
    # Stem, fixed layer, last convolution, pool with convolution, classifier.
    assert len(space.lut_keys()) == 5 * 2 * 9 + 5
    # The classifier comes after the pool. 208 and 224 px end in maps of one
    # size, and so do 240 and 256 px.
    resolution = spaces.get("mobilenetv3_resolution")
    assert len(resolution.lut_keys()) == 5 * (5 * 2 * 9 + 4) + 1 - 2 * (9 + 2)
    small = spaces.get("mobilenetv3@32")
    assert len(small.lut_keys()) == len(small.spec.units) * 2 * 9 + 5


def test_images_and_classes_can_be_others(space):
    arch = spaces.get("mobilenetv3", 37, (160, 192, 1)).decode(LONG)
    assert arch.blocks[0].in_channels == 1
    assert ops.shapes(arch)[-3:] == [(5, 6, 1152), (1, 1, 1536), (37,)]
    assert not space.contains(arch)


@pytest.mark.parametrize(
    "name, shape, problem",
    [
        ("mobilenetv3", (31, 64, 3), "at least 32 x 32 pixels"),
        ("mobilenetv3", (224, 224), "at least 32 x 32 pixels"),
        ("mobilenetv3@32", (32, 7, 3), "at least 8 x 8 pixels"),
        ("mobilenetv3_resolution", (224, 224, 3), "takes images of 256 x 256"),
    ],
)
def test_images_that_do_not_fit_are_refused(name, shape, problem):
    with pytest.raises(ConfigError, match=f"`{name}` .*{problem}"):
        spaces.get(name, input_shape=shape)


def _with_block(arch, index, **changes):
    blocks = list(arch.blocks)
    blocks[index] = dataclasses.replace(blocks[index], **changes)
    return dataclasses.replace(arch, blocks=tuple(blocks))


def _foreign_nets():
    space = spaces.get("mobilenetv3")
    arch = space.decode(LONG)
    attrs = dict(arch.blocks[2].attrs)
    yield spaces.get("mobilenetv3@32").sample(0)
    yield spaces.get("densenas_mbv2").sample(0)
    yield spaces.get("mobilenetv3", classes=10).sample(0)
    yield spaces.get("mobilenetv3", input_shape=(96, 96, 3)).sample(0)
    yield Arch((Block("classifier", 3, 10),), (8, 8, 3), 10)
    yield Arch((Block("classifier", 3, 10),), (8,), 10)
    for blocks in (
        arch.blocks[:-1],
        arch.blocks[1:],
        arch.blocks[:3] + arch.blocks[5:],
        arch.blocks[:4] + arch.blocks[3:4] * 20 + arch.blocks[4:],
    ):
        yield dataclasses.replace(arch, blocks=blocks)
    for changes in (
        {"op": "teleport"},
        {"op": "mbconv_se"},
        {"stage": 0},
        {"stage": 77},
        {"stride": 1},
        {"attrs": {}},
        {"attrs": {**attrs, "k": 9}},
        {"attrs": {**attrs, "k": 5.0}},
        {"attrs": {**attrs, "e": [6]}},
        {"attrs": {**attrs, "k": 0, "e": 0}},
        {"attrs": {**attrs, "act": "relu6"}},
        {"attrs": {**attrs, "pad": "same"}},
    ):
        yield _with_block(arch, 2, **changes)


@pytest.mark.parametrize("arch", _foreign_nets())
def test_foreign_nets_are_not_contained(space, arch):
    assert not space.contains(arch)
    for use in (space.require, space.codes, space.encode_long):
        with pytest.raises(ArtifactError, match="does not contain"):
            use(arch)


LONG_FORM = "`mobilenetv3` writes an architecture as `depths:kernels:expan"


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "20 integers joined by commas"),
        ("1", "has 20 codes. Received: 1 codes"),
        ("1," * 20, "20 integers joined by commas"),
        ("1," * 20 + "1", "has 20 codes. Received: 21 codes"),
        ("10" + ",1" * 19, r"position 0 must be one of \[1, .* Received: 10"),
        ("0" + ",1" * 19, r"position 0 must be one of \[1, .* Received: 0"),
        ("1,0" + ",1" * 18, r"position 1 must be one of \[1, 2"),
        ("1" + ",1" * 18 + ",a", "20 integers joined by commas"),
        ("1" + ",1" * 18 + ",-1", "20 integers joined by commas"),
        ("1 " * 20, "20 integers joined by commas"),
        (LONG[2:], LONG_FORM),
        (f"224:{LONG}", LONG_FORM),
        (LONG.replace(":", ";"), "20 integers joined by commas"),
        (LONG.replace(":", "::"), LONG_FORM),
        (LONG + ",4", LONG_FORM),
        (LONG.replace("4:5", "x:5"), LONG_FORM),
        (LONG.replace("4:5", "4:9"), r"slot 0 must .* Received: \(9, 6\)"),
        (LONG.replace("4:5", "4:0"), r"slot 0 must .* Received: \(0, 6\)"),
        (LONG.replace(":6", ":5"), r"slot 0 must .* Received: \(5, 5\)"),
        (LONG.replace("4:5", "3:5"), r"depths must .* \(3, 3, 3, 4, 3"),
        (
            LONG.replace("4:5", "4:0").replace(":6", ":0"),
            r"position 0 must be one of \[1, 2",
        ),
    ],
)
def test_malformed_text_is_refused_with_the_reason(space, text, problem):
    with pytest.raises(ArtifactError, match=problem):
        space.decode(text)


def test_choices_that_the_space_does_not_have_are_refused(space):
    codes = space.parse_codes(CODES)
    good = space.to_choice(codes)
    assert space.from_choice(good) == codes
    with pytest.raises(ArtifactError, match="resolution must be one of"):
        space.from_choice(dataclasses.replace(good, resolution=224))
    resolution = spaces.get("mobilenetv3_resolution")
    with pytest.raises(ArtifactError, match="one of .*192.* Received: 200"):
        resolution.from_choice(dataclasses.replace(good, resolution=200))
    with pytest.raises(ArtifactError, match="21 codes. Received: 20 codes"):
        resolution.from_choice(good)
    short = ElasticChoice(good.depths, good.kernels[1:], good.expansions[1:])
    with pytest.raises(ArtifactError, match="20 codes. Received: 19 codes"):
        space.from_choice(short)
