"""Does shrinking find better convolutional cells than chance does?

    python -m benchmarks.autoshrink_quality --data=webp:cifar10 \\
        --workdir=runs/cnn_quality [--seeds=3] [--workers=2] [--result=NAME]

For each seed a search on a part of CIFAR-10, scaled down: 5 nodes, 2,000
images to learn from and 500 others to score on, 4 epochs, K = 3, so 10 rounds
of at most 27 candidates in all, and as many random graphs of the cost of its
result, which see as many images. Then the result, the best of the random
graphs and the complete graph are trained from scratch as long as each other,
on 10,000 images that include those of the search, and measured on test images
that nothing else looked at. Latency is that of the int8 network, one thread.

It can be killed at any time (`timeout 20m python -m ...`), and the same
command goes on: a search loses at most the candidates in training, a training
its epoch. Prints one JSON line and writes it to `benchmarks/results/`.
(`autoshrink_quality_rnn` is the same for recurrent cells.)
"""

from __future__ import annotations

import math
import pathlib
from typing import Any

from absl import flags

from benchmarks import closing
from tfnas import artifacts
from tfnas import cli
from tfnas import config_files
from tfnas.arch import Arch

_DATA = flags.DEFINE_string(
    "data", None, "CIFAR-10, such as webp:DIR or cifar10.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Searches.", lower_bound=2)
_WORKERS = flags.DEFINE_integer(
    "workers", 2, "Networks trained side by side.", lower_bound=1
)
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

CONFIG = "configs/autoshrink_cnn.py"
SETTING = {
    "data.limit_train": 2500,
    "search.split": 0.8,
    "search.nodes": 5,
    "search.candidates": 3,
    "search.random_archs": 27,
    "search.training.epochs": 4,
    "search.training.batch_size": 50,
    "search.training.hopeless": 0.0,
}
FINAL = {
    "data.limit_train": 10_000,
    "train.epochs": 8,
    "train.warmup_epochs": 1,
    "train.test_every": 8,
}
ROLES = ("derived", "random", "complete")
_BENCH_ROUNDS = 100


def make_config(seed: int, fields: dict[str, Any]) -> Any:
    """Returns the config of one seed."""
    config = config_files.load(CONFIG).copy_and_resolve_references()
    config.data.name = _DATA.value
    config.update_from_flattened_dict(fields)
    config.search.workers = _WORKERS.value
    config.seed = config.search.op_seed = seed
    return config


def networks(seed: int, folder: pathlib.Path) -> dict[str, Arch]:
    """Searches; returns the networks to compare."""
    from tfnas.search import runner

    config = make_config(seed, SETTING)
    result = runner.run_search(config, folder / "search")
    search = runner.open_search(config, folder / "search")
    tried = sum(len(record["candidates"]) for record in result.history)
    # No more random graphs than the search has evaluated.
    best = max(result.baseline[:tried], key=lambda f: f.score or -math.inf)
    return {
        "derived": result.archs[0].arch,
        "random": best.arch,
        "complete": search.at_step(0),
    }


def train(seed: int, arch: Arch, folder: pathlib.Path) -> dict[str, Any]:
    """Trains a network for longer; returns its figures."""
    from tflite_bench import writer
    from tfnas import data
    from tfnas.cost.counting import count
    from tfnas.train import retrain

    # Another seed than that by which candidates were chosen.
    config = make_config(seed + 1000, FINAL)
    dataset = data.load(config.data)
    _, accuracy = retrain.retrain(arch, config, folder, dataset)
    artifacts.write_bytes(
        folder / "model_int8.tflite", writer.write_arch(arch, "int8")
    )
    return {
        "arch_id": arch.id,
        "graph": arch.blocks[1].attrs["graph"],
        "test_accuracy": accuracy,
        "madds": count(arch).madds,
    }


def measure_latency(
    rows: dict[str, dict[str, Any]], folder: pathlib.Path
) -> None:
    """Adds the latency to each row, all timed side by side."""
    from tflite_bench.device import HostDevice

    paths = [str(folder / role / "model_int8.tflite") for role in rows]
    measured = HostDevice().measure(paths, _BENCH_ROUNDS)
    for row, measurement in zip(rows.values(), measured, strict=True):
        row["latency_ms"] = measurement.latency_ms


def run_seed(seed: int) -> dict[str, dict[str, Any]]:
    """Returns the figures of one seed, from its file if they are there."""
    folder = pathlib.Path(_WORKDIR.value) / f"seed_{seed}"
    path = folder / "figures.json"
    if path.exists():
        return artifacts.read_json(path)
    rows = {
        role: train(seed, arch, folder / role)
        for role, arch in networks(seed, folder).items()
    }
    measure_latency(rows, folder)
    result = artifacts.read_json(folder / "search" / "result.json")
    tried = sum(len(record["candidates"]) for record in result["history"])
    rows["derived"]["of"] = tried
    rows["random"]["of"] = min(tried, len(result["baseline"]))
    artifacts.write_json(path, rows)
    return rows


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    from tfnas.train import run_state

    seeds = [run_seed(seed) for seed in range(_SEEDS.value)]
    fields = ("test_accuracy", "madds", "latency_ms")
    line = {
        "benchmark": "autoshrink_quality",
        "data": "CIFAR-10; accuracy on the test images that are there",
        "setting": {**SETTING, "final": FINAL},
        "seeds": seeds,
        "roles": {
            role: {
                f: closing.interval([s[role][f] for s in seeds])
                for f in fields
            }
            for role in ROLES
        },
        # Above 0: the derived cell is better, seed by seed.
        "accuracy_of_derived_above": {
            role: closing.interval(
                [s["derived"]["test_accuracy"] - s[role]["test_accuracy"]
                 for s in seeds]
            )
            for role in ROLES[1:]
        },
        "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
