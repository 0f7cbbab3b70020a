"""Files of AutoSpace: learned spaces, and networks found in them.

Formats `tfnas-autospace-space/1` and `tfnas-autospace-net/1`: JSON, read by
value; the errors name the entry.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from absl import logging

from tfnas import artifacts
from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.cell import EXPANSIONS
from tfnas.ops.cell import KERNELS
from tfnas.ops.cell import LARGE_KERNELS
from tfnas.ops.cell import MERGES
from tfnas.ops.cell import Cell
from tfnas.spaces import cells
from tfnas.spaces.chain import Place
from tfnas.spaces.chain import stage_of

SPACE_FORMAT = "tfnas-autospace-space/1"
NET_FORMAT = "tfnas-autospace-net/1"
_FIELDS = [field.name for field in dataclasses.fields(Cell)]
_DENSE = "dense"
_GAP = "gap"


@dataclasses.dataclass(frozen=True)
class SpaceFile:
    """A learned space.

    Args:
        positions: The cells of each position, not fused, best first.
        merge: What merges of kind `PRODUCT` are; see `ops.cell.merge`.
        large_kernel: What fused kernels are; see `ops.cell.CellOp`.
    """

    positions: tuple[tuple[Cell, ...], ...]
    merge: str = "channel_gate"
    large_kernel: str = "dense"

    def to_json(self, places: Sequence[Place]) -> dict[str, Any]:
        """Returns the file's content for a chain of these places."""
        blocks = _blocks_of(places)
        return {
            "format": SPACE_FORMAT,
            "cell_fields": _FIELDS,
            "dim_to_expand": list(EXPANSIONS),
            "merge": self.merge,
            "large_kernel": self.large_kernel,
            "reference_cells": [
                list(c.codes) for c in cells.REFERENCES.values()
            ],
            "positions": [
                {
                    "position": i,
                    "blocks": blocks[i],
                    "cells": [list(c.codes) for c in row],
                }
                for i, row in enumerate(self.positions)
            ],
            "macro": [_macro(place) for place in places],
        }


def _macro(place: Place) -> dict[str, int]:
    return {
        "block": place.number, "cin": place.in_channels,
        "cout": place.out_channels, "stride": place.stride,
    }


def _blocks_of(places: Sequence[Place]) -> list[list[int]]:
    count = places[-1].position + 1
    return [
        [p.number for p in places if p.position == i] for i in range(count)
    ]


def _fail(where: str, expected: str, received: Any) -> ArtifactError:
    return ArtifactError(
        f"{where}: expected {expected}. Received: {repr(received)[:200]}"
    )


def read_space(
    path: str | os.PathLike, places: Sequence[Place]
) -> SpaceFile:
    """Reads a learned space.

    Args:
        path: The file.
        places: The chain that it must be of, before any widening.

    Raises:
        ArtifactError: for another format, a missing position, positions or a
            macro of another chain, or an illegal cell.
    """
    value, source = artifacts.read_json(path, SPACE_FORMAT), str(path)
    macro = [_macro(place) for place in places]
    _same_list(source, "macro", value.get("macro"), macro)
    expansions = value.get("dim_to_expand")
    if expansions != [*EXPANSIONS]:
        raise _fail(
            f"{source}: field `dim_to_expand`", f"{[*EXPANSIONS]}", expansions
        )
    rows = value.get("positions")
    if not isinstance(rows, list):
        raise _fail(f"{source}: field `positions`", "a list", rows)
    blocks = _blocks_of(places)
    found = {
        row["position"]: row
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("position"), int)
    }
    missing = [i for i in range(len(blocks)) if i not in found]
    if missing or len(rows) != len(blocks):
        raise ArtifactError(
            f"{source}: field `positions` must hold each position from 0 to "
            f"{len(blocks) - 1} once. Received: {len(rows)} entries, "
            f"missing={missing}"
        )
    return SpaceFile(
        tuple(
            _position(found[i], blocks[i], f"{source}: position {i}")
            for i in range(len(blocks))
        ),
        _choice(value, source, "merge", MERGES),
        _choice(value, source, "large_kernel", LARGE_KERNELS),
    )


