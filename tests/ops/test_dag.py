"""AutoShrink's cell computes what NumPy computes from the definition."""

import math
import re

import keras
import numpy as np
import pytest

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.cost.counting import count
from tfnas.errors import ArtifactError
from tfnas.ops.masked_dag import MaskedDag

EPS = 1e-5
DIAMOND = ((0, 1), (0, 2), (1, 3), (2, 3))  # one leaf
FAN = ((0, 1), (0, 3), (1, 2), (1, 3))  # leaves 2 and 3
LONELY = ((0, 2), (2, 3))  # node 1 is not there


def relu(x):
    return np.maximum(x, 0)


def swish(x):
    return x / (1 + np.exp(-x))


def linear(x):
    return x


ACTS = {"relu": relu, "swish": swish, "linear": linear}


class Truth:
    """The cell of section 3 of the release's conventions, in NumPy."""

    def __init__(self, model, dag, act, inner="relu", residual=True):
        self.model, self.dag = model, dag
        self.act, self.inner, self.residual = act, inner, residual
        self.mask = np.zeros((len(dag.ops),) * 2, bool)
        for edge in dag.edges:
            self.mask[edge] = True

    def weights(self, name):
        return [np.array(w) for w in self.model.get_layer(f"b_{name}").weights]

    def norm(self, x, name):
        scale, offset, mean, variance = self.weights(f"{name}_bn")
        return (x - mean) / np.sqrt(variance + EPS) * scale + offset

    def conv(self, x, name):
        (kernel,) = self.weights(name)
        return self.norm(x @ kernel[0, 0], name)

    def depthwise(self, x, name):
        (kernel,) = self.weights(name)
        height, width, _ = x.shape
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        result = sum(
            padded[i : i + height, j : j + width] * kernel[i, j, :, 0]
            for i in range(3)
            for j in range(3)
        )
        return self.norm(result, name)

    def node(self, node, sources):
        leaf = self.residual and not self.mask[node].any()
        act = "linear" if leaf else self.act
        x = np.concatenate(sources, -1)
        if self.dag.ops[node] == "sep":
            inner = self.inner if act == "linear" else act
            x = ACTS[inner](self.depthwise(x, f"n{node}_depthwise"))
        return ACTS[act](self.conv(x, f"n{node}_conv"))

    def __call__(self, x, stride):
        height, width, channels = x.shape
        pooled = x.reshape(
            height // stride, stride, width // stride, stride, channels
        ).max((1, 3))
        values = {0: pooled}
        for node in range(1, len(self.dag.ops)):
            sources = [
                values[i] for i in range(node)
                if i in values and self.mask[i, node]
            ]
            if sources:
                values[node] = self.node(node, sources)
        y = np.concatenate(
            [v for i, v in values.items() if not self.mask[i].any()], -1
        )
        if not self.residual:
            return y
        if stride == 1 and y.shape == x.shape:
            return x + y
        return self.conv(x[::stride, ::stride], "shortcut") + y


def cell(edges, nodes="sep.conv.sep.conv", f=5, stride=1, channels=6, **attrs):
    """A block, its graph and its input shape."""
    dag = MaskedDag(tuple(nodes.split(".")), edges)
    width = f // attrs.get("b", 1) * len(dag.leaves) if edges else channels
    attrs = {"graph": dag.encode(), "f": f, **attrs}
    block = Block("shrink_cell", channels, width, stride, attrs=attrs)
    return block, dag, (8, 4, channels)


def build(block, in_shape):
    """A model of one block whose every weight is drawn at random."""
    x = keras.Input(in_shape)
    model = keras.Model(x, ops.build(block, in_shape, keras, "b")(x))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        if weight.path.endswith(("gamma", "variance")):
            value = 0.5 + np.abs(value)
        weight.assign(value)
    return model


@pytest.mark.parametrize(
    "edges, settings",
    [
        (DIAMOND, {}),
        (DIAMOND, {"stride": 2, "act": "swish"}),
        (FAN, {"stride": 2}),
        (FAN, {"f": 3, "act": "swish", "inner": "swish"}),  # identity
        (FAN, {"residual": 0, "act": "swish"}),
        (LONELY, {"f": 12, "b": 5}),
        (LONELY, {"residual": 0, "stride": 2}),
        ((), {}),
        ((), {"stride": 2}),
        ((), {"residual": 0, "stride": 2}),
    ],
)
def test_a_cell_joins_applies_and_adds(edges, settings):
    block, dag, in_shape = cell(edges, **settings)
    model = build(block, in_shape)
    x = np.random.default_rng(2).normal(0, 1, in_shape)
    truth = Truth(
        model, dag, settings.get("act", "relu"), settings.get("inner", "relu"),
        settings.get("residual", 1),
    )(x, block.stride)
    y = np.array(model(x[None]))[0]
    assert y.shape == truth.shape
    np.testing.assert_allclose(y, truth, rtol=1e-4, atol=1e-4)


