"""Graphs of primitive layers, with shapes and counts.

What can stand in a graph is the table `primitives.KINDS`. A `Graph` is
built by calling its methods in order; every method takes and returns the
*name* of a tensor and keeps its shape.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tfnas.ops import primitives
from tfnas.ops.primitives import Primitive
from tfnas.ops.primitives import Shape as Shape
from tfnas.ops.primitives import Variable


@dataclasses.dataclass(frozen=True)
class Node:
    """One primitive layer; its output tensor has the node's name.

    Args:
        name: Unique in the graph.
        kind: One of `primitives.KINDS`.
        inputs: Names of the input tensors; the graph's source is `"input"`.
            A `state` has none: it is what the time step before gave.
        attrs: The layer's arguments.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    attrs: dict[str, Any]

    @property
    def primitive(self) -> Primitive:
        """What is known of its kind."""
        return primitives.KINDS[self.kind]


class Graph:
    """A graph of primitive layers over one input.

    Args:
        input_shape: `(height, width, channels)`, `(channels,)`, or `()` for
            the number of a word.

    Attributes:
        nodes: The `Node`s in topological order.
        shapes: Shape of every tensor by name, without the batch.
        output: Name of the output tensor: the one added last, unless set.
    """

    def __init__(self, input_shape: Shape):
        self.input_shape = tuple(input_shape)
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {"input": self.input_shape}
        self.output = "input"

    @property
    def output_shape(self) -> Shape:
        """Shape of the output, without the batch."""
        return self.shapes[self.output]

    @property
    def live(self) -> list[Node]:
        """The nodes that the output depends on, in order.

        These are what runs; `nodes` are what is counted.
        """
        needed, found = {self.output}, []
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                found.append(node)
        return found[::-1]

    def _add(
        self, kind: str, name: str, inputs: tuple[str, ...], **attrs: Any
    ) -> str:
        if name in self.shapes:
            raise ValueError(f"Two layers with one name. Received: {name=}")
        self.nodes.append(Node(name, kind, inputs, attrs))
        self.shapes[name] = primitives.KINDS[kind].shape(
            attrs, *(self.shapes[x] for x in inputs)
        )
        self.output = name
        return name

    def _pad(
        self, x: str, name: str, size: int, stride: int, pad: str
    ) -> tuple[str, str]:
        """Applies the padding rule of a convolution: `sym` or `same`.

        `sym` pads `size // 2` on both sides also at stride 2, where Keras'
        `same` pads less on the left; at stride 1 the two are one.

        Returns:
            The tensor to convolve, and the padding that Keras is told.
        """
        if pad != "sym" or stride == 1 or size == 1:
            return x, "same"
        return self._add("pad", f"{name}_pad", (x,), amount=size // 2), "valid"

    def conv(
        self, x: str, name: str, filters: int, size: int = 1, stride: int = 1,
        pad: str = "sym", groups: int = 1, bias: bool = False,
    ) -> str:
        """Adds a convolution with a square kernel of odd `size`."""
        x, padding = self._pad(x, name, size, stride, pad)
        return self._add(
            "conv", name, (x,), filters=filters, kernel=size, stride=stride,
            padding=padding, groups=groups, bias=bias,
        )

    def depthwise(
        self, x: str, name: str, size: int, stride: int = 1,
        pad: str = "sym", dilation: int = 1, bias: bool = False,
    ) -> str:
        """Adds a depthwise convolution with multiplier 1."""
        x, padding = self._pad(x, name, size, stride, pad)
        return self._add(
            "depthwise", name, (x,), kernel=size, stride=stride,
            padding=padding, dilation=dilation, bias=bias,
        )

    def norm(self, x: str, name: str, norm: dict[str, Any]) -> str:
        """Adds a batch normalisation; `norm` has eps, momentum, affine."""
        return self._add("norm", name, (x,), **norm)

    def act(self, x: str, name: str, fn: str) -> str:
        """Adds an activation function; `"linear"` adds nothing."""
        if fn == "linear":
            return x
        return self._add("act", name, (x,), fn=fn)

    def add(self, a: str, b: str, name: str) -> str:
        """Adds the sum of two tensors of one shape."""
        return self._add("add", name, (a, b))

    def zeros(self, x: str, name: str) -> str:
        """Adds zeros of the shape of a tensor."""
        return self._add("zeros", name, (x,))

    def sub(self, a: str, b: str, name: str) -> str:
        """Adds the difference of two tensors of one shape."""
        return self._add("sub", name, (a, b))

    def average(self, inputs: Sequence[str], name: str) -> str:
        """Adds the mean of tensors of one shape; of one, nothing."""
        if len(inputs) == 1:
            return inputs[0]
        return self._add("average", name, tuple(inputs))

    def mul(self, a: str, b: str, name: str) -> str:
        """Adds the product of two tensors; `b` may be `(1, 1, channels)`."""
        return self._add("mul", name, (a, b))

    def concat(self, inputs: Sequence[str], name: str) -> str:
        """Adds the channel concatenation of tensors; of one, nothing."""
        if len(inputs) == 1:
            return inputs[0]
        return self._add("concat", name, tuple(inputs))

    def max_pool(
        self, x: str, name: str, size: int, stride: int, padding: str
    ) -> str:
        """Adds a max pool; `padding` is `same` or `valid`."""
        return self._add(
            "max_pool", name, (x,), size=size, stride=stride, padding=padding
        )

    def avg_pool(
        self, x: str, name: str, size: int, stride: int, padding: str
    ) -> str:
        """Adds an average pool; what is padded does not count."""
        return self._add(
            "avg_pool", name, (x,), size=size, stride=stride, padding=padding
        )

    def mean(self, x: str, name: str, keepdims: bool = False) -> str:
        """Adds a global average pool: `(h, w, c)` to `(c,)`.

        With `keepdims` the result is `(1, 1, c)`.
        """
        return self._add("mean", name, (x,), keepdims=keepdims)

    def flatten(self, x: str, name: str) -> str:
        """Adds what a dense layer wants: `(1, 1, c)` as `(c,)`."""
        return self._add("flatten", name, (x,))

    def dense(
        self, x: str, name: str, units: int, bias: bool = True,
        tied: bool = False,
    ) -> str:
        """Adds a dense layer; a `tied` kernel is counted elsewhere."""
        return self._add(
            "dense", name, (x,), units=units, bias=bias, tied=tied
        )

    def embed(self, x: str, name: str, rows: int, units: int) -> str:
        """Adds a table: from the number of a word to its row."""
        return self._add("embed", name, (x,), rows=rows, units=units)

    def state(self, name: str, units: int) -> str:
        """Adds a second source: the output of the time step before."""
        return self._add("state", name, (), units=units)

    def conv_norm_act(
        self, x: str, name: str, filters: int, norm: dict[str, Any],
        act: str, size: int = 1, stride: int = 1, pad: str = "sym",
    ) -> str:
        """Adds convolution, normalisation and activation."""
        x = self.conv(x, name, filters, size, stride, pad)
        return self.act(self.norm(x, f"{name}_bn", norm), f"{name}_act", act)

    def squeeze_excite(self, x: str, name: str, reduced: int) -> str:
        """Adds channel gates: mean, two 1x1 convolutions, product.

        Args:
            x: The tensor to gate.
            name: Prefix of the layers.
            reduced: Width between the convolutions.
        """
        width = self.shapes[x][-1]
        y = self.mean(x, f"{name}_pool", keepdims=True)
        y = self.conv(y, f"{name}_reduce", reduced, bias=True)
        y = self.act(y, f"{name}_reduce_act", "relu")
        y = self.conv(y, f"{name}_expand", width, bias=True)
        y = self.act(y, f"{name}_gate", "hard_sigmoid")
        return self.mul(x, y, name)

    def width(self, node: Node) -> int:
        """Channels of a node's first input; 0 for a word, or without one."""
        shape = self.shapes[node.inputs[0]] if node.inputs else ()
        return shape[-1] if shape else 0

    def variables(self, node: Node) -> tuple[Variable, ...]:
        """The variables of a node's layer, in the order of Keras."""
        made = node.primitive.variables
        return made(node.attrs, self.width(node)) if made else ()

    def params(self, node: Node) -> int:
        """Trainable parameters of a node, scale and offset included."""
        return sum(
            math.prod(v.shape) for v in self.variables(node) if v.trainable
        )

    def madds(self, node: Node) -> int:
        """Multiply-adds of convolutions and dense layers, biases excluded.

        Each number of a kernel is used once for each pixel that comes out.
        """
        if not node.primitive.weighted:
            return 0
        kernel, *_ = self.variables(node)
        return math.prod((*kernel.shape, *self.shapes[node.name][:-1]))
