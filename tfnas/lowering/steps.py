"""The rewritings of `rewritings.py` on the steps of our own networks.

`tfnas.export.lowering` does the same to graphs of TensorFlow; tests hold the
two against each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from tfnas.lowering import rewritings
from tfnas.lowering.fusion import Step
from tfnas.ops import Node
from tfnas.ops import primitives
from tfnas.ops.graph import Shape

_MOVES = primitives.having("moves")
_WEIGHTED = primitives.having("weighted")


def rewrite(
    steps: Sequence[Step], shapes: dict[str, Shape], dtype: str, backend: str
) -> list[Step]:
    """Returns the steps as a backend wants them.

    Args:
        steps: As `fusion.fuse` gives them.
        shapes: Of all tensors; those of new ones are added.
        dtype: `"float32"` or `"int8"`.
        backend: One of `rewritings.BACKENDS`.
    """
    rewritten: list[Step] = []
    joined = _joined(steps)
    rows = {s.output: s.node.attrs for s in steps if s.node.kind == "pad"}
    for step in steps:
        name = _rewriting(step, shapes)
        if name == "halving_pool" and step.output in joined:
            name = "average_pool"
        if name and rewritings.applies(name, dtype, backend):
            if name == "depthwise_rows":
                before = rows.get(step.node.inputs[0], {}).get("amount", 0)
                rewritten += _depthwise_rows(step, shapes, before)
            else:
                rewritten += _WRITINGS[name](step, shapes)
        else:
            rewritten.append(step)
    return _fold_sixths(rewritten)


def _joined(found: Sequence[Step]) -> set[str]:
    """Returns the tensors that a concatenation takes as they are.

    A resize would hand its scale on to what it halves, and clip that.
    """
    names: set[str] = set()
    for step in reversed(found):
        moves = step.node.kind in _MOVES and step.output in names
        joins = step.node.kind == "concat" and len(set(step.node.inputs)) > 1
        if joins or moves:
            names.update(step.node.inputs)
    return names


def _fold_sixths(found: Sequence[Step]) -> list[Step]:
    """Leaves out factors that go into the weights of what takes them.

    The converter does so where nothing else takes the product.
    """
    takers: dict[str, list[Step]] = {}
    for step in found:
        for source in step.node.inputs:
            takers.setdefault(source, []).append(step)

    def weighted(name: str) -> bool:
        after = takers.get(name, [])
        return bool(after) and all(
            weighted(step.output) if step.node.kind == "flatten"
            else step.node.kind in _WEIGHTED
            for step in after
        )

    kept: list[Step] = []
    for step in found:
        if step.node.kind == "sixth" and weighted(step.output):
            # The factor comes right behind the product that it scales.
            kept[-1] = dataclasses.replace(kept[-1], output=step.output)
        else:
            kept.append(step)
    return kept


def _rewriting(step: Step, shapes: dict[str, Shape]) -> str | None:
    """Returns the name of the rewriting whose pattern a step is."""
    a, kind = step.node.attrs, step.node.kind
    if kind == "depthwise" and a["kernel"] ** 2 > rewritings.MAX_TAPS:
        return "depthwise_rows"
    if kind == "act" and a["fn"] == "hard_swish":
        return "hard_swish"
    # A flat tensor has no map that could be pooled.
    if kind == "act" and a["fn"] in primitives.FUSED and _is_map(step, shapes):
        return "lone_relu"
    if kind != "avg_pool":
        return None
    height, width, _ = shapes[step.node.inputs[0]]
    if a["size"] == a["stride"] == 2 and not (height % 2 or width % 2):
        return "halving_pool"
    if a["size"] ** 2 <= rewritings.MAX_TAPS:
        return "average_pool"
    return None


def _is_map(step: Step, shapes: dict[str, Shape]) -> bool:
    return len(shapes[step.output]) == 3


class _Maker:
    """Makes the steps that stand for one step."""

    def __init__(self, step: Step, shapes: dict[str, Shape]):
        self.step, self.shapes = step, shapes

    def make(
        self, kind: str, name: str, inputs: tuple[str, ...], shape: Shape,
        last: bool = False, **attrs: Any,
    ) -> Step:
        """Returns a step; the last one gives what the whole gave."""
        output = self.step.output if last else f"{self.step.output}/{name}"
        node = Node(f"{self.step.node.name}/{name}", kind, inputs, attrs)
        self.shapes[output] = shape
        return Step(node, output, self.step.act if last else "linear")


def _pads(size: int, out: int, stride: int, span: int) -> tuple[int, int]:
    """Returns what `same` pads before and behind."""
    missing = max((out - 1) * stride + span - size, 0)
    return missing // 2, missing - missing // 2


def _depthwise_rows(
    step: Step, shapes: dict[str, Shape], before: int
) -> Iterator[Step]:
    """Yields the steps of a large kernel; `before` rows are padded already."""
    a, source = step.node.attrs, step.node.inputs[0]
    maker = _Maker(step, shapes)
    k, stride, dilation = a["kernel"], a["stride"], a["dilation"]
    out = shapes[step.output]
    span = (k - 1) * dilation + 1
    top = bottom = before
    if a["padding"] == "same":
        pads = [
            _pads(size, n, stride, span)
            for size, n in zip(shapes[source][:2], out[:2], strict=True)
        ]
        height, width = (
            n + sum(p) for n, p in zip(shapes[source], pads, strict=False)
        )
        top, bottom = top + pads[0][0], bottom + pads[0][1]
        if any(map(sum, pads)):
            padded = maker.make(
                "pad", "padded", (source,), (height, width, out[-1]),
                amounts=(*pads[0], *pads[1]),
            )
            yield padded
            source = padded.output
    total = ""
    size = shapes[source][0]
    parts = []
    for first, count in rewritings.row_parts(k, k):
        rows = (out[0] - 1) * stride + (count - 1) * dilation + 1
        start = first * dilation
        # A part that sees nothing but the border is always 0.
        if start < size - bottom and start + rows > top:
            parts.append((start, count, rows))
    for i, (start, count, rows) in enumerate(parts):
        cut = maker.make(
            "rows", f"rows{i}", (source,), (rows, *shapes[source][1:]),
            first=start,
        )
        yield cut
        part = maker.make(
            "depthwise", f"part{i}", (cut.output,), out,
            last=len(parts) == 1, kernel=(count, k), stride=stride,
            padding="valid", dilation=dilation, bias=a["bias"],
        )
        part.shift = 0.0 if i else step.shift
        yield part
        if not total:
            total = part.output
            continue
        joined = maker.make(
            "add", f"sum{i}", (total, part.output), out,
            last=i == len(parts) - 1,
        )
        yield joined
        total = joined.output


def _hard_swish(step: Step, shapes: dict[str, Shape]) -> Iterator[Step]:
    source, maker = step.node.inputs[0], _Maker(step, shapes)
    shape = shapes[step.output]
    clipped = maker.make("shifted", "clipped", (source,), shape)
    product = maker.make("mul", "product", (clipped.output, source), shape)
    yield clipped
    yield product
    yield maker.make("sixth", "sixth", (product.output,), shape, last=True)


def _lone_relu(step: Step, shapes: dict[str, Shape]) -> Iterator[Step]:
    node = dataclasses.replace(
        step.node, kind="max_pool",
        attrs={"size": 1, "stride": 1, "padding": "valid"},
    )
    yield dataclasses.replace(step, node=node, act=step.node.attrs["fn"])


def _average_pool(step: Step, shapes: dict[str, Shape]) -> Iterator[Step]:
    a, maker = step.node.attrs, _Maker(step, shapes)
    out = shapes[step.output]
    padded = a["padding"] == "same" and any(
        sum(_pads(size, n, a["stride"], a["size"]))
        for size, n in zip(
            shapes[step.node.inputs[0]][:2], out[:2], strict=True
        )
    )
    mean = maker.make(
        "depthwise", "mean", step.node.inputs, out, last=not padded,
        kernel=a["size"], stride=a["stride"], padding=a["padding"],
        dilation=1, bias=False,
    )
    yield mean
    if padded:
        yield maker.make("border", "border", (mean.output,), out, last=True)


def _halving_pool(step: Step, shapes: dict[str, Shape]) -> Iterator[Step]:
    maker, shape = _Maker(step, shapes), shapes[step.output]
    alone = step.act == "linear"
    half = maker.make("resize", "half", step.node.inputs, shape, last=alone)
    yield half
    if not alone:  # a resize takes no activation in
        yield maker.make(
            "max_pool", "act", (half.output,), shape, last=True, size=1,
            stride=1, padding="valid",
        )


_WRITINGS = {
    "hard_swish": _hard_swish,
    "lone_relu": _lone_relu,
    "average_pool": _average_pool,
    "halving_pool": _halving_pool,
}


def taps(kernel: int | tuple[int, int]) -> tuple[int, int]:
    """Returns height and width of a kernel that may be square."""
    return kernel if isinstance(kernel, tuple) else (kernel, kernel)


