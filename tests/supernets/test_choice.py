"""A supernet of unlike candidates runs and trains the sampled ones."""

import numpy as np
import pytest
import tensorflow as tf

import tfnas
from tests import chain_nets
from tfnas import derive
from tfnas.supernets.cell_layer import as_cell
from tfnas.supernets.choice import ChoiceSupernet
from tfnas.supernets.choice import gate_pair


def images(number=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def net():
    """A supernet for tests that leave it as it is."""
    return ChoiceSupernet(chain_nets.candidate_space(), seed=3)


def logits_of(net, codes, x):
    codes = tf.convert_to_tensor(codes, tf.int32)
    values = [s.read() for s in net.select(codes)]
    return net(tf.constant(x), codes, values)


def keras_logits(space, net, codes, x):
    """The network's Keras model on batch statistics, with shared kernels."""
    arch = space.from_codes(codes)
    model = tfnas.build_model(arch)
    derive.load_weights(model, arch, net.weights_for(arch))
    return np.array(model(x, training=True))


# Every candidate of every place at least once, skips included.
CODES = ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 0, 1), (0, 2, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"merge": "hadamard"},
        {"large_kernel": "dilated",
         "words": [(w,) for w in ("2.0.0.7.5.2.1.2.5", "1.0.0.9.1.2.1.1.2",
                                  "2.1.0.9.5.2.1.2.5")]},
    ],
    ids=["default", "hadamard", "dilated"],
)
def test_a_single_path_is_its_keras_model(changes):
    space = chain_nets.candidate_space(**changes)
    net, x = ChoiceSupernet(space, seed=1), images()
    every = CODES if len(space.words[0]) > 2 else ((0, 0, 0), (1, 1, 0))
    run = tf.function(lambda codes: logits_of(net, codes, x), autograph=False)
    for codes in every:
        np.testing.assert_allclose(
            run(tf.constant(codes)), keras_logits(space, net, codes, x),
            rtol=1e-3, atol=1e-4,
        )


def test_an_inverted_residual_is_a_cell_with_the_same_weights():
    space = chain_nets.candidate_space([("mbconv_k5_e3",)] * 3)
    for block, shape in space.blocks():
        if block.op == "mbconv" and block.stage > 1:
            counts = [
                tfnas.count(tfnas.Arch((b,), shape, 1))
                for b in (block, as_cell(block))
            ]
            assert counts[0].params == counts[1].params
            assert counts[0].madds == counts[1].madds


def test_gradients_reach_the_chosen_weights_and_no_others(net):
    x = images()

    @tf.function(autograph=False)
    def gradients(codes):
        chosen = net.select(codes)
        values = [s.read() for s in chosen]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss = tf.reduce_sum(net(x, codes, values, train=True) ** 2)
        found = tape.gradient(
            loss, values,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        gates = [True if s.gate is None else s.gate for s in chosen]
        return values, found, gates

    for codes in CODES:
        chosen = net.select(tf.constant(codes))
        for s, value, gradient, gate in zip(
            chosen, *gradients(tf.constant(codes)), strict=True
        ):
            # An optimizer updates in place, so shapes have to agree.
            assert value.shape == gradient.shape
            index = 0 if s.index is None else int(s.index)
            assert tuple(value.shape) == tuple(s.variables[index].shape)
            dummy = "dummy" in s.variables[index].name
            assert bool(gate) is not dummy
            assert np.any(gradient) or dummy


def test_spares_are_never_real_weights(net):
    names = [v.name for v in net.variables]
    assert len(names) == len(set(names))
    held = {
        v.ref() for layer in net.layers for w in layer.weights for v in w
    }
    dummies = [v for v in net.variables if v.name.startswith("dummy")]
    assert dummies and not held & {v.ref() for v in dummies}


def test_what_is_no_candidate_has_no_probability(net):
    p = net.probabilities(net.alphas).numpy()
    assert (p[~net.mask] == 0).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)


