"""The relaxed network is the weighted sum that the paper writes down.

Each candidate runs as a Keras model of its own; the sums are written here in
plain loops.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import dense_nets
from tests.dense_nets import softmax
from tfnas import derive
from tfnas import ops
from tfnas.arch import Arch
from tfnas.supernets.lattice import ArchParameters
from tfnas.supernets.lattice import LatticeSupernet
from tfnas.supernets.lattice import PathWeights

TEMPERATURE = 0.6
ALL = 10


@pytest.fixture(scope="module")
def net():
    space = dense_nets.space()
    net = LatticeSupernet(space, seed=3, temperature=TEMPERATURE)
    rng = np.random.default_rng(0)
    for table in net.arch.as_list():
        table.assign(rng.normal(size=table.shape))
    return net


def make_draw(net, k, seed=0):
    """`k` random ops of each row, ascending."""
    rng = np.random.default_rng(seed)

    def rows(links, ops):
        drawn = [np.sort(rng.permutation(ops)[:k]) for _ in links]
        return tf.constant(np.array(drawn), tf.int32)

    spec, (heads, stacks) = net.space.spec, net.tables
    return (
        rows(heads, len(spec.head_ops)), rows(stacks, len(spec.stack_ops))
    )


def place(net, name):
    """Returns the one layer of a link, and its row in its table if any."""
    number = net.lattice.find(name)
    rows = [table.index(number) for table in net.tables if number in table]
    (layer,) = net.layers[number]
    return (layer, *rows)


def connections(net):
    """Returns the weighed links as `(block, block)`, in their order."""
    links = [net.lattice.links[i] for i in net.lattice.weighed]
    return [(link.source[0], link.to[0]) for link in links]


def run(net, x, draw, arch=None, **options):
    arch = arch or ArchParameters.of(
        [v.read_value() for v in net.arch.as_list()]
    )
    weights = [s.read() for s in net.select(draw)]
    return net(
        x, draw, weights, net.op_weights(arch, draw),
        net.path_weights(arch.paths), **options,
    )


def images(net, batch=16):
    shape = (batch, *net.space.input_shape)
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def apply(block, in_shape, kernels, x):
    """Runs one block as a Keras model, on batch statistics."""
    if block.op == "skip":
        return x
    inputs = keras.Input(in_shape)
    build = ops.build(
        block, in_shape, keras, derive.layer_prefix(0, block.op)
    )
    model = keras.Model(inputs, build(inputs))
    derive.load_weights(model, Arch((block,), in_shape, 1), [kernels])
    return np.array(model(x, training=True))


def mix(layer, blocks, in_shape, active, alphas, x):
    """Softmax over the active ops' parameters; temperature 1."""
    total = 0.0
    for op, weight in zip(active, softmax(alphas[active]), strict=True):
        kernels = [v.numpy() for v in layer.weights_of(op)]
        kernels = [k for k in kernels if k.ndim == 4]
        total += weight * apply(blocks[op], in_shape, kernels, x)
    return total


def relaxed(net, x, draw):
    """Section 4 of the specification, in loops."""
    space, spec = net.space, net.space.spec
    heads, stacks, paths = (v.numpy() for v in net.arch.as_list())
    draws = [rows.numpy() for rows in draw]
    p = {}
    for b in range(spec.tail):
        out = spec.outgoing(b)
        values = softmax(paths[b, : len(out)] / TEMPERATURE)
        p |= {(b, to): v for to, v in zip(out, values, strict=True)}

    def fixed(layer, block, in_shape, x):
        return mix(layer, [block], in_shape, [0], np.zeros(1), x)

    stem, project = space.stem()
    layers = net.layers[net.lattice.find("stem+fixed")]
    x = fixed(layers[0], stem, space.input_shape, x)
    outputs = [fixed(layers[1], project, space.shape(0), x)]
    for to in range(1, spec.tail):
        x = 0.0
        for b in spec.incoming(to):
            layer, row = place(net, f"head{b}_{to}")
            x += p[b, to] * mix(
                layer,
                [space.head(b, to, op) for op in spec.head_ops],
                space.shape(b), draws[0][row], heads[row], outputs[b],
            )
        for j in range(spec.layers[to]):
            layer, row = place(net, f"stack{to}_{j}")
            x = mix(
                layer, [space.stack(to, op) for op in spec.stack_ops],
                space.shape(to), draws[1][row], stacks[row], x,
            )
        outputs.append(x)
    ends = spec.incoming(spec.tail)
    q = softmax(np.array([p[b, spec.tail] for b in ends]))
    x = sum(
        weight * fixed(
            *place(net, f"tail{b}"), space.tail(b)[0], space.shape(b),
            outputs[b],
        )
        for weight, b in zip(q, ends, strict=True)
    )
    kernel, bias = (v.numpy() for v in net.fc)
    return x.mean((1, 2)) @ kernel + bias


@pytest.mark.parametrize("k", [1, 2, ALL])
def test_it_is_the_weighted_sum_of_section_4(net, k):
    draw, x = make_draw(net, k), images(net)
    theirs = relaxed(net, x, draw)
    atol = 2e-5 * np.abs(theirs).max()
    np.testing.assert_allclose(run(net, x, draw), theirs, rtol=0, atol=atol)


