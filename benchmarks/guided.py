"""What guided search finds in few queries, on tables of trained networks.

    python -m benchmarks.guided --macro=nasbench_macro.npz \\
        --accel=accel_nasbench.npz
    tfnas-lut --space=nasbench_macro --lut=macro.json
    tfnas-lut --space=accel_nasbench --lut=accel.json
    python -m benchmarks.guided --macro=nasbench_macro.npz \\
        --accel=accel_nasbench.npz --macro_lut=macro.json \\
        --accel_lut=accel.json

The networks of a band of multiply-adds, or of latency by the table, are a pool;
every search chooses among them, with equal seeds the same training of a network
answers, and neighbours of a network are the nearest in the pool. What counts is
the mean of all trainings of the network that a search would return after 16, 32
and 64 queries, in percent. Latency bands are around the median of the table. A
run that was killed goes on when the same command is given again. Prints one
JSON line and writes it to `benchmarks/results/`.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import pathlib
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tqdm
from absl import flags

from benchmarks import closing
from tfnas import artifacts
from tfnas import cli
from tfnas.cost.counting import count
from tfnas.cost.lut import LatencyTable
from tfnas.cost.predictor import kendall_tau
from tfnas.spaces.coded import Codes
from tfnas.spaces.pool import Pool
from tfnas.spaces.trained_tables import TrainedTable

BUDGETS = (16, 32, 64)
RANDOM_BUDGETS = (*BUDGETS, 128)
ARMS = (
    "random", "evolution", "local_search", "ase_nas", "ase_nas_improved",
    "guided",
)
TOLERANCE = 0.025
MADDS = {"nasbench_macro": 60.0, "accel_nasbench": 300.0}  # millions
MEDIAN = 0.5  # of latencies: the middle of their bands
_CHUNK = 10  # seeds between two notes in the journal

_TABLES = {
    "nasbench_macro": flags.DEFINE_string("macro", None, "NAS-Bench-Macro."),
    "accel_nasbench": flags.DEFINE_string("accel", None, "Accel-NASBench."),
}
_LUTS = {
    "nasbench_macro": flags.DEFINE_string(
        "macro_lut", None, "Latency table of nasbench_macro."
    ),
    "accel_nasbench": flags.DEFINE_string(
        "accel_lut", None, "Latency table of accel_nasbench."
    ),
}
_ARMS = flags.DEFINE_list("arms", list(ARMS), "Searches to run.")
_SEEDS = flags.DEFINE_integer("seeds", 200, "Number of seeds.", lower_bound=2)
_PROCESSES = flags.DEFINE_integer("processes", 2, "Processes.", lower_bound=1)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/guided_tables", "Journals; kept, so that a run that was "
    "killed goes on.",
)
_RESULT = flags.DEFINE_string("result", "guided", "File in results/.")


@dataclasses.dataclass(frozen=True)
class Band:
    """A pool of networks of about equal cost.

    Args:
        space: Name of the space.
        path: File of its trainings.
        unit: Unit of the cost.
        target: The middle of the band.
        members: Codes of its networks.
    """

    space: str
    path: str
    unit: str
    target: float
    members: tuple[Codes, ...]

    @property
    def name(self) -> str:
        """Name of the band, also of its journals."""
        return f"{self.space}_{self.target:.4g}{self.unit}"


@functools.cache
def load_table(path: str, space: str) -> TrainedTable:
    """Returns the table of a space."""
    return TrainedTable.load(path, space)


def _band(space: str, unit: str, target: float, costs: dict) -> Band:
    low, high = target * (1 - TOLERANCE), target * (1 + TOLERANCE)
    members = tuple(c for c, cost in costs.items() if low <= cost <= high)
    path = _TABLES[space].value
    assert path is not None
    return Band(space, path, unit, target, members)


def bands() -> list[Band]:
    """Returns the bands of the tables that the flags name."""
    found = []
    for space, flag in _TABLES.items():
        if flag.value is None:
            continue
        table = load_table(flag.value, space)
        archs = {c: table.space.from_codes(c) for c in sorted(table.trainings)}
        madds = {c: count(arch).madds / 1e6 for c, arch in archs.items()}
        found.append(_band(space, "madds_m", MADDS[space], madds))
        path = _LUTS[space].value
        if path is not None:
            lut = LatencyTable.load(path)
            lut.require_space(table.space)
            costs = {c: lut.latency_ms(arch) for c, arch in archs.items()}
            target = float(np.quantile([*costs.values()], MEDIAN))
            found.append(_band(space, "ms", target, costs))
    return found


@functools.cache
def _pool(band: Band) -> Pool:
    return Pool(load_table(band.path, band.space).space, band.members)


def _settings(arm: str) -> Any:
    """The `search` section of the config of an arm, in this setting."""
    from tfnas import config_files

    if arm.startswith("ase_nas"):
        variant = "improved" if arm.endswith("improved") else "published"
        search = config_files.load(
            f"configs/ase_nas_nasbench201.py:{variant}"
        ).search
        with search.unlocked():
            search.policy.one_hot_width = 0
        return search
    return config_files.load("configs/guided_table.py").search


@functools.cache
def _template(arm: str, band: Band) -> Any:
    """Makes strategies of an arm from seeds."""
    from tfnas.search import builders
    from tfnas.search.limit import Limit

    limit = Limit(_pool(band), lambda codes: 0.0)
    make = builders.STRATEGIES.get(arm.removesuffix("_improved"))
    return functools.partial(make, limit.space, limit, _settings(arm))


@functools.cache
def _policy(arm: str, band: Band) -> Any:
    """The first strategy; its compiled policy serves one run after another."""
    return _template(arm, band)(0)


@functools.cache
def _extras(band: Band) -> Any:
    """The features of a band's networks, counted once for all runs."""
    from tfnas.search import guided

    return guided.parameters(_pool(band))