def _same_list(source: str, name: str, value: Any, ours: list[Any]) -> None:
    if not isinstance(value, list) or len(value) != len(ours):
        count = len(value) if isinstance(value, list) else value
        raise _fail(
            f"{source}: field `{name}`",
            f"{len(ours)} entries, those of this chain", count,
        )
    for i, (theirs, expected) in enumerate(zip(value, ours, strict=True)):
        if theirs != expected:
            raise _fail(f"{source}: {name}[{i}]", f"{expected}", theirs)


def _choice(
    value: Mapping[str, Any], source: str, name: str, legal: tuple[str, ...]
) -> str:
    chosen = value.get(name, legal[0])
    if chosen not in legal:
        raise _fail(f"{source}: field `{name}`", f"one of {legal}", chosen)
    return chosen


def _position(
    row: Mapping[str, Any], blocks: list[int], where: str
) -> tuple[Cell, ...]:
    if row.get("blocks") != blocks:
        raise _fail(f"{where}: field `blocks`", f"{blocks}", row.get("blocks"))
    values = row.get("cells")
    if not isinstance(values, list) or not values:
        raise _fail(f"{where}: field `cells`", "a list of cells", values)
    return tuple(
        _cell(value, f"{where}, cells[{i}]") for i, value in enumerate(values)
    )


def _cell(value: Any, where: str) -> Cell:
    cell = cells.decode(value, where)
    if (set(KERNELS) - {cells.DEPTHWISE}) & set(cell.codes):
        raise _fail(where, "a cell that is not fused yet", value)
    if not cells.is_valid(cell):
        logging.warning(
            "%s: a 1x1 convolution in a cell of the widest expansion is out "
            "of all proportion: %s", where, cell,
        )
    return cell


def net_to_json(arch: Arch, name: str) -> dict[str, Any]:
    """Returns the content of a network's file.

    Args:
        arch: A network of a chain space.
        name: Name of the network.

    Raises:
        ArtifactError: when a block is of a kind the format does not have.
    """
    norm = ops.get("conv").attributes(arch.blocks[0])["norm"]
    head: dict[str, Any] = {
        "format": NET_FORMAT, "name": name, "input": list(arch.input_shape),
        "bn": {"momentum": norm["momentum"], "epsilon": norm["eps"]},
        "act": "relu6", "cell_fields": _FIELDS,
    }
    layers: list[dict[str, Any]] = []
    shapes = ops.shapes(arch)
    for i, block in enumerate(arch.blocks):
        a = ops.get(block.op).attributes(block)
        if block.op == "cell":
            head |= {k: a[k] for k in ("merge", "large_kernel")}
        layers += _layers(block, a, i - 1, shapes[i] == shapes[i + 1])
    return {**head, "layers": layers}


def _layers(
    block: Block, a: Mapping[str, Any], number: int, residual: bool
) -> list[dict[str, Any]]:
    """Returns the layers of a block; `number` counts from the fixed one."""
    widths = {"cin": block.in_channels, "cout": block.out_channels}
    if block.op == "classifier":
        return [{"kind": _GAP}, {"kind": _DENSE, **widths, "bias": True}]
    if block.op == "skip":
        return [{"kind": "skip", "block": number}]
    if block.op == "conv":
        stride = block.stride
        return [{"kind": "conv", **widths, "kernel": a["k"], "stride": stride}]
    if block.op not in ("mbconv", "cell"):
        raise _fail(f"block {number}", "an op of AutoSpace", block.op)
    inner = {
        "kind": block.op, "block": number, **widths, "stride": block.stride,
        "residual": residual, "expand": a["e"],
    }
    if block.op == "mbconv":
        return [{**inner, "kernel": a["k"]}]
    return [{**inner, "cell": list(Cell.parse(a["cell"]).codes)}]


