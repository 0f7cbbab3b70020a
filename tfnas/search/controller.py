"""The learned policy of ASE-NAS: a GNN over subspaces and one LSTM.

Source: Chen et al., "Automatic Subspace Evoking for Efficient Neural
Architecture Search", arXiv 2210.17180, with the sizes and constants of the
authors' release. Ours: all weights are slices of one variable, which makes a
step cheap, starts it anew in place, and saves it as one array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfnas.search.ase_nas_options import PolicyOptions
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes
from tfnas.supernets.base import one_by_one
from tfnas.supernets.base import stream
from tfnas.train import schedules
from tfnas.train.optimizers import Adam

Edits = tuple[tuple[int, int], ...]

_NEVER = -1e9  # logit of an op that a position may not have
_PUBLISHED = PolicyOptions()
_INIT = 0.1  # every weight starts uniform in [-0.1, 0.1]


class Walk(NamedTuple):
    """What the policy did, step by step: subspace, position, op, position...

    Args:
        actions: `(samples, 1 + 2 * edits)` indices.
        log_probs: Their log-probabilities, same shape.
        entropies: Entropies of the choices, same shape.
    """

    actions: tf.Tensor
    log_probs: tf.Tensor
    entropies: tf.Tensor


class Controller:
    """The policy, its optimizer, and one traced function for each.

    Nothing is traced again when centres change or after `reset`, so one
    controller can serve one run after the other.

    Args:
        space: Space whose positions and ops it chooses among.
        centres: Number of subspaces, K.
        options: Sizes and constants.
        samples: Samples that `sample` draws at once.
    """

    def __init__(
        self, space: CodedSpace, centres: int,
        options: PolicyOptions = _PUBLISHED, samples: int = 1,
    ):
        self.centres, self.options, self.samples = centres, options, samples
        sizes = np.array(space.alphabets)
        of = np.asarray(space.alphabet_of)
        # The heads of all alphabets are columns of one.
        self._first_op = (np.cumsum(sizes) - sizes)[of]
        self._ops, self._positions = int(sizes.sum()), len(of)
        legal = np.zeros((len(of), self._ops), bool)
        for i, (first, size) in enumerate(
            zip(self._first_op, sizes[of], strict=True)
        ):
            legal[i, first : first + size] = space.legal[i, :size]
        self._bias = np.where(legal, 0.0, _NEVER).astype(np.float32)
        widths = np.maximum(sizes[of], options.one_hot_width)
        self._first_bit = np.cumsum(widths) - widths
        self.num_features = int(widths.sum()) + 1
        self._shapes = self._make_shapes()
        self.weights = tf.Variable(tf.zeros([self.num_weights]))
        self._optimizer = Adam(
            schedules.constant(options.lr), 0.9, 0.999, 1e-8,
            options.weight_decay,
        )
        self._optimizer.build([self.weights])
        self._sample = tf.function(self._sample_step)
        # Compiled whole: op by op, sums of gradients come in another order
        # from one run to the next, and a last bit becomes another search.
        self._update = tf.function(self._update_step, jit_compile=True)

    def _make_shapes(self) -> dict[str, tuple[int, ...]]:
        n = self.options.hidden
        shapes: dict[str, tuple[int, ...]] = {}
        for name in ("node", "edge"):
            shapes[f"{name}_kernel"] = (self.num_features, n)
            shapes[f"{name}_bias"] = (n,)
        for i in range(self.options.layers):
            shapes[f"message_{i}"] = (3 * n, n)
            shapes[f"pool_kernel_{i}"] = (n, n)
            shapes[f"pool_bias_{i}"] = (n,)
            shapes[f"update_{i}"] = (2 * n, n)
            shapes[f"edge_update_{i}"] = (3 * n, n)
        shapes |= {"attend_node": (n, n), "attend_state": (n, n),
                   "attend_out": (n, 1)}
        shapes |= {"lstm_kernel": (2 * n, 4 * n), "lstm_bias": (4 * n,)}
        sizes = {"position": self._positions, "op": self._ops}
        for name, size in sizes.items():
            shapes[f"{name}_kernel"] = (n, size)
            shapes[f"{name}_bias"] = (size,)
        for name, size in {"centre": self.centres, **sizes}.items():
            shapes[f"{name}_embedding"] = (size, n)
        return shapes

    @property
    def num_weights(self) -> int:
        """Number of trainable weights."""
        return sum(math.prod(shape) for shape in self._shapes.values())

    def reset(self, seed: int) -> None:
        """Starts anew in place: uniform weights, empty moments.

        Args:
            seed: Seed of the weights.
        """
        draw = stream(seed, "controller").uniform(
            -_INIT, _INIT, self.num_weights
        )
        self.weights.assign(draw.astype(np.float32))
        for slot in self._optimizer.slots():
            slot.assign(tf.zeros(slot.shape))

    def variables(self) -> list[tf.Variable]:
        """Returns all that `reset` sets: weights and moments."""
        return [self.weights, *self._optimizer.slots()]

    def features(
        self, centres: Sequence[Codes], scores: Sequence[float]
    ) -> np.ndarray:
        """Returns what the policy sees of the subspaces (section 3).

        Args:
            centres: Codes of the centres.
            scores: Their accuracies in percent.

        Returns:
            `(centres, features)`: one-hot codes, and the accuracy last.
        """
        found = np.zeros((self.centres, self.num_features), np.float32)
        rows = np.arange(self.centres)[:, None]
        found[rows, self._first_bit + np.array(centres)] = 1
        found[:, -1] = scores
        return found

    def sample(self, features: np.ndarray, seed: int, step: int) -> np.ndarray:
        """Draws from the policy; equal arguments give equal samples.

        Args:
            features: What `features` returned.
            seed: Seed of the run.
            step: Tells the draws of a run apart.

        Returns:
            `(samples, 1 + 2 * edits)` actions; see `read`.
        """
        pair = tf.constant([seed, step], tf.int64)
        return self._sample(tf.constant(features), pair).numpy()

    def read(self, actions: np.ndarray) -> tuple[int, Edits]:
        """Returns the subspace and the (position, op) edits of a sample.

        Args:
            actions: One row of what `sample` returned.
        """
        slot, *rest = (int(a) for a in actions)
        edits = zip(rest[::2], rest[1::2], strict=True)
        return slot, tuple((i, o - int(self._first_op[i])) for i, o in edits)

    def update(
        self, features: np.ndarray, actions: np.ndarray, reward: float,
        entropy_weight: float, step: int,
    ) -> dict[str, float]:
        """Makes one step of REINFORCE (section 6).

        Args:
            features: What the policy saw when it drew the sample.
            actions: The sample.
            reward: Its reward, the baseline already taken off.
            entropy_weight: Weight of the entropy.
            step: Number of updates before this one.

        Returns:
            The `log_prob` and the `entropy` of the whole sample.
        """
        log_prob, entropy = self._update(
            tf.constant(features), tf.constant(actions[None], tf.int32),
            tf.constant(reward, tf.float32),
            tf.constant(entropy_weight, tf.float32),
            tf.constant(step, tf.int64),
        )
        return {"log_prob": float(log_prob), "entropy": float(entropy)}

    def traces(self) -> int:
        """Returns how many times the functions were traced."""
        return sum(
            f.experimental_get_tracing_count()
            for f in (self._sample, self._update)
        )

    def _sample_step(self, features: tf.Tensor, pair: tf.Tensor) -> tf.Tensor:
        width = max(self.centres, self._positions, self._ops)
        steps = 1 + 2 * self.options.edits
        uniform = tf.random.stateless_uniform(
            [steps, self.samples, width], pair, 1e-20, 1.0, alg="philox"
        )
        # The greatest of log-probability + Gumbel noise is a fair draw.
        noise = -tf.math.log(-tf.math.log(uniform))

        def choose(step: int, log_probs: tf.Tensor) -> tf.Tensor:
            keys = log_probs + noise[step, :, : log_probs.shape[1]]
            return tf.argmax(keys, 1, tf.int32)

        return self._walk(features, self.samples, choose).actions

    def _update_step(self, features, actions, reward, entropy_weight, step):
        with tf.GradientTape() as tape:
            walk = self.evaluate(features, actions)
            log_prob = tf.reduce_sum(walk.log_probs)
            entropy = tf.reduce_sum(walk.entropies)
            loss = -log_prob * reward - entropy_weight * entropy
        gradient = tape.gradient(loss, self.weights)
        self._optimizer.apply(
            one_by_one([self.weights]), [self.weights.read_value()],
            [gradient], step,
        )
        return log_prob, entropy

    def evaluate(self, features: tf.Tensor, actions: tf.Tensor) -> Walk:
        """Returns the probabilities of given actions, differentiable.

        Args:
            features: What `features` returned.
            actions: `(samples, 1 + 2 * edits)` actions.
        """
        return self._walk(
            features, actions.shape[0], lambda step, _: actions[:, step]
        )

    def _walk(
        self, features: tf.Tensor, rows: int,
        choose: Callable[[int, tf.Tensor], tf.Tensor],
    ) -> Walk:
        """Goes through all choices (section 5).

        Args:
            features: What `features` returned.
            rows: Samples.
            choose: Maps the number of a step and its `(rows, choices)`
                log-probabilities to `(rows,)` actions.
        """
        w, o = self._split(), self.options
        steps: list[tuple[tf.Tensor, ...]] = []

        def decide(logits: tf.Tensor) -> tf.Tensor:
            log_probs = tf.nn.log_softmax(logits)
            action = choose(len(steps), log_probs)
            taken = tf.one_hot(action, logits.shape[1])
            entropies = -tf.exp(log_probs) * log_probs
            steps.append((
                action, tf.reduce_sum(taken * log_probs, 1),
                tf.reduce_sum(entropies, 1),
            ))
            return taken

        state = (tf.zeros([rows, o.hidden]),) * 2
        nodes = self._embed_nodes(w, features)
        mean = tf.tile(tf.reduce_mean(nodes, 0, True), [rows, 1])
        state = _lstm(w, mean, state)
        taken = decide(self._attend(w, nodes, state[0]))
        inputs = taken @ w["centre_embedding"]
        for _ in range(o.edits):
            bias: tf.Tensor | float = 0.0
            for name in ("position", "op"):
                state = _lstm(w, inputs, state)
                z = state[0] @ w[f"{name}_kernel"] + w[f"{name}_bias"]
                taken = decide(o.tanh_edit * tf.tanh(z) + bias)
                bias = taken @ self._bias if name == "position" else 0.0
                inputs = taken @ w[f"{name}_embedding"]
        columns = zip(*steps, strict=True)
        return Walk(*(tf.stack(column, 1) for column in columns))

    def _split(self) -> dict[str, tf.Tensor]:
        """The weights by name."""
        shapes = self._shapes
        parts = tf.split(
            self.weights.read_value(), [math.prod(s) for s in shapes.values()]
        )
        return {
            name: tf.reshape(part, shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }

    def _attend(self, w, nodes: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        """Logits of the subspaces, `(rows, centres)`."""
        query = (hidden @ w["attend_state"])[:, None]
        keys = tf.tanh(nodes @ w["attend_node"] + query)
        z = tf.squeeze(keys @ w["attend_out"], -1)
        return self.options.tanh_subspace * tf.tanh(z)

    def _embed_nodes(self, w, features: tf.Tensor) -> tf.Tensor:
        """The GNN of section 4: `(centres, hidden)` from the features.

        The one edge between two centres goes from the worse to the better;
        here both directions of a table hold it.
        """
        k, score = self.centres, features[:, -1]
        index = tf.range(k)
        tie = (score[:, None] == score) & (index[:, None] < index)
        # out[i, j] is 1 where the edge goes from i to j; back is the rest.
        out = tf.cast((score[:, None] < score) | tie, tf.float32)[..., None]
        back = tf.transpose(out, [1, 0, 2])
        edges = (out - back) * (features - features[:, None])
        nodes = features @ w["node_kernel"] + w["node_bias"]
        edges = edges @ w["edge_kernel"] + w["edge_bias"]
        others = (out + back) / max(k - 1, 1)
        for i in range(self.options.layers):
            own = tf.tile(nodes[:, None], [1, k, 1])
            messages = tf.nn.relu(
                tf.concat([own, out * edges, back * edges], -1)
                @ w[f"message_{i}"]
            )
            pooled = tf.nn.relu(
                messages @ w[f"pool_kernel_{i}"] + w[f"pool_bias_{i}"]
            )
            pooled = tf.reduce_sum(others * pooled, 1)
            nodes = tf.nn.relu(
                tf.concat([nodes, pooled], -1) @ w[f"update_{i}"]
            )
            rows, columns = nodes[:, None], nodes[None]
            ends = [out * rows + back * columns, out * columns + back * rows]
            edges = tf.nn.relu(
                tf.concat([edges, *ends], -1) @ w[f"edge_update_{i}"]
            )
        return nodes


def _lstm(w, inputs: tf.Tensor, state: tuple) -> tuple:
    """One step of the LSTM cell with one bias: the new (hidden, memory)."""
    hidden, memory = state
    z = tf.concat([inputs, hidden], 1) @ w["lstm_kernel"]
    gates = tf.split(z + w["lstm_bias"], 4, 1)
    keep, write, read = (tf.sigmoid(g) for g in gates[:3])
    memory = keep * memory + write * tf.tanh(gates[3])
    return read * tf.tanh(memory), memory
