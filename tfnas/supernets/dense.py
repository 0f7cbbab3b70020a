"""The densely connected supernet of DenseNAS.

All blocks and all connections run at every step; sampling reduces the ops of
each mixed layer. Source: Fang et al. 2020, sections 3-4, with the details of
the authors' release where the paper is silent: the tail weighs its inputs by
a second softmax, and the temperature reaches the path parameters only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfnas.arch import Block
from tfnas.spaces import net_config
from tfnas.spaces.dense import DenseChoice
from tfnas.spaces.dense import DenseSpace
from tfnas.supernets.base import Selected
from tfnas.supernets.base import one_by_one
from tfnas.supernets.base import stream
from tfnas.supernets.mixed import LayerFunctions
from tfnas.supernets.mixed import MixedLayer


class Draw(NamedTuple):
    """The active ops of every mixed layer, ascending in each row.

    Args:
        heads: `(connections into blocks, k)` op indices.
        stacks: `(stack layers, k)` op indices.
    """

    heads: tf.Tensor
    stacks: tf.Tensor


class PathWeights(NamedTuple):
    """What weighs the connections.

    Args:
        connections: Weight of each connection, in the order of
            `DenseSupernet.connections`.
        tails: Weight of each input of the tail, nearest block first.
    """

    connections: tf.Tensor
    tails: tf.Tensor


@dataclasses.dataclass(frozen=True)
class ArchParameters:
    """Architecture parameters, as variables or as their values.

    Args:
        heads: `(connections into blocks, head ops)` op parameters.
        stacks: `(stack layers, stack ops)` op parameters.
        paths: `(blocks, most connections out)` path parameters; entries past
            a block's last connection are 0 and unused.
    """

    heads: tf.Variable | tf.Tensor
    stacks: tf.Variable | tf.Tensor
    paths: tf.Variable | tf.Tensor

    def as_list(self) -> list:
        """Returns heads, stacks, paths."""
        return [self.heads, self.stacks, self.paths]


def _supernet_block(block: Block, **attrs) -> Block:
    return dataclasses.replace(block, attrs={**block.attrs, **attrs})


class DenseSupernet:
    """All networks of a dense space in one set of weights.

    Args:
        space: The space.
        seed: Seed of the initial weights and architecture parameters.
        temperature: Temperature of the path softmax in the forward pass.
        bn_groups: Normalise each batch in this many equal parts.

    Attributes:
        connections: `(source, to)` pairs ascending; the tail is the last
            `to`.
        head_rows: Row of each connection into a block.
        stack_rows: Row of each `(block, layer)`.
        arch: The architecture parameters.
    """

    def __init__(
        self, space: DenseSpace, seed: int = 0, temperature: float = 1.0,
        bn_groups: int = 1,
    ):
        self.space, self.temperature = space, temperature
        spec, self._functions = space.spec, LayerFunctions(bn_groups)
        self._seed = seed
        self.connections = [
            (b, to) for b in range(spec.tail) for to in spec.outgoing(b)
        ]
        into_blocks = [c for c in self.connections if c[1] != spec.tail]
        self.head_rows = {c: i for i, c in enumerate(into_blocks)}
        self.stack_rows = {
            key: i
            for i, key in enumerate(
                (b, j) for b in range(spec.tail) for j in range(spec.layers[b])
            )
        }
        self._build_layers()
        self._build_arch()

    def _build_layers(self) -> None:
        space, spec = self.space, self.space.spec
        residual = spec.net_type == "res"
        stem, *fixed = space.stem()
        if residual:  # the supernet's stem has ReLU, derived nets ReLU6
            stem = _supernet_block(stem, act="relu")
        height, width, _ = space.shape(0)
        self.stem = self._layer(
            "stem", [stem], space.input_shape, lambda _: residual
        )
        self.fixed = [
            self._layer(
                "fixed", [b], (height, width, b.in_channels),
                lambda name: name == "project_bn",
            )
            for b in fixed
        ]
        self.heads = [
            self._layer(
                f"head{s}_{t}", [space.head(s, t, op) for op in spec.head_ops],
                space.shape(s), self._inner_affine,
            )
            for s, t in self.head_rows
        ]
        self.stacks = [
            self._layer(
                f"stack{b}_{j}", [space.stack(b, op) for op in spec.stack_ops],
                space.shape(b), self._inner_affine,
            )
            for b, j in self.stack_rows
        ]
        norm = net_config.NORM_RES if residual else net_config.NORM_MBV2
        self.tails = []
        for b in spec.incoming(spec.tail):
            tail = net_config.tail_block(spec.tensor_width(b), spec.last_dim)
            self.tails.append(
                self._layer(
                    f"tail{b}", [_supernet_block(tail, norm=norm)],
                    space.shape(b), lambda _: False,
                )
            )
        limit, draw = 1 / np.sqrt(spec.last_dim), stream(self._seed, "fc")
        kernel = draw.uniform(-limit, limit, (spec.last_dim, space.classes))
        bias = np.zeros(space.classes)
        if residual:
            bias = draw.uniform(-limit, limit, space.classes)
        self.fc = [
            tf.Variable(value.astype("float32"), name=f"fc/{name}")
            for name, value in (("kernel", kernel), ("bias", bias))
        ]

    def _layer(self, name, candidates, in_shape, affine) -> MixedLayer:
        return MixedLayer(
            name, candidates, in_shape, self._seed, self._functions, affine
        )

    def _inner_affine(self, name: str) -> bool:
        """Only bottlenecks have scale and offset, but for their shortcut."""
        bottleneck = "bottle_neck" in self.space.spec.stack_ops
        return bottleneck and name != "shortcut_bn"

    def _build_arch(self) -> None:
        spec = self.space.spec
        out = [len(spec.outgoing(b)) for b in range(spec.tail)]
        self.path_mask = np.arange(max(out)) < np.array(out)[:, None]
        draw = stream(self._seed, "arch")

        def init(name: str, *shape: int) -> tf.Variable:
            value = 1e-3 * draw.standard_normal(shape)
            if name == "paths":
                value = np.where(self.path_mask, value, 0)
            return tf.Variable(value.astype("float32"), name=f"arch/{name}")

        self.arch = ArchParameters(
            init("heads", len(self.heads), len(spec.head_ops)),
            init("stacks", len(self.stacks), len(spec.stack_ops)),
            init("paths", spec.tail, max(out)),
        )

    @property
    def variables(self) -> list[tf.Variable]:
        """All weights, in the order of their places."""
        layers = [self.stem, *self.fixed, *self.heads, *self.stacks]
        return [
            v
            for layer in [*layers, *self.tails]
            for weights in layer.weights
            for v in weights
        ] + self.fc

    def _places(self, draw: Draw) -> Iterator[tuple[MixedLayer, tf.Tensor]]:
        """Yields every active candidate in the order of the weights."""
        zero = tf.constant(0)
        for layer in [self.stem, *self.fixed]:
            yield layer, zero
        for layers, indices in (
            (self.heads, draw.heads), (self.stacks, draw.stacks)
        ):
            for i, layer in enumerate(layers):
                for j in range(indices.shape[1]):
                    yield layer, indices[i, j]
        for layer in self.tails:
            yield layer, zero

    def select(self, draw: Draw) -> list[Selected]:
        """Returns the weights that a draw makes active."""
        chosen = [
            s for layer, op in self._places(draw) for s in layer.select(op)
        ]
        return chosen + one_by_one(self.fc)

    def weights_for(self, choice: DenseChoice) -> list[list[np.ndarray]]:
        """Returns the weights of a single network, block by block.

        Args:
            choice: The network's choices.

        Returns:
            For each block of `space.to_arch(choice)` the kernels of its
            convolutions in order (scales and offsets of the few affine
            normalisations are left out), and for the classifier kernel and
            bias; of the ResNet form, whose tail differs, no classifier.
        """
        spec, source = self.space.spec, 0
        layers = [(self.stem, 0), *((layer, 0) for layer in self.fixed)]
        for block, head, stack in zip(
            choice.path, choice.heads, choice.stacks, strict=True
        ):
            row = self.heads[self.head_rows[source, block]]
            layers.append((row, spec.head_ops.index(head)))
            for j, op in enumerate(stack):
                row = self.stacks[self.stack_rows[block, j]]
                layers.append((row, spec.stack_ops.index(op)))
            source = block
        fc = []
        if spec.net_type == "mbv2":
            tail = spec.incoming(spec.tail).index(source)
            layers.append((self.tails[tail], 0))
            fc = [v.numpy() for v in self.fc]
        kernels = [
            [v.numpy() for v in layer.weights_of(op) if v.shape.rank == 4]
            for layer, op in layers
        ]
        return [*kernels, fc]

    def path_probabilities(self, paths: tf.Tensor) -> tf.Tensor:
        """Returns the softmax of each block's path parameters.

        Args:
            paths: `(blocks, most connections out)`.

        Returns:
            Probabilities of the same shape; 0 where there is no connection.
        """
        scaled = paths / self.temperature
        return tf.nn.softmax(tf.where(self.path_mask, scaled, -1e30))

    def path_weights(self, paths: tf.Tensor) -> PathWeights:
        """Returns what weighs the connections in the relaxed network."""
        probabilities = self.path_probabilities(paths)
        connections = tf.gather_nd(
            probabilities, np.argwhere(self.path_mask)
        )
        ends = [
            self.connections.index((b, self.space.spec.tail))
            for b in self.space.spec.incoming(self.space.spec.tail)
        ]
        return PathWeights(
            connections, tf.nn.softmax(tf.gather(connections, ends))
        )

    def op_weights(
        self, arch: ArchParameters, draw: Draw
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the softmax over the active ops of each head and stack."""
        rows = zip(arch.as_list()[:2], draw, strict=True)
        heads, stacks = (
            tf.nn.softmax(tf.gather(alpha, ops, batch_dims=1))
            if ops.shape[1] > 1
            else tf.ones(ops.shape)  # exactly, whatever the kernel rounds
            for alpha, ops in rows
        )
        return heads, stacks

    def __call__(
        self, images: tf.Tensor, draw: Draw, weights: Sequence[tf.Tensor],
        op_weights: tuple[tf.Tensor, tf.Tensor], paths: PathWeights,
        train: bool = False, sparse: bool = False,
    ) -> tf.Tensor:
        """Runs the relaxed network (section 4).

        Args:
            images: `(batch, height, width, channels)`, at least 32 px.
            draw: The active ops.
            weights: The values of `select(draw)`.
            op_weights: The values of `op_weights(arch, draw)`.
            paths: What weighs the connections.
            train: Whether gradients to the weights are wanted.
            sparse: Skip connections of weight 0, for single paths.

        Returns:
            Logits `(batch, classes)`.
        """
        forward = _Forward(self, draw, weights, op_weights, train, sparse)
        outputs = forward.blocks(images, paths)
        return forward.classify(outputs, tf.unstack(paths.tails))

    def block_outputs(
        self, images: tf.Tensor, draw: Draw, weights: Sequence[tf.Tensor],
        op_weights: tuple[tf.Tensor, tf.Tensor], paths: PathWeights,
    ) -> list[tf.Tensor]:
        """Returns the output of every block; the arguments are `__call__`'s.
        """
        forward = _Forward(self, draw, weights, op_weights, False, False)
        return forward.blocks(images, paths)

    def one_hot(self, choice: DenseChoice) -> tuple[Draw, PathWeights]:
        """Returns the draw and the path weights of a single network."""
        spec = self.space.spec
        heads = np.zeros((len(self.heads), 1), np.int32)
        stacks = np.zeros((len(self.stacks), 1), np.int32)
        on_path = (0, *choice.path, spec.tail)
        links = list(zip(on_path, on_path[1:], strict=False))
        for link, head in zip(links, choice.heads, strict=False):
            heads[self.head_rows[link]] = spec.head_ops.index(head)
        for block, ops in zip(choice.path, choice.stacks, strict=True):
            skips = ["skip_connect"] * (spec.layers[block] - len(ops))
            for j, op in enumerate([*ops, *skips]):
                row = self.stack_rows[block, j]
                stacks[row] = spec.stack_ops.index(op)
        paths = PathWeights(
            tf.constant([float(c in links) for c in self.connections]),
            tf.constant(
                [float(b == on_path[-2]) for b in spec.incoming(spec.tail)]
            ),
        )
        return Draw(tf.constant(heads), tf.constant(stacks)), paths


