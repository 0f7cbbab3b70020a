"""The supernet of a lattice: all its networks in one set of weights.

All links run at every step; sampling reduces the ops of each. Source: Fang et
al. 2020 (DenseNAS), sections 3-4, with the details of the authors' release
where the paper is silent: where fixed links meet, as at the tail, a second
softmax weighs them, and the temperature reaches the path parameters only.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfnas import ops
from tfnas.errors import ConfigError
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link
from tfnas.spaces.lattice import Route
from tfnas.spaces.lattice import checked
from tfnas.supernets.base import Selected
from tfnas.supernets.base import one_by_one
from tfnas.supernets.base import stream
from tfnas.supernets.mixed import LayerFunctions
from tfnas.supernets.mixed import MixedLayer
from tfnas.supernets.primitives import classifier_variables
from tfnas.supernets.primitives import classify

# The active ops of the searched links, ascending in each row: for each table
# of parameters `(links, k)`.
Draw = tuple[tf.Tensor, ...]
_CLASSIFIER, _SKIP = "classifier", "skip"
_INIT_DEVIATION = 1e-3  # of the architecture parameters
_NEVER = -1e30  # logit of a path that there is not


class PathWeights(NamedTuple):
    """What weighs the links that paths are chosen from.

    Args:
        links: Weight of each link of `lattice.weighed`.
        meets: Weight of each link of `LatticeSupernet.meets`, in one row.
    """

    links: tf.Tensor
    meets: tf.Tensor


@dataclasses.dataclass(frozen=True)
class ArchParameters:
    """Architecture parameters, as variables or as their values.

    Args:
        ops: Op parameters of the searched links: `(links, options)` for the
            weighed ones and the others, by their number of options.
        paths: `(nodes, most links out)` path parameters of the nodes with
            weighed links; entries past a node's last link are 0 and unused.
    """

    ops: tuple[Any, ...]
    paths: Any

    @classmethod
    def of(cls, values: Sequence[Any]) -> ArchParameters:
        """Reads what `as_list` returned."""
        return cls(tuple(values[:-1]), values[-1])

    def as_list(self) -> list[Any]:
        """Returns the tables of ops, then the paths."""
        return [*self.ops, self.paths]


class LatticeSupernet:
    """All networks of a space with a lattice in one set of weights.

    Args:
        space: The space. The options of a link must have one form, and the
            last block of all must be a classifier.
        seed: Seed of the initial weights and architecture parameters.
        temperature: Temperature of the path softmax in the forward pass.
        bn_groups: Normalise each batch in this many equal parts.

    Attributes:
        lattice: The lattice as the supernet has it.
        tables: The searched links that each table of `arch.ops` is for.
        meets: For each node where fixed weighed links from several nodes
            meet, and nothing else, these links, nearest source first.
        layers: For each link its layers, one after another; `None` stands
            for the classifier.
        arch: The architecture parameters.

    Raises:
        ConfigError: for a space that the supernet cannot hold.
    """

    def __init__(
        self, space: LatticeSpace, seed: int = 0, temperature: float = 1.0,
        bn_groups: int = 1,
    ):
        self.space, self.temperature, self._seed = space, temperature, seed
        self.lattice = lattice = checked(space, space.supernet_links())
        tables: dict[tuple[bool, int], list[int]] = {}
        for i in lattice.searched:
            link = lattice.links[i]
            kind = (link.weighed, len(link.options))
            tables.setdefault(kind, []).append(i)
        self.tables = list(tables.values())
        self.meets = [
            ends for ends in lattice.incoming.values()
            if len({lattice.links[i].source for i in ends}) > 1
            and all(lattice.links[i].weighed for i in ends)
            and not any(lattice.links[i].searched for i in ends)
        ]
        functions = LayerFunctions(bn_groups)
        self.layers = [
            list(self._layers(link, functions)) for link in lattice.links
        ]
        self._build_classifier()
        self._build_arch()

    def _layers(
        self, link: Link, functions: LayerFunctions
    ) -> Iterator[MixedLayer | None]:
        if link.searched:
            if {*map(len, link.options)} != {1}:
                raise ConfigError(
                    f"space `{self.space.name}`, link {link.name}: expected "
                    "candidates of one block in a supernet. Received: "
                    f"{[len(option) for option in link.options]} blocks"
                )
            rows = [([block for (block,) in link.options], link.shape)]
        else:
            rows = [([block], shape) for block, shape in link.blocks(0)]
        names = link.name.split("+")
        for name, (row, shape) in zip(names, rows, strict=True):
            if row[0].op == _CLASSIFIER:
                yield None
                continue
            try:
                yield MixedLayer(
                    name, row, shape, self._seed, functions,
                    functools.partial(self.space.has_affine, name),
                )
            except ValueError as error:
                raise ConfigError(
                    f"space `{self.space.name}`, link {name}: {error}"
                ) from error

    def _build_classifier(self) -> None:
        ends = self.lattice.incoming[self.lattice.nodes[-1]]
        link = self.lattice.links[ends[0]]
        last = link.options[0][-1]
        if len(ends) > 1 or link.searched or last.op != _CLASSIFIER:
            raise ConfigError(
                f"space `{self.space.name}`, link {link.name}: expected one "
                "classifier, fixed, as the last block of the supernet. "
                f"Received: {last.op}, {len(ends)} links to the last node"
            )
        self.fc = classifier_variables(
            last.in_channels, last.out_channels, self._seed,
            self.space.random_bias,
        )

    def _build_arch(self) -> None:
        lattice, draw = self.lattice, stream(self._seed, "arch")
        weighed = [lattice.links[i].source for i in lattice.weighed]
        counts = np.array([weighed.count(n) for n in lattice.nodes], int)
        counts = counts[counts > 0]
        self.path_mask = np.arange(max(counts, default=0)) < counts[:, None]

        def init(name: str, *shape: int) -> tf.Variable:
            value = _INIT_DEVIATION * draw.standard_normal(shape)
            if name == "paths":
                value = np.where(self.path_mask, value, 0)
            return tf.Variable(value.astype("float32"), name=f"arch/{name}")

        tables = [
            init(f"ops{i}", len(table), len(lattice.links[table[0]].options))
            for i, table in enumerate(self.tables)
        ]
        paths = init("paths", *self.path_mask.shape)
        self.arch = ArchParameters(tuple(tables), paths)

    @property
    def variables(self) -> list[tf.Variable]:
        """All weights, in the order of the links."""
        layers = [layer for row in self.layers for layer in row if layer]
        return [
            v for layer in layers for weights in layer.weights for v in weights
        ] + self.fc

    def places(self, draw: Draw) -> Iterator[tuple[MixedLayer, tf.Tensor]]:
        """Yields every active layer and its op, in the order of the links."""
        active = {
            i: tf.unstack(row)
            for table, chosen in zip(self.tables, draw, strict=True)
            for i, row in zip(table, tf.unstack(chosen), strict=True)
        }
        zero = tf.constant(0)
        for i, layers in enumerate(self.layers):
            for layer in filter(None, layers):
                for op in active.get(i, [zero]):
                    yield layer, op

    def select(self, draw: Draw) -> list[Selected]:
        """Returns the weights that a draw makes active."""
        chosen = [
            s for layer, op in self.places(draw) for s in layer.select(op)
        ]
        return chosen + one_by_one(self.fc)

    def weights_for(self, route: Route) -> list[list[np.ndarray]]:
        """Returns the weights of a single network, block by block.

        Args:
            route: The network's route in the lattice of the space.

        Returns:
            For each block of `space.from_route(route)` the kernels of its
            convolutions in order (scales and offsets of the few affine
            normalisations are left out), and for the classifier kernel and
            bias; none of a block that the supernet has in another form.
        """
        found: list[list[np.ndarray]] = []
        chosen = [
            b for i, k in route for b in self.space.lattice.links[i].options[k]
        ]
        whole = len(self.space.from_route(route).blocks) == len(chosen)
        for i, k in route:
            link = self.space.lattice.links[i]
            own = self.lattice.find(link.name)
            theirs = [block.op for block in self.lattice.links[own].options[k]]
            for layer, op, block in zip(
                self.layers[own], theirs, link.options[k], strict=True
            ):
                if whole or block.op != _SKIP:
                    same = block.op == op
                    found.append(self._values(layer, k) if same else [])
        return found

    def _values(self, layer: MixedLayer | None, op: int) -> list[np.ndarray]:
        if layer is None:
            return [v.numpy() for v in self.fc]
        return [v.numpy() for v in layer.weights_of(op) if v.shape.rank == 4]

    def path_probabilities(self, paths: tf.Tensor) -> tf.Tensor:
        """Returns the softmax of each node's path parameters.

        Args:
            paths: `(nodes, most links out)`.

        Returns:
            Probabilities of the same shape; 0 where there is no link.
        """
        scaled = paths / self.temperature
        return tf.nn.softmax(tf.where(self.path_mask, scaled, _NEVER))

    def path_weights(self, paths: tf.Tensor) -> PathWeights:
        """Returns what weighs the links in the relaxed network."""
        links = tf.gather_nd(
            self.path_probabilities(paths), np.argwhere(self.path_mask)
        )
        place = self.lattice.weighed.index
        meets = [
            tf.nn.softmax(tf.gather(links, [*map(place, ends)]))
            for ends in self.meets
        ]
        return PathWeights(links, tf.concat([tf.zeros([0]), *meets], 0))

    def op_weights(
        self, arch: ArchParameters, draw: Draw
    ) -> tuple[tf.Tensor, ...]:
        """Returns the softmax over the active ops of each searched link."""
        return tuple(
            tf.nn.softmax(tf.gather(alpha, ops, batch_dims=1))
            if ops.shape[1] > 1
            else tf.ones(ops.shape)  # exactly, whatever the kernel rounds
            for alpha, ops in zip(arch.ops, draw, strict=True)
        )

    def __call__(
        self, images: tf.Tensor, draw: Draw, weights: Sequence[tf.Tensor],
        op_weights: Sequence[tf.Tensor], paths: PathWeights,
        train: bool = False, sparse: bool = False,
    ) -> tf.Tensor:
        """Returns the logits, `(batch, classes)`; see `outputs`."""
        found = self.outputs(
            images, draw, weights, op_weights, paths, train, sparse
        )
        return found[self.lattice.nodes[-1]]

    def outputs(
        self, images: tf.Tensor, draw: Draw, weights: Sequence[tf.Tensor],
        op_weights: Sequence[tf.Tensor], paths: PathWeights,
        train: bool = False, sparse: bool = False,
    ) -> dict[Any, tf.Tensor]:
        """Runs the relaxed network (section 4).

        Args:
            images: `(batch, height, width, channels)`, at least 32 px.
            draw: The active ops.
            weights: The values of `select(draw)`.
            op_weights: The values of `op_weights(arch, draw)`.
            paths: What weighs the links.
            train: Whether gradients to the weights are wanted.
            sparse: Skip links of weight 0, for single paths.

        Returns:
            The output of each node of the lattice.
        """
        forward = _Forward(self, draw, weights, op_weights, train, sparse)
        return forward.run(images, paths)

    def one_hot(self, route: Route) -> tuple[Draw, PathWeights]:
        """Returns the draw and the path weights of a single network."""
        links = self.space.lattice.links
        taken = {self.lattice.find(links[i].name): k for i, k in route}
        draw = tuple(
            tf.constant([[taken.get(i, 0)] for i in table], tf.int32)
            for table in self.tables
        )
        on = [[float(i in taken) for i in row]
              for row in (self.lattice.weighed, itertools.chain(*self.meets))]
        return draw, PathWeights(*(tf.constant(w, tf.float32) for w in on))


class _Forward:
    """One run of the supernet: hands each layer its weights in order."""

    def __init__(self, net, draw, weights, op_weights, train, sparse):
        self.net, self.train, self.sparse = net, train, sparse
        self.op_weights = {
            i: tf.unstack(row)
            for table, rows in zip(net.tables, op_weights, strict=True)
            for i, row in zip(table, tf.unstack(rows), strict=True)
        }
        rest = list(weights)
        self.taken: dict[int, list[tuple]] = {}
        for layer, op in net.places(draw):
            count = len(layer.weights[0])
            self.taken.setdefault(id(layer), []).append((op, rest[:count]))
            rest = rest[count:]
        self.fc = rest

    def run(self, images, paths):
        """Outputs of all nodes."""
        lattice = self.net.lattice
        weights = dict(
            zip(lattice.weighed, tf.unstack(paths.links), strict=True)
        )
        meets = itertools.chain(*self.net.meets)
        weights |= zip(meets, tf.unstack(paths.meets), strict=True)
        outputs = {lattice.nodes[0]: images}
        for node in lattice.nodes[1:]:
            parts = [
                self.weighted(weights.get(i), i, outputs)
                for i in lattice.incoming[node]
            ]
            outputs[node] = parts[0] if len(parts) == 1 else tf.add_n(parts)
        return outputs

    def weighted(self, weight, i, outputs):
        """A link's output times its weight, not computed at 0 when sparse."""
        link = self.net.lattice.links[i]
        x = outputs[link.source]
        if weight is None:
            return self.link(i, x)
        if not self.sparse:
            return weight * self.link(i, x)
        *_, (last, shape) = link.blocks(0)
        shape = (tf.shape(x)[0], *ops.lower(last, shape).output_shape)
        return tf.cond(
            weight > 0, lambda: weight * self.link(i, x),
            lambda: tf.zeros(shape),
        )

    def link(self, i, x):
        """The layers of a link, one after another."""
        for layer in self.net.layers[i]:
            if layer is None:
                x = classify(x, *self.fc)
            else:
                x = self.layer(layer, x, self.op_weights.get(i, (None,)))
        return x

    def layer(self, layer, x, op_weights):
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
