"""Are shared weights a fair judge, and does a search with them pay?

    python -m benchmarks.elastic_quality --data=webp:cifar10 \\
        --workdir=runs/elastic_quality [--units=N] [--result=NAME]

At small scale, on CIFAR-10 in the space `mobilenetv3@32`, int8 latency of one
thread of this machine. 10,000 training images, of which 8,000 train shared
weights and 2,000 score with them; accuracies after a training of its own are
on the test images, which nothing else looks at.

1. A supernet: 20 epochs of sandwich steps (the largest, the smallest and a
   random subnet; the largest teaches the others).
2. Ranks: 12 subnets, evenly spaced by multiply-adds among 96 random ones, and
   the 8 corners of the space (all layers with the least or the largest kernel,
   expansion, depth), scored with shared weights, and each trained from scratch
   on the same 8,000 images for 12 epochs; the 12 with two seeds, whose mean
   counts. Kendall's tau of the two, of the 12 and of all 20: with shared
   weights on the 2,000 images that a search has, and on the test images too,
   where less is left to chance; as what a ranking by size alone would reach,
   tau of multiply-adds; and, as what can be asked of any judge, tau of the two
   trainings of the 12.
3. Search: for each of three seeds ASE-NAS spends 100 queries of shared
   weights under a hard limit, the median latency of 300 random networks by
   the measured table. 8 random networks of the latency that the table
   predicts for its result, up to 5 %, are timed side by side with it, and the
   two nearest in measured latency are its rivals. All three are trained from
   scratch on the 8,000 images for 12 epochs with the same seed.

Every step is a unit of work of at most 20 minutes on 2 cores (an epoch of the
supernet, a training, a search, a table), written down when it is done: after
a kill the same command goes on, within a training at its last epoch.
`--units=N` ends it after N of them. Time: about two hours of one
core (100 minutes were measured with one seed of each training). Prints one
JSON line and writes it to `benchmarks/results/`.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from benchmarks.journal import Journal
from tflite_bench import writer
from tfnas import artifacts
from tfnas import cli
from tfnas import config_files
from tfnas import measuring
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.cost.predictor import kendall_tau

_DATA = flags.DEFINE_string(
    "data", None, "CIFAR-10, such as webp:DIR or cifar10.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_UNITS = flags.DEFINE_integer(
    "units", None, "End after so many units; the same command goes on.",
    lower_bound=1,
)
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

CONFIG = "configs/ase_nas_mobilenetv3.py:local"
SETTING = {
    "data.image_size": 32,
    "data.limit_train": 10_000,
    "search.queries": 100,
    "search.supernet.batch_size": 64,
    "search.supernet.augment": "pad_crop+flip",
    "search.supernet.calibration_images": 1000,
    "search.supernet.score_batch": 500,
    "search.supernet.all.epochs": 20,
    "search.supernet.all.warmup_epochs": 1,
    "train.epochs": 12,
    "train.warmup_epochs": 1,
    "train.test_every": 12,
    "train.augment": "pad_crop+flip",
}
SEEDS = (0, 1, 2)
SUBNETS = 12
ALONE_SEEDS = (0, 1)  # of the trainings that shared weights are judged by
_TIMED, _RIVALS, _NEAR = 8, 2, 0.05
_ROUNDS = 100


class Setup:
    """The data, the space, the supernet, the measured table.

    Args:
        folder: The workdir.
        journal: The units.
    """

    def __init__(self, folder: pathlib.Path, journal: Journal):
        from tfnas.search.evaluate_supernet import SupernetEvaluator
        from tfnas.search.setting import Setting
        from tfnas.train import distribute
        from tfnas.train import run_state
        from tfnas.train.loop import Loop

        self.folder, self.journal = folder, journal
        self.config = make_config(seed=0)
        artifacts.claim_workdir(folder, self.config)
        run_state.start(self.config.seed)
        self.loop = Loop(distribute.strategy(), self.config.seed)
        setting = Setting(self.config, self.loop, None)
        self.dataset, self.splits = setting.dataset, setting.splits
        self.evaluator = SupernetEvaluator.make(setting)
        # The same weights, seen through the images that trainings are seen by.
        self.judge = SupernetEvaluator(
            self.evaluator.training, (self.splits[0], self.dataset.test),
            self.config.seed,
        )
        self.space = self.evaluator.space

    def train_supernet(self) -> None:
        """Trains what is left of the supernet, an epoch a unit."""
        from tfnas.train.stage import Stage

        run_unit = self.evaluator.run_unit

        def one(unit: int) -> list[dict[str, Any]]:
            self.journal.spend()
            return run_unit(unit)

        self.evaluator.run_unit = one  # type: ignore[method-assign]
        stage = Stage(self.folder / "supernet", self.evaluator, self.loop, {})
        stage.run("supernet")

    def score_tested(self, arch: Arch) -> float:
        """Returns the accuracy with shared weights on the test images."""
        # Both evaluators have a phase of this name, and images of their own.
        self.loop.forget("score")
        accuracy = self.judge.score(arch)
        self.loop.forget("score")
        return accuracy

    def table(self) -> Any:
        """Returns the table of this machine, measured once."""
        from tflite_bench.device import HostDevice
        from tfnas.cost.lut import LatencyTable

        path = self.folder / "lut" / "table.json"
        if not path.exists():
            self.journal.spend()
            measuring.build_table(self.space, path, HostDevice(), strict=False)
        return LatencyTable.load(path)

    def train(
        self, arch: Arch, name: str, seed: int, split: Any
    ) -> dict[str, Any]:
        """Trains a network from scratch; returns its figures."""
        from tfnas.train import retrain

        dataset = dataclasses.replace(self.dataset, train=split)
        _, accuracy = retrain.retrain(
            arch, make_config(seed), self.folder / name, dataset, title=name
        )
        return {"arch_id": arch.id, "test_accuracy": accuracy}


def make_config(seed: int) -> Any:
    """Returns the config of a seed."""
    config = config_files.load(CONFIG).copy_and_resolve_references()
    config.data.name, config.seed = _DATA.value, seed
    config.update_from_flattened_dict(SETTING)
    return config


def rank_subnets(setup: Setup) -> dict[str, Any]:
    """Compares shared weights with trainings of their own."""
    rows = []
    archs = measuring.spanning_nets(setup.space, SUBNETS, seed=1)
    for i, arch in enumerate([*archs, *corners(setup.space)]):
        shared = setup.journal.unit(
            f"shared_{i:02d}",
            lambda arch=arch: {"accuracy": setup.evaluator.score(arch)},
        )
        tested = setup.journal.unit(
            f"tested_{i:02d}",
            lambda arch=arch: {"accuracy": setup.score_tested(arch)},
        )
        alone = [
            setup.journal.unit(
                f"alone_{name}",
                lambda arch=arch, name=name, seed=seed: setup.train(
                    arch, f"alone/{name}", seed, setup.splits[0]
                ),
            )["test_accuracy"]
            for seed in ALONE_SEEDS[: 2 if i < SUBNETS else 1]
            for name in [f"{i:02d}_{seed}" if seed else f"{i:02d}"]
        ]
        rows.append(
            {"arch_id": arch.id, "madds": count(arch).madds,
             "shared": shared["accuracy"],
             "shared_test": tested["accuracy"],
             "alone": float(np.mean(alone)), "alone_by_seed": alone}
        )
    return {
        "subnets": rows, "random": taus(rows[:SUBNETS]), "all": taus(rows),
    }


def corners(space: Any) -> list[Arch]:
    """Returns the networks whose layers are all at one end of each choice."""
    from tfnas.search.subnet_sampling import Choices

    spec = space.spec
    ends = itertools.product(
        *((min(v), max(v)) for v in (spec.kernels, spec.expansions)),
        (spec.min_layers, spec.layers),
    )
    return [
        space.from_codes(Choices((k,), (e,), (d,)).extreme(space, max))
        for k, e, d in ends
    ]


def taus(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Returns how rankings agree with that of trainings alone.

    How two trainings of each alone agree, where there are two, is the most
    that can be asked of any judge.
    """
    alone = [row["alone"] for row in rows]
    result = {
        f"kendall_tau_of_{name}": kendall_tau([r[name] for r in rows], alone)
        for name in ("shared", "shared_test", "madds")
    }
    if all(len(row["alone_by_seed"]) == 2 for row in rows):
        one, other = zip(*(row["alone_by_seed"] for row in rows), strict=True)
        result["kendall_tau_of_two_trainings"] = kendall_tau(one, other)
    return result


