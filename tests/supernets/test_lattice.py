"""The supernet of a lattice holds its networks, with their numbers."""

import dataclasses
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnas
from tests import dense_nets
from tests.published_nets import NETS
from tfnas import derive
from tfnas import spaces
from tfnas.arch import Block
from tfnas.errors import ConfigError
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link
from tfnas.supernets.lattice import LatticeSupernet


def images(space, batch=32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, *space.input_shape)).astype("float32")


def single(net, arch, x, run=None, **options):
    """Runs the supernet with one network switched on."""
    draw, paths = net.one_hot(net.space.route(arch))
    weights = [s.read() for s in net.select(draw)]
    ones = tuple(tf.ones(rows.shape) for rows in draw)
    return (run or net)(x, draw, weights, ones, paths, **options)


def derived(net, arch):
    """Returns the Keras network with copied weights."""
    model = tfnas.build_model(arch)
    weights = net.weights_for(net.space.route(arch))
    derive.load_weights(model, arch, weights)
    return model


def assert_close(ours, theirs, rel=1e-5):
    ours, theirs = np.array(ours), np.array(theirs)
    np.testing.assert_allclose(
        ours, theirs, rtol=0, atol=rel * np.abs(theirs).max()
    )


def parameters(net):
    """Numbers of weights and of architecture parameters."""
    arch = net.path_mask.sum() + sum(
        math.prod(table.shape) for table in net.arch.ops
    )
    return sum(math.prod(v.shape) for v in net.variables), int(arch)


@pytest.mark.parametrize(
    "name, total, arch",
    [
        ("densenas_mbv2", 90_430_733, 633),
        ("densenas_resnet", 178_131_665, 397),
    ],
)
def test_the_published_numbers_of_parameters(name, total, arch, monkeypatch):
    # Only shapes are kept: the weights themselves take a gigabyte.
    monkeypatch.setattr(
        tf,
        "Variable",
        lambda value, name: types.SimpleNamespace(shape=value.shape),
    )
    monkeypatch.setattr(
        "tfnas.supernets.primitives.first_value",
        lambda variable, *_: variable,
    )
    counts = parameters(LatticeSupernet(spaces.get(name, classes=100)))
    assert counts == (total - arch, arch)


@pytest.mark.parametrize("name", ["densenas_mbv2@32", "tiny", "odd sizes"])
def test_one_path_is_the_derived_network(name):
    space = dense_nets.space()
    if name != "tiny":
        shape = (36, 44, 3) if name == "odd sizes" else None
        space = spaces.get("densenas_mbv2@32", input_shape=shape)
    net, x = LatticeSupernet(space, seed=1), images(space)
    for seed in range(2):
        arch = space.sample(seed)
        logits = single(net, arch, x)
        assert_close(logits, derived(net, arch)(x, training=True))
        sparse = single(net, arch, x, sparse=True)
        assert_close(sparse, logits, 1e-6)


@pytest.mark.slow  # builds 90 M weights
@pytest.mark.parametrize("net", ["A", "B", "C"])
def test_published_networks_are_paths_of_the_full_supernet(net, full):
    x, arch = images(full.space), full.space.decode(NETS[net].text)
    logits = single(full, arch, x, sparse=True)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float64")
        exact = derived(full, arch)(x.astype("float64"), training=True)
    finally:
        keras.config.set_dtype_policy(policy)
    # In float32 so deep a Keras network is 3e-5 off too, on batch statistics.
    assert_close(logits, exact, 1e-4)


@pytest.fixture(scope="module")
def full():
    shape = (64, 64, 3)
    return LatticeSupernet(spaces.get("densenas_mbv2", 100, shape), seed=0)


@pytest.mark.parametrize("name", ["densenas_resnet@32", "BOTTLENECK"])
def test_one_path_of_a_resnet_is_the_derived_trunk(name):
    # Stem and tail of the two differ by design: ReLU6 becomes the
    # supernet's ReLU here, and the last block's output is compared.
    if name == "BOTTLENECK":
        space = dense_nets.space(dense_nets.BOTTLENECK)
    else:
        space = spaces.get(name)
    net, x = LatticeSupernet(space, seed=1), images(space)
    for seed in range(2):
        arch = space.sample(seed)
        choice = space.to_choice(arch)
        stem, *blocks = arch.blocks
        attrs = {**stem.attrs, "act": "relu"}
        stem = dataclasses.replace(stem, attrs=attrs)
        aligned = dataclasses.replace(arch, blocks=(stem, *blocks))
        model = tfnas.build_model(aligned)
        derive.load_weights(model, aligned, net.weights_for(space.route(arch)))
        last = f"{derive.layer_prefix(len(blocks) - 1, blocks[-2].op)}_out"
        trunk = keras.Model(model.input, model.get_layer(last).output)
        outputs = single(net, arch, x, net.outputs)
        theirs = np.array(trunk(x, training=True))
        last = choice.path[-1]
        assert_close(outputs[last, space.spec.layers[last]], theirs)


