"""Which operators of a `.tflite` a delegate runs, and what the others cost.

For this machine the runtime itself is asked: what it made of the file, whether
it would take an operator that it left out in another form, and how long that
one takes. Each question has a process of its own. Of delegates that are not
here, `backends` says what is known.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from tflite_bench import apart
from tflite_bench import backends
from tflite_bench import profile
from tfnas.errors import DeviceError
from tfnas.errors import RuntimeCrash

FORMAT = "tflite-check/1"
HOST = "xnnpack"
_ASK = "tflite_bench.asking"
_TIMEOUT_S = 600
_REFUSED = "XNNPACK refuses the whole file"
_CULPRIT = re.compile(r"node #(\d+)$")


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator of a file, and where it runs.

    Args:
        index: Its place in the file.
        code: What it is, such as `"CONV_2D"`.
        kind: What it computes with: `"int8"`, or
            `"float32 with int8 weights"`.
        output: Name of the tensor that it gives.
        shape: Shape of that tensor.
        delegated: Whether the delegate runs it; `None` where that is
            unknown.
        piece: Number of the piece that it is in, from 1.
        why: Why the delegate does not run it, or why that is unknown.
        cost_ms: Mean wall time of a run of it outside the delegate; `None`
            where it was not measured.
    """

    index: int
    code: str
    kind: str
    output: str
    shape: tuple[int, ...]
    delegated: bool | None
    piece: int | None = None
    why: str | None = None
    cost_ms: float | None = None


