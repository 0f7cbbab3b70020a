"""Rewrites a traced Keras model for the delegate that will run it.

`tfnas.lowering.rewritings` says what is rewritten, for which types and why;
here is how. Each rewriting is a function of a graph that says how often it
found its pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfnas.export.lowering import activations
from tfnas.export.lowering import depthwise
from tfnas.export.lowering import moves
from tfnas.export.lowering import pools
from tfnas.export.lowering.editing import Editing
from tfnas.export.lowering.inlining import inline
from tfnas.lowering.rewritings import applies
from tfnas.lowering.rewritings import check_backend

# In this order: a rewriting may find what one before has made.
_PASSES: dict[str, Callable[[Editing], int]] = {
    "hard_swish": activations.hard_swish,
    "prelu": activations.prelu,
    "abs": activations.absolute,
    "layer_norm": activations.squared_difference,
    "grouped": depthwise.grouped,
    "depthwise_map": depthwise.whole_map,
    "depth_multiplier": depthwise.multiplier,
    "depthwise_rows": depthwise.rows,
    "transposed": moves.doubling,
    "patches": moves.patches,
    "strided_slice": moves.strided_slice,
    "reflect_pad": moves.mirrored,
    "halving_pool": pools.halving,
    "pixel_pool": pools.pixels,
    "average_pool": pools.average,
    "large_max_pool": pools.large_max,
    "lone_relu": pools.lone_relu,
}


def lower(traced: Any, dtype: str, backend: str) -> tuple[Any, dict[str, int]]:
    """Rewrites what a backend has no fast kernels for.

    Args:
        traced: A function of `tracing.trace`.
        dtype: How the file computes, as `rewritings.applies` calls it.
        backend: One of `rewritings.BACKENDS`.

    Returns:
        A function of the same answers, up to rounding and to what a writing
        in `rewritings` says, and how often each rewriting was applied. The
        function itself where there is nothing to rewrite.
    """
    counts: dict[str, int] = {}
    plain, graph = traced, None
    if check_backend(backend) != "none":
        traced = inline(traced)
    for name, rewrite in _PASSES.items():
        if not applies(name, dtype, backend):
            continue
        graph = graph or Editing(traced, dtype)
        if count := rewrite(graph):
            counts[name] = count
            traced, graph = graph.traced(), None
    return traced if counts else plain, counts
