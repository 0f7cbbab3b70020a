"""Writes the `.tflite` model of an operator or a network directly.

A latency does not depend on the weights, so the model of a table row is
written without Keras and without the converter, hundreds of times faster.
What the converter would do is done here: normalisations are folded into
convolutions, activations fused into what they follow. Tests hold the graphs
written here against the converter's.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_bench.flatbuffer import ModelBuilder
from tflite_bench.flatbuffer import Quantization
from tfnas import ops
from tfnas.arch import Arch
from tfnas.ops import Graph
from tfnas.ops import Node

_ACTIVATIONS = {
    "linear": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
_PADDINGS = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}
# Versions of (float32, int8) operators, as the converter gives them.
_VERSIONS = {
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "PAD": (1, 2),
    "ADD": (1, 2),
    "MUL": (1, 2),
    "CONCATENATION": (1, 2),
    "MEAN": (1, 2),
    "FULLY_CONNECTED": (1, 4),
    "MAX_POOL_2D": (1, 2),
    "AVERAGE_POOL_2D": (1, 2),
    "RELU": (1, 2),
    "RELU6": (1, 2),
    "LOGISTIC": (1, 2),
    "HARD_SWISH": (1, 1),
}
_GROUPED_VERSION = 6
_DILATED_VERSION = 2
_FUSED_INTO = ("conv", "depthwise", "add", "mul", "dense")
# These leave the numbers as they are, so both sides share a quantization.
_MOVERS = ("pad", "max_pool", "avg_pool", "concat")
# Real numbers that a tensor of unit variance takes, in 255 steps; off centre,
# because those of real networks are.
_TIED_POWER = 4.0
_LINEAR_RANGE = (-4.5, 5.5)
_SIGMOID = Quantization((1 / 256,), -128)
_INT8_STD = 254 / math.sqrt(12)  # of integers drawn from -127..127


class UnsupportedNode(ValueError):
    """A primitive layer that this module cannot write."""


def write_key(key: str, dtype: str, copies: int = 1) -> bytes:
    """Returns the model of one latency-table key.

    Args:
        key: As `tfnas.ops.lut_key` writes it.
        dtype: `"float32"`, or `"int8"` for a model with int8 input, output
            and everything between.
        copies: How many of the operator to put in series.

    Returns:
        The content of a `.tflite` file with random weights, the same for
        equal arguments.

    Raises:
        UnsupportedNode: when the operator needs the converter.
    """
    block, shape = ops.parse_lut_key(key)
    graphs = [ops.lower(block, shape)] * copies
    return write_graphs(graphs, dtype, zlib.crc32(key.encode()))


def write_call(dtype: str) -> bytes:
    """Returns a model that computes nothing to speak of."""
    graph = Graph((1, 1, 1))
    graph.act("input", "act", "relu6")
    return write_graphs([graph], dtype, 0)


def write_arch(arch: Arch, dtype: str) -> bytes:
    """Returns the model of a whole network; see `write_key`."""
    graphs = [
        ops.lower(block, shape)
        for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False)
    ]
    return write_graphs(graphs, dtype, int(arch.id, 16))


def write_graphs(graphs: Sequence[Graph], dtype: str, seed: int) -> bytes:
    """Returns the model of graphs in series; see `write_key`."""
    return _Writer(dtype, seed).write(graphs)


@dataclasses.dataclass
class _Step:
    """A node with what the converter fuses into it."""

    node: Node
    output: str
    bias: bool = False
    act: str = "linear"


def _chain(graphs: Sequence[Graph]) -> tuple[list[Node], dict, str]:
    """Joins graphs in series: nodes, shapes, and the name of the output."""
    nodes: list[Node] = []
    shapes = {"input": graphs[0].input_shape}
    source = "input"
    for i, graph in enumerate(graphs):
        names = {"input": source}
        for node in graph.nodes:
            names[node.name] = name = f"b{i:02d}_{node.name}"
            inputs = tuple(names[x] for x in node.inputs)
            nodes.append(Node(name, node.kind, inputs, node.attrs))
            shapes[name] = graph.shapes[node.name]
        source = names[graph.output]
    return nodes, shapes, source


def _fuse(nodes: Sequence[Node], output: str) -> list[_Step]:
    """Folds normalisations and activations into what they follow."""
    uses = [x for node in nodes for x in node.inputs] + [output]
    steps: dict[str, _Step] = {}
    for node in nodes:
        before = steps.get(node.inputs[0])
        alone = uses.count(node.inputs[0]) == 1
        if node.kind == "norm":
            foldable = before and before.node.kind in ("conv", "depthwise")
            if not (before and foldable and alone and before.act == "linear"):
                raise UnsupportedNode(
                    "A normalisation must follow a convolution. "
                    f"Received: {node}"
                )
            before.bias = True
        elif (
            node.kind == "act"
            and before
            and alone
            and before.node.kind in _FUSED_INTO
            and before.act == "linear"
            and node.attrs["fn"] in _ACTIVATIONS
        ):
            before.act = node.attrs["fn"]
        else:
            bias = node.attrs.get("bias", node.kind == "dense")
            steps[node.name] = _Step(node, node.name, bias)
            continue
        before.output = node.name
        steps[node.name] = steps.pop(node.inputs[0])
    return list(steps.values())


def _tied(steps: Sequence[_Step]) -> set[str]:
    """Returns the tensors that concatenations tie to one quantization."""
    tied: set[str] = set()
    size = -1
    while size < len(tied):
        size = len(tied)
        for step in steps:
            group = {*step.node.inputs, step.output}
            joins = step.node.kind == "concat" or group & tied
            if step.node.kind in _MOVERS and joins:
                tied |= group
    return tied


class _Writer:
    def __init__(self, dtype: str, seed: int):
        if dtype not in ("float32", "int8"):
            raise ValueError(
                f"Expected float32 or int8. Received: dtype={dtype!r}"
            )
        self.dtype = dtype
        self.rng = np.random.default_rng(seed)
        self.model = ModelBuilder()
        self.index: dict[str, int] = {}
        # Mean square of each tensor, so that weights keep outputs in range.
        self.power: dict[str, float] = {}
        self.quant: dict[str, Quantization] = {}

    def write(self, graphs: Sequence[Graph]) -> bytes:
        nodes, self.shapes, output = _chain(graphs)
        steps = _fuse(nodes, output)
        self.tied = _tied(steps)
        self._tensor("input", 1.0, _linear(1.0))
        for step in steps:
            getattr(self, f"_{step.node.kind}", self._refuse)(step)
        return self.model.finish(
            [self.index["input"]], [self.index[output]]
        )

    def _refuse(self, step: _Step) -> None:
        raise UnsupportedNode(f"No direct form. Received: {step.node}")

    def _tensor(self, name: str, power: float, quant: Quantization) -> int:
        if name in self.tied:
            quant = _linear(_TIED_POWER)
        self.power[name], self.quant[name] = power, quant
        self.index[name] = self.model.tensor(
            name, (1, *self.shapes[name]), self.dtype,
            quant if self.dtype == "int8" else None,
        )
        return self.index[name]

    def _activated(self, step: _Step, power: float) -> int:
        """Adds the output of a step whose linear part has this power."""
        if step.act == "linear":
            return self._tensor(step.output, power, _linear(power))
        top = 6.0 if step.act == "relu6" else 5 * math.sqrt(power)
        return self._tensor(
            step.output, power / 2, Quantization((top / 255,), -128)
        )

    def _op(
        self, code: str, inputs: Sequence[int], output: int,
        least_version: int = 1, **options: Any,
    ) -> None:
        version = max(_VERSIONS[code][self.dtype == "int8"], least_version)
        self.model.op(code, version, inputs, [output], **options)

    def _weights(
        self, name: str, source: str, shape: tuple[int, ...], axis: int,
        fan_in: int,
    ) -> tuple[int, np.ndarray]:
        """Adds weights that give an output of unit power.

        Returns:
            The tensor, and the scale of each channel.
        """
        std = 1 / math.sqrt(fan_in * self.power[source])
        if self.dtype == "float32":
            limit = np.float32(std * math.sqrt(3))
            values = self.rng.random(shape, np.float32) * 2 - 1
            return self.model.constant(name, values * limit), np.ones(1)
        scale = np.full(shape[axis], std / _INT8_STD)
        integers = self.rng.integers(-127, 128, shape, np.int8)
        quant = Quantization(tuple(scale), axis=axis)
        return self.model.constant(name, integers, quant), scale

    def _with_bias(
        self, step: _Step, weights: int, scale: np.ndarray, channels: int
    ) -> list[int]:
        """Returns the inputs of a layer with weights."""
        source = step.node.inputs[0]
        inputs = [self.index[source], weights]
        values = self.rng.uniform(-0.1, 0.1, channels)
        name = f"{step.node.name}/bias"
        if self.dtype == "float32":
            bias = self.model.constant(name, values.astype(np.float32))
        else:
            scale = scale * self.quant[source].scale[0]
            bias = self.model.constant(
                name, np.round(values / scale).astype(np.int32),
                Quantization(tuple(scale)),
            )
        return [*inputs, bias]

    def _window(self, step: _Step) -> dict[str, Any]:
        """Options that convolutions and pools share."""
        a = step.node.attrs
        return {
            "padding": _PADDINGS[a["padding"]],
            "strideW": a["stride"],
            "strideH": a["stride"],
            "fusedActivationFunction": _ACTIVATIONS[step.act],
        }

    def _conv(self, step: _Step) -> None:
        a, source = step.node.attrs, step.node.inputs[0]
        k, filters = a["kernel"], a["filters"]
        depth = self.shapes[source][-1] // a["groups"]
        weights, scale = self._weights(
            f"{step.node.name}/weights", source, (filters, k, k, depth), 0,
            k * k * depth,
        )
        inputs = self._with_bias(step, weights, scale, filters)
        self._op(
            "CONV_2D", inputs, self._activated(step, 1.0),
            _GROUPED_VERSION if a["groups"] > 1 else 1,
            **self._window(step), dilationWFactor=1, dilationHFactor=1,
        )

    def _depthwise(self, step: _Step) -> None:
        a, source = step.node.attrs, step.node.inputs[0]
        k, channels = a["kernel"], self.shapes[source][-1]
        weights, scale = self._weights(
            f"{step.node.name}/weights", source, (1, k, k, channels), 3, k * k
        )
        inputs = self._with_bias(step, weights, scale, channels)
        self._op(
            "DEPTHWISE_CONV_2D", inputs, self._activated(step, 1.0),
            _DILATED_VERSION if a["dilation"] > 1 else 1,
            **self._window(step), depthMultiplier=1,
            dilationWFactor=a["dilation"], dilationHFactor=a["dilation"],
        )

    def _dense(self, step: _Step) -> None:
        source, units = step.node.inputs[0], step.node.attrs["units"]
        depth = self.shapes[source][-1]
        weights, scale = self._weights(
            f"{step.node.name}/weights", source, (units, depth), 0, depth
        )
        self._op(
            "FULLY_CONNECTED", self._with_bias(step, weights, scale, units),
            self._activated(step, 1.0),
            fusedActivationFunction=_ACTIVATIONS[step.act],
        )

    def _pad(self, step: _Step) -> None:
        n, source = step.node.attrs["amount"], step.node.inputs[0]
        amounts = np.array([[0, 0], [n, n], [n, n], [0, 0]], np.int32)
        self._same("PAD", step, [
            self.index[source],
            self.model.constant(f"{step.node.name}/amounts", amounts),
        ])

    def _max_pool(self, step: _Step) -> None:
        self._pool("MAX_POOL_2D", step)

    def _avg_pool(self, step: _Step) -> None:
        self._pool("AVERAGE_POOL_2D", step)

    def _pool(self, code: str, step: _Step) -> None:
        size = step.node.attrs["size"]
        self._same(
            code, step, [self.index[step.node.inputs[0]]],
            **self._window(step), filterWidth=size, filterHeight=size,
        )

    def _same(
        self, code: str, step: _Step, inputs: Sequence[int], **options: Any
    ) -> None:
        """Adds an operator whose output has its input's quantization."""
        source = step.node.inputs[0]
        output = self._tensor(
            step.output, self.power[source], self.quant[source]
        )
        self._op(code, inputs, output, **options)

    def _mean(self, step: _Step) -> None:
        source, keep = step.node.inputs[0], step.node.attrs.get("keepdims")
        axes = self.model.constant(
            f"{step.node.name}/axes", np.array([1, 2], np.int32)
        )
        output = self._tensor(
            step.output, self.power[source], _linear(self.power[source])
        )
        self._op(
            "MEAN", [self.index[source], axes], output, keepDims=bool(keep)
        )

    def _add(self, step: _Step) -> None:
        self._sum("ADD", step, sum(self.power[x] for x in step.node.inputs))

    def _mul(self, step: _Step) -> None:
        power = math.prod(self.power[x] for x in step.node.inputs)
        self._sum("MUL", step, power)

    def _sum(self, code: str, step: _Step, power: float) -> None:
        inputs = [self.index[x] for x in step.node.inputs]
        self._op(
            code, inputs, self._activated(step, power),
            fusedActivationFunction=_ACTIVATIONS[step.act],
        )

    def _concat(self, step: _Step) -> None:
        inputs = [self.index[x] for x in step.node.inputs]
        self._same("CONCATENATION", step, inputs, axis=-1)

    def _act(self, step: _Step) -> None:
        fn, source = step.node.attrs["fn"], step.node.inputs[0]
        inputs, power = [self.index[source]], self.power[source]
        if fn in ("relu", "relu6"):
            step.act = fn
            self._op(fn.upper(), inputs, self._activated(step, power))
        elif fn == "sigmoid":
            output = self._tensor(step.output, 0.25, _SIGMOID)
            self._op("LOGISTIC", inputs, output)
        elif fn == "hard_swish":
            output = self._tensor(step.output, power / 2, _linear(power))
            self._op("HARD_SWISH", inputs, output)
        else:
            self._refuse(step)


def _linear(power: float) -> Quantization:
    """Quantization of a tensor without activation."""
    low, high = _LINEAR_RANGE
    scale = (high - low) * math.sqrt(power) / 255
    return Quantization((scale,), round(-128 - low / (high - low) * 255))
