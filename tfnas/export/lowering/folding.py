"""What the operators after a convolution do to each of its channels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfnas.export.lowering.editing import Editing

_PRODUCTS = ("Mul", "RealDiv")
_SUMS = ("AddV2", "Add", "BiasAdd", "Sub")


@dataclasses.dataclass(frozen=True)
class Folded:
    """A factor and a summand for each channel.

    Args:
        last: The node that gives the channels with both.
        scale: The factors, `(channels,)`.
        bias: The summands; `None` where there are none.
    """

    last: Any
    scale: np.ndarray
    bias: np.ndarray | None


def fold(graph: Editing, node: Any, channels: int) -> Folded:
    """Returns what follows a node and can go into its weights.

    That is its bias, and a batch norm: the converter cannot fold one through
    a sum of convolutions.
    """
    scale = np.ones(channels)
    bias: np.ndarray | None = None
    while (after := graph.sole_user(node)) is not None:
        step = _step(graph, node, after, channels)
        if step is None:
            break
        factor, summand = step
        scale = scale * factor
        if bias is not None:
            bias = bias * factor
        if after.op in _SUMS:
            bias = summand if bias is None else bias + summand
        node = after
    return Folded(node, scale, bias)


def _step(
    graph: Editing, node: Any, after: Any, channels: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the factor and the summand of one node."""
    refs = graph.inputs(after)
    if after.op not in (*_PRODUCTS, *_SUMS) or len(refs) != 2:
        return None
    first = refs[0] == node.name
    values = per_channel(graph.value(refs[first]), channels)
    if values is None or (not first and after.op == "RealDiv"):
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    if after.op == "RealDiv":
        return 1 / values, zeros
    if after.op == "Mul":
        return values, zeros
    if after.op == "Sub":
        return (ones, -values) if first else (-ones, values)
    return ones, values


def per_channel(value: np.ndarray | None, channels: int) -> np.ndarray | None:
    """Returns numbers as one for each channel; `None` if they are no such."""
    if value is None or value.dtype != np.float32 or value.ndim > 4:
        return None
    if value.size == 1:
        return np.full(channels, float(value.reshape(())))
    if value.shape[-1] != channels or value.size != channels:
        return None
    return value.reshape(channels).astype(np.float64)
