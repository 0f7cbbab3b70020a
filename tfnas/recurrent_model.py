"""The trainable language model around a recurrent cell that is a graph.

`derive.build_model` gives one time step of stock layers, to be exported; this
is the same network over whole sequences, with the dropouts of its training.

Source: Zhang et al. 2020 (AutoShrink) and the authors' release; for the
dropouts Gal and Ghahramani 2016, and Merity et al. 2018.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnas import keras_settings
from tfnas.arch import Arch
from tfnas.derive import build_model
from tfnas.derive import load_weights
from tfnas.ops.masked_dag import MAX_NODES
from tfnas.ops.masked_dag import Edge
from tfnas.ops.recurrent import NODE_ACTS
from tfnas.ops.recurrent import language_parts

KERNEL_RANGE = 0.04  # kernels start from uniform(-0.04, 0.04)
_STREAMS = 2 + MAX_NODES**2  # of initial weights, for each seed
_KERAS_SEEDS = 2**32  # how many Keras has
_ACTS: dict[str, Callable[[Any], Any]] = {
    "linear": tf.identity,
    "relu": tf.nn.relu,
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
}


@dataclasses.dataclass(frozen=True)
class Dropouts:
    """Shares of what is dropped in training; what is kept is scaled up.

    Args:
        words: Whole rows of the table of words, one draw for each call.
        inputs: Word vectors, one mask for all steps.
        cell_inputs: Word vectors inside the cell, one mask for all steps.
        states: The nodes of the cell, one mask for all steps and edges.
        outputs: Output of the cell, one mask for all steps.
    """

    words: float = 0.0
    inputs: float = 0.0
    cell_inputs: float = 0.0
    states: float = 0.0
    outputs: float = 0.0


@keras.saving.register_keras_serializable(package="tfnas")
class LanguageModel(keras.layers.Layer):
    """From words and a state to logits of the next words and a new state.

    The decoder is the table of words. Without dropouts every step computes
    what the step model of `derive.build_model` does.

    Args:
        arch: A language model, or its JSON.
        dropouts: What is dropped in training, or its fields.
        table_range: The table starts from uniform(-table_range,
            table_range).
        seed: Seed of the initial weights and of the dropouts.
        **kwargs: Of `keras.layers.Layer`, such as `dtype`.

    Raises:
        ArtifactError: when the architecture is no language model.
    """

    def __init__(
        self, arch: Arch | Mapping[str, Any],
        dropouts: Dropouts | Mapping[str, float] | None = None,
        table_range: float = KERNEL_RANGE, seed: int = 0, **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(arch, Arch):
            arch = Arch.from_json(dict(arch), "LanguageModel")
        if not isinstance(dropouts, Dropouts):
            dropouts = Dropouts(**(dropouts or {}))
        self.arch, self.parts = arch, language_parts(arch)
        self.dropouts = dropouts
        self.table_range, self.seed = table_range, seed
        self._draws = keras.random.SeedGenerator(seed)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` makes this layer from."""
        return {
            **super().get_config(),
            "arch": self.arch.to_json(),
            "dropouts": dataclasses.asdict(self.dropouts),
            "table_range": self.table_range,
            "seed": self.seed,
        }

    def build(self, words_shape: Any, state_shape: Any) -> None:
        """Makes the weights.

        The kernel of the input is `(2 * width, 2 * width)`, that of an edge
        `(width, 2 * width)`; columns of the gate come first.
        """
        words, width = self.parts.words, self.parts.width
        self.table = self._uniform(
            "table", (words, width), self.table_range, 0
        )
        self.bias = self.add_weight(
            name="bias", shape=(words,), initializer="zeros"
        )
        self.input_kernel = self._uniform(
            "input_kernel", (2 * width, 2 * width), KERNEL_RANGE, 1
        )
        self.edge_kernels = {
            _name(edge): self._uniform(
                _name(edge), (width, 2 * width), KERNEL_RANGE,
                2 + edge[0] * MAX_NODES + edge[1],
            )
            for edge in self.edges
        }
        self.built = True

    @property
    def edges(self) -> list[Edge]:
        """The edges of the cell in the order of their targets."""
        return sorted(self.parts.cell.live_edges, key=lambda e: (e[1], e[0]))

    def _uniform(
        self, name: str, shape: tuple[int, ...], limit: float, stream: int
    ) -> Any:
        """Adds a weight; an edge starts the same in every graph that has it."""
        return self.add_weight(
            name=name, shape=shape,
            initializer=keras.initializers.RandomUniform(
                -limit, limit,
                seed=(self.seed * _STREAMS + stream) % _KERAS_SEEDS,
            ),
        )

    def call(
        self, words: Any, state: Any, training: bool = False
    ) -> tuple[Any, Any]:
        """Applies the network to sequences.

        Args:
            words: `(batch, steps)` int32.
            state: `(batch, width)`; zeros at the start of a text.
            training: Whether to drop.

        Returns:
            Logits `(batch, steps, words)`, and the new state.
        """
        hidden, state = self.hidden(words, state, training)
        return self.decode(hidden, training), state

    def hidden(
        self, words: Any, state: Any, training: bool = False
    ) -> tuple[Any, Any]:
        """Returns the cell's outputs, `(batch, steps, width)`, and the state.

        The outputs are not dropped yet. For the arguments see `call`.
        """
        rates, width = self.dropouts, self.parts.width
        table = tf.convert_to_tensor(self.table)
        if training and rates.words:
            table *= self._mask((self.parts.words, 1), rates.words)
        x = tf.gather(table, words)
        batch, mask = tf.shape(words)[0], None
        if training:
            for rate in (rates.inputs, rates.cell_inputs):
                x *= self._mask((batch, 1, width), rate)
            mask = self._mask((batch, width), rates.states)
        # The word's share of the first product, for all steps at once.
        gates = x @ self.input_kernel[:width]
        step = self._step_function(mask)
        outputs = tf.scan(step, tf.transpose(gates, (1, 0, 2)), state)
        return tf.transpose(outputs, (1, 0, 2)), outputs[-1]

    def _mask(self, shape: tuple[Any, ...], rate: float) -> Any:
        """Draws zeros, and ones scaled up so that the mean stays 1."""
        ones = tf.ones(shape, self.compute_dtype)
        return keras.random.dropout(ones, rate, seed=self._draws)

    def _step_function(self, mask: Any) -> Callable[[Any, Any], Any]:
        """Returns `f(state, gates)` to the next state.

        One product for each node: the kernels of its edges side by side.
        """
        cell, width = self.parts.cell, self.parts.width
        targets = {
            node: [j for i, j in cell.live_edges if i == node]
            for node in cell.reachable
        }
        kernels = {
            node: tf.concat(
                [self.edge_kernels[_name((node, j))] for j in ends], 1
            )
            for node, ends in targets.items() if ends
        }
        kernel = tf.convert_to_tensor(self.input_kernel)[width:]

        def product(x: Any, kernel: Any) -> Any:
            return (x if mask is None else x * mask) @ kernel

        def step(state: Any, gates: Any) -> Any:
            gates += product(state, kernel)
            arriving: dict[int, list[Any]] = {node: [] for node in targets}
            leaves = []
            for node, ends in targets.items():
                value = (
                    _mean(arriving[node]) if node
                    else _highway(state, gates, "tanh")
                )
                if not ends:
                    leaves.append(value)
                    continue
                parts = tf.split(product(value, kernels[node]), len(ends), 1)
                for end, part in zip(ends, parts, strict=True):
                    act = NODE_ACTS[cell.ops[end]]
                    arriving[end].append(_highway(value, part, act))
            return _mean(leaves)

        return step

    def decode(self, hidden: Any, training: bool = False) -> Any:
        """Returns the logits `(batch, steps, words)` of the cell's outputs."""
        if training:
            shape = (tf.shape(hidden)[0], 1, self.parts.width)
            hidden *= self._mask(shape, self.dropouts.outputs)
        table = tf.convert_to_tensor(self.table)
        return tf.tensordot(hidden, table, [[2], [1]]) + self.bias

    def step_model(self) -> keras.Model:
        """Returns one time step of stock layers, with these weights."""
        model = build_model(self.arch)
        table, width = np.asarray(self.table), self.parts.width
        cell = []
        for weight in self._kernels():
            cell += np.split(np.asarray(weight), [width], 1)
        load_weights(
            model, self.arch,
            [[table], cell, [table.T, np.asarray(self.bias)]],
        )
        return model

    def _kernels(self) -> list[Any]:
        edges = [self.edge_kernels[_name(edge)] for edge in self.edges]
        return [self.input_kernel, *edges]


