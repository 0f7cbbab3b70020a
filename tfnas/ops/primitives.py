"""The kinds of primitive layers, and all that is known of each.

The primitives are what a phone runs: convolutions, normalisations,
activations, sums. A new kind touches these files, and no others:

1. this one: a row of `KINDS`, with shape, variables, Keras layer;
2. `tfnas/ops/graph.py`: the method of `Graph` that adds it;
3. `tfnas/supernets/primitives.py`: how a supernet runs it;
4. `tfnas/lowering/emitter.py`: the operators that the runtime runs for it;
5. the op that is made of it.

Counts, weight files, the parts of elastic layers, what is fused and where
int8 is rounded follow from the row. A new activation function touches 1, 3, 4
and, for blocks to ask for it, `ACTIVATIONS` of `tfnas/ops/base.py`.
`tests/ops/test_primitives.py` names the place that does not know a kind.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from tfnas.keras_settings import DATA_FORMAT
from tfnas.keras_settings import DTYPE

Shape = tuple[int, ...]
Attrs = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of a primitive layer.

    Args:
        name: Its name in Keras, such as `"kernel"`.
        axes: A letter for each axis: `i` the channels that come in, `o` those
            that go out; any other letter has to do with no channels.
        shape: Its shape.
        first: Its first values: a number, `("normal", deviation)` or
            `("uniform", limit)`, both around 0.
        trainable: Whether it is a parameter of this layer: not a moving
            average, nor the kernel of another layer.
    """

    name: str
    axes: str
    shape: Shape
    first: float | tuple[str, float] = 0.0
    trainable: bool = True


# Attributes that Keras calls by another name.
_IN_KERAS = {
    "kernel": "kernel_size", "stride": "strides", "bias": "use_bias",
    "dilation": "dilation_rate", "size": "pool_size", "amount": "padding",
}


def _by_name(a: Attrs) -> Attrs:
    return {_IN_KERAS.get(name, name): value for name, value in a.items()}


@dataclasses.dataclass(frozen=True)
class Primitive:
    """What is known of one kind of primitive layer.

    Args:
        keras: Class of its Keras layer; only arguments that Keras 3 and
            tf_keras share are used.
        arguments: From a node's attributes to those arguments; by default
            they are the same.
        on_maps: Whether the Keras layer is told the format of images.
        shape: From attributes and the inputs' shapes to the output's.
        variables: From attributes and the channels of the first input to the
            variables, in the order of Keras; `None` where there are none.
        initializer: The argument that says the first values of the kernel.
        weighted: Whether it has a kernel that takes a factor in.
        convolves: Whether it takes the normalisation after it in, too.
        takes_relu: Whether the runtime makes one operator of it and the ReLU
            after it.
        moves: Whether it gives numbers that it takes, and no others.
        keeps_scale: Whether it gives the quantization of what it takes.
        in_place: Whether it needs no memory beside that of its input.
        rounded: Whether training for int8 knows where it is rounded.
    """

    keras: str = ""
    arguments: Callable[[Attrs], Attrs] = _by_name
    on_maps: bool = False
    shape: Callable[..., Shape] = lambda a, x, *others: x
    variables: Callable[[Attrs, int], tuple[Variable, ...]] | None = None
    initializer: str = ""
    weighted: bool = False
    convolves: bool = False
    takes_relu: bool = False
    moves: bool = False
    keeps_scale: bool = False
    in_place: bool = False
    rounded: bool = True

    def layer(self, K: Any, a: Attrs, width: int, name: str) -> Any:
        """Returns a new stock layer.

        Types and formats are stated, so that the settings of the process are
        nobody's business.

        Args:
            K: The namespace, `keras` or `tf_keras`.
            a: Attributes of the node.
            width: Channels of its first input.
            name: Of the layer.
        """
        if "fn" in a:
            return _activation(K.layers, a["fn"], name)
        arguments = {"name": name, "dtype": DTYPE, **self.arguments(a)}
        if self.on_maps:
            arguments["data_format"] = DATA_FORMAT
        if self.initializer and self.variables:
            kernel, *_ = self.variables(a, width)
            arguments[self.initializer] = _initializer(K, kernel)
        return getattr(K.layers, self.keras)(**arguments)


