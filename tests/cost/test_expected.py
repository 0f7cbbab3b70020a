"""The chained cost is the mean cost of a random walk through the blocks."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests import dense_nets
from tests.cost.lut_tables import make_table
from tests.cost.test_lattice import supernet_madds
from tests.published_nets import NETS
from tfnas import spaces
from tfnas.cost import expected
from tfnas.cost import positional
from tfnas.cost.expected import ExpectedCost
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lut import Calibration

MBV2_TABLE = "lat_list_densenas_mbv2_xp32"
# Section 14 of the specification: obtained by running the authors' program.
UNIFORM = {
    MBV2_TABLE: ("densenas_mbv2", 32.417944),
    "lat_list_resv2_32": ("densenas_resnet", 21.758962),
    "lat_list_resv2_32_reg10": ("densenas_resnet", 22.917937),
}
ONE_HOT_MS = {"A": 13.646211, "B": 15.817215, "C": 18.011905}
ONE_HOT_MADDS = {"A": 249.548816, "B": 311.794496, "C": 359.022656}


def call(cost, links_p, heads, stacks):
    """Evaluates with float32 tensors; heads and stacks are (ops, weights)."""

    def rows(ops, weights):
        return tf.constant(ops, tf.int32), tf.constant(weights, tf.float32)

    return cost(
        [rows(*heads), rows(*stacks)], tf.constant(links_p, tf.float32)
    )


def chained(costs):
    return ExpectedCost(costs, dense_nets.op_tables(costs.lattice))


def uniform(spec):
    """Arguments of the cost where all choices are equally likely."""
    links_p = [
        1 / len(spec.outgoing(b)) for b, _ in dense_nets.links(spec)
    ]

    def rows(count, ops):
        return np.tile(np.arange(ops), (count, 1)), np.full(
            (count, ops), 1 / ops
        )

    heads = sum(to != spec.tail for _, to in dense_nets.links(spec))
    return (
        links_p,
        rows(heads, len(spec.head_ops)),
        rows(sum(spec.layers), len(spec.stack_ops)),
    )


def one_hot(space, arch):
    """Arguments of the cost where only one network is likely."""
    spec, choice = space.spec, space.to_choice(arch)
    path = (0, *choice.path, spec.tail)
    on_path = list(itertools.pairwise(path))
    head = dict(zip(on_path, choice.heads, strict=False))
    skip = spec.stack_ops.index("skip_connect")
    stack = {
        (b, j): spec.stack_ops.index(op)
        for b, ops in zip(choice.path, choice.stacks, strict=True)
        for j, op in enumerate(ops)
    }
    heads = [
        [spec.head_ops.index(head[link]) if link in head else 0]
        for link in dense_nets.links(spec)
        if link[1] != spec.tail
    ]
    stacks = [[stack.get(key, skip)] for key in dense_nets.layers(spec)]
    return (
        [float(link in on_path) for link in dense_nets.links(spec)],
        (heads, np.ones((len(heads), 1))),
        (stacks, np.ones((len(stacks), 1))),
    )


def published(space, name, shared_data):
    return positional.load(space, shared_data / "densenas_lut" / name)


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_cost_of_the_published_tables(name, shared_data):
    space_name, value = UNIFORM[name]
    space = spaces.get(space_name)
    cost = chained(published(space, name, shared_data))
    ours = float(call(cost, *uniform(space.spec)))
    assert ours == pytest.approx(value, rel=1e-6)


def test_uniform_cost_in_multiply_adds():
    space = spaces.get("densenas_mbv2", classes=100)
    cost = chained(LatticeCosts.from_madds(space))
    ours = float(call(cost, *uniform(space.spec)))
    assert ours == pytest.approx(476.677734, rel=1e-6)
    space = spaces.get("densenas_resnet", classes=100)
    cost = chained(supernet_madds(space))
    ours = float(call(cost, *uniform(space.spec)))
    assert ours == pytest.approx(3289.847783, rel=1e-6)


@pytest.mark.parametrize("net", ONE_HOT_MS)
def test_one_hot_cost_of_the_published_table(net, shared_data):
    space = spaces.get("densenas_mbv2")
    cost = chained(published(space, MBV2_TABLE, shared_data))
    ours = float(call(cost, *one_hot(space, space.decode(NETS[net].text))))
    assert ours == pytest.approx(ONE_HOT_MS[net], rel=1e-6)


@pytest.mark.parametrize("net", ONE_HOT_MADDS)
def test_one_hot_cost_in_multiply_adds(net):
    space = spaces.get("densenas_mbv2", classes=100)
    cost = chained(LatticeCosts.from_madds(space))
    ours = float(call(cost, *one_hot(space, space.decode(NETS[net].text))))
    assert ours == pytest.approx(ONE_HOT_MADDS[net], rel=1e-6)


@pytest.mark.parametrize("name", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_one_hot_cost_is_the_latency_of_the_network(name):
    space = spaces.get(name)
    table = make_table(
        space.lut_keys(), calibration=Calibration(1.2, 0.3, 1.0, name, 8)
    )
    cost = chained(LatticeCosts.from_table(space, table))
    for seed in range(4):
        arch = space.sample(seed)
        ours = float(call(cost, *one_hot(space, arch)))
        assert ours == pytest.approx(table.latency_ms(arch), rel=1e-6)


def random_arguments(spec, rng):
    """Random paths, and `(ops, weights)` of two active ops in each row."""
    links_p = np.concatenate(
        [
            dense_nets.softmax(rng.normal(size=len(spec.outgoing(b))))
            for b in range(spec.tail)
        ]
    )

    def rows(count, ops):
        active = [np.sort(rng.permutation(ops)[:2]) for _ in range(count)]
        weights = dense_nets.softmax(rng.normal(size=(count, 2)))
        return np.array(active), weights

    heads = sum(to != spec.tail for _, to in dense_nets.links(spec))
    return (
        links_p,
        rows(heads, len(spec.head_ops)),
        rows(sum(spec.layers), len(spec.stack_ops)),
    )


def mean_of_walks(spec, costs, links_p, heads, stacks):
    """The enumeration, on the arguments of `ExpectedCost`."""

    def weights(keys, rows, ops):
        full = {}
        for key, active, values in zip(keys, *rows, strict=True):
            full[key] = np.zeros(ops, np.result_type(values))
            full[key][active] = values
        return full

    links = dense_nets.links(spec)
    return dense_nets.expected_cost(
        spec,
        costs,
        dict(zip(links, links_p, strict=True)),
        weights(
            [link for link in links if link[1] != spec.tail],
            heads,
            len(spec.head_ops),
        ),
        weights(dense_nets.layers(spec), stacks, len(spec.stack_ops)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_mean_cost_of_a_random_walk(seed):
    spec = dense_nets.MBV2
    costs = dense_nets.integer_costs(spec, seed)
    arguments = random_arguments(spec, np.random.default_rng(seed))
    ours = float(call(tiny(costs), *arguments))
    truth = mean_of_walks(spec, costs, *arguments)
    assert ours == pytest.approx(truth, rel=1e-6)


def tiny(tables):
    space = dense_nets.space()
    return chained(dense_nets.lattice_costs(space, tables))


def shifts(spec, heads, stacks):
    """Directions in which probabilities stay probabilities.

    Yields the number of the argument and the entries that grow and shrink.
    """
    links = dense_nets.links(spec)
    for i, (a, b) in enumerate(itertools.pairwise(links)):
        if a[0] == b[0]:
            yield 0, i, i + 1
    for argument, (active, _) in enumerate((heads, stacks), 1):
        for row in range(len(active)):
            yield argument, (row, 0), (row, 1)


def test_its_gradients_are_finite_differences():
    spec = dense_nets.MBV2
    costs = dense_nets.integer_costs(spec, 0)
    links_p, heads, stacks = random_arguments(spec, np.random.default_rng(0))
    points = [links_p, heads[1], stacks[1]]
    inputs = [tf.constant(x, tf.float32) for x in points]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        cost = tiny(costs)(
            [
                (tf.constant(heads[0]), inputs[1]),
                (tf.constant(stacks[0]), inputs[2]),
            ],
            inputs[0],
        )
    gradients = [g.numpy() for g in tape.gradient(cost, inputs)]

    step = 1e-4

    def walks(argument, more, less, step):
        moved = [x.copy() for x in points]
        moved[argument][more] += step
        moved[argument][less] -= step
        return mean_of_walks(
            spec, costs, moved[0], (heads[0], moved[1]), (stacks[0], moved[2])
        )

    for argument, more, less in shifts(spec, heads, stacks):
        truth = walks(argument, more, less, step)
        truth -= walks(argument, more, less, -step)
        ours = gradients[argument][more] - gradients[argument][less]
        assert ours == pytest.approx(truth / (2 * step), rel=1e-5, abs=1e-4)


def test_the_log_penalty_is_its_factor_where_the_cost_is_the_base():
    cost = tf.constant(15.0)
    with tf.GradientTape() as tape:
        tape.watch(cost)
        penalty = expected.log_penalty(cost, 0.15, log_base=15.0)
    assert float(penalty) == pytest.approx(0.15)
    slope = 0.15 / (15 * np.log(15))
    assert float(tape.gradient(penalty, cost)) == pytest.approx(slope)
    doubled = expected.log_penalty(tf.constant(225.0), 0.15, log_base=15.0)
    assert float(doubled) == pytest.approx(0.30)


@pytest.mark.parametrize("cost, value", [(8, 0.1), (10, 0.0), (15, 0.25)])
def test_the_target_penalty_grows_with_the_distance(cost, value):
    penalty = expected.target_penalty(tf.constant(float(cost)), 0.5, 10.0)
    assert float(penalty) == pytest.approx(value)
