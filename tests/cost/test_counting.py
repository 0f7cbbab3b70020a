"""Counts equal the published ones and those made by hand."""

import pytest

import tfnas
from tests.published_nets import NETS
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError


@pytest.mark.parametrize("name", NETS)
def test_published_nets_have_the_published_counts(name):
    net = NETS[name]
    counts = tfnas.count(spaces.get(net.space).decode(net.text))
    assert counts.params == net.params
    assert counts.madds == net.madds


@pytest.mark.parametrize("name", [n for n in NETS if NETS[n].madds_at_96])
def test_published_nets_have_the_published_counts_at_96_px(name):
    net = NETS[name]
    space = spaces.get(net.space, input_shape=(96, 96, 3))
    counts = tfnas.count(space.decode(net.text))
    assert counts.params == net.params
    assert counts.madds == net.madds_at_96


def _one(block, in_shape):
    """The counts of a network of one block."""
    return tfnas.count(Arch((block,), in_shape, 1))


def test_classes_change_only_the_classifier():
    net = NETS["C"]
    space = spaces.get(net.space, classes=100)
    counts = tfnas.count(space.decode(net.text))
    assert net.params - counts.params == 900 * (1984 + 1)
    assert net.madds - counts.madds == 900 * 1984
    assert counts.madds - counts.madds_conv == 100 * 1984


def test_bottleneck_counts_equal_those_made_by_hand():
    # 8x8x32 -> conv1 8x8x64 -> conv2 4x4x64 -> conv3 4x4x256, shortcut 1x1.
    block = Block("bottleneck", 32, 64, 2, attrs={"wide_input": 0})
    counts = _one(block, (8, 8, 32))
    kernels = [32 * 64, 9 * 64 * 64, 64 * 256, 32 * 256]
    assert counts.params_without_bn == sum(kernels)
    assert counts.params == sum(kernels) + 2 * (64 + 64 + 256 + 256)
    assert counts.madds == (
        64 * kernels[0] + 16 * kernels[1] + 16 * kernels[2] + 16 * kernels[3]
    )


def test_bottleneck_with_an_identity_shortcut_has_no_shortcut_kernel():
    counts = _one(Block("bottleneck", 16, 16), (8, 8, 64))
    assert counts.params_without_bn == 64 * 16 + 9 * 16 * 16 + 16 * 64


def test_a_bottleneck_net_config_counts_as_by_hand():
    space = spaces.get("densenas_resnet_bottleneck")
    text = (
        "[[32, 48], 'bottle_neck', [], 0, 2]|"
        "[[48, 72], 'bottle_neck', ['bottle_neck'], 1, 2]"
    )
    counts = tfnas.count(space.decode(text))
    stem = 27 * 32
    first = 32 * 48 + 9 * 48**2 + 48 * 192 + 32 * 192
    second = 192 * 72 + 9 * 72**2 + 72 * 288 + 192 * 288
    third = 288 * 72 + 9 * 72**2 + 72 * 288
    dense = 288 * 1000 + 1000
    assert counts.params_without_bn == stem + first + second + third + dense
    assert [b.out_shape for b in counts.blocks] == [
        (112, 112, 32),
        (56, 56, 192),
        (28, 28, 288),
        (28, 28, 288),
        (1000,),
    ]


def test_blocks_add_up_to_the_total():
    counts = tfnas.count(spaces.get("densenas_mbv2@32").sample(3))
    assert sum(b.params for b in counts.blocks) == counts.params
    assert sum(b.madds for b in counts.blocks) == counts.madds


def test_norms_without_scale_and_offset_have_no_parameters():
    attrs = {"k": 3, "e": 3, "norm": {"affine": False}}
    counts = _one(Block("mbconv", 8, 6, attrs=attrs), (4, 4, 8))
    assert counts.params == counts.params_without_bn
    assert counts.params == 8 * 24 + 9 * 24 + 24 * 6


def test_a_skip_costs_nothing():
    counts = _one(Block("skip", 8, 8), (4, 4, 8))
    assert (counts.params, counts.madds) == (0, 0)
    assert counts.peak_activation_bytes == 4 * 4 * 4 * 8


def test_peak_memory_is_the_most_that_lives_at_once():
    def peak(block, in_shape):
        return _one(block, in_shape).peak_activation_bytes / 4

    attrs = {"k": 3, "e": 3}
    # The input (kept for the sum), the expansion and the filtered expansion.
    assert peak(Block("mbconv", 8, 8, attrs=attrs), (4, 4, 8)) == (
        16 * 8 + 16 * 24 + 16 * 24
    )
    # Without a sum the input is gone once it is expanded.
    assert peak(Block("mbconv", 8, 9, attrs=attrs), (4, 4, 8)) == 2 * 16 * 24
    # The expansion and its padded copy.
    assert peak(Block("mbconv", 8, 9, 2, attrs=attrs), (4, 4, 8)) == (
        16 * 24 + 36 * 24
    )


def test_a_net_that_does_not_fit_its_ops_is_refused():
    arch = Arch((Block("conv", 4, 8, attrs={"k": 3}),), (8, 8, 3), 10)
    with pytest.raises(ArtifactError, match=r"blocks\[0\]: op `conv` takes"):
        tfnas.count(arch)