@dataclasses.dataclass(frozen=True)
class Check:
    """Where the operators of a file run.

    Args:
        operators: All of the main graph, in order.
        pieces: How many parts of the file the delegate runs, each in one
            go; `None` where that is unknown.
        backend: The delegate.
        source: Where that is known from.
        total_ms: Mean wall time of all operators; `None` if not measured.
        remark: What else there is to say, in one line.
        free_dims_run_as: The shape of each input that leaves a size free,
            by name.
    """

    operators: tuple[Operator, ...]
    pieces: int | None
    backend: str
    source: str
    total_ms: float | None = None
    remark: str | None = None
    free_dims_run_as: Mapping[str, list[int]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def left_out(self) -> tuple[Operator, ...]:
        """The operators that are not known to run in the delegate."""
        return tuple(op for op in self.operators if not op.delegated)

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as a JSON value."""
        return dataclasses.asdict(self)


def check(
    path: str | os.PathLike,
    backend: str = HOST,
    runs: int = 50,
    free_sizes: Sequence[Sequence[int]] = (),
) -> Check:
    """Says where the operators of a file run.

    Args:
        path: The `.tflite` file.
        backend: `HOST`, which is asked, or one of `backends.NAMES`.
        runs: Runs to take the mean of what the operators cost that the host
            leaves out; 0 does not measure.
        free_sizes: See `interpreter.Model`.

    Raises:
        ArtifactError: when the file is missing, damaged, or needs an
            operator that the runtime lacks, which the message names.
        ConfigError: when LiteRT is not installed.
        RuntimeCrash: when the runtime crashes on the file.
    """
    source, job = str(path), {"path": str(path), "free_sizes": list(free_sizes)}
    found = apart.call(
        _ASK, {**job, "do": "look"}, source, "loading it", _TIMEOUT_S
    )
    operators = [Operator(**{**op, "shape": tuple(op["shape"])})
                 for op in found["operators"]]
    if backend != HOST:
        return _known(backend, operators, found)
    left = [op for op in operators if not op.delegated]
    whys, times, total_ms, remark = {}, {}, None, None
    if refusal := found["refusal"]:
        remark = f"{_REFUSED}: {refusal}"
        whys = {op.index: _REFUSED for op in left}
    if tried := _culprits(left, refusal):
        whys |= _whys(job, source, tried)
    if left and runs:
        try:
            measured = profile.profile(source, runs, found["shapes"])
        except (DeviceError, RuntimeCrash) as error:
            remark = remark or f"nothing is timed: {error}"
        else:
            total_ms = sum(time.mean_ms for time in measured)
            times = _costs(operators, measured)
    placed = [
        dataclasses.replace(
            op, why=whys.get(op.index), cost_ms=times.get(op.index)
        )
        for op in operators
    ]
    return Check(
        tuple(placed), found["pieces"], HOST, found["runtime"], total_ms,
        remark, found["shapes"],
    )


def _culprits(
    left: Sequence[Operator], refusal: str | None
) -> list[Operator]:
    """Returns the operators that have a reason of their own to be left out."""
    if refusal is None:
        return list(left)
    named = _CULPRIT.search(refusal)
    return [op for op in left if named and op.index == int(named[1])]


def _known(
    backend: str, operators: Sequence[Operator], found: Mapping[str, Any]
) -> Check:
    """Says what is known of a backend that is not here."""
    said = [backends.judge(backend, fact) for fact in found["facts"]]
    taken = [each for each, _ in said]
    places: list[int | None] = [None] * len(taken)
    if None not in taken:
        places = partition([bool(each) for each in taken], found["edges"])
    placed = [
        dataclasses.replace(op, delegated=each, piece=place, why=why)
        for op, (each, why), place in zip(operators, said, places, strict=True)
    ]
    return Check(
        tuple(placed),
        None if None in taken else max(filter(None, places), default=0),
        backend, backends.source(backend), remark=backends.remark(backend),
        free_dims_run_as=found["shapes"],
    )


def partition(
    taken: Sequence[bool], edges: Sequence[Sequence[Sequence[int]]]
) -> list[int | None]:
    """Puts operators together to pieces as the runtime does.

    It runs in turns what a delegate takes and what it does not, each time
    all that can run by then.

    Args:
        taken: Whether the delegate takes each operator.
        edges: The tensors that each operator reads and gives.

    Returns:
        The number of the piece of each operator, from 1; `None` outside.
    """
    waiting = {int(t) for _, made in edges for t in made}
    places: list[int | None] = [None] * len(taken)
    todo, pieces = list(range(len(taken))), 0

    def is_ready(i: int) -> bool:
        return not waiting & {int(t) for t in edges[i][0]}

    while todo:
        ready = [i for i in todo if is_ready(i)]
        if not ready:  # a circle, which no runtime would load
            break
        turn = taken[ready[0]]
        pieces += turn
        moved = True
        while moved:
            moved = False
            for i in list(todo):
                if taken[i] == turn and is_ready(i):
                    places[i] = pieces if turn else None
                    waiting -= {int(t) for t in edges[i][1]}
                    todo.remove(i)
                    moved = True
    return places


def _whys(
    job: Mapping[str, Any], source: str, left: Sequence[Operator]
) -> dict[int, str]:
    """Returns why operators are left out, tried in a process of their own.

    Where the runtime crashes on that, each kind of them gets its own.
    """
    try:
        return _tried(job, source, left)
    except RuntimeCrash:
        whys: dict[int, str] = {}
        crashed: set[tuple[str, str]] = set()
        for op in left:
            whys[op.index] = "unknown: the runtime crashes when it is tried"
            if (op.code, op.kind) not in crashed:
                try:
                    whys |= _tried(job, source, [op])
                except RuntimeCrash:
                    crashed.add((op.code, op.kind))
        return whys


def _tried(
    job: Mapping[str, Any], source: str, left: Sequence[Operator]
) -> dict[int, str]:
    found = apart.call(
        _ASK, {**job, "do": "try", "left": [op.index for op in left]},
        source, "trying its operators one by one", _TIMEOUT_S,
    )
    return {int(index): why for index, why in found.items()}


def _costs(
    operators: Sequence[Operator], measured: Sequence[profile.OpTime]
) -> dict[int, float]:
    """Returns the times of operators outside the delegate, where known."""
    times: dict[int, list[float]] = collections.defaultdict(list)
    for time in measured:
        if time.index is not None and time.index < len(operators):
            op = operators[time.index]
            # Operators of other graphs have numbers of their own.
            if time.kind == op.code and not op.delegated:
                times[op.index].append(time.mean_ms)
    return {i: found[0] for i, found in times.items() if len(found) == 1}


def table(path: str, checked: Check) -> str:
    """Returns what a check found, all operators in order."""
    lines = [f"{path}: {headline(checked)}", f"  by {checked.source}"]
    if checked.remark:
        lines.append(f"  {checked.remark}")
    rows = [("", "operator", "computes", "piece", "ms", "")]
    for op in checked.operators:
        piece = {True: "in", False: "-", None: "?"}[op.delegated]
        cost = "" if op.delegated else "?"
        rows.append((
            str(op.index), op.code,
            f"{op.kind} {'x'.join(map(str, op.shape))}".strip(),
            piece if op.piece is None else str(op.piece),
            cost if op.cost_ms is None else f"{op.cost_ms:.3f}",
            op.why or "",
        ))
    code, kind = (max(len(row[i]) for row in rows) for i in (1, 2))
    lines += [
        f"{row[0]:>5} {row[1]:<{code}}  {row[2]:<{kind}} {row[3]:>5} "
        f"{row[4]:>8}  {row[5]}".rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def headline(checked: Check) -> str:
    """Returns how much of a file runs in the delegate, in one line."""
    n, name = len(checked.operators), checked.backend
    taken = sum(op.delegated is True for op in checked.operators)
    unknown = sum(op.delegated is None for op in checked.operators)
    said = f"{taken} of {n} operators run in {name}"
    if unknown:
        said += f", of {unknown} it is unknown"
    if checked.pieces is not None:
        said += f", in {checked.pieces} piece{'s' * (checked.pieces != 1)}"
    costs = [op.cost_ms for op in checked.left_out if op.cost_ms is not None]
    if costs and checked.total_ms:
        said += (
            f"; the others take {sum(costs):.3f} of {checked.total_ms:.3f} ms"
        )
    return said
