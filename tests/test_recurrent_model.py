"""The language model computes the formulas of the paper, however it is built.

The truth is numpy in float64, written edge by edge in `tests/language_models`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnas
from tests import language_models as lm
from tfnas import derive
from tfnas import seeds
from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.ops.recurrent import read_cell
from tfnas.recurrent_model import Dropouts
from tfnas.recurrent_model import LanguageModel
from tfnas.recurrent_model import build_language_model
from tfnas.recurrent_model import language_layer
from tfnas.spaces.recurrent import SHRINK_RNN
from tfnas.spaces.recurrent import shrink_rnn

CELLS = [
    lm.CELL,
    SHRINK_RNN,
    "tanh:",
    "relu.relu.tanh:0-2",
    spaces.get("autoshrink_rnn").complete.encode(),
]


def make_layer(cell=lm.CELL, dtype="float64", scale=10.0, **settings):
    """Returns a built layer whose weights make everything nonlinear."""
    layer = LanguageModel(
        lm.make_arch(cell), table_range=1.0, dtype=dtype, **settings
    )
    layer.build((None, None), (None, lm.WIDTH))
    for weight in layer.trainable_weights[2:]:
        weight.assign(scale * weight)
    layer.bias.assign(np.random.default_rng(0).normal(size=lm.WORDS))
    return layer


def make_words(batch=3, steps=20, seed=0):
    return np.random.default_rng(seed).integers(
        0, lm.WORDS, (batch, steps), np.int32
    )


def truth(layer, words, state):
    """Logits and states of each step by numpy."""
    dag, kernels = layer.parts.cell, lm.kernels_of(layer)
    table, bias = np.array(layer.table), np.array(layer.bias)
    logits, states = [], []
    for word in words.T:
        state = lm.cell_step(dag, kernels, table[word], state)
        states.append(state)
        logits.append(state @ table.T + bias)
    return np.stack(logits, 1), np.stack(states, 1)


@pytest.mark.parametrize("cell", CELLS)
def test_twenty_steps_equal_the_formulas_in_float64(cell):
    layer, words = make_layer(cell), make_words()
    state = np.random.default_rng(1).normal(size=(3, lm.WIDTH))
    logits, last = layer(words, state)
    expected, states = truth(layer, words, state)
    assert np.abs(expected).max() > 1  # there is something to compare
    assert np.abs(logits - expected).max() < 1e-12
    assert np.abs(last - states[:, -1]).max() < 1e-12


@pytest.mark.parametrize("cell", CELLS)
def test_the_step_model_computes_the_same(cell):
    layer, words = make_layer(cell, "float32"), make_words()
    step = layer.step_model()
    state = np.zeros((3, lm.WIDTH), np.float32)
    expected, _ = layer(words, state)
    for i, word in enumerate(words.T):
        logits, state = map(np.array, step([word, state]))
        np.testing.assert_allclose(logits, expected[:, i], atol=2e-5)


def test_the_step_model_is_made_of_stock_layers():
    model = tfnas.build_model(lm.make_arch())
    stock = ("keras.src.layers.", "keras.src.models.")
    assert all(type(layer).__module__.startswith(stock)
               for layer in model.layers)
    assert [tuple(t.shape) for t in model.inputs] == [
        (None,), (None, lm.WIDTH)
    ]
    assert [t.shape[-1] for t in model.outputs] == [lm.WORDS, lm.WIDTH]


def test_zero_weights_give_the_closed_forms():
    """sig(0) = 1/2, so s_0 = h / 2 and an edge halves it again."""
    cell = "tanh.relu.tanh.identity.sigmoid:0-1.0-2.0-3.0-4"
    layer = make_layer(cell)
    for weight in layer.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    h = np.random.default_rng(0).normal(size=(2, lm.WIDTH))
    _, state = layer(make_words(2, 1), h)
    # Three leaves give h / 4, the sigmoid gives h / 4 + 1 / 4.
    np.testing.assert_allclose(state, h / 4 + 1 / 16, atol=1e-15)
    alone = make_layer("tanh:")
    for weight in alone.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    _, state = alone(make_words(2, 1), h)
    np.testing.assert_allclose(state, h / 2, atol=1e-15)


def test_state_carried_over_equals_one_long_text():
    layer, words = make_layer(), make_words()
    state = np.zeros((3, lm.WIDTH))
    whole, last = layer(words, state)
    first, state = layer(words[:, :7], state)
    second, state = layer(words[:, 7:], state)
    parts = np.concatenate([first, second], 1)
    np.testing.assert_allclose(whole, parts, atol=1e-13)
    np.testing.assert_allclose(last, state, atol=1e-13)


def test_parameters_of_the_built_model_are_those_counted():
    for arch in (shrink_rnn(words=50, width=12), lm.make_arch()):
        model = build_language_model(arch)
        assert model.count_params() == tfnas.count(arch).params


def test_shrink_rnn_has_the_parameters_of_the_release():
    counts = tfnas.count(shrink_rnn())
    table, edge = 10_000 * 745, 745 * 2 * 745
    assert counts.params == table + 10_000 + 2 * edge + 12 * edge
    assert round(counts.params / 1e6, 1) == 23.0
    # Of a step: the decoder's product with the table counts, a look-up not.
    assert counts.madds == table + 2 * edge + 12 * edge


def test_the_application_is_the_published_network_for_other_texts():
    model = tfnas.applications.ShrinkRNN(words=50, width=12)
    layer = language_layer(model)
    assert layer.arch == shrink_rnn(words=50, width=12)
    assert model.count_params() == tfnas.count(layer.arch).params


def test_a_model_comes_back_from_its_file(tmp_path):
    model = build_language_model(lm.make_arch(), Dropouts(states=0.25), 0.5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    layer = language_layer(loaded)
    assert layer.arch == lm.make_arch()
    assert layer.dropouts == Dropouts(states=0.25)
    inputs = [make_words(), np.ones((3, lm.WIDTH), np.float32)]
    for ours, theirs in zip(model(inputs), loaded(inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_equal_seeds_start_equal_and_edges_are_alike_in_all_graphs():
    def weights(cell, seed):
        layer = LanguageModel(lm.make_arch(cell), seed=seed)
        layer.build((None, None), (None, lm.WIDTH))
        return {w.name: np.array(w) for w in layer.trainable_weights}

    some, more = weights("relu.tanh:0-1", 3), weights(lm.CELL, 3)
    for name, value in some.items():
        np.testing.assert_array_equal(value, more[name])
    assert not np.array_equal(some["edge_0_1"], more["edge_0_4"])
    assert not np.array_equal(
        some["edge_0_1"], weights("relu.tanh:0-1", 4)["edge_0_1"]
    )
    assert np.abs(some["edge_0_1"]).max() <= 0.04


@pytest.mark.parametrize("seed", [2**21, seeds.MAX])
def test_large_seeds_draw_weights_of_their_own(seed):
    def table(seed):
        layer = LanguageModel(lm.make_arch(lm.CELL), seed=seed)
        layer.build((None, None), (None, lm.WIDTH))
        return np.array(layer.table)

    assert not np.array_equal(table(seed), table(0))
    np.testing.assert_array_equal(table(seed), table(seed))


def test_without_rates_training_drops_nothing():
    layer, words = make_layer(), make_words()
    state = np.zeros((3, lm.WIDTH))
    np.testing.assert_array_equal(
        layer(words, state, training=True)[0], layer(words, state)[0]
    )


def masks_of(layer, monkeypatch):
    """Collects the masks that the layer draws, with their shapes."""
    drawn = []
    draw = LanguageModel._mask

    def spy(self, shape, rate):
        drawn.append((rate, np.array(draw(self, shape, rate))))
        return drawn[-1][1]

    monkeypatch.setattr(LanguageModel, "_mask", spy)
    words = make_words(64, 4)
    hidden, _ = layer.hidden(words, np.zeros((64, lm.WIDTH)), training=True)
    layer.decode(hidden, training=True)
    return drawn


def test_masks_have_the_shapes_and_rates_of_the_recipe(monkeypatch):
    rates = {"words": 0.1, "inputs": 0.2, "cell_inputs": 0.75,
             "states": 0.25, "outputs": 0.6}
    drawn = masks_of(make_layer(dropouts=Dropouts(**rates)), monkeypatch)
    by_rate = dict(drawn)
    assert {rate: mask.shape for rate, mask in drawn} == {
        0.1: (lm.WORDS, 1),
        0.2: (64, 1, lm.WIDTH),
        0.75: (64, 1, lm.WIDTH),
        0.25: (64, lm.WIDTH),
        0.6: (64, 1, lm.WIDTH),
    }
    for rate in (0.2, 0.75, 0.25, 0.6):
        mask = by_rate[rate]
        assert np.mean(mask == 0) == pytest.approx(rate, abs=0.08)
        np.testing.assert_allclose(mask[mask != 0], 1 / (1 - rate))


def test_dropped_training_equals_the_formulas(monkeypatch):
    """With the masks that were drawn, numpy gives the same outputs."""
    layer = make_layer(
        dropouts=Dropouts(words=0.2, inputs=0.3, cell_inputs=0.4, states=0.5)
    )
    drawn = []
    draw = LanguageModel._mask

    def spy(self, shape, rate):
        drawn.append(np.array(draw(self, shape, rate)))
        return tf.constant(drawn[-1])

    monkeypatch.setattr(LanguageModel, "_mask", spy)
    words, state = make_words(3, 6), np.ones((3, lm.WIDTH))
    hidden, _ = layer.hidden(words, state, training=True)
    rows, inputs, cell_inputs, states = drawn
    table, kernels = np.array(layer.table) * rows, lm.kernels_of(layer)
    for t, word in enumerate(words.T):
        state = lm.cell_step(
            layer.parts.cell, kernels, table[word] * inputs[:, 0], state,
            cell_inputs[:, 0], states,
        )
        assert np.abs(hidden[:, t] - state).max() < 1e-12


def test_masks_differ_from_call_to_call():
    layer = make_layer(dropouts=Dropouts(outputs=0.5))
    words, state = make_words(), np.zeros((3, lm.WIDTH))
    first, second = (layer(words, state, training=True)[0] for _ in range(2))
    assert not np.array_equal(first, second)


def test_the_table_gets_gradients_from_both_its_ends():
    layer, words = make_layer(), make_words()
    with tf.GradientTape() as tape:
        logits, _ = layer(words, np.zeros((3, lm.WIDTH)))
        loss = tf.reduce_sum(logits**2)
    gradient = tf.convert_to_tensor(
        tape.gradient(loss, layer.table.value)
    ).numpy()
    row, column, change = 4, 2, 1e-6
    values = []
    for sign in (1, -1):
        table = np.array(layer.table)
        table[row, column] += sign * change
        moved = make_layer()
        moved.set_weights(layer.get_weights())
        moved.table.assign(table)
        logits, _ = moved(words, np.zeros((3, lm.WIDTH)))
        values.append(float(tf.reduce_sum(logits**2)))
    slope = (values[0] - values[1]) / (2 * change)
    assert gradient[row, column] == pytest.approx(slope, rel=1e-5)


def test_only_language_models_are_taken():
    arch = spaces.get("densenas_mbv2@32").sample(0)
    with pytest.raises(ArtifactError, match="a language model takes"):
        LanguageModel(arch)


def test_step_weights_that_do_not_fit_are_refused():
    arch = lm.make_arch()
    with pytest.raises(ValueError, match="too many kernels"):
        derive.load_weights(
            tfnas.build_model(arch), arch,
            [[np.zeros((lm.WORDS, lm.WIDTH))] * 2, [], []],
        )


def test_a_cell_is_read_as_it_is_written():
    assert read_cell(lm.CELL).encode() == lm.CELL
