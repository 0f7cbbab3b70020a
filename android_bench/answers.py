"""Whether a phone answers as this machine does, for the same inputs.

A fast wrong answer is the easiest to get: a GPU that computes zeros, half
precision that overflows. So the outputs are fetched and compared.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from android_bench.benchmark import Tool
from android_bench.workspace import Workspace
from tflite_bench import interpreter
from tfnas.errors import DeviceError

MAX_ERROR = 0.1
_OUTPUT = "output.bin"
_RUNS = 1


@dataclasses.dataclass(frozen=True)
class Answers:
    """How the answers of a phone compare.

    Args:
        inputs: Number of inputs that were tried.
        error: Largest error of an output: the root mean square of its
            difference over that of its spread here. Differences of integers
            by one step count as none.
        problems: What is wrong, in words; empty when nothing is.
    """

    inputs: int
    error: float
    problems: tuple[str, ...]


def compare(
    here: Sequence[np.ndarray], there: Sequence[np.ndarray]
) -> tuple[float, list[str]]:
    """Compares the outputs of one run.

    Args:
        here: What this machine answers, one array an output.
        there: What the phone answers.

    Returns:
        The largest error, and what is wrong.
    """
    worst, problems = 0.0, []
    for number, (ours, theirs) in enumerate(zip(here, there, strict=True)):
        ours, theirs = (np.asarray(x, np.float64) for x in (ours, theirs))
        strange = np.isfinite(ours) & ~np.isfinite(theirs)
        if strange.any():
            problems.append(
                f"output {number} is not finite in {strange.sum()} of "
                f"{strange.size} places"
            )
            worst = np.inf
            continue
        if not np.isfinite(ours).any():
            problems.append(f"output {number} is not finite on this machine")
        error = _error(ours, theirs, here[number].dtype)
        worst = max(worst, error)
        if not theirs.any() and ours.any():
            problems.append(f"output {number} is all zeros")
        elif error > MAX_ERROR:
            # How far is in the largest error; here it would differ by input.
            problems.append(
                f"output {number} is off by more than {MAX_ERROR:.0%} of its "
                "spread"
            )
    return worst, problems


def _error(ours: np.ndarray, theirs: np.ndarray, dtype: np.dtype) -> float:
    same = np.isfinite(ours)
    ours, theirs = ours[same], theirs[same]
    if not ours.size:
        return 0.0
    off = np.abs(theirs - ours)
    if dtype.kind in "iu":
        off = np.where(off <= 1, 0.0, off)
    spread = np.std(ours) or np.sqrt(np.mean(ours**2)) or 1.0
    return float(np.sqrt(np.mean(off**2)) / spread)


def check(
    tool: Tool,
    workspace: Workspace,
    path: str | os.PathLike,
    inputs: int = 3,
    mask: str | None = None,
) -> Answers:
    """Compares the answers of a phone with those of this machine.

    Args:
        tool: The benchmark program, installed.
        workspace: Where it is on the phone.
        path: The `.tflite` file.
        inputs: How many inputs of random numbers to try.
        mask: Cores to stay on, for `taskset`.

    Raises:
        ConfigError: when the program cannot write its outputs.
        DeviceError: when the phone fails, or writes another amount.
        ArtifactError: when the file cannot run here.
    """
    model = interpreter.Model(path)
    name = "answers.tflite"
    workspace.put({name: path})
    worst, problems = 0.0, dict[str, None]()
    for _ in range(inputs):
        given, expected = model.draw(), model.answer()
        data = _run(tool, workspace, name, str(path), given, mask)
        wanted = sum(array.nbytes for array in expected)
        if len(data) != wanted:
            raise DeviceError(
                f"{path}: expected {wanted} bytes of outputs from "
                f"{workspace.adb.serial}. Received: {len(data)} bytes"
            )
        there, start = [], 0
        for array in expected:
            part = data[start : start + array.nbytes]
            there.append(
                np.frombuffer(part, array.dtype).reshape(array.shape)
            )
            start += array.nbytes
        error, found = compare(expected, there)
        worst = max(worst, error)
        problems.update(dict.fromkeys(found))
    return Answers(inputs, worst, tuple(problems))


def _run(
    tool: Tool,
    workspace: Workspace,
    model: str,
    source: str,
    given: Sequence[np.ndarray],
    mask: str | None,
) -> bytes:
    """Returns the bytes of all outputs for one input."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, array in enumerate(given):
            file = pathlib.Path(folder, f"input{number}.bin")
            file.write_bytes(np.ascontiguousarray(array).tobytes())
            files[file.name] = file
        workspace.put(files)
        shapes = [",".join(map(str, array.shape)) for array in given]
        target = pathlib.Path(folder, _OUTPUT)
        tool.answer(
            workspace, model, source, list(files), shapes, _OUTPUT, mask
        )
        workspace.adb.pull(workspace.path(_OUTPUT), target)
        return target.read_bytes()
