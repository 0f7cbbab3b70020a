"""The space of NAS-Bench-201 is the benchmark's, network and strings."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

import tfnas
from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.nasbench201 import write_cell
from tfnas.spaces import nasbench201

CELLS = list(itertools.product(range(5), repeat=6))
NONE, SKIP, CONV1, CONV3, POOL = range(5)
# Architecture 0 of the benchmark.
FIRST = (
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
    "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
)
IDENTITY = (NONE, NONE, NONE, SKIP, NONE, NONE)
DISCONNECTED = (NONE, CONV3, NONE, NONE, CONV1, NONE)


@pytest.fixture(scope="module")
def space():
    return spaces.get("nasbench201")


def _convolutions(codes):
    return codes.count(CONV1), codes.count(CONV3)


def _closed_form(codes, classes=10, side=32):
    """Parameters and multiply-adds as the specification states them."""
    n1, n3 = _convolutions(codes)
    params = 73_306 + 28_000 * n1 + 243_040 * n3
    madds = 7_782_400 + 3_932_160 * n1 + 35_389_440 * n3
    area = (side / 32) ** 2
    return params + 65 * (classes - 10), int(madds * area) + 64 * classes


@pytest.mark.parametrize("classes, side", [(10, 32), (100, 32), (120, 16)])
def test_networks_have_the_published_counts(classes, side):
    space = spaces.get("nasbench201", classes, (side, side, 3))
    one_of_each = {_convolutions(codes): codes for codes in CELLS}
    assert len(one_of_each) == 28
    for codes in one_of_each.values():
        counts = tfnas.count(space.from_codes(codes))
        expected = _closed_form(codes, classes, side)
        assert (counts.params, counts.madds) == expected


def _lowered(codes):
    cell = write_cell(codes)
    block = Block("nasbench_cell", 16, 16, attrs={"cell": cell})
    return ops.lower(block, (32, 32, 16))


def test_every_convolution_of_a_cell_is_counted_wherever_it_leads():
    for codes in CELLS:
        graph = _lowered(codes)
        n1, n3 = _convolutions(codes)
        params = n1 * (16 * 16 + 32) + n3 * (9 * 16 * 16 + 32)
        assert sum(map(graph.params, graph.nodes)) == params


def test_what_leads_nowhere_takes_no_memory(space):
    dead = space.from_codes((CONV3, POOL, NONE, CONV1, NONE, NONE))
    alive = space.from_codes((NONE, NONE, NONE, CONV1, NONE, NONE))
    assert (
        tfnas.count(dead).peak_activation_bytes
        == tfnas.count(alive).peak_activation_bytes
    )


def test_the_largest_network_has_the_published_counts(space):
    counts = tfnas.count(space.from_codes([CONV3] * 6))
    assert (counts.params, counts.madds) == (1_531_546, 220_119_680)


def test_all_cells_come_back_from_their_strings():
    for codes in CELLS:
        assert nasbench201.parse(nasbench201.write(codes)) == codes


def test_a_string_names_the_edges_in_order(space):
    arch = space.decode(FIRST)
    assert space.codes(arch) == (POOL, CONV1, SKIP, CONV1, SKIP, SKIP)
    assert space.encode(arch) == FIRST
    assert space.decode(f" {FIRST}\n") == arch


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "three nodes"),
        (FIRST.rpartition("+")[0], "three nodes"),
        (f"{FIRST}+{FIRST}", "three nodes"),
        (FIRST + " " * 500, "three nodes"),
        (FIRST[1:], "1 edges between bars at node 1"),
        (FIRST[:-1], "3 edges between bars at node 3"),
        (FIRST.replace("~1|+", "~1||+"), "2 edges between bars at node 2"),
        (FIRST.replace("|skip_connect~2", ""), "3 edges between bars"),
        (FIRST.replace("|+|", "+", 1), "1 edges between bars at node 1"),
        (FIRST.replace("avg", "max"), "`op~0` with an op of none, skip"),
        (FIRST.replace("~2", "~1"), "`op~2` with an op of"),
        (FIRST.replace("~2", "~02"), "`op~2` with an op of"),
        (FIRST.replace("~2", "~²"), "edge 2 of node 3"),
        (FIRST.replace("~2", ""), "edge 2 of node 3"),
        (FIRST.replace("skip_connect~2", ""), "edge 2 of node 3"),
        (FIRST.replace("skip", " skip"), "edge 1 of node 2"),
        ("4,2,1,2,1,1", "three nodes"),
    ],
)
def test_a_wrong_string_is_refused_with_the_place(space, text, problem):
    with pytest.raises(ArtifactError) as error:
        space.decode(text)
    assert problem in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "codes", [(0,) * 5, (0,) * 7, (0, 0, 0, 0, 0, 5), (0, 0, 0, 0, 0, -1)]
)
def test_wrong_codes_are_refused(space, codes):
    with pytest.raises(ArtifactError, match="space `nasbench201`"):
        space.from_codes(codes)


def test_samples_and_neighbors_are_members(space):
    assert space.sample(3) == space.sample(3)
    assert len({space.sample(seed).id for seed in range(40)}) > 35
    arch = space.sample(3)
    assert space.contains(arch)
    assert len(space.neighbors(space.codes(arch))) == 6 * 4
    near = space.random_neighbor(arch, 1)
    pairs = zip(space.codes(arch), space.codes(near), strict=True)
    assert sum(a != b for a, b in pairs) == 1


def _changed(arch, index, **changes):
    blocks = list(arch.blocks)
    blocks[index] = dataclasses.replace(blocks[index], **changes)
    return dataclasses.replace(arch, blocks=tuple(blocks))


def test_other_networks_are_not_members(space):
    arch = space.decode(FIRST)
    attrs = dict(arch.blocks[1].attrs)
    for other in (
        spaces.get("densenas_mbv2@32").sample(0),
        spaces.get("nasbench201", 100).sample(0),
        spaces.get("nasbench201", 10, (16, 16, 3)).sample(0),
        dataclasses.replace(arch, blocks=arch.blocks[:-1]),
        _changed(arch, 1, attrs={}),
        _changed(arch, 1, attrs={**attrs, "cell": [4, 2, 1, 2, 1, 1]}),
        _changed(arch, 2, attrs={**attrs, "cell": "0.0.0.0.0.0"}),
    ):
        assert not space.contains(other)
        with pytest.raises(ArtifactError):
            space.codes(other)


@pytest.mark.parametrize("shape", [(30, 32, 3), (32, 34, 3), (32, 32)])
def test_images_of_other_sides_are_refused(shape):
    with pytest.raises(ConfigError, match="multiples of 4"):
        spaces.get("nasbench201", input_shape=shape)


def test_cells_are_as_many_as_published_up_to_trivial_equivalence(space):
    assert len({space.equivalence(codes) for codes in CELLS}) == 6_466


@pytest.mark.parametrize(
    "one, other",
    [
        # A skip is what it skips from.
        ((SKIP, NONE, NONE, NONE, CONV3, NONE),
         (NONE, NONE, NONE, CONV3, NONE, NONE)),
        # The order of summands.
        ((CONV3, NONE, NONE, POOL, SKIP, NONE),
         (POOL, NONE, NONE, CONV3, SKIP, NONE)),
        # What leads nowhere.
        ((CONV3, NONE, NONE, CONV1, NONE, NONE),
         (NONE, NONE, NONE, CONV1, NONE, NONE)),
        # What comes from nowhere.
        ((NONE, NONE, NONE, POOL, CONV3, NONE),
         (NONE, NONE, NONE, POOL, NONE, NONE)),
        (DISCONNECTED, (NONE,) * 6),
    ],
)  # fmt: skip
def test_these_cells_are_trivially_equivalent(space, one, other):
    assert space.equivalence(one) == space.equivalence(other)


def _terms(codes):
    """What a cell computes, as nested sums without order and brackets."""
    sums = {0: ("x",), 1: (), 2: (), 3: ()}
    edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    for (i, j), code in zip(edges, codes, strict=True):
        if code == SKIP:
            sums[j] += sums[i]
        elif code != NONE and sums[i]:
            sums[j] += ((code, tuple(sorted(sums[i], key=repr))),)
    return tuple(sorted(sums[3], key=repr))


def test_equivalent_cells_compute_the_same(space):
    found = {(space.equivalence(codes), _terms(codes)) for codes in CELLS}
    assert len(found) == 6_466
    assert len({terms for _, terms in found}) == 4_930


def test_disconnected_cells_are_as_many_as_the_data_say():
    connected = [nasbench201.is_connected(codes) for codes in CELLS]
    assert connected.count(False) == 341


def test_latency_keys_are_every_cell_at_every_width(space):
    keys = space.lut_keys()
    # Of the 15,625 cells, those whose output is their input cost nothing.
    free = sum(not _lowered(codes).live for codes in CELLS)
    assert len(keys) == 3 * (len(CELLS) - free) + 1 + 2 + 1 + 1
    block, shape = ops.parse_lut_key(
        "nasbench_cell|cell=4.2.1.2.1.1|s=1|8x8x64>8x8x64"
    )
    assert ops.lut_key(block, shape) in keys


def _params(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(
    "codes, dead",
    [
        ((CONV3, POOL, SKIP, CONV1, SKIP, CONV3), 0),
        (DISCONNECTED, 243_040),  # but the 1x1 convolution makes its offset
        ((NONE,) * 6, 0),
        ((CONV1, NONE, NONE, SKIP, NONE, CONV3), 28_000),
        (IDENTITY, 0),
    ],
)
def test_keras_has_what_is_counted_but_for_what_leads_nowhere(codes, dead):
    space = spaces.get("nasbench201", 120, (16, 16, 3))
    arch = space.from_codes(codes)
    model = tfnas.build_model(arch)
    assert model.output_shape == (None, 120)
    assert _params(model) == tfnas.count(arch).params - dead
    assert {type(x).__module__.split(".")[0] for x in model.layers} == {"keras"}


def test_norms_have_the_published_constants(space):
    model = tfnas.build_model(space.decode(FIRST))
    norms = [
        layer for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {(x.epsilon, x.momentum) for x in norms} == {(1e-5, 0.9)}


class _Reference:
    """The benchmark's network in NumPy, with the weights of a Keras model."""

    def __init__(self, model, rng):
        self.model = model
        for weight in model.weights:
            value = rng.normal(0, 0.5, weight.shape)
            if weight.path.endswith(("gamma", "variance")):
                value = 0.5 + np.abs(value)
            weight.assign(value)

    def weights(self, name):
        return [np.array(w) for w in self.model.get_layer(name).weights]

    def norm(self, x, name):
        scale, offset, mean, variance = self.weights(name)
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + offset

    def conv(self, x, name, stride=1):
        (kernel,) = self.weights(name)
        size = len(kernel)
        windows = _windows(np.pad(x, _margin(size // 2)), size, stride)
        return np.einsum("hwcij,ijcf->hwf", windows, kernel)

    def conv_bn(self, x, name, stride=1):
        x = self.conv(np.maximum(x, 0), name, stride)
        return self.norm(x, f"{name}_bn")

    def cell(self, x, codes, name):
        edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]

        def node(j):
            if j == 0:
                return x
            value = np.zeros_like(x)
            for (i, k), code in zip(edges, codes, strict=True):
                if k == j and code in (CONV1, CONV3):
                    value = value + self.conv_bn(node(i), f"{name}_edge{i}{j}")
                elif k == j and code == SKIP:
                    value = value + node(i)
                elif k == j and code == POOL:
                    value = value + _average(node(i))
            return value

        return node(3)

    def down(self, x, name):
        y = self.conv_bn(x, f"{name}_conv1", 2)
        y = self.conv_bn(y, f"{name}_conv2")
        pooled = _windows(x, 2, 2).mean((3, 4))
        return y + self.conv(pooled, f"{name}_shortcut")


def _margin(amount):
    return ((amount, amount), (amount, amount), (0, 0))


def _windows(x, size, stride):
    """`(height, width, channels, size, size)` of the windows of an image."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))
    return view[::stride, ::stride]


def _average(x):
    """3x3 mean of the pixels that there are."""
    there = np.pad(np.ones_like(x), _margin(1))
    sums = _windows(np.pad(x, _margin(1)), 3, 1).sum((3, 4))
    return sums / _windows(there, 3, 1).sum((3, 4))


def _small(codes):
    """One cell before and one after a down block."""
    attrs = {"cell": write_cell(codes)}
    norm = {"norm": {"eps": 1e-5}}
    blocks = (
        Block("conv", 3, 4, attrs={"k": 3, "act": "linear", **norm}),
        Block("nasbench_cell", 4, 4, attrs=attrs),
        Block("nasbench_down", 4, 6, 2),
        Block("nasbench_cell", 6, 6, attrs=attrs),
        Block("norm_act", 6, 6, attrs=norm),
        Block("classifier", 6, 5),
    )
    return Arch(blocks, (8, 6, 3), 5)


@pytest.mark.parametrize(
    "codes",
    [
        (CONV3, CONV1, POOL, SKIP, CONV1, CONV3),
        (SKIP, SKIP, SKIP, SKIP, SKIP, SKIP),
        (POOL, POOL, POOL, POOL, POOL, POOL),
        (CONV3, POOL, NONE, CONV1, NONE, NONE),
        (NONE, CONV3, CONV1, NONE, CONV3, POOL),
        DISCONNECTED,
        IDENTITY,
        (NONE,) * 6,
        *map(tuple, np.random.default_rng(0).integers(0, 5, (6, 6)).tolist()),
    ],
)
def test_keras_computes_what_the_definition_says(codes):
    arch = _small(codes)
    rng = np.random.default_rng(1)
    model = tfnas.build_model(arch)
    reference = _Reference(model, rng)
    image = rng.normal(size=arch.input_shape)
    x = reference.norm(
        reference.conv(image, "b00_conv_conv"), "b00_conv_conv_bn"
    )
    x = reference.cell(x, codes, "b01_nasbench_cell")
    x = reference.down(x, "b02_nasbench_down")
    x = reference.cell(x, codes, "b03_nasbench_cell")
    x = np.maximum(reference.norm(x, "b04_norm_act_bn"), 0)
    kernel, bias = reference.weights("b05_classifier_dense")
    logits = x.mean((0, 1)) @ kernel + bias
    ours = np.array(model(image[None].astype("float32")))[0]
    np.testing.assert_allclose(ours, logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "block, shape, problem",
    [
        (Block("nasbench_cell", 4, 4), (4, 4, 4), "attribute `cell`"),
        (
            Block("nasbench_cell", 4, 4, attrs={"cell": "1.1.1.1.1"}),
            (4, 4, 4), "attribute `cell`",
        ),
        (
            Block("nasbench_cell", 4, 4, attrs={"cell": "1.1.1.1.1.5"}),
            (4, 4, 4), "attribute `cell`",
        ),
        (
            Block("nasbench_cell", 4, 5, attrs={"cell": "1.1.1.1.1.1"}),
            (4, 4, 4), "in=4, out=5",
        ),
        (Block("nasbench_down", 4, 8, 2), (4, 5, 4), "even heights"),
        (Block("nasbench_down", 4, 8, 1), (4, 4, 4), "stride=1"),
        (Block("norm_act", 4, 5), (4, 4, 4), "in=4, out=5"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(block, shape, problem):
    with pytest.raises(ArtifactError, match=problem):
        ops.lower(block, shape)
