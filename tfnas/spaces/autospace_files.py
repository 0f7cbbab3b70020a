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
from tfnas import fields
from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.fields import Fields
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
    file = Fields(artifacts.read_json(path, SPACE_FORMAT), str(path))
    _require_chain(file, [_macro(place) for place in places])
    file.need("dim_to_expand", fields.one_of(([*EXPANSIONS],)))
    blocks = _blocks_of(places)
    rows = file.need("positions", fields.LIST)
    found = {
        row["position"]: row
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("position"), int)
    }
    missing = [i for i in range(len(blocks)) if i not in found]
    if missing or len(rows) != len(blocks):
        raise ArtifactError(
            f"{path}: field `positions` must hold each position from 0 to "
            f"{len(blocks) - 1} once. Received: {len(rows)} entries, "
            f"missing={missing}"
        )
    return SpaceFile(
        tuple(
            _position(Fields(found[i], f"{path}: position {i}"), numbers)
            for i, numbers in enumerate(blocks)
        ),
        _choice(file, "merge", MERGES),
        _choice(file, "large_kernel", LARGE_KERNELS),
    )


def _require_chain(file: Fields, macro: list[Any]) -> None:
    theirs = file.need("macro", fields.LIST)
    if len(theirs) != len(macro):
        file.refuse(
            "macro", f"a list of {len(macro)} places, those of this chain",
            len(theirs),
        )
    for i, place in enumerate(theirs):
        if place != macro[i]:
            file.refuse(f"macro[{i}]", f"{macro[i]}", place)


def _choice(file: Fields, name: str, legal: tuple[str, ...]) -> str:
    return file.need(name, fields.optional(fields.one_of(legal))) or legal[0]


def _position(row: Fields, blocks: list[int]) -> tuple[Cell, ...]:
    row.need("blocks", fields.one_of((blocks,)))
    return tuple(
        _cell(row, f"cells[{i}]", value)
        for i, value in enumerate(row.need("cells", fields.FILLED))
    )


def _cell(row: Fields, name: str, value: Any) -> Cell:
    where = f"{row.source}, {name}"
    cell = cells.decode(value, where)
    if (set(KERNELS) - {cells.DEPTHWISE}) & set(cell.codes):
        row.refuse(name, "a cell that is not fused yet", value)
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
        raise ArtifactError(
            f"block {number}: expected an op of AutoSpace. "
            f"Received: {block.op!r}"
        )
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
    file = Fields(artifacts.read_json(path, NET_FORMAT), str(path))
    norm = file.section("bn")
    norm.only(("momentum", "epsilon"))
    shared = {
        "act": file.need("act", fields.one_of(("relu6",))), "pad": "sym",
        "norm": {
            "eps": norm.need("epsilon", fields.NUMBER),
            "momentum": norm.need("momentum", fields.NUMBER),
            "affine": True,
        },
    }
    choices = {
        "merge": _choice(file, "merge", MERGES),
        "large_kernel": _choice(file, "large_kernel", LARGE_KERNELS),
    }
    reader = _NetReader(shared, choices)
    file.need("layers", fields.FILLED)
    for layer in file.sections("layers"):
        reader.read(layer)
    arch = Arch.from_json(
        {
            "format": "tfnas-arch/1", "space": None,
            "input_shape": file.values.get("input"), "classes": reader.width,
            "blocks": [block.to_json() for block in reader.blocks],
        },
        file.source,
    )
    try:  # the layers fit together, also where they add
        ops.shapes(arch)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return arch


class _NetReader:
    """Turns layers into blocks, one after the other."""

    def __init__(self, shared: dict[str, Any], choices: dict[str, Any]):
        self.shared, self.choices = shared, choices
        self.blocks: list[Block] = []
        self.width: Any = None  # of the output so far
        self.number = -1  # of the last inner block

    def read(self, layer: Fields) -> None:
        kind = layer.need("kind", fields.one_of((*_NET_FIELDS, _GAP)))
        if kind == _GAP:
            return
        for name in _NET_FIELDS[kind]:
            layer.need(name, fields.THERE)
        if "block" in layer.values:
            self.number += 1
            layer.need("block", fields.one_of((self.number,)))
        self.blocks.append(self._block(kind, layer))
        self.width = self.blocks[-1].out_channels

    def _block(self, kind: str, place: Fields) -> Block:
        layer = place.values
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
        where = f"{place.source}: {place.path}: field `cell`"
        cell = cells.decode(layer["cell"], where)
        attrs = {"cell": str(cell), "e": layer["expand"], **self.choices}
        return Block("cell", *widths, stride, stage, {**attrs, **self.shared})


_NET_FIELDS = {
    "conv": ("cin", "cout", "kernel", "stride"),
    "mbconv": ("block", "cin", "cout", "stride", "expand", "kernel"),
    "cell": ("block", "cin", "cout", "stride", "expand", "cell"),
    "skip": ("block",),
    _DENSE: ("cin", "cout"),
}
