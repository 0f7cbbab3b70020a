"""One traced function for all cells: what a cell does is an argument.

An inverted residual is a cell too: a chain of one depthwise convolution and
two identities. So a graph holds each place once, whatever the number and the
forms of its candidates, and only what a candidate has is computed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas import ops
from tfnas.arch import Block
from tfnas.ops.cell import CONV
from tfnas.ops.cell import IDENTITY
from tfnas.ops.cell import KERNELS
from tfnas.ops.cell import NONE
from tfnas.ops.cell import Cell
from tfnas.ops.graph import Shape
from tfnas.supernets.base import Selected
from tfnas.supernets.chain import without_sum
from tfnas.supernets.primitives import batch_norm
from tfnas.supernets.primitives import depthwise
from tfnas.supernets.primitives import node_variables
from tfnas.supernets.primitives import pointwise
from tfnas.supernets.primitives import weight_ranks

# Layers with weights: kernel, scale and offset each.
ROLES = ("expand", "e01", "e02", "e12", "e13", "e23", "project")
_WEIGHTS = 3
_RANKS = (4, 1, 1)
_EDGES = ROLES[1:-1]
# What an edge does: nothing, identity, 1x1 convolution, depthwise of any
# size, and depthwise of dilation 2 and 3.
_NOTHING, _PASS, _CONV, _DEPTHWISE = range(4)
_DILATIONS = {"dense": (1,), "dilated": (1, 2, 3)}
# How a node joins two inputs: the second one only, sum, product.
_SECOND, _SUM, _PRODUCT = range(3)


def as_cell(block: Block) -> Block:
    """Returns an inverted residual as the block of a cell.

    Cells and skips are returned as they are.
    """
    if block.op != "mbconv":
        return block
    a = ops.get("mbconv").attributes(block)
    codes = {size: code for code, size in KERNELS.items()}
    cell = Cell(
        0, 0, 0, codes[a["k"]], NONE, IDENTITY, NONE, NONE, IDENTITY
    )
    attrs = {k: v for k, v in a.items() if k != "k"}
    return dataclasses.replace(
        block, op="cell", attrs={"cell": str(cell), **attrs}
    )


def form_of(block: Block) -> list[int]:
    """Returns what the block of a cell or a skip does, as integers.

    Whether it does anything, whether it expands, each edge, nodes 2 and 3.
    """
    if block.op == "skip":
        return [0] * (2 + len(_EDGES) + 2)
    a = ops.get("cell").attributes(block)
    cell = Cell.parse(a["cell"])
    dilated = a["large_kernel"] == "dilated"
    edges = [_edge_kind(getattr(cell, name), dilated) for name in _EDGES]
    joins = [
        (_SUM, _PRODUCT)[cell.mix(node)] if len(cell.inputs(node)) > 1
        else _SECOND
        for node in (2, 3)
    ]
    return [1, int(a["e"] > 1), *edges, *joins]


def _edge_kind(code: int, dilated: bool) -> int:
    if code in (NONE, IDENTITY, CONV):
        return {NONE: _NOTHING, IDENTITY: _PASS, CONV: _CONV}[code]
    return _DEPTHWISE + (KERNELS[code] // 2 - 1 if dilated else 0)


class CellFunctions:
    """Traced functions of cells: for each stride, with skips and without.

    Args:
        eps: Of the batch normalisations.
        merge: See `ops.cell.merge`.
        large_kernel: See `ops.cell.CellOp`.
        bn_groups: Normalise each batch in this many equal parts.
    """

    def __init__(
        self, eps: float, merge: str, large_kernel: str, bn_groups: int
    ):
        self._eps, self._merge, self._groups = eps, merge, bn_groups
        self._dilations = _DILATIONS[large_kernel]
        self._functions: dict[tuple, tf.types.experimental.GenericFunction]
        self._functions = {}

    def get(
        self, stride: int, skippable: bool, train: bool
    ) -> tf.types.experimental.GenericFunction:
        """Returns `f(x, form, *weights)`.

        Args:
            stride: Of the cell.
            skippable: Whether the form may be that of a skip; the result is
                then 0.
            train: Whether gradients to the weights are wanted.
        """
        key = (stride, skippable, train)
        if key not in self._functions:
            self._functions[key] = self._trace(*key)
        return self._functions[key]

    def _trace(
        self, stride: int, skippable: bool, train: bool
    ) -> tf.types.experimental.GenericFunction:
        def run(x, form, *weights):
            if not train:
                weights = tuple(tf.stop_gradient(w) for w in weights)
            live, *rest = tf.unstack(form)

            def body():
                return self._cell(x, rest, weights, stride)

            if not skippable:
                return body()
            return tf.cond(live > 0, body, lambda: tf.zeros_like(x))

        size = 2 + len(_EDGES) + 2
        specs = [tf.TensorSpec([None] * 4), tf.TensorSpec([size], tf.int32)]
        for _ in ROLES:
            specs += [tf.TensorSpec([None] * rank) for rank in _RANKS]
        return tf.function(run, specs, autograph=False)

    def _cell(
        self, x: tf.Tensor, form: Sequence[tf.Tensor],
        weights: Sequence[tf.Tensor], stride: int,
    ) -> tf.Tensor:
        expand, *kinds, join2, join3 = form
        of = {
            role: weights[_WEIGHTS * i : _WEIGHTS * (i + 1)]
            for i, role in enumerate(ROLES)
        }
        kind = dict(zip(_EDGES, kinds, strict=True))

        def edge(name: str, source: tf.Tensor) -> tf.Tensor:
            carried = stride if name[1] == "0" else 1
            return self._edge(source, kind[name], of[name], carried)

        n0 = tf.cond(
            expand > 0, lambda: self._conv(x, of["expand"]), lambda: x
        )
        n1 = edge("e01", n0)
        n2 = self._join(join2, edge("e02", n0), edge("e12", n1))
        n3 = self._join(join3, edge("e13", n1), edge("e23", n2))
        kernel, scale, offset = of["project"]
        y = pointwise(n3, kernel)
        return batch_norm(y, self._eps, scale, offset, self._groups)

    def _conv(
        self, x: tf.Tensor, weights: Sequence[tf.Tensor], stride: int = 1
    ) -> tf.Tensor:
        if stride > 1:  # of a 1x1 convolution: every second pixel
            x = x[:, ::stride, ::stride]
        return self._finish(pointwise(x, weights[0]), weights)

    def _finish(
        self, x: tf.Tensor, weights: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        _, scale, offset = weights
        normal = batch_norm(x, self._eps, scale, offset, self._groups)
        return tf.nn.relu6(normal)

    def _edge(
        self, x: tf.Tensor, kind: tf.Tensor, weights: Sequence[tf.Tensor],
        stride: int,
    ) -> tf.Tensor:
        def identity() -> tf.Tensor:
            if stride == 1:
                return tf.identity(x)
            return tf.nn.avg_pool2d(x, 2, 2, "SAME")

        def spaced(dilation: int) -> Callable[[], tf.Tensor]:
            return lambda: self._finish(
                depthwise(x, _dilated(weights[0], dilation), stride), weights
            )

        return tf.switch_case(
            kind,
            [
                lambda: tf.zeros([0, 0, 0, 0]),
                identity,
                lambda: self._conv(x, weights, stride),
                *map(spaced, self._dilations),
            ],
        )

    def _join(
        self, kind: tf.Tensor, first: tf.Tensor, second: tf.Tensor
    ) -> tf.Tensor:
        def product() -> tf.Tensor:
            if self._merge == "hadamard":
                return first * second
            return first * tf.sigmoid(
                tf.reduce_mean(second, [1, 2], keepdims=True)
            )

        return tf.switch_case(
            kind,
            [
                lambda: tf.identity(second), lambda: first + second, product
            ],
        )


def _dilated(kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """Puts zeros between the rows and columns of a 3x3 depthwise kernel."""
    if dilation == 1:
        return kernel
    gaps = [0, dilation - 1]
    spaced = tf.pad(
        kernel[:, None, :, None], [[0, 0], gaps, [0, 0], gaps, [0, 0], [0, 0]]
    )
    size = 2 * dilation + 1
    channels = tf.shape(kernel)[2]
    spaced = tf.reshape(spaced, [3 * dilation, 3 * dilation, channels, 1])
    return spaced[:size, :size]


class DummyWeights:
    """Stand-ins for weights that a candidate does not have.

    Nothing ever changes them.
    """

    def __init__(self) -> None:
        self._by_shape: dict[tuple[int, ...], tf.Variable] = {}

    @property
    def variables(self) -> list[tf.Variable]:
        """Those made so far."""
        return list(self._by_shape.values())

    def like(self, weights: Sequence[tf.Variable], rank: int) -> tf.Variable:
        """Returns a stand-in among weights of a rank.

        It has their shape if they have one: TensorFlow's optimizer takes it
        that a gradient has the shape that is known where it is computed,
        even where it is not computed.
        """
        shapes = {tuple(v.shape) for v in weights}
        shape = shapes.pop() if len(shapes) == 1 else (1,) * rank
        if shape not in self._by_shape:
            name = "dummy/" + "x".join(map(str, shape))
            self._by_shape[shape] = tf.Variable(tf.zeros(shape), name=name)
        return self._by_shape[shape]


class CellLayer:
    """The candidates of one place with their weights.

    Args:
        name: Prefix of the variable names.
        candidates: Cells, inverted residuals and skips, in the order of the
            architecture parameters.
        in_shape: `(height, width, channels)` of the input.
        seed: Seed of the initial weights.
        functions: The supernet's traced functions.
        dummies: The supernet's stand-ins.
        shared: Whether layers of one role, kind, width and kernel are the
            same in all candidates.

    Attributes:
        weights: The weights of each candidate; none of a skip.
    """

    def __init__(
        self, name: str, candidates: Sequence[Block], in_shape: Shape,
        seed: int, functions: CellFunctions, dummies: DummyWeights,
        shared: bool = False,
    ):
        blocks = [as_cell(block) for block in candidates]
        self._stride = blocks[0].stride
        self._skippable = any(block.op == "skip" for block in blocks)
        self._functions = functions
        self._forms = np.array([form_of(b) for b in blocks], np.int32)
        # Role and place among its weights, to the weight.
        self._held: list[dict[tuple[str, int], tf.Variable]] = []
        pool: dict[tuple, list[tf.Variable]] = {}
        for i, block in enumerate(blocks):
            held: dict[tuple[str, int], tf.Variable] = {}
            graph = without_sum(ops.lower(block, in_shape))
            for node in filter(weight_ranks, graph.nodes):
                role = node.name.removesuffix("_bn")
                width = graph.shapes[node.inputs[0]][-1]
                layer = next(n for n in graph.nodes if n.name == role)
                key = (
                    0 if shared else i, node.name, layer.kind,
                    layer.attrs["kernel"], width, graph.shapes[node.name][-1],
                )
                if key not in pool:
                    path = "/".join(map(str, (name, *key)))
                    pool[key] = node_variables(path, node, width, seed)
                for v in pool[key]:
                    held[role, sum(k[0] == role for k in held)] = v
            self._held.append(held)
        self.weights = [list(held.values()) for held in self._held]
        self._columns = [
            self._column(role, i, rank, dummies)
            for role in ROLES for i, rank in enumerate(_RANKS)
        ]

    def _column(
        self, role: str, index: int, rank: int, dummies: DummyWeights
    ) -> tuple[tf.Variable, ...]:
        """Returns the same weight of all candidates."""
        found = [held.get((role, index)) for held in self._held]
        dummy = dummies.like([v for v in found if v is not None], rank)
        return tuple(dummy if v is None else v for v in found)

    @property
    def num_weights(self) -> int:
        """Number of weights that `select` returns."""
        return len(self._columns)

    def select(self, op: tf.Tensor) -> list[Selected]:
        """Returns the weights of the candidate with a run-time index."""
        chosen = []
        for i, column in enumerate(self._columns):
            role = ROLES[i // _WEIGHTS]
            has = np.array([(role, 0) in held for held in self._held])
            gate = tf.gather(tf.constant(has), op)
            chosen.append(Selected(column, op, gate))
        return chosen

    def __call__(
        self, x: tf.Tensor, op: tf.Tensor, values: Sequence[tf.Tensor],
        train: bool,
    ) -> tf.Tensor:
        """Applies the candidate `op` without its residual; a skip gives 0.

        Args:
            x: `(batch, height, width, channels)`.
            op: Scalar index of the candidate.
            values: The values of `select(op)`.
            train: Whether gradients to the weights are wanted.
        """
        run = self._functions.get(self._stride, self._skippable, train)
        return run(x, tf.gather(tf.constant(self._forms), op), *values)

    def __len__(self) -> int:
        return len(self._held)