def read_net(path: str | os.PathLike) -> Arch:
    """Reads a network.

    Args:
        path: The file.

    Returns:
        A network outside any space; `decode(encode(...))` of a space that
        contains it names the space.

    Raises:
        ArtifactError: naming the layer and what is wrong.
    """
    value, source = artifacts.read_json(path, NET_FORMAT), str(path)
    layers, norm = value.get("layers"), value.get("bn")
    if not isinstance(layers, list) or not layers:
        raise _fail(f"{source}: field `layers`", "a list of layers", layers)
    if not isinstance(norm, dict) or set(norm) != {"momentum", "epsilon"}:
        raise _fail(f"{source}: field `bn`", "momentum and epsilon", norm)
    if value.get("act") != "relu6":
        raise _fail(f"{source}: field `act`", "'relu6'", value.get("act"))
    shared = {
        "act": "relu6", "pad": "sym",
        "norm": {
            "eps": norm["epsilon"], "momentum": norm["momentum"],
            "affine": True,
        },
    }
    choices = {
        "merge": _choice(value, source, "merge", MERGES),
        "large_kernel": _choice(value, source, "large_kernel", LARGE_KERNELS),
    }
    reader = _NetReader(source, shared, choices)
    for i, layer in enumerate(layers):
        reader.read(i, layer)
    arch = Arch.from_json(
        {
            "format": "tfnas-arch/1", "space": None,
            "input_shape": value.get("input"), "classes": reader.width,
            "blocks": [block.to_json() for block in reader.blocks],
        },
        source,
    )
    reader.check(arch)
    return arch


class _NetReader:
    """Turns layers into blocks, one after the other."""

    def __init__(
        self, source: str, shared: dict[str, Any], choices: dict[str, Any]
    ):
        self.source, self.shared, self.choices = source, shared, choices
        self.blocks: list[Block] = []
        self.width: Any = None  # of the output so far
        self.number = -1  # of the last inner block

    def read(self, i: int, layer: Any) -> None:
        where = f"{self.source}: layers[{i}]"
        kind = layer.get("kind") if isinstance(layer, dict) else None
        if kind not in (*_NET_FIELDS, _GAP):
            raise _fail(where, f"a layer of {[*_NET_FIELDS, _GAP]}", layer)
        if kind == _GAP:
            return
        missing = [f for f in _NET_FIELDS[kind] if f not in layer]
        if missing:
            raise _fail(where, f"the fields {missing}", layer)
        if "block" in layer:
            self.number += 1
            if layer["block"] != self.number:
                raise _fail(where, f"block {self.number}", layer["block"])
        self.blocks.append(self._block(kind, layer, where))
        self.width = self.blocks[-1].out_channels

    def _block(self, kind: str, layer: dict[str, Any], where: str) -> Block:
        last = stage_of(max(self.number, 1))
        if kind == "skip":
            return Block("skip", self.width, self.width, 1, last)
        widths = layer["cin"], layer["cout"]
        if kind == _DENSE:
            return Block("classifier", *widths, 1, last + 2)
        stride = layer["stride"]
        if kind == "conv":
            stage = last + 1 if self.blocks else 0
            attrs = {"k": layer["kernel"], **self.shared}
            return Block("conv", *widths, stride, stage, attrs)
        stage = last if self.number else 1
        if kind == "mbconv":
            attrs = {"k": layer["kernel"], "e": layer["expand"]}
            return Block(
                "mbconv", *widths, stride, stage, {**attrs, **self.shared}
            )
        cell = cells.decode(layer["cell"], f"{where}: field `cell`")
        attrs = {"cell": str(cell), "e": layer["expand"], **self.choices}
        return Block("cell", *widths, stride, stage, {**attrs, **self.shared})

    def check(self, arch: Arch) -> None:
        """Checks that the layers fit together, also where they add."""
        try:
            ops.shapes(arch)
        except ArtifactError as error:
            raise ArtifactError(f"{self.source}: {error}") from error


_NET_FIELDS = {
    "conv": ("cin", "cout", "kernel", "stride"),
    "mbconv": ("block", "cin", "cout", "stride", "expand", "kernel"),
    "cell": ("block", "cin", "cout", "stride", "expand", "cell"),
    "skip": ("block",),
    _DENSE: ("cin", "cout"),
}
