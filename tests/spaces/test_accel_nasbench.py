"""The space of Accel-NASBench is the benchmark's, count by count."""

import dataclasses
import pathlib

import numpy as np
import pytest

import tfnas
from tfnas import ops
from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces.accel_nasbench import BlockChoice

ROOT = pathlib.Path(__file__).parents[2]
TABLE = ROOT.parent / "shared" / "data" / "tables" / "accel_nasbench.npz"
# EfficientNet-B0, which is in the space.
B0 = [
    BlockChoice(e, k, d, 1)
    for e, k, d in zip(
        (1, 6, 6, 6, 6, 6, 6), (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 3, 3, 4, 1),
        strict=True,
    )
]


@pytest.fixture(scope="module")
def space():
    return spaces.get("accel_nasbench")


def parameters(choices):
    """Parameters, layer by layer."""
    total, width = 27 * 32 + 64, 32
    outs = (16, 24, 40, 80, 112, 192, 320)
    for out, (e, k, depth, gated) in zip(outs, choices, strict=True):
        for _ in range(depth):
            mid = e * width
            if e > 1:
                total += width * mid + 2 * mid
            total += k * k * mid + 2 * mid + mid * out + 2 * out
            if gated:
                narrow = max(1, width // 4)
                total += 2 * mid * narrow + mid + narrow
            width = out
    return total + 320 * 1280 + 2560 + 1280 * 1000 + 1000


def test_a_known_network_has_its_known_counts(space):
    counts = tfnas.count(space.from_codes(space.from_choices(B0)))
    # Keras' EfficientNetB0 has 5,288,548 trainable parameters.
    assert counts.params == parameters(B0) == 5_288_548
    assert round(counts.madds / 1e9, 2) == 0.39  # as the authors say


def test_parameters_are_those_of_the_closed_form(space):
    for seed in range(60):
        arch = space.sample(seed)
        choices = space.to_choices(space.codes(arch))
        assert tfnas.count(arch).params == parameters(choices)


@pytest.mark.skipif(
    not TABLE.exists(), reason=f"{TABLE} is not on this machine"
)
def test_all_published_parameters_are_ours(space):
    names = ("expansion", "kernel", "depth", "squeeze_excite")
    with np.load(TABLE, allow_pickle=False) as table:
        rows = np.stack([table[name] for name in names], -1).tolist()
        published = table["params_m"].tolist()
    ours = [
        tfnas.count(
            space.from_codes(
                space.from_choices([BlockChoice(*block) for block in row])
            )
        ).params
        for row in rows
    ]
    assert len(ours) == 5138
    assert np.round(np.array(ours) / 1e6, 6).tolist() == published


def test_codes_come_back_from_networks(space):
    for seed in range(20):
        arch = space.sample(seed)
        codes = space.codes(arch)
        assert space.from_codes(codes) == arch
        assert space.decode(space.encode(arch)) == arch
        assert space.from_choices(space.to_choices(codes)) == codes
        assert space.contains(space.random_neighbor(arch, seed))


def test_only_the_sixth_block_may_have_four_layers(space):
    deep = [block._replace(depth=3) for block in B0]
    deep[5] = deep[5]._replace(depth=4)
    assert space.to_choices(space.from_choices(deep))[5].depth == 4
    deep[4] = deep[4]._replace(depth=4)
    with pytest.raises(ArtifactError, match="position 18 must be one of"):
        space.from_choices(deep)


@pytest.mark.parametrize(
    "change, field",
    [({"expansion": 3}, "expansion"), ({"kernel": 7}, "kernel"),
     ({"depth": 0}, "depth"), ({"gated": 2}, "gated")],
)
def test_a_choice_that_there_is_not_is_refused_by_name(space, change, field):
    wrong = [*B0[:3], B0[3]._replace(**change), *B0[4:]]
    with pytest.raises(ArtifactError, match=f"`{field}` of block 3"):
        space.from_choices(wrong)


def test_other_networks_are_not_members(space):
    arch = space.sample(0)
    for other in (
        spaces.get("nasbench_macro").sample(0),
        spaces.get("accel_nasbench", 10).sample(0),
        dataclasses.replace(arch, blocks=arch.blocks[:-1]),
        dataclasses.replace(arch, blocks=arch.blocks[:1]),
    ):
        assert not space.contains(other)
        with pytest.raises(ArtifactError, match="does not contain"):
            space.codes(other)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ConfigError, match="at least 32 x 32"):
        spaces.get("accel_nasbench", input_shape=(16, 32, 3))


def test_latency_keys_are_those_of_all_networks(space):
    found = set()
    for seed in range(150):
        arch = space.sample(seed)
        found |= {
            ops.lut_key(block, shape)
            for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False)
        }
    # Stem, head, classifier; twelve kinds of seven first and seven others.
    assert found == set(space.lut_keys())
    assert len(found) == 3 + 12 * 14


def test_a_narrow_gate_follows_the_width_of_the_input():
    block = tfnas.arch.Block("mbconv_se_narrow", 2, 8, attrs={"k": 3, "e": 4})
    graph = ops.lower(block, (4, 4, 2))
    (reduce,) = [n for n in graph.nodes if n.name == "se_reduce"]
    assert reduce.attrs["filters"] == 1


def test_keras_has_what_is_counted():
    space = spaces.get("accel_nasbench", 10, (32, 32, 3))
    arch = space.sample(1)
    model = tfnas.build_model(arch)
    params = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert params == tfnas.count(arch).params
    assert model.output_shape == (None, 10)
