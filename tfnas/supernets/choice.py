"""The supernet of a chain with unlike candidates, of which few run at once.

A step touches the sampled candidates only: the others are neither computed
nor given gradients. Source: Cai et al., "ProxylessNAS", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas.arch import Arch
from tfnas.spaces.candidates import CandidateSpace
from tfnas.supernets.base import Selected
from tfnas.supernets.base import one_by_one
from tfnas.supernets.base import stream
from tfnas.supernets.cell_layer import CellFunctions
from tfnas.supernets.cell_layer import CellLayer
from tfnas.supernets.cell_layer import DummyWeights
from tfnas.supernets.chain import Frame
from tfnas.supernets.chain import kernels

_INIT_DEVIATION = 1e-3  # of the architecture parameters
_NEVER = -1e30  # logit of what is no candidate


class ChoiceSupernet:
    """All networks of a candidate space in one set of weights.

    Args:
        space: The space.
        seed: Seed of the initial weights and architecture parameters.
        bn_groups: Normalise each batch in this many equal parts.
        shared: Whether equal layers of a place's candidates share weights
            (ours; in the paper each candidate has its own).

    Attributes:
        layers: The candidates of each place.
        mask: `(places, most candidates)`: where there is a candidate.
        alphas: The architecture parameters, of the same shape.
    """

    def __init__(
        self, space: CandidateSpace, seed: int = 0, bn_groups: int = 1,
        shared: bool = False,
    ):
        self.space, self.mask = space, space.legal
        self.frame = Frame(space, seed, bn_groups)
        functions = CellFunctions(
            space.spec.norm["eps"], space.merge, space.large_kernel,
            bn_groups,
        )
        self._dummies = DummyWeights()
        self.layers = [
            CellLayer(
                f"block{i + 1}", candidates, space.shapes[i], seed, functions,
                self._dummies, shared,
            )
            for i, candidates in enumerate(space.candidates)
        ]
        draw = stream(seed, "arch").standard_normal(self.mask.shape)
        self.alphas = tf.Variable(
            np.where(self.mask, _INIT_DEVIATION * draw, 0).astype("float32"),
            name="alphas",
        )

    @property
    def variables(self) -> list[tf.Variable]:
        """All weights, in the order of their places."""
        held = [v for layer in self.layers for w in layer.weights for v in w]
        return [
            *self.frame.variables,
            *{v.ref(): v for v in held}.values(),
            *self._dummies.variables,
        ]

    def logits(self, alphas: tf.Tensor) -> tf.Tensor:
        """Returns the parameters, with what is no candidate ruled out."""
        return tf.where(self.mask, alphas, _NEVER)

    def probabilities(self, alphas: tf.Tensor) -> tf.Tensor:
        """Returns the softmax of each place's parameters."""
        return tf.nn.softmax(self.logits(alphas))

    def select(self, codes: tf.Tensor) -> list[Selected]:
        """Returns the weights of a network.

        Args:
            codes: `(places,)`: the index of each place's candidate.
        """
        chosen = one_by_one(self.frame.variables)
        for layer, op in zip(self.layers, tf.unstack(codes), strict=True):
            chosen += layer.select(op)
        return chosen

    def __call__(
        self, images: tf.Tensor, codes: tf.Tensor,
        values: Sequence[tf.Tensor], train: bool = False,
    ) -> tf.Tensor:
        """Runs one network.

        Args:
            images: `(batch, height, width, channels)`.
            codes: `(places,)`: the index of each place's candidate.
            values: The values of `select(codes)`.
            train: Whether gradients to the weights are wanted.

        Returns:
            Logits, `(batch, classes)`.
        """
        return self._forward(
            images, codes, values, train, lambda place, x, y: y
        )

    def two_paths(
        self, images: tf.Tensor, active: tf.Tensor, other: tf.Tensor,
        shares: tf.Tensor,
    ) -> tf.Tensor:
        """Runs one network, and beside each op another for its gate.

        The value is the network's; the gradient of a share is the product
        of what its op gives with the gradient of the output (the paper's
        equation 4). No gradient reaches weights or, through the other op,
        the layers before.

        Args:
            images: `(batch, height, width, channels)`.
            active: `(places,)`: the ops that run.
            other: `(places,)`: the ops that are looked at.
            shares: `(places, 2)`: probabilities of the active and the other
                op among the two.

        Returns:
            Logits, `(batch, classes)`.
        """
        others, rows = tf.unstack(other), tf.unstack(shares)

        def gate(place: int, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            layer, op = self.layers[place], others[place]
            values = [s.read() for s in layer.select(op)]
            z = layer(tf.stop_gradient(x), op, values, False)
            return gate_pair(y, z, rows[place])

        return self._read_and_run(images, active, gate)

    def _read_and_run(self, images, codes, gate) -> tf.Tensor:
        values = [s.read() for s in self.select(codes)]
        return self._forward(images, codes, values, False, gate)

    def _forward(self, images, codes, values, train, gate) -> tf.Tensor:
        """Runs a network; `gate(place, x, y)` replaces each op's output."""
        outer = len(self.frame.variables)
        frame, left = values[:outer], values[outer:]
        x = self.frame.stem(images, frame)
        for i, (place, layer, op) in enumerate(
            zip(
                self.space.spec.places, self.layers, tf.unstack(codes),
                strict=True,
            )
        ):
            count = layer.num_weights
            y = gate(i, x, layer(x, op, left[:count], train))
            y.set_shape([x.shape[0], *self.space.shapes[i + 1]])
            x, left = x + y if place.residual else y, left[count:]
        return self.frame.logits(x, frame)

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the kernels of a network of the space, block by block."""
        return self.frame.network_weights(
            [
                kernels(layer.weights[code])
                for layer, code in zip(
                    self.layers, self.space.codes(arch), strict=True
                )
            ]
        )


def gate_pair(y: tf.Tensor, z: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Returns `y`, whose gradient also reaches the shares of two ops.

    The gradient of a share is `<dL/dy, output of its op>`: as if the result
    were `g_0 y + g_1 z` at gates (1, 0).

    Args:
        y: What the active op gives.
        z: What the other op gives; no gradient reaches it.
        shares: `(2,)`: their probabilities.
    """
    still = tf.stop_gradient
    on, off = tf.unstack(shares)
    return y * (1 + (on - still(on))) + still(z) * (off - still(off))
