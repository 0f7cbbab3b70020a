"""Does shrinking find better recurrent cells than chance does?

    python -m benchmarks.autoshrink_quality_rnn --text=penn \\
        --workdir=runs/rnn_quality [--seeds=3] [--result=NAME]

For each seed a search on the Penn Treebank proxy, scaled down: 5 nodes, 48
units, 1,200 lines, 5 epochs, K = 3, so 8 rounds of at most 3 candidates until
2 edges are left, and as many random graphs of the cost of its result, where
there are so many. Then the result, the best of the random graphs and the
complete graph are trained from scratch as long as each other, with another
seed and more epochs, and measured on the test text: what scores chose must
not judge. Latency is that of a step, float32, one thread.

It can be killed at any time, and the same command goes on. A search takes
about 40 minutes of one core, a training 2. Prints one JSON line and writes it
to `benchmarks/results/`.
"""

from __future__ import annotations

import math
import pathlib
from typing import Any

from absl import flags
from ml_collections import config_dict

from benchmarks import closing
from tfnas import artifacts
from tfnas import cli
from tfnas import config_files
from tfnas.arch import Arch

_TEXT = flags.DEFINE_string(
    "text", None, "Folder with train.txt, valid.txt, test.txt.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Searches.", lower_bound=2)
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

CONFIG = "configs/autoshrink_rnn.py"
SETTING = {
    "space": "autoshrink_rnn@48",
    "data.limit_train": 1200,
    "data.limit_valid": 200,
    "data.limit_test": 200,
    "search.nodes": 5,
    "search.candidates": 3,
    "search.keep_fraction": 0.2,
    "search.random_archs": 24,
    "search.training.epochs": 5,
    "search.training.batch_size": 32,
    "search.training.valid_batch_size": 32,
}
FINAL_EPOCHS = 10
ROLES = ("derived", "random", "complete")
_BENCH_ROUNDS = 200


def make_config(seed: int) -> Any:
    """Returns the config of one search."""
    config = config_files.load(CONFIG).copy_and_resolve_references()
    config.data.name = f"ptb:{_TEXT.value}"
    config.update_from_flattened_dict(SETTING)
    config.seed = config.search.op_seed = seed
    return config


def networks(config: Any, folder: pathlib.Path) -> dict[str, Arch]:
    """Searches; returns the networks to compare."""
    from tfnas.search import runner

    result = runner.run_search(config, folder / "search")
    search = runner.open_search(config, folder / "search")
    best = max(result.baseline, key=lambda f: f.score or -math.inf)
    return {
        "derived": result.archs[0].arch,
        "random": best.arch,
        "complete": search.at_step(0),
    }


def train(config: Any, arch: Arch, folder: pathlib.Path) -> dict[str, Any]:
    """Trains a network for longer; returns its figures."""
    from tfnas import data
    from tfnas import export
    from tfnas.cost.counting import count
    from tfnas.train import language

    recipe = {
        **config.search.training.to_dict(), "epochs": FINAL_EPOCHS,
        "test_batch_size": 1,
        # The best epoch is kept, so nothing is lost by going on.
        "patience": None, "max_ratio": None,
    }
    config = config_dict.ConfigDict(
        {**config.to_dict(), "seed": config.seed + 1000, "train": recipe}
    )
    text = data.load_text(config.data)
    model, perplexity = language.train_language(arch, config, folder, text)
    artifacts.write_bytes(
        folder / "step.tflite", export.to_step_tflite(model)
    )
    return {
        "arch_id": arch.id,
        "graph": arch.blocks[1].attrs["graph"],
        "test_perplexity": perplexity["test"],
        "madds": count(arch).madds,
    }


def measure_latency(rows: dict[str, dict[str, Any]], folder: pathlib.Path):
    """Adds the latency of a step to each row, all timed side by side."""
    from tflite_bench.device import HostDevice

    paths = [str(folder / role / "step.tflite") for role in rows]
    measured = HostDevice().measure(paths, _BENCH_ROUNDS)
    for row, measurement in zip(rows.values(), measured, strict=True):
        row["latency_ms"] = measurement.latency_ms


def run_seed(seed: int) -> dict[str, dict[str, Any]]:
    """Returns the figures of one seed, from its file if they are there."""
    folder = pathlib.Path(_WORKDIR.value) / f"seed_{seed}"
    path = folder / "figures.json"
    if path.exists():
        return artifacts.read_json(path)
    config = make_config(seed)
    rows = {
        role: train(config, arch, folder / role)
        for role, arch in networks(config, folder).items()
    }
    measure_latency(rows, folder)
    result = artifacts.read_json(folder / "search" / "result.json")
    rows["derived"]["of"] = sum(len(r["candidates"]) for r in result["history"])
    rows["random"]["of"] = len(result["baseline"])
    artifacts.write_json(path, rows)
    return rows


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    from tfnas.train import run_state

    seeds = [run_seed(seed) for seed in range(_SEEDS.value)]
    fields = ("test_perplexity", "madds", "latency_ms")
    logs = {
        role: [math.log(s[role]["test_perplexity"]) for s in seeds]
        for role in ROLES
    }
    line = {
        "benchmark": "autoshrink_quality_rnn",
        "setting": {**SETTING, "final_epochs": FINAL_EPOCHS},
        "seeds": seeds,
        "roles": {
            role: {
                f: closing.interval([s[role][f] for s in seeds])
                for f in fields
            }
            for role in ROLES
        },
        # Below 0: the derived cell is better, seed by seed.
        "log_perplexity_of_derived_against": {
            role: closing.interval(
                [a - b for a, b in zip(logs["derived"], logs[role],
                                       strict=True)]
            )
            for role in ROLES[1:]
        },
        "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
