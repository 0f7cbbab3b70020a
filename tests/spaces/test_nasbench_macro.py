"""The space of NAS-Bench-Macro is the benchmark's, count by count."""

import dataclasses
import itertools
import pathlib

import numpy as np
import pytest

import tfnas
from tfnas import ops
from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

CODES = list(itertools.product(range(3), repeat=8))
STAGES = ((0, 1), (2, 3, 4), (5, 6, 7))
ROOT = pathlib.Path(__file__).parents[2]
TABLE = ROOT.parent / "shared" / "data" / "tables" / "nasbench_macro.npz"


@pytest.fixture(scope="module")
def space():
    return spaces.get("nasbench_macro")


def closed_form(codes, side=32, classes=10):
    """Parameters and multiply-adds, layer by layer, from the paper."""
    params, madds = 27 * 32 + 64, 27 * 32 * side**2
    width = 32
    for stage in STAGES:
        for position in stage:
            first = position == stage[0]
            out = 2 * width if first else width
            before = side
            side = side // 2 if first else side
            if codes[position]:
                k, e = {1: (3, 3), 2: (5, 6)}[codes[position]]
                mid = e * width
                params += width * mid + k * k * mid + mid * out
                params += 2 * (mid + mid + out)
                madds += width * mid * before**2
                madds += (k * k * mid + mid * out) * side**2
            elif first:
                params += width * out + 2 * out
                madds += width * out * side**2
            width = out
    params += width * 1280 + 2 * 1280 + (1280 + 1) * classes
    return params, madds + width * 1280 * side**2 + 1280 * classes


def counts(space, codes):
    counted = tfnas.count(space.from_codes(codes))
    return counted.params, counted.madds


def test_every_network_has_the_counts_of_the_paper(space):
    for codes in {space.canonical(codes) for codes in CODES}:
        assert counts(space, codes) == closed_form(codes)


def test_other_images_and_classes_count_as_they_should():
    space = spaces.get("nasbench_macro", 7, (16, 16, 3))
    for codes in CODES[::500]:
        assert counts(space, codes) == closed_form(codes, 16, 7)


@pytest.mark.skipif(
    not TABLE.exists(), reason=f"{TABLE} is not on this machine"
)
def test_all_published_counts_are_ours(space):
    with np.load(TABLE, allow_pickle=False) as table:
        rows = table["codes"].tolist()
        published = list(
            zip(table["params"].tolist(), table["madds"].tolist(), strict=True)
        )
    ours = {
        codes: counts(space, codes)
        for codes in {space.canonical(row) for row in rows}
    }
    assert [ours[space.canonical(row)] for row in rows] == published


def test_identities_commute_but_for_the_first_of_a_stage(space):
    assert space.canonical((0, 1, 2, 0, 1, 0, 0, 2)) == (0, 1, 2, 1, 0, 0, 2, 0)
    networks = {space.from_codes(codes).id for codes in CODES}
    assert len(networks) == 3969
    assert len(networks) == len({space.canonical(codes) for codes in CODES})
    assert len(space.members()) == 3969


def test_codes_come_back_from_networks(space):
    for codes in CODES[::37]:
        arch = space.from_codes(codes)
        assert space.codes(arch) == space.canonical(codes)
        assert space.decode(space.encode(arch)) == arch
        assert space.contains(arch)


def test_other_networks_are_not_members(space):
    arch = space.from_codes([1] * 8)
    twice = (*arch.blocks[:3], arch.blocks[2], *arch.blocks[3:])
    for other in (
        spaces.get("nasbench201").sample(0),
        spaces.get("nasbench_macro", 100).sample(0),
        dataclasses.replace(arch, blocks=arch.blocks[:-1]),
        dataclasses.replace(arch, blocks=twice),
    ):
        assert not space.contains(other)
        with pytest.raises(ArtifactError, match="does not contain"):
            space.codes(other)


@pytest.mark.parametrize("codes", [(0,) * 7, (0,) * 9, (0,) * 7 + (3,)])
def test_wrong_codes_are_refused(space, codes):
    with pytest.raises(ArtifactError, match="space `nasbench_macro`"):
        space.from_codes(codes)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ConfigError, match="at least 8 x 8"):
        spaces.get("nasbench_macro", input_shape=(4, 32, 3))


def test_latency_keys_are_those_of_all_networks(space):
    found = set()
    for codes in CODES[::7]:
        arch = space.from_codes(codes)
        found |= {
            ops.lut_key(block, shape)
            for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False)
        }
    keys = space.lut_keys()
    # Stem, head, classifier; three choices of three first layers, and the
    # inverted residuals of three others.
    assert len(keys) == 3 + 9 + 6
    assert found == set(keys)


@pytest.mark.parametrize("codes", [(0,) * 8, (1, 2, 0, 1, 2, 2, 0, 1)])
def test_keras_has_what_is_counted(codes):
    space = spaces.get("nasbench_macro", input_shape=(16, 16, 3))
    arch = space.from_codes(codes)
    model = tfnas.build_model(arch)
    params = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert params == tfnas.count(arch).params
    assert model.output_shape == (None, 10)
