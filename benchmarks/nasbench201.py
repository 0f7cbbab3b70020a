"""Search quality at equal queries on the tables of NAS-Bench-201.

    python -m benchmarks.nasbench201 --table=nasbench201.npz
    python -m benchmarks.nasbench201 --table=nasbench201.npz --seeds=200 \\
        --first_seed=100000 --rows=ase_nas_improved,local_search \\
        --result=nasbench201_fresh

Runs every row (a strategy with its settings) on every data set and signal,
once per seed, and looks up what the network that a search would return after
50, 100, 200, 203 and 400 charged queries scores: by the signal, on validation
images, and on the test images after 200 epochs, which no search sees. Rows
with equal seeds start from equal centres where they have any, so they are
also compared seed by seed. 203 queries are the published setting: 3 centres
and 200 updates. A run that was killed goes on when the same command is given
again. Prints one JSON line and writes it to `benchmarks/results/`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import multiprocessing
import os
import pathlib
from concurrent import futures
from typing import Any

import numpy as np
import tqdm
from absl import flags

from benchmarks import closing
from tfnas import artifacts
from tfnas import cli
from tfnas import config_files
from tfnas.spaces.nasbench201_table import DATASETS
from tfnas.spaces.nasbench201_table import NasBench201Table

BUDGETS = (50, 100, 200, 203, 400)
# Row to the variant of the config and the algorithm.
ROWS = {
    "random": ("published", "random"),
    "evolution": ("published", "evolution"),
    "local_search": ("published", "local_search"),
    "uniform_subspace": ("published", "uniform_subspace"),
    "ase_nas": ("published", "ase_nas"),
    "ase_nas_plus": ("published", "ase_nas"),
    "ase_nas_improved": ("improved", "ase_nas"),
    "uniform_improved": ("improved", "uniform_subspace"),
}
PLUS = "ase_nas_plus"  # starts from the centres that a CIFAR-10 run ends with
PAIRS = (
    ("ase_nas", "uniform_subspace"),
    ("ase_nas", "local_search"),
    ("ase_nas_plus", "ase_nas"),
    ("ase_nas_improved", "local_search"),
    ("ase_nas_improved", "uniform_improved"),
)
# Test accuracy in percent, mean and deviation of 20 runs, by the authors.
PUBLISHED = {
    ("ase_nas", "cifar10"): (94.23, 0.22),
    ("ase_nas", "cifar100"): (72.76, 0.80),
    ("ase_nas", "ImageNet16-120"): (46.13, 0.67),
    ("ase_nas_plus", "cifar100"): (73.12, 0.61),
    ("ase_nas_plus", "ImageNet16-120"): (46.66, 0.52),
}
PUBLISHED_RUNS, PUBLISHED_QUERIES = 20, 203
# Parts of the config that an algorithm depends on.
_SECTIONS = {
    "evolution": ("evolution",),
    "uniform_subspace": ("subspaces", "policy"),
    "ase_nas": ("subspaces", "policy"),
}
_CONFIG = "configs/ase_nas_nasbench201.py"
_CHUNK = 10  # seeds between two notes in the journal

_TABLE = flags.DEFINE_string(
    "table", None, "File of the benchmark's accuracies.", required=True
)
_ROWS = flags.DEFINE_list("rows", list(ROWS), "What to run.")
_DATASETS = flags.DEFINE_list("datasets", list(DATASETS), "Data sets.")
_SIGNALS = flags.DEFINE_list(
    "signals", ["val_acc_12ep", "val_acc_200ep"], "What searches see."
)
_QUERIES = flags.DEFINE_integer(
    "queries", max(BUDGETS), "Charged queries of a run.", lower_bound=50
)
_SEEDS = flags.DEFINE_integer("seeds", 100, "Number of seeds.", lower_bound=2)
_FIRST_SEED = flags.DEFINE_integer("first_seed", 23555, "The first seed.")
_PROCESSES = flags.DEFINE_integer("processes", 2, "Processes.", lower_bound=1)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/nasbench201", "Journals; kept, so that a run that was "
    "killed goes on.",
)
_RESULT = flags.DEFINE_string("result", "nasbench201", "File in results/.")


@dataclasses.dataclass(frozen=True)
class Case:
    """One row on one data set with one signal.

    Args:
        row: Key of `ROWS`.
        dataset: Data set of the table.
        signal: Accuracy that the search sees.
    """

    row: str
    dataset: str
    signal: str


def load_search(row: str) -> Any:
    """Returns the `search` section of the config of a row."""
    variant, _ = ROWS[row]
    return config_files.load(f"{_CONFIG}:{variant}").search


@functools.cache
def load_table(path: str, dataset: str) -> NasBench201Table:
    """Returns the table of a data set."""
    return NasBench201Table.load(path, dataset)


@functools.cache
def _template(row: str, path: str) -> Any:
    """A strategy of a row; its compiled policy serves one run after another."""
    from tfnas.search import builders
    from tfnas.search.limit import Limit

    space = load_table(path, "cifar10").space
    limit = Limit(space, lambda codes: 0.0)
    make = builders.STRATEGIES.get(ROWS[row][1])
    return make(space, limit, load_search(row), 0)


def _make(row: str, path: str, seed: int, initial: Any = ()) -> Any:
    """Returns the strategy of a row, started anew."""
    from tfnas.search import builders
    from tfnas.search.ase_nas import ASENAS

    template = _template(row, path)
    if isinstance(template, ASENAS):
        return ASENAS(
            template.space, template.limit, seed, template.options, initial,
            template.controller,
        )
    make = builders.STRATEGIES.get(ROWS[row][1])
    return make(template.space, template.limit, load_search(row), seed)


def budgets(queries: int) -> list[int]:
    """Returns the numbers of queries after which a run is looked at."""
    return [budget for budget in BUDGETS if budget <= queries]


def run(case: Case, path: str, seed: int, queries: int) -> dict[str, Any]:
    """Runs one search.

    Args:
        case: What to run.
        path: File of the table.
        seed: The seed.
        queries: Charged queries.

    Returns:
        The rows of the table that would be returned after each number of
        queries, and the different networks asked for until then.
    """
    from tfnas.search.query import ask_and_tell

    def search(dataset: str, number: int, initial: Any = ()) -> Any:
        table = load_table(path, dataset)
        scores = table.accuracies[case.signal]
        strategy = _make(case.row, path, seed, initial)
        spent = ask_and_tell(
            strategy, number, lambda c: float(scores[table.row(c)]),
            lambda codes: 0.0,
        )
        return strategy, [table.row(q.codes) for q in spent], scores

    initial = ()
    if case.row == PLUS:
        strategy, _, _ = search("cifar10", PUBLISHED_QUERIES)
        initial = [centre.codes for centre in strategy.centres]
    _, asked, scores = search(case.dataset, queries, initial)
    looks = budgets(queries)
    return {
        "seed": seed,
        "queries": queries,
        "winners": [asked[int(np.argmax(scores[asked[:b]]))] for b in looks],
        "unique": [len(set(asked[:b])) for b in looks],
    }


def run_seeds(
    case: Case, path: str, seeds: list[int], queries: int
) -> tuple[Case, list[dict[str, Any]]]:
    """Runs one search for each seed."""
    return case, [run(case, path, seed, queries) for seed in seeds]


class Journal:
    """What has been run so far; one folder for the settings of each row.

    Args:
        workdir: Where the folders are.
        table_sha256: Digest of the table.
    """

    def __init__(self, workdir: str, table_sha256: str):
        self._folder = pathlib.Path(workdir)
        self._sha256 = table_sha256

    def _path(self, case: Case) -> pathlib.Path:
        search, algorithm = load_search(case.row), ROWS[case.row][1]
        settings = {
            "row": case.row, "algorithm": algorithm, "budgets": BUDGETS,
            "table_sha256": self._sha256,
            **{name: search[name] for name in _SECTIONS.get(algorithm, ())},
        }
        folder = artifacts.claim_workdir(self._folder / case.row, settings)
        return folder / f"{case.dataset}_{case.signal}.jsonl"

    def read(self, case: Case) -> dict[int, dict[str, Any]]:
        """Returns the records of a case by their seeds, the longest runs."""
        path = self._path(case)
        records = artifacts.read_jsonl(path) if path.exists() else []
        records.sort(key=lambda record: record["queries"])
        return {record["seed"]: record for record in records}

    def write(self, case: Case, records: list[dict[str, Any]]) -> None:
        """Adds records of a case."""
        for record in records:
            artifacts.append_jsonl(self._path(case), record)


def run_all(cases: list[Case], journal: Journal, seeds: range) -> None:
    """Runs what the journal lacks, in several processes."""
    path, queries = _TABLE.value, _QUERIES.value
    jobs = []
    for case in cases:
        done = {
            seed for seed, record in journal.read(case).items()
            if record["queries"] >= queries
        }
        left = [seed for seed in seeds if seed not in done]
        jobs += [
            (case, path, left[i : i + _CHUNK], queries)
            for i in range(0, len(left), _CHUNK)
        ]
    if not jobs:
        return
    # The policies are small: a core for each process is best.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    with futures.ProcessPoolExecutor(
        _PROCESSES.value, multiprocessing.get_context("spawn")
    ) as pool:
        running = [pool.submit(run_seeds, *job) for job in jobs]
        for done in tqdm.tqdm(futures.as_completed(running), total=len(jobs)):
            journal.write(*done.result())


class Figures:
    """The figures of the runs.

    Args:
        journal: The runs.
        path: File of the table.
        seeds: Seeds to take.
        queries: Queries to look at, at most.
    """

    def __init__(
        self, journal: Journal, path: str, seeds: range, queries: int
    ):
        self._journal, self._path, self._seeds = journal, path, seeds
        self._budgets = budgets(queries)

    def _column(self, case: Case, field: str) -> np.ndarray:
        """A field of the records, `(seeds, budgets)`."""
        records, width = self._journal.read(case), len(self._budgets)
        return np.array([records[s][field][:width] for s in self._seeds])

    def values(self, case: Case, name: str) -> np.ndarray:
        """Returns an accuracy of the winners in percent, `(seeds, budgets)`.

        Args:
            case: What was run.
            name: Name of the accuracy in the table.
        """
        table = load_table(self._path, case.dataset)
        return 100 * table.accuracies[name][self._column(case, "winners")]

    def summary(self, case: Case) -> list[dict[str, Any]]:
        """Returns mean and deviation of the winners for each budget."""
        columns = {"unique": self._column(case, "unique")}
        columns["validation"] = self.values(case, case.signal)
        columns["test"] = self.values(case, "test_acc_200ep")
        lines = []
        for i, queries in enumerate(self._budgets):
            line = {**dataclasses.asdict(case), "queries": queries}
            for name, column in columns.items():
                line[f"{name}_mean"] = round(float(column[:, i].mean()), 4)
                line[f"{name}_std"] = round(float(column[:, i].std(ddof=1)), 4)
            lines.append(line)
        return lines

    def paired(self, one: Case, other: Case) -> list[dict[str, Any]]:
        """Returns the mean differences seed by seed, with 95 % intervals."""
        lines = []
        for name in dict.fromkeys([one.signal, "test_acc_200ep"]):
            gap = self.values(one, name) - self.values(other, name)
            half = 1.96 * gap.std(0, ddof=1) / np.sqrt(len(gap))
            for i, queries in enumerate(self._budgets):
                mean = gap[:, i].mean()
                lines.append(
                    {
                        "row": one.row, "other": other.row,
                        "dataset": one.dataset, "signal": one.signal,
                        "accuracy": name, "queries": queries,
                        "mean": round(float(mean), 4),
                        "low": round(float(mean - half[i]), 4),
                        "high": round(float(mean + half[i]), 4),
                        "better": int((gap[:, i] > 0).sum()),
                        "worse": int((gap[:, i] < 0).sum()),
                    }
                )
        return lines

    def published(self, case: Case) -> dict[str, Any]:
        """Compares the test accuracy with the authors'."""
        theirs, deviation = PUBLISHED[case.row, case.dataset]
        column = self._budgets.index(PUBLISHED_QUERIES)
        ours = self.values(case, "test_acc_200ep")[:, column]
        error = np.hypot(
            ours.std(ddof=1) / np.sqrt(len(ours)),
            deviation / np.sqrt(PUBLISHED_RUNS),
        )
        gap = float(ours.mean() - theirs)
        return {
            **dataclasses.asdict(case),
            "test_mean": round(float(ours.mean()), 3),
            "test_std": round(float(ours.std(ddof=1)), 3),
            "published_mean": theirs,
            "published_std": deviation,
            "standard_errors": round(gap / float(error), 2),
        }


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cases = [
        Case(row, dataset, signal)
        for row, dataset, signal in itertools.product(
            _ROWS.value, _DATASETS.value, _SIGNALS.value
        )
        if (row, dataset) != (PLUS, "cifar10")
    ]
    first = _FIRST_SEED.value
    seeds = range(first, first + _SEEDS.value)
    digest = artifacts.sha256(_TABLE.value)
    journal = Journal(_WORKDIR.value, digest)
    run_all(cases, journal, seeds)
    figures = Figures(journal, _TABLE.value, seeds, _QUERIES.value)
    pairs = [
        (case, dataclasses.replace(case, row=other))
        for case in cases
        for row, other in PAIRS
        if case.row == row
    ]
    result = {
        "benchmark": "nasbench201",
        "table_sha256": digest,
        "seeds": [seeds.start, seeds.stop - 1],
        "rows": [line for case in cases for line in figures.summary(case)],
        "paired": [
            line for one, other in pairs if other in cases
            for line in figures.paired(one, other)
        ],
        "published": [
            figures.published(case) for case in cases
            if (case.row, case.dataset) in PUBLISHED
            and PUBLISHED_QUERIES <= _QUERIES.value
        ],
        "numpy": np.__version__,
    }
    closing.show(result, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
