"""The supernet that cells evolve in: one pool of weights for each block.

Cells select from the pool, so that a mutated cell inherits everything that
it did not change. Source: Zhou et al., "AutoSpace", ICCV 2021; the pool is
ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas import ops
from tfnas.arch import Arch
from tfnas.ops.cell import CONV
from tfnas.ops.cell import EXPANSIONS
from tfnas.ops.cell import Cell
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Node
from tfnas.spaces.autospace import CellSpace
from tfnas.spaces.cells import DEPTHWISE
from tfnas.spaces.cells import fuse
from tfnas.supernets.base import Selected
from tfnas.supernets.base import one_by_one
from tfnas.supernets.chain import Frame
from tfnas.supernets.chain import kernels
from tfnas.supernets.chain import without_sum
from tfnas.supernets.primitives import by_batch
from tfnas.supernets.primitives import node_variables
from tfnas.supernets.primitives import run_node
from tfnas.supernets.primitives import weight_ranks

# Dimension, name of a layer, code of the edge that it belongs to.
_Key = tuple[int, str, int]


def _key(cell: Cell, node: Node) -> _Key:
    """Where the pool holds the weights of a layer of a cell."""
    edge = node.name[: len("e01")]
    return cell.dim, node.name, getattr(cell, edge, 0)


class CellSupernet:
    """All cells of a space at every position, in one set of weights.

    Args:
        space: The space.
        slots: Cells of a position that run at once.
        seed: Seed of the initial weights.
        bn_groups: Normalise each batch in this many equal parts.

    Attributes:
        gates: `(positions, slots)`: the scores of the running cells.
        variables: All weights, whichever cells use them.
    """

    def __init__(
        self, space: CellSpace, slots: int, seed: int = 0, bn_groups: int = 1
    ):
        self.space, self.bn_groups = space, bn_groups
        self.frame = Frame(space, seed, bn_groups)
        self.pools = [self._pool(i, seed) for i in range(len(space.shapes) - 1)]
        self.gates = tf.Variable(
            tf.zeros([len(space.spec.positions), slots]), name="gates"
        )
        self.variables = self.frame.variables + [
            v for pool in self.pools for group in pool.values() for v in group
        ]

    def graph(self, index: int, cell: Cell) -> Graph:
        """Returns the graph of a cell at a place, without the residual."""
        place, shape = self.space.spec.places[index], self.space.shapes[index]
        return without_sum(ops.lower(self.space.block(place, cell), shape))

    def _pool(self, index: int, seed: int) -> dict[_Key, list[tf.Variable]]:
        """Makes the weights of every layer that a cell can have."""
        pool: dict[_Key, list[tf.Variable]] = {}
        for dim in range(len(EXPANSIONS)):
            codes = (CONV, DEPTHWISE)[dim == len(EXPANSIONS) - 1 :]
            for code in codes:
                cell = Cell(dim, 0, 0, code, code, code, 1, code, code)
                graph = self.graph(index, cell)
                for node in filter(weight_ranks, graph.nodes):
                    key = _key(cell, node)
                    if key not in pool:
                        path = "/".join(map(str, (f"block{index + 1}", *key)))
                        width = graph.shapes[node.inputs[0]][-1]
                        pool[key] = node_variables(path, node, width, seed)
        return pool

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the kernels of a network of the space, block by block.

        Fused cells have kernels that the pool does not hold: none.
        """
        inner = []
        chosen = self.space.to_cells(arch)
        for i, place in enumerate(self.space.spec.places):
            cell, found = chosen[place.position], []
            if fuse(cell) == cell:
                for node in filter(weight_ranks, self.graph(i, cell).nodes):
                    found += self.pools[i][_key(cell, node)]
            inner.append(kernels(found))
        return self.frame.network_weights(inner)


@dataclasses.dataclass(frozen=True)
class Output:
    """What a run of the supernet gives.

    Args:
        logits: `(batch, classes)`.
        distance: Mean square distance of each layer's output from that of
            its first cell, averaged over the layers.
    """

    logits: tf.Tensor
    distance: tf.Tensor


class RunningCells:
    """The supernet with certain cells at its positions.

    Args:
        net: The supernet.
        chosen: The cells of each position, as many at each.
    """

    def __init__(self, net: CellSupernet, chosen: Sequence[Sequence[Cell]]):
        self.net, self.chosen = net, chosen
        self._graphs = [
            [net.graph(i, cell) for cell in chosen[place.position]]
            for i, place in enumerate(net.space.spec.places)
        ]
        found = {v.ref(): v for v in net.frame.variables}
        for i, place in enumerate(net.space.spec.places):
            for cell, graph in zip(
                chosen[place.position], self._graphs[i], strict=True
            ):
                for node in filter(weight_ranks, graph.nodes):
                    for v in net.pools[i][_key(cell, node)]:
                        found[v.ref()] = v
        self.variables = list(found.values())

    def select(self) -> list[Selected]:
        """Returns the weights that the cells use."""
        return one_by_one(self.variables)

    def __call__(
        self, images: tf.Tensor, values: Sequence[tf.Tensor],
        shares: tf.Tensor | None = None,
    ) -> Output:
        """Runs the cells of every position side by side.

        Args:
            images: `(batch, height, width, channels)`.
            values: The values of `variables`.
            shares: `(positions, slots)`: what weighs the cells; may be left
                out where one cell runs alone.
        """
        net, frame = self.net, self.net.frame
        held = {
            v.ref(): value
            for v, value in zip(self.variables, values, strict=True)
        }
        outer = values[: len(frame.variables)]
        x, distances = frame.stem(images, outer), []
        for i, place in enumerate(net.space.spec.places):
            outputs = self._cells(i, place.position, x, held)
            y = outputs[0]
            if shares is not None:
                row = tf.unstack(shares[place.position])
                y = tf.add_n(
                    [w * out for w, out in zip(row, outputs, strict=True)]
                )
            gap = y - tf.stop_gradient(outputs[0])
            distances.append(tf.reduce_mean(gap**2))
            x = x + y if place.residual else y
        return Output(
            frame.logits(x, outer), tf.add_n(distances) / len(distances)
        )

    def _cells(
        self, index: int, position: int, x: tf.Tensor,
        held: dict[Any, tf.Tensor],
    ) -> list[tf.Tensor]:
        """Outputs of a block's cells; what they share runs once."""
        done: dict[tuple, tf.Tensor] = {}
        outputs = []
        for cell, graph in zip(
            self.chosen[position], self._graphs[index], strict=True
        ):
            # What a tensor is computed from names it.
            origins: dict[str, tuple] = {"input": ()}
            done[()] = x
            for node in graph.nodes:
                sources = tuple(origins[name] for name in node.inputs)
                key = _key(cell, node)
                origin = (*key, node.kind, sources)
                origins[node.name] = origin
                if origin in done:
                    continue
                weights = self.net.pools[index].get(key, ())
                done[origin] = run_node(
                    node, [done[source] for source in sources],
                    [held[v.ref()] for v in weights],
                    by_batch(self.net.bn_groups),
                )
            outputs.append(done[origins[graph.output]])
        return outputs
