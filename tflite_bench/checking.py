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
import pathlib
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from tflite_bench import apart
from tflite_bench import backends
from tflite_bench import interpreter
from tflite_bench import profile
from tflite_bench.cutting import Cut
from tflite_bench.cutting import Cutter
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError
from tfnas.errors import RuntimeCrash

FORMAT = "tflite-check/1"
HOST = "xnnpack"
_MODULE = "tflite_bench.checking"
_TIMEOUT_S = 600
_DELEGATE = "DELEGATE"
_NO_NODE = re.compile(r"Node number (\d+) \(([^)]+)\) failed to prepare")
_NO_VERSION = re.compile(r"builtin opcode '(\w+)' version '(\d+)'")
_CONTROL = ("WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE")
# What is changed of an operator, and what it means if it is taken then.
_TRIALS = (
    (Cut.in_one_scale,
     "takes {code} of {kinds} only where the scales of what goes in and comes "
     "out are more alike"),
    (Cut.with_constants,
     "takes {code} only where all but its first input is constant"),
    (Cut.in_steps_of_one, "takes {code} only in steps of 1"),
    (Cut.in_float,
     "has no {kernel} for this; in float32 it takes the same"),
)


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
    """

    operators: tuple[Operator, ...]
    pieces: int | None
    backend: str
    source: str
    total_ms: float | None = None
    remark: str | None = None

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
        _MODULE, {**job, "do": "look"}, source, "loading it", _TIMEOUT_S
    )
    operators = [Operator(**{**op, "shape": tuple(op["shape"])})
                 for op in found["operators"]]
    if backend != HOST:
        return _known(backend, operators, found["facts"], found["edges"])
    left = [op for op in operators if not op.delegated]
    whys, times = {}, {}
    if left and found["refusal"] is None:
        whys = _whys(job, source, left)
    total_ms, remark = None, found["refusal"]
    if left and runs:
        try:
            measured = profile.profile(source, runs, found["shapes"])
        except (DeviceError, RuntimeCrash) as error:
            remark = remark or f"nothing is timed: {error}"
        else:
            total_ms = sum(time.mean_ms for time in measured)
            times = _costs(operators, measured)
    return Check(
        tuple(
            op if op.delegated else dataclasses.replace(
                op,
                why=whys.get(op.index, found["refusal"] or "unknown"),
                cost_ms=times.get(op.index),
            )
            for op in operators
        ),
        found["pieces"], HOST, found["runtime"], total_ms, remark,
    )


def _known(
    backend: str,
    operators: Sequence[Operator],
    facts: Sequence[Mapping[str, Any]],
    edges: Sequence[Sequence[Sequence[int]]],
) -> Check:
    """Says what is known of a backend that is not here."""
    said = [backends.judge(backend, fact) for fact in facts]
    taken = [each for each, _ in said]
    places: list[int | None] = [None] * len(taken)
    if None not in taken:
        places = partition([bool(each) for each in taken], edges)
    placed = [
        dataclasses.replace(op, delegated=each, piece=place, why=why)
        for op, (each, why), place in zip(operators, said, places, strict=True)
    ]
    return Check(
        tuple(placed),
        None if None in taken else max(filter(None, places), default=0),
        backend, backends.source(backend), remark=backends.remark(backend),
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
        _MODULE, {**job, "do": "try", "left": [op.index for op in left]},
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


def explained(source: str, error: Exception) -> ArtifactError:
    """Returns in one line why the runtime cannot run a file.

    Args:
        source: The file.
        error: What the runtime said.
    """
    text = " ".join(str(error).split())
    text = text.removeprefix(f"{source}: ")
    lacking = None
    if "Select TensorFlow op" in text or "unresolved custom op" in text:
        if node := _NO_NODE.search(text):
            lacking = f"operator {node[2]} (number {node[1]} of the file)"
    elif version := _NO_VERSION.search(text):
        lacking = f"version {version[2]} of operator {version[1]}"
    if lacking is None:
        return ArtifactError(f"{source}: {text}")
    return ArtifactError(
        f"{source}: expected operators that the runtime has. Received: "
        f"{lacking}; convert the model to built-in operators only, or update "
        "the runtime"
    )


def _work(job: dict[str, Any]) -> Any:
    return _look(job) if job["do"] == "look" else _try(job)


def _look(job: dict[str, Any]) -> dict[str, Any]:
    """Returns the operators of a file and which of them are delegated."""
    path, refusal, facts = job["path"], None, interpreter.version("litert")
    sizes = job["free_sizes"]
    try:
        model = interpreter.Model(path, free_sizes=sizes)
    except ArtifactError as error:
        try:  # without the delegate, as programs do that it refuses
            model = interpreter.Model(path, xnnpack=False, free_sizes=sizes)
        except ArtifactError:
            raise explained(path, error) from error
        refusal = f"XNNPACK refuses the whole file: {_short(error, path)}"
    content = pathlib.Path(path).read_bytes()
    shapes = {x["name"]: x["shape"] for x in model.inputs if x["free"]}
    plain = _open(content, shapes, plain=True)
    cutter = Cutter(content, path, _shapes(plain))
    nodes = plain._get_ops_details()
    pieces: list[set[int]] = []
    if refusal is None:
        pieces = _pieces(
            _open(content, shapes)._get_ops_details(),
            _open(content, shapes, single=True)._get_ops_details(),
            len(nodes),
        )
    places = {index: i for i, piece in enumerate(pieces) for index in piece}
    tensors = _shapes(plain)
    operators = []
    for index, node in enumerate(nodes):
        outputs = [int(i) for i in node["outputs"] if i >= 0]
        piece = places.get(index)
        operators.append(dataclasses.asdict(Operator(
            index, cutter.codes[index], cutter.take(index).kinds(),
            cutter.outputs[index],
            tuple(tensors[outputs[0]]) if outputs else (),
            piece is not None, None if piece is None else piece + 1,
        )))
    return {
        "operators": operators,
        "facts": [backends.fact(cutter.take(i)) for i in range(len(nodes))],
        "edges": [
            [[int(i) for i in node[side]] for side in ("inputs", "outputs")]
            for node in nodes
        ],
        "pieces": len(pieces),
        "refusal": refusal,
        "shapes": shapes,
        "runtime": f"{facts['name']} {facts['version']}",
    }


def _open(
    content: bytes,
    shapes: Mapping[str, Sequence[int]],
    plain: bool = False,
    single: bool = False,
) -> Any:
    """Returns an interpreter.

    Args:
        content: Of the file.
        shapes: Of the inputs whose sizes are free, by name.
        plain: Whether it goes without delegate.
        single: Whether each operator becomes a piece of its own.
    """
    kind, resolvers = interpreter.load_runtime("litert")
    resolver = resolvers.BUILTIN
    if plain:
        resolver = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    # Wrong files are found before; this makes no copy of what they are for.
    opened = kind(
        model_content=content, experimental_op_resolver_type=resolver,
        **({"experimental_disable_delegate_node_fusion": True} if single
           else {}),
    )
    for tensor in opened.get_input_details():
        if tensor["name"] in shapes:
            opened.resize_tensor_input(
                tensor["index"], shapes[tensor["name"]]
            )
    opened.allocate_tensors()
    return opened


def _shapes(opened: Any) -> list[list[int]]:
    found = {
        t["index"]: t["shape"].tolist() for t in opened.get_tensor_details()
    }
    return [found.get(i, []) for i in range(max(found, default=-1) + 1)]


def _pieces(
    nodes: Sequence[Mapping[str, Any]],
    single: Sequence[Mapping[str, Any]],
    count: int,
) -> list[set[int]]:
    """Returns the operators of each piece that the delegate runs.

    The runtime lists its pieces after the operators, with the tensors that go
    in and come out. What lies between is found from its outputs backwards.
    Operators that nothing reads from are found in the other list, where each
    is a piece by itself.

    Args:
        nodes: What the runtime lists.
        single: The same where no operators are joined.
        count: How many operators the file has.
    """
    makers = {
        int(tensor): index
        for index, node in enumerate(nodes[:count])
        for tensor in node["outputs"]
    }
    pieces = []
    for node in nodes[count:]:
        given, piece = {int(i) for i in node["inputs"]}, set()
        todo = [int(i) for i in node["outputs"]]
        while todo:
            maker = makers.get(todo.pop())
            if maker is None or maker in piece:
                continue
            piece.add(maker)
            read = {int(i) for i in nodes[maker]["inputs"]}
            todo += [i for i in read - given if i in makers]
        pieces.append(piece)
    placed = set().union(*pieces)
    for index, node in enumerate(nodes[:count]):
        if index not in placed and pieces and _is_single(node, single[count:]):
            pieces[_nearest(index, pieces)].add(index)
    return pieces


def _is_single(
    node: Mapping[str, Any], single: Sequence[Mapping[str, Any]]
) -> bool:
    """Says whether an operator is one of the pieces of one operator."""
    read = {int(i) for i in node["inputs"]} - {-1}
    made = {int(i) for i in node["outputs"]}
    return any(
        {int(i) for i in piece["inputs"]} == read
        and {int(i) for i in piece["outputs"]} <= made
        for piece in single
    )


def _nearest(index: int, pieces: Sequence[set[int]]) -> int:
    """Returns the piece that an operator that nothing reads from is in."""
    gaps = [min((abs(index - i) for i in p), default=index) for p in pieces]
    return gaps.index(min(gaps))


def _try(job: dict[str, Any]) -> dict[int, str]:
    """Returns why the delegate takes none of some operators."""
    path = job["path"]
    content = pathlib.Path(path).read_bytes()
    model = interpreter.Model(
        path, xnnpack=False, free_sizes=job["free_sizes"]
    )
    shapes = {x["name"]: x["shape"] for x in model.inputs if x["free"]}
    cutter = Cutter(content, path, _shapes(_open(content, shapes, plain=True)))
    known: dict[bytes, str] = {}
    whys = {}
    for index in job["left"]:
        try:
            alone = cutter.cut(index) or b""
        except Exception:  # what cannot be packed alone cannot be tried
            whys[index] = "unknown: it cannot be tried alone"
            continue
        if alone not in known:
            known[alone] = _why(cutter, index, alone)
        whys[index] = known[alone]
    return whys


def _why(cutter: Cutter, index: int, alone: bytes) -> str:
    """Returns why the delegate does not take an operator, by trying it."""
    cut = cutter.take(index)
    code, kinds = cut.name, cut.kinds()
    kernel = f"kernel of {code} for {kinds}"
    if " " not in kinds:
        kernel = f"{kinds} kernel of {code}"
    if code in _CONTROL:
        return f"{code} is control flow, and what it runs is not listed here"
    if _is_taken(alone):
        return f"unknown: XNNPACK takes this {code} where it stands alone"
    for change, reason in _TRIALS:
        try:
            other = cutter.cut(index, change)
        except Exception:  # what cannot be packed cannot be tried
            continue
        if other is not None and _is_taken(other):
            reason = reason.format(code=code, kinds=kinds, kernel=kernel)
            return f"XNNPACK {reason}"
    return f"XNNPACK has no {kernel} of this form"


def _is_taken(content: bytes) -> bool:
    """Says whether the delegate takes the only operator of a file."""
    try:
        nodes = _open(content, {})._get_ops_details()
    except (RuntimeError, ValueError):  # no such operator
        return False
    return any(node["op_name"] == _DELEGATE for node in nodes)


def _short(error: Exception, path: str) -> str:
    return " ".join(str(error).split()).removeprefix(f"{path}: ")


def table(path: str, checked: Check) -> str:
    """Returns what a check found, all operators in order."""
    lines = [f"{path}: {headline(checked)}", f"  by {checked.source}"]
    if checked.remark:
        lines.append(f"  {checked.remark}")
    lines.append(
        f"{'':>5} {'operator':<24} {'gives':<24} {'piece':>5} {'ms':>9}"
    )
    for op in checked.operators:
        shape = "x".join(map(str, op.shape))
        piece = {True: "in", False: "-", None: "?"}[op.delegated]
        if op.piece is not None:
            piece = str(op.piece)
        cost = "" if op.delegated else "?"
        if op.cost_ms is not None:
            cost = f"{op.cost_ms:.3f}"
        lines.append(
            f"{op.index:5} {op.code:<24} {f'{op.kind} {shape}':<24} "
            f"{piece:>5} {cost:>9}  {op.why or ''}".rstrip()
        )
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


if __name__ == "__main__":
    apart.answer(_work)