def test_ops_weigh_by_a_softmax_over_the_active_ones_only(net):
    heads, stacks = net.tables
    tables = (
        tf.tile([[0.0, np.log(3.0), np.log(5.0)]], [len(heads), 1]),
        tf.tile([[np.log(2.0), 0.0, np.log(6.0)]], [len(stacks), 1]),
    )
    arch = ArchParameters(tables, tf.zeros(net.arch.paths.shape))
    pairs = tuple(tf.tile([[0, 2]], [len(x), 1]) for x in net.tables)
    heads, stacks = net.op_weights(arch, pairs)
    np.testing.assert_allclose(heads[0], [1 / 6, 5 / 6], rtol=1e-6)
    np.testing.assert_allclose(stacks[0], [2 / 8, 6 / 8], rtol=1e-6)
    singles = tuple(tf.tile([[1]], [len(x), 1]) for x in net.tables)
    for weights in net.op_weights(arch, singles):
        assert (weights.numpy() == 1).all()


def test_paths_weigh_by_their_sources_softmax_at_the_temperature(net):
    # Block 1 leads to 2, 3 and 4; block 3 to 4 and the tail; 4 to the tail.
    paths = np.zeros(net.arch.paths.shape, np.float32)
    paths[1] = TEMPERATURE * np.log([1, 2, 5])
    paths[3, :2] = TEMPERATURE * np.log([3, 1])
    weights = net.path_weights(tf.constant(paths))
    by_link = dict(zip(connections(net), weights.links, strict=True))
    tail = net.space.spec.tail
    expected = {
        (1, 2): 1 / 8, (1, 3): 2 / 8, (1, 4): 5 / 8,
        (3, 4): 3 / 4, (3, tail): 1 / 4, (4, tail): 1.0,
        (0, 1): 1 / 2, (0, 2): 1 / 2,
    }
    for link, value in expected.items():
        assert float(by_link[link]) == pytest.approx(value)
    # The tail: a second softmax, nearest block first, at temperature 1.
    np.testing.assert_allclose(
        weights.meets, softmax(np.array([1.0, 1 / 4])), rtol=1e-6
    )


def test_connections_are_those_of_the_space_in_order(net):
    assert connections(net) == dense_nets.links(net.space.spec)


def test_the_temperature_reaches_the_paths_only():
    space = dense_nets.space()
    cold, warm = (LatticeSupernet(space, 0, t) for t in (0.5, 2.0))
    draw, paths = make_draw(cold, 2), tf.ones(cold.arch.paths.shape)
    paths *= tf.range(1.0, 1 + paths.shape[1])
    one, two = (net.path_weights(paths) for net in (cold, warm))
    assert not np.allclose(one.links, two.links)
    for a, b in zip(
        cold.op_weights(cold.arch, draw), warm.op_weights(warm.arch, draw),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_unused_path_parameters_get_no_gradient(net):
    arch = [v.read_value() for v in net.arch.as_list()]
    with tf.GradientTape() as tape:
        tape.watch(arch)
        logits = run(
            net, images(net, 4), make_draw(net, 2), ArchParameters.of(arch)
        )
        loss = tf.reduce_sum(logits**2)
    *_, gradient = tape.gradient(loss, arch)
    # A block with one way out has nothing to decide either.
    free = net.path_mask & (net.path_mask.sum(1, keepdims=True) > 1)
    assert ((gradient.numpy() != 0) == free).all()


def test_one_trace_serves_every_draw(net):
    x = images(net, 4)
    traced = tf.function(lambda x, draw: run(net, x, draw), autograph=False)
    for seed in range(3):
        draw = make_draw(net, 2, seed)
        np.testing.assert_allclose(
            traced(x, draw), run(net, x, draw), rtol=1e-4, atol=1e-4
        )
    assert traced.experimental_get_tracing_count() == 1


def test_groups_of_the_batch_run_as_if_alone():
    space = dense_nets.space()
    whole, grouped = (
        LatticeSupernet(space, bn_groups=groups) for groups in (1, 2)
    )
    draw, x = make_draw(whole, 1), images(whole, 8)
    halves = [run(whole, half, draw) for half in np.split(x, 2)]
    np.testing.assert_allclose(
        run(grouped, x, draw), np.concatenate(halves), rtol=1e-4, atol=1e-5
    )


def test_a_connection_of_weight_0_is_not_run_when_sparse(net):
    draw = make_draw(net, 1)
    layer, row = place(net, "head1_3")
    poisoned = layer.weights_of(int(draw[0][row, 0]))[0]
    kept = poisoned.numpy()
    poisoned.assign(np.full(kept.shape, np.nan))
    weights = net.path_weights(net.arch.paths)
    closed = tf.constant([float(c != (1, 3)) for c in connections(net)])
    paths = PathWeights(weights.links * closed, weights.meets)
    outputs = {
        sparse: net(
            images(net, 4), draw, [s.read() for s in net.select(draw)],
            net.op_weights(net.arch, draw), paths, sparse=sparse,
        ).numpy()
        for sparse in (True, False)
    }
    poisoned.assign(kept)
    assert np.isfinite(outputs[True]).all()
    assert np.isnan(outputs[False]).all()
