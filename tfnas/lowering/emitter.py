"""What the converter makes of a network: operators, scales, weights.

A latency does not depend on the weights, so they are random; scales are such
that the integers of an int8 network stay in range. Whoever takes the
operators, a `Sink`, decides what they are for: a file, or a list of keys.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from tfnas.lowering import fusion
from tfnas.lowering import steps
from tfnas.lowering.fusion import Step
from tfnas.ops import Graph

# Real numbers that a tensor of unit variance takes, in 255 steps; off centre,
# because those of real networks are.
_TIED_POWER = 4.0
_LINEAR_RANGE = (-4.5, 5.5)
_MEAN_LOSS = 3  # of the power of a rectified tensor, averaged over its map
_INT8_STD = 254 / math.sqrt(12)  # of integers drawn from -127..127
# Kinds of layers of which only the converter knows the operators.
CONVERTER_ONLY = ("embed", "average")


class UnsupportedNode(ValueError):
    """A primitive layer whose operators only the converter knows."""


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How the integers of a tensor stand for real numbers.

    Args:
        scale: One value, or one for each channel.
        zero_point: The integer that stands for 0.
        axis: The axis of the channels.
    """

    scale: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


SIGMOID = Quantization((1 / 256,), -128)
TANH = Quantization((1 / 128,), 0)
_UNIT = Quantization((1 / 255,), -128)
_RELU6 = Quantization((6 / 255,), -128)


def linear(power: float) -> Quantization:
    """Returns the quantization of a tensor without activation.

    Args:
        power: Mean square of its numbers.
    """
    low, high = _LINEAR_RANGE
    scale = (high - low) * math.sqrt(power) / 255
    return Quantization((scale,), round(-128 - low / (high - low) * 255))


class Sink(Protocol):
    """What takes tensors and operators; it numbers tensors as they come."""

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str,
        quantization: Quantization | None = None,
    ) -> int:
        """Takes a tensor that is computed or fed."""

    def constant(
        self, name: str, shape: Sequence[int], dtype: str,
        fill: Callable[[], np.ndarray],
        quantization: Quantization | None = None,
    ) -> int:
        """Takes a tensor whose values `fill` returns.

        Those of integers without quantization say what is computed.
        """

    def op(
        self, code: str, inputs: Sequence[int], outputs: Sequence[int],
        **attrs: Any,
    ) -> None:
        """Takes an operator with attributes as `Operator` has them."""


