"""Writes the `.tflite` model of an operator or a network directly.

A latency does not depend on the weights, so the model of a table row is
written without Keras and without the converter, hundreds of times faster.
What the converter would do is done here: normalisations are folded into
convolutions, activations fused into what they follow. Tests hold the graphs
written here against the converter's.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_bench import fusion
from tflite_bench.flatbuffer import ModelBuilder
from tflite_bench.flatbuffer import Quantization
from tflite_bench.fusion import Step
from tfnas import ops
from tfnas.arch import Arch
from tfnas.ops import Graph

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
    "SUB": (1, 2),
    "MUL": (1, 2),
    "CONCATENATION": (1, 2),
    "MEAN": (1, 2),
    "FULLY_CONNECTED": (1, 4),
    "MAX_POOL_2D": (1, 2),
    "AVERAGE_POOL_2D": (1, 2),
    "RELU": (1, 2),
    "RELU6": (1, 2),
    "LOGISTIC": (1, 2),
    "TANH": (1, 2),
    "HARD_SWISH": (1, 1),
}
_GROUPED_VERSION = 6
_DILATED_VERSION = 2
# Real numbers that a tensor of unit variance takes, in 255 steps; off centre,
# because those of real networks are.
_TIED_POWER = 4.0
_LINEAR_RANGE = (-4.5, 5.5)
_SIGMOID = Quantization((1 / 256,), -128)
_TANH = Quantization((1 / 128,), 0)
_UNIT = Quantization((1 / 255,), -128)
_RELU6 = Quantization((6 / 255,), -128)
_MEAN_LOSS = 3  # of the power of a rectified tensor, averaged over its map
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
        nodes, self.shapes, output = fusion.chain(graphs)
        steps = fusion.fuse(nodes, output)
        self.tied = fusion.tied(steps)
        self._tensor("input", 1.0, _linear(1.0))
        for step in steps:
            getattr(self, f"_{step.node.kind}", self._refuse)(step)
        states = [s.output for s in steps if s.node.kind == "state"]
        return self.model.finish(
            [self.index[name] for name in ("input", *states)],
            [self.index[output]],
        )

    def _refuse(self, step: Step) -> None:
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

    def _activated(self, step: Step, power: float) -> int:
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
        self, step: Step, weights: int, scale: np.ndarray, channels: int
    ) -> list[int]:
        """Returns the inputs of a layer with weights."""
        source = step.node.inputs[0]
        inputs = [self.index[source], weights]
        values = self.rng.uniform(-0.1, 0.1, channels) + step.shift
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

    def _window(self, step: Step) -> dict[str, Any]:
        """Options that convolutions and pools share."""
        a = step.node.attrs
        return {
            "padding": _PADDINGS[a["padding"]],
            "strideW": a["stride"],
            "strideH": a["stride"],
            "fusedActivationFunction": _ACTIVATIONS[step.act],
        }

    def _conv(self, step: Step) -> None:
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

    def _depthwise(self, step: Step) -> None:
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

    def _dense(self, step: Step) -> None:
        source, units = step.node.inputs[0], step.node.attrs["units"]
        depth = self.shapes[source][-1]
        weights, scale = self._weights(
            f"{step.node.name}/weights", source, (units, depth), 0, depth
        )
        inputs = [self.index[source], weights, -1]
        if step.node.attrs["bias"]:
            inputs = self._with_bias(step, weights, scale, units)
        self._op(
            "FULLY_CONNECTED", inputs, self._activated(step, 1.0),
            fusedActivationFunction=_ACTIVATIONS[step.act],
        )

    def _state(self, step: Step) -> None:
        """Adds an input."""
        self._tensor(step.output, 1.0, _linear(1.0))

    def _pad(self, step: Step) -> None:
        n, source = step.node.attrs["amount"], step.node.inputs[0]
        amounts = np.array([[0, 0], [n, n], [n, n], [0, 0]], np.int32)
        self._same("PAD", step, [
            self.index[source],
            self.model.constant(f"{step.node.name}/amounts", amounts),
        ])

    def _max_pool(self, step: Step) -> None:
        self._pool("MAX_POOL_2D", step)

    def _avg_pool(self, step: Step) -> None:
        self._pool("AVERAGE_POOL_2D", step)

    def _pool(self, code: str, step: Step) -> None:
        size = step.node.attrs["size"]
        self._same(
            code, step, [self.index[step.node.inputs[0]]],
            **self._window(step), filterWidth=size, filterHeight=size,
        )

    def _same(
        self, code: str, step: Step, inputs: Sequence[int], **options: Any
    ) -> None:
        """Adds an operator whose output has its input's quantization."""
        source = step.node.inputs[0]
        output = self._tensor(
            step.output, self.power[source], self.quant[source]
        )
        self._op(code, inputs, output, **options)

    def _mean(self, step: Step) -> None:
        source, keep = step.node.inputs[0], step.node.attrs.get("keepdims")
        axes = self.model.constant(
            f"{step.node.name}/axes", np.array([1, 2], np.int32)
        )
        power = self.power[source] / _MEAN_LOSS
        output = self._tensor(step.output, power, _linear(power))
        self._op(
            "MEAN", [self.index[source], axes], output, keepDims=bool(keep)
        )

    def _flatten(self, step: Step) -> None:
        """Adds nothing: a dense layer takes a tensor of any rank."""
        name, source = step.output, step.node.inputs[0]
        self.index[name], self.power[name] = (
            self.index[source], self.power[source]
        )
        self.quant[name] = self.quant[source]

    def _add(self, step: Step) -> None:
        self._sum("ADD", step, sum(self.power[x] for x in step.node.inputs))

    def _sub(self, step: Step) -> None:
        self._sum("SUB", step, sum(self.power[x] for x in step.node.inputs))

    def _norm(self, step: Step) -> None:
        """Adds a normalisation that no convolution takes: scale, offset."""
        source = step.node.inputs[0]
        power = self.power[source]
        scaled = self._inner(step, "scaled", power, _linear(power))
        scale = self._vector(step, "scale", 0.9, 1.1)
        self._two("MUL", [self.index[source], scale], scaled)
        offset = self._vector(step, "offset", -0.1, 0.1)
        self._two(
            "ADD", [scaled, offset], self._activated(step, power), step.act
        )

    def _mul(self, step: Step) -> None:
        power = math.prod(self.power[x] for x in step.node.inputs)
        self._sum("MUL", step, power)

    def _sum(self, code: str, step: Step, power: float) -> None:
        inputs = [self.index[x] for x in step.node.inputs]
        self._two(code, inputs, self._activated(step, power), step.act)

    def _concat(self, step: Step) -> None:
        inputs = [self.index[x] for x in step.node.inputs]
        self._same("CONCATENATION", step, inputs, axis=-1)

    def _act(self, step: Step) -> None:
        fn, source = step.node.attrs["fn"], step.node.inputs[0]
        inputs, power = [self.index[source]], self.power[source]
        if fn in ("relu", "relu6"):
            step.act = fn
            self._op(fn.upper(), inputs, self._activated(step, power))
        elif fn == "sigmoid":
            output = self._tensor(step.output, 0.25, _SIGMOID)
            self._op("LOGISTIC", inputs, output)
        elif fn == "tanh":
            output = self._tensor(step.output, 0.5, _TANH)
            self._op("TANH", inputs, output)
        elif fn == "hard_swish":
            output = self._tensor(step.output, power / 3, _linear(power))
            self._op("HARD_SWISH", inputs, output)
        elif fn == "swish":
            gate = self._inner(step, "gate", 0.25, _SIGMOID)
            self._op("LOGISTIC", inputs, gate)
            step.act = "linear"
            self._two("MUL", [*inputs, gate], self._activated(step, power / 2))
        elif fn in ("hard_sigmoid", "sixth"):
            (clipped,) = inputs
            if fn == "hard_sigmoid":
                clipped = self._inner(step, "clipped", 9.0, _RELU6)
                shift = self._scalar(step, "shift", 3.0)
                self._two("ADD", [*inputs, shift], clipped, "relu6")
            output = self._tensor(step.output, 0.25, _UNIT)
            scale = self._scalar(step, "scale", 1 / 6)
            self._two("MUL", [clipped, scale], output)
        else:
            self._refuse(step)

    def _two(
        self, code: str, inputs: Sequence[int], output: int,
        act: str = "linear",
    ) -> None:
        """Adds an operator of two tensors."""
        self._op(
            code, inputs, output, fusedActivationFunction=_ACTIVATIONS[act]
        )

    def _inner(
        self, step: Step, name: str, power: float, quant: Quantization
    ) -> int:
        """Adds a tensor inside a step, of the shape of its output."""
        inner = f"{step.output}/{name}"
        self.shapes[inner] = self.shapes[step.output]
        return self._tensor(inner, power, quant)

    def _vector(
        self, step: Step, name: str, low: float, high: float
    ) -> int:
        """Adds a constant with one number for each channel."""
        name = f"{step.node.name}/{name}"
        shape = self.shapes[step.output][-1:]
        if self.dtype == "float32":
            values = self.rng.uniform(low, high, shape).astype(np.float32)
            return self.model.constant(name, values)
        quant = Quantization((max(-low, high) / 127,))
        least = round(low / quant.scale[0])
        integers = self.rng.integers(least, 128, shape, np.int8)
        return self.model.constant(name, integers, quant)

    def _scalar(self, step: Step, name: str, value: float) -> int:
        """Adds a positive constant without dimensions."""
        name = f"{step.node.name}/{name}"
        if self.dtype == "float32":
            return self.model.constant(name, np.array(value, np.float32))
        quant = Quantization((value / 255,), -128)
        return self.model.constant(name, np.array(127, np.int8), quant)


def _linear(power: float) -> Quantization:
    """Quantization of a tensor without activation."""
    low, high = _LINEAR_RANGE
    scale = (high - low) * math.sqrt(power) / 255
    return Quantization((scale,), round(-128 - low / (high - low) * 255))