def _initializer(K: Any, kernel: Variable) -> Any:
    assert isinstance(kernel.first, tuple)
    law, scale = kernel.first
    if law == "normal":
        return K.initializers.RandomNormal(stddev=scale)
    return K.initializers.RandomUniform(-scale, scale)


def _map_shape(a: Attrs, x: Shape) -> Shape:
    """Shape behind a window on a map, of a convolution or a pool."""
    span = ((a.get("kernel") or a["size"]) - 1) * a.get("dilation", 1)
    missing = 0 if a["padding"] == "same" else span
    sides = (math.ceil((n - missing) / a["stride"]) for n in x[:2])
    return (*sides, a.get("filters", x[-1]))


def _kernel(size: int, axes: str, width: int, filters: int) -> Variable:
    """N(0, sqrt(2 / (k * k * filters / groups))), as DenseNAS (its 2.2)."""
    std = math.sqrt(2 / (size**2 * filters))
    shape = (size, size, width, filters)
    return Variable("kernel", axes, shape, ("normal", std))


def _bias(a: Attrs, channels: int) -> tuple[Variable, ...]:
    return (Variable("bias", "o", (channels,)),) if a["bias"] else ()


def _conv_variables(a: Attrs, width: int) -> tuple[Variable, ...]:
    groups, filters = a["groups"], a["filters"]
    kernel = _kernel(
        a["kernel"], "hwio", width // groups, filters // groups
    )
    shape = (*kernel.shape[:3], filters)
    return dataclasses.replace(kernel, shape=shape), *_bias(a, filters)


def _depthwise_variables(a: Attrs, width: int) -> tuple[Variable, ...]:
    return _kernel(a["kernel"], "hwi1", width, 1), *_bias(a, width)


def _dense_variables(a: Attrs, width: int) -> tuple[Variable, ...]:
    first = "uniform", 1 / math.sqrt(width)
    shape = (width, a["units"])
    return (
        Variable("kernel", "io", shape, first, trainable=not a["tied"]),
        *_bias(a, a["units"]),
    )


def _embed_variables(a: Attrs, width: int) -> tuple[Variable, ...]:
    shape = (a["rows"], a["units"])
    return (Variable("embeddings", "wo", shape, ("uniform", 0.05)),)


def _norm_variables(a: Attrs, width: int) -> tuple[Variable, ...]:
    learned = (("gamma", 1.0), ("beta", 0.0)) if a["affine"] else ()
    averages = (("moving_mean", 0.0), ("moving_variance", 1.0))
    return tuple(
        Variable(name, "o", (width,), first, (name, first) in learned)
        for name, first in (*learned, *averages)
    )


def _pool(layer: str, moves: bool) -> Primitive:
    return Primitive(
        layer, on_maps=True, shape=_map_shape, takes_relu=True, moves=moves,
        keeps_scale=True,
    )


