"""Does our timing agree with the runtime's own program?

    python -m benchmarks.litert_benchmark [--turns=3] [--runs=50]

`litert-benchmark` comes with the runtime (the wheel of ai-edge-litert); it
takes the wall time of runs in a row. Ten files, five applications with random
weights in both types, are timed by it and by `tflite-bench` in turn, each time
in a process of its own and on the same core. Of each file the medians of both
are compared: ours has to be within 5 %. It prints hundredths of a millisecond,
so no file is shorter than a millisecond.

Only an idle machine tells something: our clock is the thread's CPU time, its
is the wall's. Takes 3 minutes there. Prints one JSON line and writes it to
`benchmarks/results/`.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from tflite_bench import writer
from tflite_bench.device import HostDevice
from tfnas import applications
from tfnas import artifacts
from tfnas import cli
from tfnas.errors import DeviceError

_TURNS = flags.DEFINE_integer(
    "turns", 3, "How often each program times a file.", lower_bound=1
)
_RUNS = flags.DEFINE_integer(
    "runs", 50, "Runs of theirs, rounds of ours, in each turn.", lower_bound=2
)
_RESULT = flags.DEFINE_string("result", "litert_benchmark", "In results/.")

APPLICATIONS = (
    "ase_nas", "autospace_340m", "densenas_a", "densenas_b", "shrink_cnn_a"
)
DTYPES = ("float32", "int8")
LIMIT = 0.05
_THEIRS = "ai_edge_litert.tools.benchmark_litert_model"
_TIMEOUT_S = 600


def theirs_ms(path: str, runs: int) -> float:
    """Returns the median that litert-benchmark finds for a file.

    Raises:
        DeviceError: when it fails.
    """
    core = min(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.json"
        done = subprocess.run(
            [
                sys.executable, "-m", _THEIRS, f"--model={path}",
                f"--num_runs={runs}", f"--result_json={out}",
            ],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        if done.returncode or not out.exists():
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise DeviceError(f"{path}: litert-benchmark said: {last}")
        return float(json.loads(out.read_text())["latency"]["median_ms"])


def ours_ms(path: str, rounds: int) -> tuple[float, float]:
    """Returns the median that tflite-bench finds, and the wall's."""
    (found,) = HostDevice().measure_apart([path], rounds)
    return float(np.median(found.samples_ms)), float(np.median(found.wall_ms))


def compare(path: str) -> dict[str, Any]:
    """Times a file with both programs in turn."""
    turns = [
        (*ours_ms(path, _RUNS.value), theirs_ms(path, _RUNS.value))
        for _ in range(_TURNS.value)
    ]
    ours, wall, theirs = (
        float(np.median(column)) for column in zip(*turns, strict=True)
    )
    ratios = [mine / other for mine, _, other in turns]
    return {
        "ours_ms": round(ours, 4),
        "ours_wall_ms": round(wall, 4),
        "theirs_ms": theirs,
        "ratio": round(float(np.median(ratios)), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in APPLICATIONS:
            arch = applications.APPLICATIONS.get(name).get_arch()
            for dtype in DTYPES:
                path = f"{folder}/{name}_{dtype}.tflite"
                artifacts.write_bytes(path, writer.write_arch(arch, dtype))
                files[f"{name} {dtype}"] = compare(path)
                print(f"{name} {dtype}: {files[f'{name} {dtype}']['ratio']}")
    off = {name: abs(row["ratio"] - 1) for name, row in files.items()}
    line = {
        "benchmark": "litert_benchmark",
        "limit": LIMIT,
        "largest": round(max(off.values()), 4),
        "holds": max(off.values()) <= LIMIT,
        "files": files,
        "turns": _TURNS.value,
        "runs": _RUNS.value,
        "load_average": round(os.getloadavg()[0], 2),
        **HostDevice().describe(),
    }
    closing.show(line, _RESULT.value or None)


if __name__ == "__main__":
    cli.run(main)