class _Forward:
    """One run of the supernet: hands each place its weights in order."""

    def __init__(self, net, draw, weights, op_weights, train, sparse):
        self.net, self.train, self.sparse = net, train, sparse
        self.op_weights = {
            "heads": [tf.unstack(r) for r in tf.unstack(op_weights[0])],
            "stacks": [tf.unstack(r) for r in tf.unstack(op_weights[1])],
        }
        rest = list(weights)
        self.taken: dict[int, list[tuple]] = {}
        for layer, op in net._places(draw):
            count = len(layer.weights[0])
            self.taken.setdefault(id(layer), []).append((op, rest[:count]))
            rest = rest[count:]
        self.fc = rest

    def layer(self, layer, x, op_weights=(None,)):
        """Weighted sum of the active ops; a single one has weight 1."""
        outputs = [
            layer(x, op, weights, self.train)
            for op, weights in self.taken[id(layer)]
        ]
        if len(outputs) == 1:
            return outputs[0]
        return tf.add_n(
            [w * y for w, y in zip(op_weights, outputs, strict=True)]
        )

    def weighted(self, weight, run, shape):
        """`weight * run()`, not computed at weight 0 when sparse."""
        if not self.sparse:
            return weight * run()
        return tf.cond(
            weight > 0, lambda: weight * run(), lambda: tf.zeros(shape)
        )

    def blocks(self, images, paths):
        """Outputs of all blocks, block 0 first."""
        net, spec = self.net, self.net.space.spec
        x = self.layer(net.stem, images)
        for layer in net.fixed:
            x = self.layer(layer, x)
        outputs, batch = [x], tf.shape(x)[0]
        weight = dict(
            zip(net.connections, tf.unstack(paths.connections), strict=True)
        )
        for to in range(1, spec.tail):
            shape = (batch, *net.space.shape(to))
            x = tf.add_n(
                [
                    self.weighted(
                        weight[source, to],
                        lambda s=source, to=to: self.head(s, to, outputs[s]),
                        shape,
                    )
                    for source in spec.incoming(to)
                ]
            )
            for j in range(spec.layers[to]):
                row = net.stack_rows[to, j]
                x = self.layer(
                    net.stacks[row], x, self.op_weights["stacks"][row]
                )
            outputs.append(x)
        return outputs

    def head(self, source, to, x):
        row = self.net.head_rows[source, to]
        return self.layer(
            self.net.heads[row], x, self.op_weights["heads"][row]
        )

    def classify(self, outputs, weights):
        """Logits from the blocks that reach the tail."""
        net, spec = self.net, self.net.space.spec
        batch = tf.shape(outputs[0])[0]
        height, width, _ = net.space.shape(spec.tail - 1)
        shape = (batch, height, width, spec.last_dim)
        x = tf.add_n(
            [
                self.weighted(
                    weight,
                    lambda n=layer, b=b: self.layer(n, outputs[b]),
                    shape,
                )
                for b, layer, weight in zip(
                    spec.incoming(spec.tail), net.tails, weights, strict=True
                )
            ]
        )
        kernel, bias = self.fc
        return tf.reduce_mean(x, [1, 2]) @ kernel + bias