KINDS: dict[str, Primitive] = {
    "conv": Primitive(
        "Conv2D", on_maps=True, shape=_map_shape, variables=_conv_variables,
        initializer="kernel_initializer", weighted=True, convolves=True,
        takes_relu=True,
    ),
    "depthwise": Primitive(
        "DepthwiseConv2D", on_maps=True, shape=_map_shape,
        variables=_depthwise_variables, initializer="depthwise_initializer",
        weighted=True, convolves=True, takes_relu=True,
    ),
    "dense": Primitive(
        "Dense", lambda a: {"units": a["units"], "use_bias": a["bias"]},
        shape=lambda a, x: (a["units"],), variables=_dense_variables,
        initializer="kernel_initializer", weighted=True, takes_relu=True,
    ),
    "embed": Primitive(
        "Embedding",
        lambda a: {"input_dim": a["rows"], "output_dim": a["units"]},
        shape=lambda a, x: (a["units"],), variables=_embed_variables,
        rounded=False,
    ),
    "norm": Primitive(
        "BatchNormalization",
        lambda a: {
            "momentum": a["momentum"], "epsilon": a["eps"],
            "scale": a["affine"], "center": a["affine"],
        },
        variables=_norm_variables, takes_relu=True, in_place=True,
    ),
    "act": Primitive(in_place=True),  # see `ACTIVATIONS`
    "pad": Primitive(
        "ZeroPadding2D", on_maps=True,
        shape=lambda a, x: (
            x[0] + 2 * a["amount"], x[1] + 2 * a["amount"], x[2]
        ),
        moves=True, keeps_scale=True,
    ),
    "max_pool": _pool("MaxPooling2D", moves=True),
    "avg_pool": _pool("AveragePooling2D", moves=False),
    "mean": Primitive(
        "GlobalAveragePooling2D", on_maps=True,
        shape=lambda a, x: (1, 1, x[-1]) if a["keepdims"] else x[-1:],
    ),
    "flatten": Primitive(
        "Flatten", on_maps=True, shape=lambda a, x: x[-1:], moves=True,
        keeps_scale=True, in_place=True,
    ),
    "concat": Primitive(
        "Concatenate",
        shape=lambda a, *x: (*x[0][:-1], sum(shape[-1] for shape in x)),
        moves=True, keeps_scale=True,
    ),
    "add": Primitive("Add", takes_relu=True),
    "sub": Primitive("Subtract", rounded=False),
    "mul": Primitive("Multiply", takes_relu=True),
    "average": Primitive("Average", rounded=False),
    "zeros": Primitive(
        "Rescaling", lambda a: {"scale": 0.0}, rounded=False
    ),
    # What the time step before gave: an input, which has no layer.
    "state": Primitive(shape=lambda a: (a["units"],), rounded=False),
}


def having(fact: str) -> frozenset[str]:
    """Returns the kinds for which a fact holds, such as `"weighted"`."""
    return frozenset(k for k, known in KINDS.items() if getattr(known, fact))


@dataclasses.dataclass(frozen=True)
class Activation:
    """What is known of an activation function, but for its Keras layers.

    Args:
        fuses: Whether the runtime makes one operator of it and what is
            before it.
        int8_range: Of its int8 output, where the runtime fixes it.
    """

    fuses: bool = False
    int8_range: tuple[float, float] | None = None


# The hard forms are those of MobileNetV3: `hard_sigmoid(x)` is
# `relu6(x + 3) / 6`, and `hard_swish(x)` is `x` times that.
ACTIVATIONS = {
    "relu": Activation(fuses=True),
    "relu6": Activation(fuses=True),
    "sigmoid": Activation(int8_range=(0.0, 255 / 256)),
    "tanh": Activation(int8_range=(-1.0, 127 / 128)),
    "swish": Activation(),
    "hard_sigmoid": Activation(),
    "hard_swish": Activation(),
}
FUSED = frozenset(fn for fn, act in ACTIVATIONS.items() if act.fuses)


def _activation(layers: Any, fn: str, name: str) -> Callable[[Any], Any]:
    """Returns an activation made of layers that quantise well.

    Keras 3 and tf_keras disagree about `hard_sigmoid`, so the hard forms are
    composed; the converter makes one HARD_SWISH of the second.
    """
    if fn in ("relu", "relu6"):
        top = {"relu": None, "relu6": 6.0}[fn]
        return layers.ReLU(max_value=top, name=name, dtype=DTYPE)
    if not fn.startswith("hard_"):
        return layers.Activation(fn, name=name, dtype=DTYPE)

    def hard(x: Any) -> Any:
        gate = x
        for part, layer, arguments in (
            ("shift", layers.Rescaling, {"scale": 1.0, "offset": 3.0}),
            ("clip", layers.ReLU, {"max_value": 6.0}),
            ("scale", layers.Rescaling, {"scale": 1 / 6}),
        ):
            gate = layer(**arguments, name=f"{name}_{part}", dtype=DTYPE)(gate)
        if fn == "hard_sigmoid":
            return gate
        return layers.Multiply(name=name, dtype=DTYPE)([x, gate])

    return hard