class Emitter:
    """Gives the operators of a network to a sink.

    Args:
        sink: Takes them.
        dtype: `"float32"` or `"int8"`.
        lower: The backend that they are written for, one of
            `rewritings.BACKENDS`.
        seed: Of the weights.
    """

    def __init__(self, sink: Sink, dtype: str, lower: str, seed: int = 0):
        if dtype not in ("float32", "int8"):
            raise ValueError(
                f"Expected float32 or int8. Received: dtype={dtype!r}"
            )
        self.dtype, self.lower = dtype, lower
        self.rng = np.random.default_rng(seed)
        self.model = sink
        self.index: dict[str, int] = {}
        # Mean square of each tensor, so that weights keep outputs in range.
        self.power: dict[str, float] = {}
        self.quant: dict[str, Quantization] = {}

    def emit(self, graphs: Sequence[Graph]) -> tuple[list[int], list[int]]:
        """Gives graphs in series.

        Returns:
            The tensors that are fed and those that are read.

        Raises:
            UnsupportedNode: when a layer needs the converter.
        """
        nodes, self.shapes, output = fusion.chain(graphs)
        fused = steps.rewrite(
            fusion.fuse(nodes, output), self.shapes, self.dtype, self.lower
        )
        if self.dtype == "int8":
            fused = fusion.requantize(fused, self.shapes)
        self.tied = fusion.tied(fused)
        self._tensor("input", 1.0, linear(1.0))
        for step in fused:
            getattr(self, f"_{step.node.kind}", self._refuse)(step)
        states = [s.output for s in fused if s.node.kind == "state"]
        return (
            [self.index[name] for name in ("input", *states)],
            [self.index[output]],
        )

    def _refuse(self, step: Step) -> None:
        raise UnsupportedNode(f"No direct form. Received: {step.node}")

    def _tensor(self, name: str, power: float, quant: Quantization) -> int:
        if name in self.tied:
            quant = linear(_TIED_POWER * (1 + self.tied[name] / 8))
        self.power[name], self.quant[name] = power, quant
        self.index[name] = self.model.tensor(
            name, (1, *self.shapes[name]), self.dtype,
            quant if self.dtype == "int8" else None,
        )
        return self.index[name]

    def _activated(self, step: Step, power: float) -> int:
        """Adds the output of a step whose linear part has this power."""
        if step.act == "linear":
            return self._tensor(step.output, power, linear(power))
        top = 6.0 if step.act == "relu6" else 5 * math.sqrt(power)
        return self._tensor(
            step.output, power / 2, Quantization((top / 255,), -128)
        )

    def _op(
        self, code: str, inputs: Sequence[int], output: int, act: str = "",
        **attrs: Any,
    ) -> None:
        if act not in ("", "linear"):
            attrs["act"] = act
        self.model.op(code, inputs, [output], **attrs)

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
            made = self.model.constant(
                name, shape, "float32",
                lambda: (self.rng.random(shape, np.float32) * 2 - 1) * limit,
            )
            return made, np.ones(1)
        scale = np.full(shape[axis], std / _INT8_STD)
        quant = Quantization(tuple(scale), axis=axis)
        made = self.model.constant(
            name, shape, "int8",
            lambda: self.rng.integers(-127, 128, shape, np.int8), quant,
        )
        return made, scale

    def _with_bias(
        self, step: Step, weights: int, scale: np.ndarray, channels: int
    ) -> list[int]:
        """Returns the inputs of a layer with weights."""
        source = step.node.inputs[0]
        inputs = [self.index[source], weights]
        name = f"{step.node.name}/bias"

        def values() -> np.ndarray:
            return self.rng.uniform(-0.1, 0.1, channels) + step.shift

        if self.dtype == "float32":
            bias = self.model.constant(
                name, (channels,), "float32",
                lambda: values().astype(np.float32),
            )
        else:
            scale = scale * self.quant[source].scale[0]
            bias = self.model.constant(
                name, (channels,), "int32",
                lambda: np.round(values() / scale).astype(np.int32),
                Quantization(tuple(scale)),
            )
        return [*inputs, bias]

    def _window(self, step: Step) -> dict[str, Any]:
        """Attributes that convolutions and pools share."""
        a = step.node.attrs
        window = {
            "padding": a["padding"], "stride": square(a["stride"]),
            "act": step.act,
        }
        if a.get("dilation", 1) > 1:
            window["dilation"] = square(a["dilation"])
        return window

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
            **self._window(step),
        )

    def _depthwise(self, step: Step) -> None:
        a, source = step.node.attrs, step.node.inputs[0]
        height, width = steps.taps(a["kernel"])
        channels = self.shapes[source][-1]
        weights, scale = self._weights(
            f"{step.node.name}/weights", source, (1, height, width, channels),
            3, height * width,
        )
        inputs = self._with_bias(step, weights, scale, channels)
        self._op(
            "DEPTHWISE_CONV_2D", inputs, self._activated(step, 1.0),
            **self._window(step),
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
            act=step.act,
        )

    def _state(self, step: Step) -> None:
        """Adds an input."""
        self._tensor(step.output, 1.0, linear(1.0))

    def _pad(self, step: Step) -> None:
        a = step.node.attrs
        top, bottom, left, right = a.get("amounts") or (a["amount"],) * 4
        amounts = [[0, 0], [top, bottom], [left, right], [0, 0]]
        self._same("PAD", step, [
            self.index[step.node.inputs[0]],
            self._numbers(step, "amounts", amounts),
        ])

    def _rows(self, step: Step) -> None:
        begin = [0, step.node.attrs["first"], 0, 0]
        size = [1, *self.shapes[step.output]]
        self._same("SLICE", step, [
            self.index[step.node.inputs[0]],
            self._numbers(step, "begin", begin),
            self._numbers(step, "size", size),
        ])

    def _resize(self, step: Step) -> None:
        size = self._numbers(step, "size", self.shapes[step.output][:2])
        self._same(
            "RESIZE_BILINEAR", step, [self.index[step.node.inputs[0]], size],
            halfPixelCenters=1,
        )

    def _requantize(self, step: Step) -> None:
        source = step.node.inputs[0]
        output = self._tensor(step.output, self.power[source], linear(1.0))
        self._op("QUANTIZE", [self.index[source]], output)

    def _numbers(self, step: Step, name: str, values: Any) -> int:
        """Adds integers that say what is computed."""
        array = np.array(values, np.int32)
        return self.model.constant(
            f"{step.node.name}/{name}", array.shape, "int32", lambda: array
        )

    def _max_pool(self, step: Step) -> None:
        self._pool("MAX_POOL_2D", step)

    def _avg_pool(self, step: Step) -> None:
        self._pool("AVERAGE_POOL_2D", step)

    def _pool(self, code: str, step: Step) -> None:
        self._same(
            code, step, [self.index[step.node.inputs[0]]],
            **self._window(step), window=square(step.node.attrs["size"]),
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
        axes = self._numbers(step, "axes", [1, 2])
        power = self.power[source] / _MEAN_LOSS
        output = self._tensor(step.output, power, linear(power))
        attrs: dict[str, Any] = {"keepDims": 1} if keep else {}
        self._op("MEAN", [self.index[source], axes], output, **attrs)

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
        scaled = self._inner(step, "scaled", power, linear(power))
        scale = self._vector(step, "scale", 0.9, 1.1)
        self._op("MUL", [self.index[source], scale], scaled)
        offset = self._vector(step, "offset", -0.1, 0.1)
        self._op(
            "ADD", [scaled, offset], self._activated(step, power), step.act
        )

    def _mul(self, step: Step) -> None:
        power = math.prod(self.power[x] for x in step.node.inputs)
        self._sum("MUL", step, power)

    def _sum(self, code: str, step: Step, power: float) -> None:
        inputs = [self.index[x] for x in step.node.inputs]
        self._op(code, inputs, self._activated(step, power), step.act)

    def _concat(self, step: Step) -> None:
        inputs = [self.index[x] for x in step.node.inputs]
        self._same("CONCATENATION", step, inputs, axis=-1)

    def _zeros(self, step: Step) -> None:
        """Adds a product with 0, as the converter has it."""
        source = step.node.inputs[0]
        zero = self._scalar(step, "zero", 0.0)
        output = self._tensor(step.output, 1.0, linear(1.0))
        self._op("MUL", [self.index[source], zero], output)

    def _border(self, step: Step) -> None:
        """Adds a product with one number for each place of a map."""
        source = step.node.inputs[0]
        shape = (1, *self.shapes[step.output][:2], 1)
        border = self._factors(step, "border", 1.0, 2.25, shape)
        self._op(
            "MUL", [self.index[source], border],
            self._activated(step, self.power[source]), step.act,
        )

    def _shifted(self, step: Step) -> None:
        """Adds `relu6(x + 3)`, a part of a hard swish."""
        shift = self._scalar(step, "shift", 3.0)
        clipped = self._tensor(step.output, 9.0, _RELU6)
        source = self.index[step.node.inputs[0]]
        self._op("ADD", [source, shift], clipped, "relu6")

    def _sixth(self, step: Step) -> None:
        """Adds a sixth, the last part of a hard swish."""
        source = step.node.inputs[0]
        power = self.power[source] / 36
        scale = self._scalar(step, "scale", 1 / 6)
        output = self._tensor(step.output, power, linear(power))
        self._op("MUL", [self.index[source], scale], output)

    def _act(self, step: Step) -> None:
        fn, source = step.node.attrs["fn"], step.node.inputs[0]
        inputs, power = [self.index[source]], self.power[source]
        if fn in ("relu", "relu6"):
            step.act = fn
            self._op(fn.upper(), inputs, self._activated(step, power))
        elif fn == "sigmoid":
            output = self._tensor(step.output, 0.25, SIGMOID)
            self._op("LOGISTIC", inputs, output)
        elif fn == "tanh":
            output = self._tensor(step.output, 0.5, TANH)
            self._op("TANH", inputs, output)
        elif fn == "hard_swish":
            output = self._tensor(step.output, power / 3, linear(power))
            self._op("HARD_SWISH", inputs, output)
        elif fn == "swish":
            gate = self._inner(step, "gate", 0.25, SIGMOID)
            self._op("LOGISTIC", inputs, gate)
            step.act = "linear"
            self._op("MUL", [*inputs, gate], self._activated(step, power / 2))
        elif fn in ("hard_sigmoid", "sixth"):
            (clipped,) = inputs
            if fn == "hard_sigmoid":
                clipped = self._inner(step, "clipped", 9.0, _RELU6)
                shift = self._scalar(step, "shift", 3.0)
                self._op("ADD", [*inputs, shift], clipped, "relu6")
            output = self._tensor(step.output, 0.25, _UNIT)
            scale = self._scalar(step, "scale", 1 / 6)
            self._op("MUL", [clipped, scale], output)
        else:
            self._refuse(step)

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
        shape = self.shapes[step.output][-1:]
        return self._factors(step, name, low, high, shape)

    def _factors(
        self, step: Step, name: str, low: float, high: float,
        shape: tuple[int, ...],
    ) -> int:
        """Adds a constant of random numbers in a range."""
        name = f"{step.node.name}/{name}"
        if self.dtype == "float32":
            return self.model.constant(
                name, shape, "float32",
                lambda: self.rng.uniform(low, high, shape).astype(np.float32),
            )
        quant = Quantization((max(-low, high) / 127,))
        least = round(low / quant.scale[0])
        return self.model.constant(
            name, shape, "int8",
            lambda: self.rng.integers(least, 128, shape, np.int8), quant,
        )

    def _scalar(self, step: Step, name: str, value: float) -> int:
        """Adds a constant >= 0 without dimensions."""
        name = f"{step.node.name}/{name}"
        if self.dtype == "float32":
            return self.model.constant(
                name, (), "float32", lambda: np.array(value, np.float32)
            )
        quant = Quantization(((value or 1.0) / 255,), -128)
        number = 127 if value else -128
        return self.model.constant(
            name, (), "int8", lambda: np.array(number, np.int8), quant
        )


def square(side: int) -> str:
    """Returns the attribute of a window, a stride or a dilation."""
    return f"{side}x{side}"