def search(setup: Setup, seed: int) -> dict[str, Any]:
    """Searches under the table; returns the result and its rivals."""
    from tfnas.search import ase_nas
    from tfnas.search.limit import Limit
    from tfnas.search.query import ask_and_tell

    space, table = setup.space, setup.table()

    def latency_ms(codes: Any) -> float:
        return table.latency_ms(space.from_codes(codes))

    rng = np.random.default_rng([seed, 1])
    draws = [space.sample_codes(rng) for _ in range(300)]
    limit_ms = float(np.median([latency_ms(codes) for codes in draws]))
    limit = Limit(space, latency_ms, limit_ms)
    strategy = ase_nas.make(space, limit, setup.config.search, seed)
    queries = ask_and_tell(
        strategy, setup.config.search.queries, setup.evaluator.score_codes,
        limit.cost,
    )
    best, score = strategy.best()
    near = [
        codes for codes in dict.fromkeys(draws)
        if abs(limit.cost(codes) / limit.cost(best) - 1) < _NEAR
        and codes != best
    ]
    return {
        "limit_ms": limit_ms, "queries": len(queries),
        "searched": list(best), "score": score,
        "near": [list(codes) for codes in near[:_TIMED]],
    }


def measure(setup: Setup, found: dict[str, Any], seed: int) -> dict[str, Any]:
    """Times the result and random networks side by side."""
    from tflite_bench.device import HostDevice

    codes = [found["searched"], *found["near"]]
    paths = []
    for i, code in enumerate(codes):
        paths.append(setup.folder / "timed" / f"{seed}_{i}.tflite")
        arch = setup.space.from_codes(code)
        artifacts.write_bytes(paths[-1], writer.write_arch(arch, "int8"))
    measured = HostDevice().measure([str(p) for p in paths], _ROUNDS)
    return {"measured_ms": [m.latency_ms for m in measured]}