def test_gradients_of_one_path_are_those_of_the_derived_network():
    space = dense_nets.space()
    net, x = LatticeSupernet(space, seed=1), images(space)
    labels = np.arange(len(x)) % space.classes
    arch = space.sample(3)

    def loss(logits):
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )

    draw, paths = net.one_hot(space.route(arch))
    weights = [s.read() for s in net.select(draw)]
    ones = tuple(tf.ones(rows.shape) for rows in draw)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        ours = loss(net(x, draw, weights, ones, paths, train=True))
    gradients = tape.gradient(ours, weights)

    model = derived(net, arch)
    kernels = [
        v for v in model.trainable_variables if v.name in ("kernel", "bias")
    ]
    with tf.GradientTape() as tape:
        theirs = loss(model(x, training=True))
    for kernel, gradient in zip(
        kernels, tape.gradient(theirs, kernels), strict=True
    ):
        # The weight of the same value is the same weight.
        (place,) = [
            i for i, w in enumerate(weights)
            if w.shape == kernel.shape and np.array_equal(w, kernel)
        ]
        assert_close(gradients[place], gradient, 1e-4)


def test_without_training_no_gradient_reaches_the_weights():
    space = dense_nets.space()
    net, x = LatticeSupernet(space), images(space, 4)
    draw, paths = net.one_hot(space.route(space.sample(0)))
    weights = [s.read() for s in net.select(draw)]
    ones = tuple(tf.ones(rows.shape) for rows in draw)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = net(x, draw, weights, ones, paths, train=False)
    *kernels, fc, bias = tape.gradient(logits, weights)
    assert all(g is None for g in kernels)
    assert fc is not None and bias is not None


def test_only_sampled_ops_are_computed():
    space = dense_nets.space()
    net, x = LatticeSupernet(space), images(space, 4)
    draw, _ = net.one_hot(space.route(space.sample(0)))
    chosen = {id(v) for s in net.select(draw) for v in [_read_from(s)]}
    for v in net.variables:
        if id(v) not in chosen:
            v.assign(np.full(v.shape, np.nan))
    arch = net.arch
    outputs = [
        net(
            x, d, [s.read() for s in net.select(d)],
            net.op_weights(arch, d), net.path_weights(arch.paths),
        )
        for d in (draw, (1 - tf.minimum(draw[0], 1), draw[1]))
    ]
    assert np.isfinite(outputs[0]).all()
    assert np.isnan(outputs[1]).all()


def _read_from(selected):
    index = 0 if selected.index is None else int(selected.index)
    return selected.variables[index]


def test_a_draw_selects_one_set_of_weights_for_each_layer():
    space = dense_nets.space()
    spec, net = space.spec, LatticeSupernet(space)
    draw, _ = net.one_hot(space.route(space.sample(0)))
    layers = sum(map(len, net.tables))
    # Three kernels each; stem 1, fixed block 2 and its scale and offset.
    count = 3 * layers + 1 + 4 + len(spec.incoming(spec.tail)) + 2
    assert len(net.select(draw)) == count


@pytest.mark.parametrize(
    "spec, affine",
    [
        (dense_nets.MBV2, {"fixed": {"project_bn"}}),
        (dense_nets.RESNET, {"stem": {"conv_bn"}}),
        (
            dense_nets.BOTTLENECK,
            {
                "stem": {"conv_bn"},
                "head": {"conv1_bn", "conv2_bn", "conv3_bn"},
                "stack": {"conv1_bn", "conv2_bn", "conv3_bn"},
            },
        ),
    ],
)
def test_scale_and_offset_are_where_the_release_has_them(spec, affine):
    net = LatticeSupernet(dense_nets.space(spec))
    found: dict[str, set[str]] = {}
    for v in net.variables:
        if v.shape.rank != 1 or v is net.fc[1]:
            continue
        place, _, layer, kind = v.name.removesuffix(":0").split("/")
        found.setdefault(place.rstrip("0123456789_"), set()).add(layer)
        assert (v.numpy() == {"gamma": 1, "beta": 0}[kind]).all()
    assert found == affine


