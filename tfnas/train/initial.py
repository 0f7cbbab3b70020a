"""First weights by published schemes, other than the layers' own.

Every layer draws from its own stream, so that the weights of a network depend
on the seed and the names of its layers and on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfnas.errors import ConfigError
from tfnas.supernets.base import stream

# Standard deviation of a normal distribution cut off at two of its own.
_TRUNCATED_STD = 0.87962566103423978


def truncated_normal(
    shape: tuple[int, ...], std: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws a normal distribution, cut off so that `std` is what remains.

    Values farther than two (uncut) deviations from 0 are drawn again.

    Args:
        shape: Shape of the result.
        std: Standard deviation of the result.
        rng: The stream to draw from.
    """
    values = rng.standard_normal(shape)
    while (far := np.abs(values) > 2).any():
        values[far] = rng.standard_normal(int(far.sum()))
    return (values * (std / _TRUNCATED_STD)).astype(np.float32)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns fan-in and fan-out of a kernel, as Keras counts them.

    A depthwise kernel `(height, width, channels, 1)` has the fan-out of one
    channel, and the fan-in of all.
    """
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _glorot_normal(
    shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Glorot and Bengio 2010: variance `2 / (fan_in + fan_out)`."""
    return truncated_normal(shape, math.sqrt(2 / sum(fans(shape))), rng)


def _fan_out(
    shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Convolutions: variance `2 / fan_out`; dense: deviation 0.01."""
    if len(shape) == 2:
        return (0.01 * rng.standard_normal(shape)).astype(np.float32)
    return truncated_normal(shape, math.sqrt(2 / fans(shape)[1]), rng)


Scheme = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
SCHEMES: dict[str, Scheme] = {
    "glorot_normal": _glorot_normal,
    "fan_out": _fan_out,
}


def draw(model: Any, scheme: str, seed: int) -> None:
    """Draws the kernels of a model anew; biases become 0.

    Args:
        model: A Keras model of `derive.build_model`.
        scheme: `"glorot_normal"` (AutoShrink's proxies), or `"fan_out"`
            (ShrinkCNN on ImageNet).
        seed: Seed of the network.

    Raises:
        ConfigError: for an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ConfigError(
            f"`initial` must be one of {tuple(SCHEMES)}. Received: {scheme!r}"
        )
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            shape = tuple(layer.kernel.shape)
            rng = stream(seed, layer.name)
            layer.kernel.assign(SCHEMES[scheme](shape, rng))
            if layer.use_bias:
                layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