def compare(setup: Setup, seed: int) -> dict[str, Any]:
    """Trains the result of one search and its rivals."""
    journal = setup.journal
    found = journal.unit(f"search_{seed}", lambda: search(setup, seed))
    timed = journal.unit(f"timed_{seed}", lambda: measure(setup, found, seed))
    own_ms, *others_ms = timed["measured_ms"]
    order = np.argsort([abs(ms - own_ms) for ms in others_ms])[:_RIVALS]
    nets = [("searched", found["searched"], own_ms)] + [
        (f"random{i}", found["near"][j], others_ms[j])
        for i, j in enumerate(order)
    ]
    rows = []
    for role, codes, latency_ms in nets:
        arch = setup.space.from_codes(codes)
        row = journal.unit(
            f"train_{seed}_{role}",
            lambda arch=arch, role=role: setup.train(
                arch, f"train/{seed}_{role}", seed, setup.splits[0]
            ),
        )
        rows.append(
            {"role": role, **row, "latency_ms": latency_ms,
             "madds": count(arch).madds}
        )
    best, *rivals = [row["test_accuracy"] for row in rows]
    return {
        "seed": seed, "limit_ms": found["limit_ms"], "networks": rows,
        "gain": best - float(np.mean(rivals)),
    }


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    from tfnas.train import run_state

    folder = pathlib.Path(_WORKDIR.value)
    setup = Setup(folder, Journal(folder / "units", _UNITS.value))
    setup.train_supernet()
    ranks = rank_subnets(setup)
    seeds = [compare(setup, seed) for seed in SEEDS]
    gains = [seed["gain"] for seed in seeds]
    line = {
        "benchmark": "elastic_quality",
        "data": "CIFAR-10; accuracy on the test images that are there",
        "setting": SETTING,
        "ranks": ranks,
        "searches": seeds,
        "mean_gain": float(np.mean(gains)),
        "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