def test_initial_weights_have_the_published_spread():
    space = spaces.get("densenas_mbv2@32")
    net = LatticeSupernet(space, seed=0)
    for v in net.variables:
        if v.shape.rank != 4 or math.prod(v.shape) < 2000:
            continue
        depthwise = v.shape[3] == 1
        size, out = v.shape[0], 1 if depthwise else v.shape[3]
        deviation = math.sqrt(2 / (size * size * out))
        assert np.std(v) == pytest.approx(deviation, rel=0.1)
    limit = 1 / math.sqrt(space.spec.last_dim)
    kernel, bias = net.fc
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert (bias.numpy() == 0).all()
    heads, stacks, paths = (v.numpy() for v in net.arch.as_list())
    assert (paths[~net.path_mask] == 0).all()
    values = [heads.ravel(), stacks.ravel(), paths[net.path_mask]]
    assert all(np.ptp(row) > 1e-3 for row in values)
    assert np.std(np.concatenate(values)) == pytest.approx(1e-3, rel=0.15)


def test_the_resnet_form_has_a_uniform_bias():
    net = LatticeSupernet(dense_nets.space(dense_nets.RESNET))
    limit = 1 / math.sqrt(net.space.spec.last_dim)
    bias = net.fc[1].numpy()
    assert (bias != 0).all()
    assert np.abs(bias).max() <= limit


def test_the_seed_decides_the_weights():
    space = dense_nets.space()
    one, same, other = (LatticeSupernet(space, seed) for seed in (1, 1, 2))
    for a, b, c in zip(
        one.variables + one.arch.as_list(),
        same.variables + same.arch.as_list(),
        other.variables + other.arch.as_list(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
        if a.shape.rank == 4:
            assert not np.array_equal(a, c)


class Fork(LatticeSpace):
    """A fork that a fixed way and searched ones join; `end` is its end."""

    def __init__(self, *end, row=None):
        super().__init__("fork", (32, 32, 3), 5)
        self._end = end or [classifier("end")]
        self._row = row or [[mbconv(3)], [mbconv(5)]]

    def links(self):
        inner = (32, 32, 8)
        row = tuple(map(tuple, self._row))
        stem = Block("conv", 3, 8, attrs={"k": 3})
        yield Link.fixed("stem", 0, 1, [stem], (32, 32, 3))
        yield Link.fixed("fixed", 1, 2, [mbconv(3)], inner, weighed=True)
        yield Link("free", 1, 2, row, inner, weighed=True)
        yield from self._end


def mbconv(k):
    return Block("mbconv", 8, 8, attrs={"k": k, "e": 2})


def classifier(name, weighed=False):
    block = Block("classifier", 8, 5)
    return Link.fixed(name, 2, 3, [block], (32, 32, 8), weighed)


def test_a_fixed_way_of_a_fork_has_the_weight_of_its_path():
    space = Fork()
    net, x = LatticeSupernet(space), images(space, 4)
    routes = [((0, 0), (i, 0), (3, 0)) for i in (1, 2)]
    alone = []
    for route in routes:
        draw, paths = net.one_hot(route)
        weights = [s.read() for s in net.select(draw)]
        ones = [tf.ones(rows.shape) for rows in draw]
        alone.append(net.outputs(x, draw, weights, ones, paths)[2])
    net.arch.paths.assign([[np.log(3.0), 0.0]])
    relaxed = net.outputs(
        x, draw, weights, ones, net.path_weights(net.arch.paths)
    )[2]
    assert_close(relaxed, 0.75 * alone[0] + 0.25 * alone[1])


@pytest.mark.parametrize(
    "space, told",
    [
        (
            Fork(classifier("a", True), classifier("b", True)),
            "link a: expected one classifier",
        ),
        (
            Fork(row=[[mbconv(3), mbconv(3)], [mbconv(5)]]),
            "link free: expected candidates of one block in a supernet. "
            "Received: [2, 1] blocks",
        ),
        (
            Fork(row=[[mbconv(3)], [Block("conv", 8, 8, attrs={"k": 3})]]),
            "link free: Candidates of a mixed layer must have one form",
        ),
        (
            Fork(row=[[Block("skip", 8, 8)]]),
            "link free: A mixed layer must have a candidate beside skips",
        ),
    ],
)
def test_a_space_that_no_supernet_holds_is_told_by_its_link(space, told):
    with pytest.raises(ConfigError) as caught:
        LatticeSupernet(space)
    assert str(caught.value).startswith(f"space `fork`, {told}")