def _name(edge: Edge) -> str:
    return f"edge_{edge[0]}_{edge[1]}"


def _mean(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else tf.add_n(values) / len(values)


def _highway(carry: Any, gates: Any, act: str) -> Any:
    """Returns `carry + sigmoid(c) * (act(z) - carry)`, `gates = [c, z]`."""
    c, z = tf.split(gates, 2, 1)
    return carry + tf.sigmoid(c) * (_ACTS[act](z) - carry)


@keras_settings.pinned()
def build_language_model(
    arch: Arch, dropouts: Dropouts | None = None,
    table_range: float = KERNEL_RANGE, seed: int = 0,
) -> keras.Model:
    """Builds the trainable model of a language model.

    Args:
        arch: The network.
        dropouts: What is dropped in training.
        table_range: Range that the table of words starts from.
        seed: Seed of the initial weights and of the dropouts.

    Returns:
        A model of one `LanguageModel` layer, from `"words"` `(batch, steps)`
        int32 and `"state"` `(batch, width)` to logits `(batch, steps,
        words)` and the new state.

    Raises:
        ArtifactError: when the architecture is no language model.
        ConfigError: when Keras does not run on TensorFlow.
    """
    layer = LanguageModel(
        arch, dropouts, table_range, seed, name="language_model",
        dtype=keras_settings.DTYPE,
    )
    words = keras.Input((None,), dtype="int32", name="words")
    state = keras.Input(
        (layer.parts.width,), dtype=keras_settings.DTYPE, name="state"
    )
    return keras.Model(
        [words, state], layer(words, state), name=f"tfnas_{arch.id}"
    )


def language_layer(model: Any) -> LanguageModel | None:
    """Returns the layer of a model of `build_language_model`, else `None`."""
    found = [
        layer for layer in getattr(model, "layers", ())
        if isinstance(layer, LanguageModel)
    ]
    return found[0] if len(found) == 1 else None
