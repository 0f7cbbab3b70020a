"""Parameters, multiply-adds and peak activation memory of an architecture."""

from __future__ import annotations

import dataclasses
import math

from tfnas import ops
from tfnas.arch import Arch
from tfnas.ops.graph import Graph


@dataclasses.dataclass(frozen=True)
class BlockCounts:
    """Counts of one block.

    Args:
        op: Name of the op.
        out_shape: Shape of the block's output without the batch.
        params: Trainable parameters.
        madds: Multiply-adds of convolutions and dense layers.
    """

    op: str
    out_shape: tuple[int, ...]
    params: int
    madds: int


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of a network at batch 1; of a language model, of one step.

    Args:
        params: Trainable parameters, batch-norm scale and offset included.
        params_without_bn: The same without batch-norm scale and offset.
        madds: Multiply-adds of convolutions and dense layers; biases, batch
            norm, activations and pooling count nothing (1 multiply-add = 1).
        madds_conv: `madds` without the dense classifier.
        peak_activation_bytes: Largest sum of live activations in float32,
            with normalisations and activations computed in place.
        blocks: The counts of each block in order.
    """

    params: int
    params_without_bn: int
    madds: int
    madds_conv: int
    peak_activation_bytes: int
    blocks: tuple[BlockCounts, ...]


def _peak_elements(graph: Graph) -> int:
    """Largest number of live elements while the graph runs in order."""
    nodes, alias = graph.live, {"input": "input"}
    last: dict[str, int] = {}
    for i, node in enumerate(nodes):
        in_place = node.kind in ("norm", "act", "flatten")
        alias[node.name] = alias[node.inputs[0]] if in_place else node.name
        for name in node.inputs:
            last[alias[name]] = i
    last[alias[graph.output]] = len(nodes)
    live, peak = {"input"}, math.prod(graph.input_shape)
    for i, node in enumerate(nodes):
        live.add(alias[node.name])
        peak = max(peak, sum(math.prod(graph.shapes[t]) for t in live))
        live = {t for t in live if last.get(t, -1) > i}
    return peak


def count(arch: Arch) -> Counts:
    """Counts a network's parameters, multiply-adds and activation memory.

    Args:
        arch: Any architecture of registered ops.

    Returns:
        A `Counts`, at the architecture's input shape and classes.

    Raises:
        ArtifactError: when a block does not fit its registered op.
    """
    blocks, norm, dense, peak = [], 0, 0, 0
    for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False):
        graph = ops.lower(block, shape)
        params = {n.name: graph.params(n) for n in graph.nodes}
        madds = {n.name: graph.madds(n) for n in graph.nodes}
        norm += sum(params[n.name] for n in graph.nodes if n.kind == "norm")
        dense += sum(madds[n.name] for n in graph.nodes if n.kind == "dense")
        peak = max(peak, _peak_elements(graph))
        blocks.append(
            BlockCounts(
                block.op, graph.output_shape, sum(params.values()),
                sum(madds.values()),
            )
        )
    params_total = sum(b.params for b in blocks)
    madds_total = sum(b.madds for b in blocks)
    return Counts(
        params_total, params_total - norm, madds_total, madds_total - dense,
        4 * peak, tuple(blocks),
    )
