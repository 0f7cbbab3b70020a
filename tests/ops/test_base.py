"""Ops check their attributes, and their latency-table keys are invertible."""

import functools
import re

import pytest

from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.base import make_divisible

# Of ops without windows, or with windows of stride 1 only.
WITHOUT_PADDING = (
    "classifier", "concat", "decoder", "embedding", "nasbench_cell",
    "norm_act", "pooled_conv", "rnn_cell", "rnn_edge",
)


def _key_fields(key):
    op, *fields, _ = key.split("|")
    return op, [field.partition("=")[0] for field in fields]


@functools.cache
def _keys(name):
    return spaces.get(name).lut_keys()


@pytest.mark.parametrize("name", spaces.names())
def test_keys_of_a_space_are_invertible(name):
    keys = _keys(name)
    assert keys == sorted(set(keys))
    for key in keys[:: len(keys) // 1000 + 1]:
        block, in_shape = ops.parse_lut_key(key)
        assert ops.lut_key(block, in_shape) == key


@pytest.mark.parametrize("name", spaces.names())
def test_keys_sort_their_attributes_and_state_the_padding(name):
    for key in _keys(name):
        op, fields = _key_fields(key)
        assert fields == sorted(fields)
        assert op in WITHOUT_PADDING or "pad" in fields


def test_a_key_says_op_attributes_and_shapes():
    block = Block("mbconv", 40, 48, 2, attrs={"k": 5, "e": 6})
    assert ops.lut_key(block, (28, 28, 40)) == (
        "mbconv|act=relu6|e=6|k=5|pad=sym|s=2|28x28x40>14x14x48"
    )
    assert ops.lut_key(Block("classifier", 8, 10), (7, 5, 8)) == (
        "classifier|s=1|7x5x8>10"
    )


def test_inner_widths_of_a_bottleneck_are_found_again_from_its_key():
    for attrs, width in ({"wide_input": 0}, 32), ({"wide_input": 1}, 128):
        block = Block("bottleneck", 32, 16, 2, attrs=attrs)
        key = ops.lut_key(block, (8, 8, width))
        assert key.endswith(f"8x8x{width}>4x4x64")
        found, in_shape = ops.parse_lut_key(key)
        assert (found.in_channels, found.out_channels) == (32, 16)
        assert in_shape == (8, 8, width)


def test_what_is_folded_away_before_timing_is_not_in_the_key():
    plain = Block("conv", 3, 8, attrs={"k": 3})
    other = Block("conv", 3, 8, attrs={"k": 3, "norm": {"eps": 1e-5}})
    assert ops.lut_key(plain, (8, 8, 3)) == ops.lut_key(other, (8, 8, 3))


def test_a_skip_has_no_key():
    assert ops.lut_key(Block("skip", 8, 8), (4, 4, 8)) is None
    for space in spaces.names():
        assert not [k for k in _keys(space) if "skip" in k]


def test_attributes_of_a_key_may_come_in_any_order():
    key = "mbconv|k=5|e=6|s=1|act=relu6|pad=sym|28x28x40>28x28x40"
    assert ops.lut_key(*ops.parse_lut_key(key)) == (
        "mbconv|act=relu6|e=6|k=5|pad=sym|s=1|28x28x40>28x28x40"
    )


@pytest.mark.parametrize(
    "key, problem",
    [
        ("", "looks like"),
        ("conv", "looks like"),
        ("what|s=1|8x8x3>8x8x3", "with op one of basic"),
        ("conv|act=relu6|k=3|pad=sym|s=1|8x8>8x8x4", "looks like"),
        ("conv|act=relu6|k=3|pad=sym|s=1|0x8x3>0x8x4", "looks like"),
        ("conv|act=relu6|k=3|pad=sym|s=1|08x8x3>8x8x4", "looks like"),
        ("conv|act=relu6|k=4|pad=sym|s=1|8x8x3>8x8x4", "attribute `k`"),
        ("conv|act=relu6|k=²|pad=sym|s=1|8x8x3>8x8x4", "attribute `k`"),
        ("conv|act=gelu|k=3|pad=sym|s=1|8x8x3>8x8x4", "attribute `act`"),
        ("conv|act=relu6|k=3|pad=sym|s=3|8x8x3>8x8x4", "stride in"),
        ("conv|act=relu6|k=3|pad=sym|s=x|8x8x3>8x8x4", "stride in"),
        ("conv|act=relu6|k=3|s=1|8x8x3>8x8x4", "expected 'conv|"),
        ("conv|act=relu6|k=3|k=3|pad=sym|s=1|8x8x3>8x8x4", "expected 'conv|"),
        ("conv|act=relu6|k=3|pad=sym|s=2|8x8x3>8x8x4", ">4x4x4'"),
        ("conv|e=1|k=3|8x8x3>8x8x4", r"['e']"),
        ("skip|s=1|8x8x3>8x8x3", "computes nothing"),
        ("bottleneck|pad=sym|s=1|wide_input=1|8x8x6>8x8x8", "multiples of 4"),
        ("classifier|s=1|8>10", "(height, width, 8)"),
    ],
)
def test_a_wrong_key_is_refused_with_the_reason(key, problem):
    with pytest.raises(ArtifactError, match=re.escape(problem)) as error:
        ops.parse_lut_key(key)
    assert repr(key) in str(error.value)


@pytest.mark.parametrize(
    "block, problem",
    [
        (Block("wat", 8, 8), "Received: op='wat'"),
        (Block("conv", 8, 8, attrs={"k": 3, "x": 1}), r"['x']"),
        (Block("conv", 8, 8), "attribute `k` must be one of [1, 3, 5"),
        (Block("conv", 8, 8, attrs={"k": 4}), "Received: 4"),
        (Block("conv", 8, 8, attrs={"k": 3.0}), "Received: 3.0"),
        (Block("conv", 8, 8, attrs={"k": True}), "Received: True"),
        (Block("conv", 8, 8, attrs={"k": [3]}), "Received: [3]"),
        (Block("conv", 8, 8, attrs={"k": 3, "act": "?"}), "attribute `act`"),
        (Block("conv", 8, 8, attrs={"k": 3, "pad": 1}), "attribute `pad`"),
        (Block("conv", 8, 8, 3, attrs={"k": 3}), "stride=3"),
        (Block("conv", 9, 8, attrs={"k": 3}), "takes (height, width, 9)"),
        (Block("mbconv", 8, 8, attrs={"k": 3, "e": 0}), "attribute `e`"),
        (Block("mbconv_se", 8, 8, attrs={"k": 3, "e": 17}), "attribute `e`"),
        (Block("pooled_conv", 8, 8, attrs={"act": 1}), "attribute `act`"),
        (Block("pooled_conv", 8, 8, 2), "stride=2"),
        (Block("skip", 8, 9), "in=8, out=9"),
        (Block("skip", 8, 8, 2), "stride=2"),
        (Block("classifier", 8, 9, 2), "stride=2"),
        (Block("bottleneck", 8, 8), "takes (height, width, 32)"),
    ],
)
def test_a_block_that_does_not_fit_its_op_is_refused(block, problem):
    with pytest.raises(ArtifactError, match=re.escape(problem)):
        ops.lower(block, (4, 4, 8))


@pytest.mark.parametrize(
    "norm",
    [
        "batch",
        {"epsilon": 1e-3},
        {"eps": 0.0},
        {"eps": "1e-3"},
        {"momentum": 1.5},
        {"affine": 1},
    ],
)
def test_a_wrong_norm_is_refused(norm):
    block = Block("conv", 8, 8, attrs={"k": 3, "norm": norm})
    with pytest.raises(ArtifactError, match="attribute `norm` must be"):
        ops.lower(block, (4, 4, 8))


def test_what_norm_leaves_out_is_the_default_of_the_op():
    for op, eps in (("mbconv", 1e-3), ("basic", 1e-5), ("bottleneck", 1e-5)):
        attrs = {"norm": {"affine": False}}
        if op == "mbconv":
            attrs |= {"k": 3, "e": 3}
        assert ops.get(op).attributes(Block(op, 8, 8, attrs=attrs))["norm"] == {
            "eps": eps,
            "momentum": 0.9,
            "affine": False,
        }


def test_a_broken_chain_is_named_with_its_block():
    conv = {"k": 1}
    arch = Arch(
        (
            Block("conv", 3, 8, attrs=conv),
            Block("conv", 8, 8, attrs=conv),
            Block("conv", 9, 8, attrs=conv),
        ),
        (4, 4, 3),
        8,
    )
    with pytest.raises(ArtifactError, match=rf"{arch.id}, blocks\[2\]: "):
        ops.shapes(arch)


def test_make_divisible_never_takes_more_than_a_tenth_away():
    widths = {19.2: 24, 28.8: 32, 48: 48, 134.4: 136, 1: 8, 11: 16, 8.9: 16}
    assert {w: make_divisible(w) for w in widths} == widths
    assert make_divisible(35, 4) == 36
    for width in range(1, 2000):
        rounded = make_divisible(width)
        assert rounded % 8 == 0
        assert 0.9 * width <= rounded <= max(8, width + 8)


@pytest.mark.parametrize("size", [4, 5, 7])
@pytest.mark.parametrize("pad", ["sym", "same"])
def test_stride_two_halves_and_rounds_up(size, pad):
    for k in (1, 3, 5, 7):
        block = Block("conv", 3, 8, 2, attrs={"k": k, "pad": pad})
        shape = ops.lower(block, (size, 8, 3)).output_shape
        assert shape == ((size + 1) // 2, 4, 8)


def test_only_symmetric_padding_at_stride_two_is_a_layer_of_its_own():
    def kinds(stride, pad, k=5):
        block = Block("conv", 3, 8, stride, attrs={"k": k, "pad": pad})
        graph = ops.lower(block, (8, 8, 3))
        return [(n.kind, n.attrs.get("padding")) for n in graph.nodes[:2]]

    assert kinds(2, "sym") == [("pad", None), ("conv", "valid")]
    assert kinds(2, "same") == [("conv", "same"), ("norm", None)]
    assert kinds(1, "sym") == kinds(1, "same") == kinds(2, "same")
    assert kinds(2, "sym", k=1) == kinds(2, "same", k=1)
