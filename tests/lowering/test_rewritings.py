"""What is written another way, and what is not."""

import pytest

from tfnas.errors import ConfigError
from tfnas.lowering import networks
from tfnas.lowering import rewritings
from tfnas.ops import Graph


def _codes(graph, dtype="int8", lower="xnnpack"):
    found = networks.graph_operators([graph], dtype, lower)
    return [(op.code, dict(op.attrs).get("act")) for op in found]


@pytest.mark.parametrize(
    ("kernel", "parts"),
    [(7, [3, 3, 1]), (9, [2, 2, 2, 2, 1]), (11, [2] * 5 + [1]), (25, [1] * 25)],
)
def test_the_rows_of_a_kernel_are_shared_out(kernel, parts):
    found = rewritings.row_parts(kernel, kernel)
    assert [count for _, count in found] == parts
    firsts = [first for first, _ in found]
    assert firsts == [sum(parts[:i]) for i in range(len(parts))]
    assert max(parts) * kernel <= rewritings.MAX_TAPS


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pad", ["sym", "same"])
@pytest.mark.parametrize("kernel", [3, 5, 7, 9])
def test_large_depthwise_kernels_are_cut(dtype, stride, pad, kernel):
    graph = Graph((14, 14, 12))
    graph.act(
        graph.depthwise("input", "dw", kernel, stride, pad), "act", "relu6"
    )
    codes = _codes(graph, dtype)
    if kernel < 7:
        assert ("DEPTHWISE_CONV_2D", "relu6") in codes
        return
    parts = len(rewritings.row_parts(kernel, kernel))
    assert codes[0] == ("PAD", None)
    assert codes[-1] == ("ADD", "relu6")
    assert codes.count(("SLICE", None)) == parts
    assert codes.count(("DEPTHWISE_CONV_2D", None)) == parts
    assert len(codes) == 3 * parts


def test_dilated_kernels_take_rows_apart():
    graph = Graph((20, 20, 8))
    graph.depthwise("input", "dw", 7, dilation=2)
    found = networks.graph_operators([graph], "int8", "xnnpack")
    begins = [
        op.inputs[1].numbers[1] for op in found if op.code == "SLICE"
    ]
    heights = [op.outputs[0].shape[1] for op in found if op.code == "SLICE"]
    assert begins == [0, 6, 12]
    assert heights == [24, 24, 20]  # 20 rows of output, 2 between taps


def test_rows_that_see_only_the_border_are_left_out():
    graph = Graph((2, 2, 8))
    graph.depthwise("input", "dw", 7)
    codes = _codes(graph)
    assert codes.count(("SLICE", None)) == 2  # the last row sees no image
    graph = Graph((4, 4, 8))
    graph.depthwise("input", "dw", 7, 2)  # padded by a layer before
    found = networks.graph_operators([graph], "int8", "xnnpack")
    begins = [op.inputs[1].numbers[1] for op in found if op.code == "SLICE"]
    assert begins == [0, 3, 6]


def test_a_pool_before_a_join_has_a_scale_of_its_own():
    graph = Graph((8, 8, 8))
    half = graph.avg_pool("input", "pool", 2, 2, "valid")
    assert _codes(graph) == [("RESIZE_BILINEAR", None)]
    graph.concat([half, graph.conv("input", "conv", 8, 3, 2)], "join")
    assert ("DEPTHWISE_CONV_2D", None) in _codes(graph)


def test_a_lone_activation_is_a_pool_in_int8_only():
    graph = Graph((8, 8, 8))
    graph.act("input", "act", "relu")
    assert _codes(graph) == [("MAX_POOL_2D", "relu")]
    assert _codes(graph, "float32") == [("RELU", None)]
    assert _codes(graph, lower="none") == [("RELU", None)]
    flat = Graph((8,))
    flat.act("input", "act", "relu")
    assert _codes(flat) == [("RELU", None)]


def test_average_pools_are_convolutions_or_resizes():
    graph = Graph((8, 8, 8))
    graph.act(graph.avg_pool("input", "pool", 3, 1, "same"), "act", "relu")
    assert _codes(graph) == [("DEPTHWISE_CONV_2D", None), ("MUL", "relu")]
    graph = Graph((8, 8, 8))
    graph.avg_pool("input", "pool", 3, 2, "valid")
    assert _codes(graph) == [("DEPTHWISE_CONV_2D", None)]
    graph = Graph((8, 8, 8))
    graph.act(graph.avg_pool("input", "pool", 2, 2, "valid"), "act", "relu")
    assert _codes(graph) == [("RESIZE_BILINEAR", None), ("MAX_POOL_2D", "relu")]
    graph = Graph((8, 8, 8))
    graph.avg_pool("input", "pool", 7, 1, "valid")
    assert _codes(graph) == [("AVERAGE_POOL_2D", None)]


def test_a_hard_swish_is_three_products_in_int8():
    graph = Graph((8, 8, 8))
    graph.act(graph.conv("input", "conv", 8), "act", "hard_swish")
    assert _codes(graph, "float32")[1:] == [("HARD_SWISH", None)]
    assert _codes(graph)[1:] == [("ADD", "relu6"), ("MUL", None), ("MUL", None)]


def test_the_factor_of_a_hard_swish_goes_into_the_weights_behind():
    graph = Graph((8, 8, 8))
    x = graph.act("input", "act", "hard_swish")
    graph.conv(x, "conv", 8)
    assert _codes(graph) == [
        ("ADD", "relu6"), ("MUL", None), ("CONV_2D", None)
    ]
    graph.add(x, "conv", "sum")  # now another takes it too
    assert _codes(graph)[:3] == [
        ("ADD", "relu6"), ("MUL", None), ("MUL", None)
    ]
    graph = Graph((8, 8, 8))
    x = graph.act("input", "act", "hard_swish")
    graph.conv(x, "conv", 8, 3, 2)  # behind a pad
    assert _codes(graph)[2:4] == [("MUL", None), ("CONV_2D", None)]


def test_an_unknown_backend_is_named():
    with pytest.raises(ConfigError, match="xnnpack or none.*'gpu'"):
        rewritings.applies("lone_relu", "int8", "gpu")
