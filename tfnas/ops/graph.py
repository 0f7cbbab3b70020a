"""Graphs of primitive layers, with shapes and counts.

The primitives are what a phone runs: convolutions, normalisations,
activations, sums. A `Graph` is built by calling its methods in order; every
method takes and returns the *name* of a tensor and keeps its shape.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Node:
    """One primitive layer; its output tensor has the node's name.

    Args:
        name: Unique in the graph.
        kind: `conv`, `depthwise`, `pad`, `norm`, `act`, `add`, `concat`,
            `mul`, `mean`, `dense`, `max_pool` or `avg_pool`.
        inputs: Names of the input tensors; the graph's source is `"input"`.
        attrs: The layer's arguments.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    attrs: dict[str, Any]


class Graph:
    """A graph of primitive layers over one input.

    Args:
        input_shape: `(height, width, channels)`, or `(channels,)`.

    Attributes:
        nodes: The `Node`s in topological order.
        shapes: Shape of every tensor by name, without the batch.
        output: Name of the tensor added last.
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

    def _add(
        self, kind: str, name: str, inputs: tuple[str, ...], shape: Shape,
        **attrs: Any,
    ) -> str:
        if name in self.shapes:
            raise ValueError(f"Two layers with one name. Received: {name=}")
        self.nodes.append(Node(name, kind, inputs, attrs))
        self.shapes[name] = shape
        self.output = name
        return name

    def _window(
        self, x: str, name: str, size: int, stride: int, pad: str
    ) -> tuple[str, str, int, int]:
        """Applies the padding rule of a window; `pad` is `sym` or `same`.

        `sym` pads `size // 2` on both sides also at stride 2, where Keras'
        `same` pads less on the left; at stride 1 the two are one.
        """
        h, w, _ = self.shapes[x]
        padding = "same"
        if pad == "sym" and stride > 1 and size > 1:
            x = self._add(
                "pad", f"{name}_pad", (x,),
                (h + size // 2 * 2, w + size // 2 * 2, self.shapes[x][-1]),
                amount=size // 2,
            )
            padding = "valid"
        return x, padding, math.ceil(h / stride), math.ceil(w / stride)

    def conv(
        self, x: str, name: str, filters: int, size: int = 1, stride: int = 1,
        pad: str = "sym", groups: int = 1, bias: bool = False,
    ) -> str:
        """Adds a convolution with a square kernel of odd `size`."""
        x, padding, h, w = self._window(x, name, size, stride, pad)
        return self._add(
            "conv", name, (x,), (h, w, filters), filters=filters, kernel=size,
            stride=stride, padding=padding, groups=groups, bias=bias,
        )

    def depthwise(
        self, x: str, name: str, size: int, stride: int = 1,
        pad: str = "sym", dilation: int = 1, bias: bool = False,
    ) -> str:
        """Adds a depthwise convolution with multiplier 1."""
        x, padding, h, w = self._window(x, name, size, stride, pad)
        return self._add(
            "depthwise", name, (x,), (h, w, self.shapes[x][-1]), kernel=size,
            stride=stride, padding=padding, dilation=dilation, bias=bias,
        )

    def norm(self, x: str, name: str, norm: dict[str, Any]) -> str:
        """Adds a batch normalisation; `norm` has eps, momentum, affine."""
        return self._add("norm", name, (x,), self.shapes[x], **norm)

    def act(self, x: str, name: str, fn: str) -> str:
        """Adds an activation; `"linear"` adds nothing."""
        if fn == "linear":
            return x
        return self._add("act", name, (x,), self.shapes[x], fn=fn)

    def add(self, a: str, b: str, name: str) -> str:
        """Adds the sum of two tensors of one shape."""
        return self._add("add", name, (a, b), self.shapes[a])

    def mean(self, x: str, name: str) -> str:
        """Adds a global average pool: `(h, w, c)` to `(c,)`."""
        return self._add("mean", name, (x,), self.shapes[x][-1:])

    def dense(self, x: str, name: str, units: int) -> str:
        """Adds a dense layer with bias."""
        return self._add("dense", name, (x,), (units,), units=units)

    def conv_norm_act(
        self, x: str, name: str, filters: int, norm: dict[str, Any],
        act: str, size: int = 1, stride: int = 1, pad: str = "sym",
    ) -> str:
        """Adds convolution, normalisation and activation."""
        x = self.conv(x, name, filters, size, stride, pad)
        return self.act(self.norm(x, f"{name}_bn", norm), f"{name}_act", act)

    def params(self, node: Node) -> int:
        """Trainable parameters of a node, scale and offset included."""
        a, c = node.attrs, self.shapes[node.inputs[0]][-1]
        if node.kind == "conv":
            kernel = a["kernel"] ** 2 * c // a["groups"] * a["filters"]
            return kernel + a["bias"] * a["filters"]
        if node.kind == "depthwise":
            return a["kernel"] ** 2 * c + a["bias"] * c
        if node.kind == "norm":
            return 2 * c * a["affine"]
        if node.kind == "dense":
            return (c + 1) * a["units"]
        return 0

    def madds(self, node: Node) -> int:
        """Multiply-adds of convolutions and dense layers, biases excluded."""
        a, c = node.attrs, self.shapes[node.inputs[0]][-1]
        if node.kind == "dense":
            return c * a["units"]
        if node.kind not in ("conv", "depthwise"):
            return 0
        h, w, filters = self.shapes[node.name]
        fan_in = c // a["groups"] if node.kind == "conv" else 1
        return a["kernel"] ** 2 * fan_in * filters * h * w
