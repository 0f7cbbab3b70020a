"""Cells share a pool of weights, and run side by side, weighed by gates."""

import numpy as np
import pytest
import tensorflow as tf

import tfnas
from tests import chain_nets
from tfnas import derive
from tfnas.ops.cell import Cell
from tfnas.spaces import cells
from tfnas.supernets.cells import CellSupernet
from tfnas.supernets.cells import RunningCells

# Nothing to fuse, so that networks hold the very cells that run.
PLAIN = [
    Cell.parse(text) for text in (
        "2.0.0.5.1.2.1.1.2", "0.1.1.2.5.3.1.5.2", "1.0.1.3.5.2.1.2.5",
        "1.1.0.5.5.3.1.5.5",
    )
]


def images(number=4):
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(number, 16, 16, 3)), tf.float32)


@pytest.fixture(scope="module")
def net():
    """A supernet for tests that leave it as it is."""
    return CellSupernet(chain_nets.cell_space(), slots=3, seed=2)


def logits(net, chosen, shares=None):
    running = RunningCells(net, chosen)
    values = [s.read() for s in running.select()]
    return running(images(), values, shares).logits


@pytest.mark.parametrize("cell", PLAIN, ids=map(str, PLAIN))
def test_cells_that_run_alone_are_their_keras_model(net, cell):
    arch = net.space.to_arch([cell, cell])
    model = tfnas.build_model(arch)
    derive.load_weights(model, arch, net.weights_for(arch))
    np.testing.assert_allclose(
        logits(net, [[cell], [cell]]), model(images(), training=True),
        rtol=1e-3, atol=1e-5,
    )


def test_a_fused_cell_has_no_weights_to_hand_on(net):
    arch = net.space.to_arch([cells.REFERENCES["ref7"], PLAIN[0]])
    stem, fixed, first, second, third, tail, fc = net.weights_for(arch)
    assert first == second == []
    assert len(third) == 3 and len(fc) == 2


def test_the_share_of_a_cell_weighs_its_output(net):
    """One-hot shares give the cell; a layer is linear in its shares."""
    rows = [PLAIN[:3], PLAIN[1:]]
    for slot in range(3):
        shares = tf.one_hot([slot, slot], 3)
        np.testing.assert_allclose(
            logits(net, rows, shares),
            logits(net, [[row[slot]] for row in rows]), rtol=1e-4, atol=1e-5,
        )
    # Block 3 alone has position 1, so its layer is all that changes.
    place = net.space.spec.places[2]
    running = RunningCells(net, rows)
    values = [s.read() for s in running.select()]
    held = {
        v.ref(): x for v, x in zip(running.variables, values, strict=True)
    }
    x = images(2)[:, :8, :8, :1] * tf.ones([8])
    one, two, three = running._cells(2, place.position, x, held)
    alone = [
        RunningCells(net, [[c], [c]])._cells(2, place.position, x, held)[0]
        for c in rows[1]
    ]
    for shared, single in zip((one, two, three), alone, strict=True):
        np.testing.assert_allclose(shared, single, rtol=1e-5, atol=1e-6)


def test_what_cells_have_in_common_runs_once(net):
    def convolutions(chosen):
        running = RunningCells(net, chosen)

        @tf.function(autograph=False)
        def run(values):
            shares = tf.ones([2, len(chosen[0])])
            return running(images(), values, shares).logits

        graph = run.get_concrete_function(
            [tf.TensorSpec(v.shape) for v in running.variables]
        ).graph
        kinds = [op.type for op in graph.get_operations()]
        return kinds.count("DepthwiseConv2dNative"), kinds.count("MatMul")

    one, two = PLAIN[0], Cell.parse("2.0.0.5.1.2.1.1.5")
    depthwise, products = convolutions([[one], [one]])
    # The second cell adds a convolution on edge 23 and a projection.
    assert convolutions([[one, two]] * 2) == (depthwise + 3, products + 3)


def test_a_mutated_cell_inherits_what_it_did_not_change(net):
    parent = Cell.parse("1.0.0.5.5.3.1.5.5")
    child = Cell.parse("1.0.0.5.5.5.1.5.5")
    a, b = (
        {v.ref() for v in RunningCells(net, [[c], [c]]).variables}
        for c in (parent, child)
    )
    assert len(a - b) == len(b - a) == 3 * 3  # of edge 12 in three blocks


def test_gate_gradients_reach_every_cell_and_no_weight(net):
    rows = [PLAIN[:3], PLAIN[1:]]
    running = RunningCells(net, rows)

    @tf.function(autograph=False)
    def gradients(gates):
        weights = [s.read() for s in running.select()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(gates)
            out = running(images(), weights, tf.nn.softmax(gates))
            loss = tf.reduce_sum(out.logits**2)
        return tape.gradient(loss, gates)

    gradient = gradients(tf.zeros([2, 3])).numpy()
    assert (np.abs(gradient) > 1e-6).all()
    # A softmax moves nothing in all of its directions at once.
    np.testing.assert_allclose(gradient.sum(1), 0, atol=1e-5)


def test_the_distance_is_from_the_first_cell(net):
    running = RunningCells(net, [PLAIN[:3], PLAIN[1:]])
    values = [s.read() for s in running.select()]
    first = running(images(), values, tf.one_hot([0, 0], 3))
    assert float(first.distance) == 0
    assert float(running(images(), values, tf.ones([2, 3])).distance) > 0