def _make(arm: str, band: Band, seed: int) -> Any:
    """Returns the strategy of an arm, started anew."""
    if arm == "guided":
        from tfnas.search.guided import Guided

        strategy = _policy(arm, band)
        return Guided(
            strategy.space, strategy.limit, seed, strategy.options,
            _extras(band),
        )
    if not arm.startswith("ase_nas"):
        return _template(arm, band)(seed)
    from tfnas.search.ase_nas import ASENAS

    policy = _policy(arm, band)
    return ASENAS(
        policy.space, policy.limit, seed, policy.options, (),
        policy.controller,
    )


def run(arm: str, band: Band, seed: int) -> dict[str, Any]:
    """Runs one search.

    Returns:
        The mean accuracy of the trainings of the networks that would be
        returned after each budget, in percent, and how well guided search
        ranks the networks of the band by then.
    """
    from tfnas.search.query import ask_and_tell

    table = load_table(band.path, band.space)
    strategy = _make(arm, band, seed)
    budgets = RANDOM_BUDGETS if arm == "random" else BUDGETS
    record: dict[str, Any] = {"seed": seed, "found": [], "tau": []}
    spent: list[Any] = []
    for budget in budgets:
        spent += ask_and_tell(
            strategy, budget - len(spent), lambda c: table.draw(c, seed),
            lambda codes: 0.0,
        )
        codes = max(spent, key=lambda query: query.score).codes
        if arm == "guided":
            codes = strategy.best()[0]
            known = {query.codes for query in spent}
            others = [c for c in band.members if c not in known]
            truth = [table.mean(c) for c in others]
            tau = kendall_tau(strategy.expected(others), truth)
            record["tau"].append(round(tau, 4))
        record["found"].append(round(100 * table.mean(codes), 4))
    return record


def run_seeds(
    arm: str, band: Band, seeds: Sequence[int]
) -> tuple[str, Band, list[dict[str, Any]]]:
    """Runs one search for each seed."""
    return arm, band, [run(arm, band, seed) for seed in seeds]