def outputs_and_slopes(net, codes, x):
    """Ops' outputs along a path, and dL/dy of each place, by Keras-free TF.

    The loss is the sum of squared logits.
    """
    frame = [s.read() for s in net.select(tf.constant(codes))]
    outer = len(net.frame.variables)
    with tf.GradientTape() as tape:
        values, rest = frame[:outer], frame[outer:]
        y = net.frame.stem(tf.constant(x), values)
        inputs, outputs = [], []
        for place, layer, op in zip(
            net.space.spec.places, net.layers, codes, strict=True
        ):
            inputs.append(y)
            out = layer(y, tf.constant(op), rest[: layer.num_weights], False)
            tape.watch(out)
            outputs.append(out)
            y = y + out if place.residual else out
            rest = rest[layer.num_weights :]
        loss = tf.reduce_sum(net.frame.logits(y, values) ** 2)
    return inputs, outputs, tape.gradient(loss, outputs)


def gains(net, codes, x, ops):
    """`<dL/dy, op(x)>` of given ops at each place, for the path `codes`."""
    inputs, _, slopes = outputs_and_slopes(net, codes, x)
    result = []
    for layer, source, slope, row in zip(
        net.layers, inputs, slopes, ops, strict=True
    ):
        result.append([])
        for op in row:
            values = [s.read() for s in layer.select(tf.constant(op))]
            out = layer(source, tf.constant(op), values, False)
            result[-1].append(float(tf.reduce_sum(slope * out)))
    return [np.array(g) for g in result]


def softmax(x):
    x = np.asarray(x)
    e = np.exp(x - x.max())
    return e / e.sum()


def alpha_gradient(function):
    """Traces the gradient of the summed squares of logits to `alphas`.

    Args:
        function: Logits of alphas and of codes.

    Returns:
        A function of the same to logits and gradient, traced once.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def run(alphas, *codes):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(alphas)
            logits = function(alphas, *codes)
            loss = tf.reduce_sum(logits**2)
        return logits, tape.gradient(loss, alphas)

    return lambda *args: [t.numpy() for t in run(*map(tf.constant, args))]


def test_the_gradient_of_two_paths_is_the_formula_on_a_toy_block():
    rng = np.random.default_rng(0)
    y, z, slope = rng.normal(size=(3, 4, 5))
    alphas = tf.constant(rng.normal(size=2))
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        out = gate_pair(
            tf.constant(y), tf.constant(z), tf.nn.softmax(alphas)
        )
        loss = tf.reduce_sum(slope * out)
    np.testing.assert_allclose(out, y, rtol=1e-12)
    g, q = np.array([(slope * y).sum(), (slope * z).sum()]), softmax(alphas)
    expected = [
        sum(g[k] * q[k] * ((i == k) - q[i]) for k in range(2))
        for i in range(2)
    ]
    np.testing.assert_allclose(
        tape.gradient(loss, alphas), expected, rtol=0, atol=1e-12
    )


def random_alphas(net, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=net.mask.shape) * net.mask).astype("float32")


def assert_same_gradient(found, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        found / scale, expected / scale, rtol=0, atol=1e-5
    )


def test_two_paths_give_the_published_gradient(net):
    x, alphas = images(), random_alphas(net, 1)

    def two_paths(alphas, active, other):
        pair = tf.stack([active, other], 1)
        shares = tf.nn.softmax(tf.gather(alphas, pair, batch_dims=1))
        return net.two_paths(tf.constant(x), active, other, shares)

    traced = alpha_gradient(two_paths)
    for active, other in (((0, 1, 2), (1, 0, 0)), ((3, 0, 1), (2, 2, 2))):
        logits, gradient = traced(alphas, active, other)
        np.testing.assert_allclose(
            logits, logits_of(net, active, x), rtol=1e-5, atol=1e-5
        )
        pair, expected = np.stack([active, other], 1), np.zeros(alphas.shape)
        for place, (g, row) in enumerate(
            zip(gains(net, active, x, pair), pair, strict=True)
        ):
            q = softmax(alphas[place, row].astype(np.float64))
            # dL/dalpha_i = sum_k g_k q_k (delta_ik - q_i), section 6.3.
            for i in range(2):
                expected[place, row[i]] = sum(
                    g[k] * q[k] * ((i == k) - q[i]) for k in range(2)
                )
        assert_same_gradient(gradient, expected)
