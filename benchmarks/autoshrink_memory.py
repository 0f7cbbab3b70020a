"""Do hundreds of candidate networks exhaust the memory? What do they cost?

    python -m benchmarks.autoshrink_memory [--candidates=60] [--result=NAME]

Scores random graphs one after another in one process, as a worker of an
AutoShrink search does: digits, 8 nodes, the published proxy with few images,
so that what is not training stands out. For each candidate the resident
memory afterwards, and the CPU seconds beside the steps: building the model,
tracing the two step functions, clearing up. Growth compares the second half
of the candidates with the first, after ten that warm up the process.
Prints one JSON line and writes it to `benchmarks/results/`.
"""

from __future__ import annotations

import pathlib
import time
from typing import Any

import numpy as np
import tqdm
from absl import flags

from benchmarks import closing
from tfnas import cli
from tfnas import config_files

_CANDIDATES = flags.DEFINE_integer("candidates", 60, "Networks to score.")
_NODES = flags.DEFINE_integer("nodes", 8, "Nodes of a cell.")
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

_WARM_UP = 10
_EPOCHS = 3
_IMAGES = 250  # 200 to learn from


def resident_mb() -> float:
    """Returns the resident memory of this process."""
    status = pathlib.Path("/proc/self/status").read_text()
    (line,) = [x for x in status.splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def make_task() -> Any:
    """Returns the proxy that scores the candidates."""
    from tfnas.search.evaluate_proxy import ProxyTask

    config = config_files.load("configs/autoshrink_cnn.py")
    recipe = {
        **config.search.training.to_dict(), "epochs": _EPOCHS,
        "batch_size": 50, "valid_batch_size": 50, "loss_ratio": 1e9,
    }
    data = {"name": "digits", "image_size": 32, "limit_train": _IMAGES}
    return ProxyTask(data, 0.8, 0, recipe)


def timed_loop(passes: dict[str, list[float]]) -> Any:
    """Returns a `Loop` that notes the CPU seconds of its passes."""
    from tfnas.train.loop import Loop

    class TimedLoop(Loop):
        def run(self, phase, *arguments):
            start = time.process_time()
            means = super().run(phase, *arguments)
            passes[phase.name].append(time.process_time() - start)
            return means

    return TimedLoop


def score(task: Any, arch: Any, passes: dict[str, list[float]]) -> dict:
    """Scores one candidate; returns its figures."""
    for times in passes.values():
        times.clear()
    start = time.process_time()
    task.score(arch)
    whole = time.process_time() - start
    # The first pass of each kind holds the tracing; the others are steps.
    steps = sum(
        len(times) * float(np.median(times[1:])) for times in passes.values()
    )
    return {
        "resident_mb": resident_mb(),
        "cpu_s": whole,
        "overhead_cpu_s": whole - steps,
    }


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    from tfnas import spaces
    from tfnas.train import run_state
    from tfnas.train import stage

    passes: dict[str, list[float]] = {"train": [], "valid": []}
    stage.Loop = timed_loop(passes)  # type: ignore[misc]
    space = spaces.get("autoshrink_cnn@32").drawn(_NODES.value, 5)
    task = make_task()
    rows = [
        score(task, space.sample(seed), passes)
        for seed in tqdm.trange(_CANDIDATES.value)
    ]
    memory = [row["resident_mb"] for row in rows[_WARM_UP:]]
    half = len(memory) // 2
    before, after = np.mean(memory[:half]), np.mean(memory[half:])
    overhead = [row["overhead_cpu_s"] for row in rows[_WARM_UP:]]
    line = {
        "benchmark": "autoshrink_memory",
        "candidates": _CANDIDATES.value,
        "nodes": _NODES.value,
        "epochs": _EPOCHS,
        "train_images": round(0.8 * _IMAGES),
        "resident_mb": {
            "first_half": round(float(before), 1),
            "second_half": round(float(after), 1),
            "largest": round(max(memory), 1),
        },
        "growth_percent": round(100 * float(after / before - 1), 2),
        "overhead_cpu_s": {
            "median": round(float(np.median(overhead)), 2),
            "largest": round(max(overhead), 2),
        },
        "cpu_s_median": round(
            float(np.median([row["cpu_s"] for row in rows[_WARM_UP:]])), 2
        ),
        "all_resident_mb": [round(row["resident_mb"]) for row in rows],
        "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
