"""Parameters, multiply-adds and peak activation memory of an architecture."""

from __future__ import annotations

import dataclasses
import functools
import math

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape


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
        alias[node.name] = node.name
        if node.primitive.in_place:
            alias[node.name] = alias[node.inputs[0]]
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

    Example:
        >>> arch = tfnas.spaces.get("nasbench_macro").sample(seed=0)
        >>> tfnas.count(arch).madds
        28893696
    """
    shapes = ops.shapes(arch)
    found = [
        _count_block(block, shape)
        for block, shape in zip(arch.blocks, shapes, strict=False)
    ]
    params = sum(one.counts.params for one in found)
    madds = sum(one.counts.madds for one in found)
    return Counts(
        params, params - sum(one.norm_params for one in found),
        madds, madds - sum(one.dense_madds for one in found),
        4 * max((one.peak_elements for one in found), default=0),
        tuple(one.counts for one in found),
    )


@dataclasses.dataclass(frozen=True)
class _Block:
    """What is counted of one block."""

    counts: BlockCounts
    norm_params: int
    dense_madds: int
    peak_elements: int


# Searches price thousands of networks that are made of the same blocks.
@functools.lru_cache(maxsize=1 << 12)
def _count_block(block: Block, in_shape: Shape) -> _Block:
    graph = ops.lower(block, in_shape)
    params = {n.name: graph.params(n) for n in graph.nodes}
    madds = {n.name: graph.madds(n) for n in graph.nodes}
    return _Block(
        BlockCounts(
            block.op, graph.output_shape, sum(params.values()),
            sum(madds.values()),
        ),
        sum(params[n.name] for n in graph.nodes if n.kind == "norm"),
        sum(madds[n.name] for n in graph.nodes if n.kind == "dense"),
        _peak_elements(graph),
    )
