"""Cells as things that evolve: forms, keys, fusion, mutation.

Source: Zhou et al., "AutoSpace", ICCV 2021. Rules and fusion are read off
the released space and network; the odds of mutation are ours.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfnas.errors import ArtifactError
from tfnas.ops.cell import CONV
from tfnas.ops.cell import EDGES
from tfnas.ops.cell import EXPANSIONS
from tfnas.ops.cell import IDENTITY
from tfnas.ops.cell import NONE
from tfnas.ops.cell import SUM
from tfnas.ops.cell import Cell

DEPTHWISE = 5  # the code of a depthwise 3x3 convolution
# Inverted residuals as stacks of 3x3 depthwise convolutions; fused they have
# kernels of 7, 5 and 3.
REFERENCES = {
    "ref7": Cell(2, 0, 0, 5, 1, 5, 1, 1, 5),
    "ref5": Cell(2, 0, 0, 5, 1, 5, 1, 1, 2),
    "ref3": Cell(2, 0, 0, 5, 1, 2, 1, 1, 2),
}
# What evolution may write on the edges that vary.
ALPHABET = {
    "e01": (IDENTITY, CONV, DEPTHWISE),
    "e02": (NONE, IDENTITY, CONV, DEPTHWISE),
    "e12": (IDENTITY, CONV, DEPTHWISE),
    "e13": (NONE, IDENTITY, CONV, DEPTHWISE),
    "e23": (IDENTITY, CONV, DEPTHWISE),
}
_SITES = (*ALPHABET, "dim", "mix2", "mix3")
_WIDEST = len(EXPANSIONS) - 1


def to_matrix(cell: Cell) -> list[list[Any]]:
    """Returns the published 4 x 4 form.

    Row j, column i < j holds the code of the edge from node i to node j; two
    free places hold `dim` and the merges.
    """
    c = cell
    return [
        [0, 0, 0, c.dim],
        [c.e01, 0, 0, [c.mix2, c.mix3]],
        [c.e02, c.e12, 0, 0],
        [c.e03, c.e13, c.e23, 0],
    ]


def from_matrix(matrix: Any, source: str = "cell") -> Cell:
    """Reads the published 4 x 4 form.

    Args:
        matrix: Nested lists, or their text.
        source: What the matrix stands in, for messages.

    Raises:
        ArtifactError: when it is no such matrix, or naming an illegal field.
    """
    value = matrix
    if isinstance(matrix, str):
        try:
            value = json.loads(matrix)
        except (ValueError, RecursionError):
            value = None
    if not _is_matrix(value):
        raise ArtifactError(
            f"{source}: expected a matrix such as "
            "[[0,0,0,dim],[e01,0,0,[mix2,mix3]],[e02,e12,0,0],"
            f"[e03,e13,e23,0]]. Received: {repr(matrix)[:200]}"
        )
    edges = [value[int(name[2])][int(name[1])] for name in EDGES]
    return Cell.of([value[0][3], *value[1][3], *edges], source)


def _is_matrix(value: Any) -> bool:
    rows = isinstance(value, list) and len(value) == 4
    if not rows or not all(isinstance(r, list) and len(r) == 4 for r in value):
        return False
    zeros = [value[i][j] for i, j in itertools.product(range(4), range(4))
             if i <= j and (i, j) not in ((0, 3), (1, 3))]
    mixes = value[1][3]
    return zeros == [0] * len(zeros) and (
        isinstance(mixes, list) and len(mixes) == 2
    )


def decode(value: Any, source: str = "cell") -> Cell:
    """Reads a cell in any of its forms.

    Args:
        value: Nine codes, their compact text, a 4 x 4 matrix or its text.
        source: What the cell stands in, for messages.

    Raises:
        ArtifactError: naming the source and what is wrong.
    """
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return Cell.parse(value, source)
    if isinstance(value, str) or (
        isinstance(value, list) and any(isinstance(v, list) for v in value)
    ):
        return from_matrix(value, source)
    return Cell.of(value, source)


def is_valid(cell: Cell) -> bool:
    """Says whether evolution may make this cell.

    Codes of fused cells are left to derived networks, and a cell of the
    widest expansion has no inner 1x1 convolution.
    """
    edges = [getattr(cell, name) for name in EDGES]
    legal = all(getattr(cell, e) in codes for e, codes in ALPHABET.items())
    return legal and not (cell.dim == _WIDEST and CONV in edges)


def num_valid() -> int:
    """Returns how many cells are valid."""
    fitting = [
        [sum(_fits(code, dim) for code in codes) for codes in ALPHABET.values()]
        for dim in range(len(EXPANSIONS))
    ]
    return 4 * sum(map(math.prod, fitting))  # either merge at two nodes


def fuse(cell: Cell) -> Cell:
    """Makes stacked 3x3 depthwise convolutions at the head one kernel.

    Two become a 5x5; a pure chain of three becomes a 7x7. This is what
    derived networks hold. It does not keep the function, so that weights
    cannot be carried over.
    """
    if cell.e01 != DEPTHWISE or cell.e12 != DEPTHWISE:
        return cell
    cell = dataclasses.replace(cell, e01=7, e12=IDENTITY)
    chain = cell.e02 == cell.e13 == NONE
    if chain and cell.e23 == DEPTHWISE:
        cell = dataclasses.replace(cell, e01=9, e23=IDENTITY)
    return cell


def unfuse(cell: Cell) -> Cell:
    """Returns the cell that `fuse` makes into `cell`.

    Cells with other large kernels than `fuse` writes are returned as they
    are.
    """
    edges = {"e01": DEPTHWISE, "e12": DEPTHWISE}
    if cell.e01 == 9:
        edges["e23"] = DEPTHWISE
    before = dataclasses.replace(cell, **edges)
    return before if fuse(before) == cell else cell


def canonical(cell: Cell) -> Cell:
    """Returns a key: equal for cells that compute the same once fused.

    A merge of a single input does not count. The key is for comparison only.
    """
    mixes = {
        f"mix{node}": SUM
        for node in (2, 3) if len(cell.inputs(node)) == 1
    }
    return fuse(dataclasses.replace(cell, **mixes))


def random_cell(rng: np.random.Generator) -> Cell:
    """Draws a valid cell: every field of every cell is as likely."""
    dim = int(rng.integers(len(EXPANSIONS)))
    edges = {
        name: int(rng.choice([c for c in codes if _fits(c, dim)]))
        for name, codes in ALPHABET.items()
    }
    mixes = {f"mix{n}": int(rng.integers(2)) for n in (2, 3)}
    return Cell(dim=dim, e03=NONE, **mixes, **edges)


def _fits(code: int, dim: int) -> bool:
    return not (dim == _WIDEST and code == CONV)


def mutate(cell: Cell, rng: np.random.Generator) -> Cell:
    """Draws a valid cell that differs from a valid one in one field.

    One of the five edges that vary, the expansion or a merge, all equally
    likely, takes another value; the expansion goes one step up or down.

    Args:
        cell: A valid cell.
        rng: The stream to draw from.
    """
    options: list[Cell] = []
    while not options:
        site = _SITES[int(rng.integers(len(_SITES)))]
        options = [
            child
            for value in _values(cell, site)
            if is_valid(child := dataclasses.replace(cell, **{site: value}))
        ]
    return options[int(rng.integers(len(options)))]


def _values(cell: Cell, site: str) -> Iterator[int]:
    """Yields the other values of a field."""
    now = getattr(cell, site)
    if site == "dim":
        yield from (d for d in (now - 1, now + 1) if 0 <= d <= _WIDEST)
    elif site in ALPHABET:
        yield from (code for code in ALPHABET[site] if code != now)
    else:
        yield 1 - now


def crossover(a: Cell, b: Cell, rng: np.random.Generator) -> Cell:
    """Draws each field from either of two valid cells.

    Where the widest expansion meets inner 1x1 convolutions, these become
    depthwise ones.
    """
    picks = rng.integers(2, size=len(a.codes))
    child = Cell(
        *[
            pair[int(pick)]
            for pair, pick in zip(
                zip(a.codes, b.codes, strict=True), picks, strict=True
            )
        ]
    )
    if is_valid(child):
        return child
    repairs = {e: DEPTHWISE for e in EDGES if getattr(child, e) == CONV}
    return dataclasses.replace(child, **repairs)
