"""What the runtime says of a file and its delegate, in a process of its own.

`checking` asks; the answers are JSON values.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from tflite_bench import apart
from tflite_bench import backends
from tflite_bench import interpreter
from tflite_bench.cutting import Cut
from tflite_bench.cutting import Cutter
from tfnas.errors import ArtifactError

_DELEGATE = "DELEGATE"
_NO_NODE = re.compile(r"Node number (\d+) \(([^)]+)\) failed to prepare")
_NO_VERSION = re.compile(r"builtin opcode '(\w+)' version '(\d+)'")
_CANNOT = "this runtime cannot run it: "
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


def explained(paths: Sequence[str], error: Exception) -> ArtifactError:
    """Returns in one line why the runtime cannot run a file.

    Args:
        paths: The files that it may be.
        error: What the runtime said, with the file before it.
    """
    text = " ".join(str(error).split())
    named = [f"{path}: " for path in paths if text.startswith(f"{path}: ")]
    source = named[0] if named else ""
    lacking = None
    if "Select TensorFlow op" in text or "unresolved custom op" in text:
        if node := _NO_NODE.search(text):
            lacking = f"operator {node[2]} (number {node[1]} of the file)"
    elif version := _NO_VERSION.search(text):
        lacking = f"version {version[2]} of operator {version[1]}"
    if lacking is None:
        return ArtifactError(text)
    return ArtifactError(
        f"{source}expected operators that the runtime has. Received: "
        f"{lacking}; convert the model to built-in operators only, or update "
        "the runtime"
    )


def _work(job: dict[str, Any]) -> Any:
    return _look(job) if job["do"] == "look" else _try(job)


def _look(job: dict[str, Any]) -> dict[str, Any]:
    """Returns the operators of a file and which of them are delegated."""
    path, runtime = job["path"], interpreter.version("litert")
    model, refusal = _loaded(path, job["free_sizes"])
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
        operators.append(
            {
                "index": index,
                "code": cutter.codes[index],
                "kind": cutter.take(index).kinds(),
                "output": cutter.outputs[index],
                "shape": tensors[outputs[0]] if outputs else [],
                "delegated": piece is not None,
                "piece": None if piece is None else piece + 1,
            }
        )
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
        "runtime": f"{runtime['name']} {runtime['version']}",
    }


def _loaded(
    path: str, sizes: Sequence[Sequence[int]]
) -> tuple[interpreter.Model, str | None]:
    """Returns a file that is ready, and why the delegate refuses all of it.

    Raises:
        ArtifactError: when the runtime cannot run it without either.
    """
    try:
        return interpreter.Model(path, free_sizes=sizes), None
    except ArtifactError as error:
        try:
            model = interpreter.Model(path, xnnpack=False, free_sizes=sizes)
        except ArtifactError:
            raise explained([path], error) from error
        # What follows is about the delegate's own node.
        said, *_ = " ".join(str(error).split()).split("Node number")
        return model, said.removeprefix(f"{path}: {_CANNOT}")


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
    opened = kind(
        model_content=content,
        experimental_op_resolver_type=resolver,
        experimental_disable_delegate_node_fusion=single,
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


if __name__ == "__main__":
    apart.answer(_work)
