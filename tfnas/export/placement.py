"""Where the tensors of an int8 file are rounded, from the architecture alone.

Training for int8 must round what the file will round, and nothing else: a
convolution with its normalisation and activation is one operator and gives
one tensor, a join of tensors has to be of one scale with them. All of this
follows from the graphs of the blocks.
"""

from __future__ import annotations

import dataclasses

from tfnas import ops
from tfnas.arch import Arch
from tfnas.derive import layer_prefix
from tfnas.errors import ConfigError
from tfnas.ops import primitives
from tfnas.ops.graph import Node

IMAGE = "image_int8"  # the layer that rounds the image

# What passes integers on needs no rounding of its own.
_MOVES = primitives.having("moves")
_KEEPS_SCALE = primitives.having("keeps_scale")
_WEIGHTED = primitives.having("weighted")
_TAKES_RELU = primitives.having("takes_relu")


@dataclasses.dataclass(frozen=True)
class Placement:
    """What is rounded.

    Args:
        groups: Name of a layer whose output is rounded, to the name of its
            group: the layers of a group share one range.
        fixed: Name of a group to the range that the runtime fixes for it.
    """

    groups: dict[str, str]
    fixed: dict[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class _Step:
    """One Keras layer: its kind, an activation's function, its inputs."""

    name: str
    kind: str
    fn: str
    inputs: tuple[str, ...]


def place(arch: Arch) -> Placement:
    """Returns where the tensors of a network are rounded in int8.

    Args:
        arch: A network of images.

    Raises:
        ConfigError: for a network with layers that no training for int8
            knows, such as those of `nasbench201`.
    """
    steps = _steps(arch)
    users: dict[str, list[_Step]] = {}
    for step in steps:
        for source in step.inputs:
            users.setdefault(source, []).append(step)
    groups = _groups(steps)
    placed = {IMAGE: groups[IMAGE]}
    fixed = {}
    for step in steps:
        if step.kind in _MOVES or step.fn in ("inner", "shift"):
            continue
        if _melts(step, users):
            continue
        placed[step.name] = groups[step.name]
        known = primitives.ACTIVATIONS.get(step.fn)
        if known and known.int8_range:
            fixed[groups[step.name]] = known.int8_range
    return Placement(placed, fixed)


def _steps(arch: Arch) -> list[_Step]:
    """Returns the Keras layers of the network in order."""
    found: list[_Step] = []
    shapes, source = ops.shapes(arch), IMAGE
    kinds: dict[str, str] = {}
    for i, (block, shape) in enumerate(zip(arch.blocks, shapes, strict=False)):
        prefix, graph = layer_prefix(i, block.op), ops.lower(block, shape)
        names = {"input": source}
        for node in graph.live:
            inputs = tuple(names[name] for name in node.inputs)
            _check(node, [kinds.get(x, "") for x in inputs], arch, block.op)
            names[node.name] = f"{prefix}_{node.name}"
            kinds[names[node.name]] = node.kind
            found += _expand(node, names[node.name], inputs)
            if node.attrs.get("fn") == "hard_sigmoid":
                names[node.name] += "_scale"
        source = names[graph.output]
    return found


def _check(node: Node, sources: list[str], arch: Arch, op: str) -> None:
    alone = node.kind == "norm" and sources[0] not in _WEIGHTED
    if alone or not node.primitive.rounded:
        what = "a normalisation without a convolution" if alone else node.kind
        raise ConfigError(
            "Expected a network that can be trained for int8; others are "
            "quantized after training only. Received: network "
            f"{arch.id} with {what} in an op `{op}`"
        )


def _expand(node: Node, name: str, inputs: tuple[str, ...]) -> list[_Step]:
    """Returns the layers of a node; hard activations are of several.

    The converter makes one operator of a hard swish, so nothing inside is
    rounded. The sum in a hard sigmoid becomes part of a bias.
    """
    fn = node.attrs.get("fn", "")
    if fn not in ("hard_sigmoid", "hard_swish"):
        return [_Step(name, node.kind, fn, inputs)]
    shift, clip, scale = (f"{name}_{p}" for p in ("shift", "clip", "scale"))
    whole = fn == "hard_swish"
    steps = [
        _Step(shift, "act", "inner" if whole else "shift", inputs),
        _Step(clip, "act", "inner" if whole else "hard", (shift,)),
        _Step(scale, "act", "inner" if whole else "hard", (clip,)),
    ]
    if whole:
        steps.append(_Step(name, "mul", "", (*inputs, scale)))
    return steps


def _groups(steps: list[_Step]) -> dict[str, str]:
    """Returns for each tensor the name of those that share its range."""
    parent = {IMAGE: IMAGE}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for step in steps:
        parent[step.name] = step.name
        if step.kind in _KEEPS_SCALE:
            for source in step.inputs:
                parent[root(source)] = root(step.name)
    return {name: root(name) for name in parent}


def _melts(step: _Step, users: dict[str, list[_Step]]) -> bool:
    """Says whether a layer becomes one operator with the layer after it."""
    after = users.get(step.name, [])
    if len(after) != 1:
        return False
    if after[0].kind == "norm":
        return step.kind in _WEIGHTED
    if after[0].fn == "shift":  # it becomes part of a bias
        return step.kind in {*_WEIGHTED, "norm"}
    return after[0].fn in primitives.FUSED and step.kind in _TAKES_RELU