def test_equal_widths_need_no_projection():
    projected = {
        f: "shortcut" in ops.lower(*cell(FAN, f=f)[::2]).shapes
        for f in (2, 3, 4)
    }
    assert projected == {2: True, 3: False, 4: True}  # two leaves, 6 channels


def test_a_cell_that_computes_nothing_has_no_key():
    block, _, in_shape = cell((), residual=0)
    assert ops.lut_key(block, in_shape) is None


def hand_counts(edges, f, channels, pixels):
    """Parameters and multiply-adds by the formulas of section 3.4."""
    dag = MaskedDag(("sep", "conv", "sep", "conv"), edges)
    widths, params = {0: channels}, 0
    for node in dag.reachable[1:]:
        width = sum(widths[i] for i in dag.sources(node))
        params += width * f
        if dag.ops[node] == "sep":
            params += 9 * width
        widths[node] = f
    out = sum(widths[leaf] for leaf in dag.leaves)
    if out != channels:
        params += channels * out
    return params, params * pixels


@pytest.mark.parametrize("edges", [DIAMOND, FAN, LONELY])
def test_counts_are_those_of_the_formulas(edges):
    block, _, in_shape = cell(edges)
    head = Block("classifier", block.out_channels, 3)
    counts = count(Arch((block, head), in_shape, 3))
    params, madds = hand_counts(edges, 5, 6, 32)
    width = block.out_channels
    assert counts.params_without_bn == params + (width + 1) * 3
    assert counts.madds == madds + width * 3
    assert counts.madds_conv == madds
    model = build(block, in_shape)
    built = sum(math.prod(w.shape) for w in model.trainable_weights)
    assert built == counts.params - (width + 1) * 3


@pytest.mark.parametrize("edges", [DIAMOND, FAN, LONELY, ()])
@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"residual": 0}])
def test_parts_compute_as_much_as_their_cell(edges, settings):
    block, _, in_shape = cell(edges, **settings)

    def madds(block, shape):
        graph = ops.lower(block, shape)
        return sum(graph.madds(node) for node in graph.nodes)

    parts = ops.parts(block, in_shape)
    assert sum(madds(*p) for p in parts) == madds(block, in_shape)
    kinds = {"max_pool": 0, "add": 0}
    for part in [(block, in_shape), *parts]:
        for node in ops.lower(*part).nodes:
            if node.kind in kinds:
                kinds[node.kind] += 1 if part[0] is block else -1
    assert kinds == {"max_pool": 0, "add": 0}


def test_parts_join_what_the_cell_joins():
    block, _, in_shape = cell(FAN)
    joined = [
        ops.lower(*part).output_shape for part in ops.parts(block, in_shape)
        if part[0].op == "concat"
    ]
    # Node 3 joins the input (6, rounded up to halves) and node 1; two leaves.
    assert joined == [(8, 4, 12), (8, 4, 10)]


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"graph": "sep.conv"}, "such as `sep.conv.sep:0-1.0-2.1-2`"),
        ({"graph": 3}, "attribute `graph` must be"),
        ({"graph": "sep.wat:0-1"}, "one of conv, sep"),
        ({"graph": "sep.sep.sep:0-2.2-1"}, "no cycle"),
        ({"graph": "sep.sep.sep:1-2"}, "reachable from node 0"),
        (
            {"graph": "sep.sep.sep.sep:0-3.1-2"},
            "as 'sep.sep.sep.sep:0-3'",
        ),
        ({"graph": "sep.sep:00-1"}, "as 'sep.sep:0-1'"),
        ({"f": 0}, "attribute `f`"),
        ({"act": "tanh"}, "attribute `act`"),
        ({"residual": 2}, "attribute `residual`"),
        ({"pad": "sym"}, "attribute `pad`"),
        ({"graph": "sep.sep.sep:0-1.0-2"}, "are 10 channels wide"),
    ],
)
def test_a_wrong_cell_is_refused_with_the_reason(changes, problem):
    block, _, in_shape = cell(DIAMOND)
    attrs = {**block.attrs, **changes}
    wrong = Block("shrink_cell", 6, 5, attrs=attrs)
    with pytest.raises(ArtifactError, match=re.escape(problem)):
        ops.lower(wrong, in_shape)


def test_a_join_has_the_width_of_its_copies():
    with pytest.raises(ArtifactError, match="gives 8 channels. Received: out"):
        ops.lower(Block("concat", 4, 9, attrs={"copies": 2}), (4, 4, 4))