class Journal:
    """What has been run so far; one folder for each band and arm.

    Args:
        workdir: Where the folders are.
    """

    def __init__(self, workdir: str):
        self._folder = pathlib.Path(workdir)
        self._folders: dict[tuple[str, str], pathlib.Path] = {}

    def _path(self, arm: str, band: Band) -> pathlib.Path:
        known = self._folders.get((arm, band.name))
        if known is not None:
            return known
        settings = {
            "arm": arm, "table_sha256": artifacts.sha256(band.path),
            "members": [list(codes) for codes in band.members],
        }
        folder = artifacts.claim_workdir(
            self._folder / band.name / arm, settings
        )
        self._folders[arm, band.name] = folder / "runs.jsonl"
        return self._folders[arm, band.name]

    def read(self, arm: str, band: Band) -> dict[int, dict[str, Any]]:
        """Returns the records of an arm by their seeds."""
        path = self._path(arm, band)
        records = artifacts.read_jsonl(path) if path.exists() else []
        return {record["seed"]: record for record in records}

    def write(
        self, arm: str, band: Band, records: Sequence[dict[str, Any]]
    ) -> None:
        """Adds records of an arm."""
        for record in records:
            artifacts.append_jsonl(self._path(arm, band), record)


def run_all(band: Band, journal: Journal, pool: Any) -> None:
    """Runs what the journal lacks of a band."""
    jobs = []
    for arm in _ARMS.value:
        done = journal.read(arm, band)
        left = [seed for seed in range(_SEEDS.value) if seed not in done]
        jobs += [
            pool.submit(run_seeds, arm, band, left[i : i + _CHUNK])
            for i in range(0, len(left), _CHUNK)
        ]
    for done in tqdm.tqdm(
        futures.as_completed(jobs), total=len(jobs), desc=band.name
    ):
        journal.write(*done.result())


def _column(journal: Journal, arm: str, band: Band, field: str) -> np.ndarray:
    """A field of the records, `(seeds, budgets)`."""
    records = journal.read(arm, band)
    return np.array([records[s][field] for s in range(_SEEDS.value)])


def summary(band: Band, journal: Journal) -> dict[str, Any]:
    """Returns the figures of a band."""
    table = load_table(band.path, band.space)
    values = [100 * table.mean(codes) for codes in band.members]
    found = {
        arm: _column(journal, arm, band, "found") for arm in _ARMS.value
    }
    line: dict[str, Any] = {
        "space": band.space, "unit": band.unit,
        "target": round(band.target, 4), "networks": len(values),
        "mean": round(float(np.mean(values)), 4), "best": round(max(values), 4),
        "found": {
            arm: np.round(column.mean(0), 4).tolist()
            for arm, column in found.items()
        },
    }
    if "guided" not in found:
        return line
    guided = found["guided"]
    line["tau"] = np.round(
        _column(journal, "guided", band, "tau").mean(0), 4
    ).tolist()
    line["guided_over"] = {
        arm: [
            closing.interval(guided[:, i] - column[:, i])
            for i in range(len(BUDGETS))
        ]
        for arm, column in found.items() if arm != "guided"
    }
    if "random" in found:
        column = BUDGETS.index(32)
        line["guided_32_over_random_128"] = closing.interval(
            guided[:, column] - found["random"][:, -1]
        )
    return line


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    # The models are small: a core for each process is best.
    for what in ("OMP", "OPENBLAS", "TF_NUM_INTRAOP", "TF_NUM_INTEROP"):
        name = what if what.startswith("TF") else f"{what}_NUM"
        os.environ.setdefault(f"{name}_THREADS", "1")
    journal, lines = Journal(_WORKDIR.value), []
    with futures.ProcessPoolExecutor(
        _PROCESSES.value, multiprocessing.get_context("spawn")
    ) as pool:
        for band in bands():
            run_all(band, journal, pool)
            lines.append(summary(band, journal))
            print(lines[-1])
    result = {
        "benchmark": "guided", "seeds": _SEEDS.value,
        "tolerance": TOLERANCE, "budgets": RANDOM_BUDGETS,
        "tables_sha256": {
            space: artifacts.sha256(flag.value)
            for space, flag in _TABLES.items() if flag.value
        },
        "bands": lines, "numpy": np.__version__,
    }
    closing.show(result, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
