"""Is an evolved space better than chance, and does a search in it pay?

    python -m benchmarks.autospace_quality --data=webp:cifar10 \\
        --workdir=runs/autospace_quality [--seeds=0,1,2] [--result=NAME]

On CIFAR-10 at small scale, for each seed:

1. AutoSpace evolves the cells of `autospace@32` on 10,000 training images:
   20 rounds of 60 weight steps.
2. Three spaces of candidates: the six best evolved cells of each position,
   six random valid cells, and the three reference cells; skips in all three.
   Three random networks of each, of equal multiply-adds (3.5M up to 5 %), are
   trained from scratch as long as each other.
3. ProxylessNAS searches in the evolved space and in the hand-made one of
   inverted residuals, at one latency (int8, this machine, one thread). The
   network it finds and two random ones of its space and latency are trained
   from scratch as long as each other.

Accuracies are on test images that nothing else looked at. It can be killed at
any time (`timeout 20m python -m ...`), and the same command goes on: a search
loses a round or an epoch, a training an epoch. Time: about 50 minutes of one
core for each seed. Seeds can run side by side, each in a process of its own
(`--seeds=1`); with all of them the program then sums up. Prints one JSON line
and writes it to `benchmarks/results/`.

The published counterpart, on ImageNet (the authors' figures): networks that
ProxylessNAS found in the learned space have 71.1 % top-1 at 175M
multiply-adds, 75.3 % at 340M, 75.7 % at 430M and 77.0 % at 570M.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from tfnas import artifacts
from tfnas import cli
from tfnas import config_files
from tfnas import measuring
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.cost.lut import LatencyTable
from tfnas.ops.cell import Cell
from tfnas.spaces import autospace_files
from tfnas.spaces import cells
from tfnas.spaces.autospace_specs import SPEC_32
from tfnas.spaces.candidates import CandidateSpace
from tfnas.spaces.candidates import from_file
from tfnas.spaces.candidates import hand_made

_DATA = flags.DEFINE_string(
    "data", None, "CIFAR-10, such as webp:DIR or cifar10.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the evolutions.")
_NETS = flags.DEFINE_integer(
    "nets", 3, "Networks drawn from each space.", lower_bound=1
)
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

IMAGES = {
    "data.image_size": 32,
    "data.limit_train": 10_000,
    "search.batch_size": 64,
    "search.augment": "pad_crop+flip",
}
EVOLUTION = {
    **IMAGES, "search.warmup_epochs": 3, "search.rounds": 20,
    "search.steps": 60, "search.population.size": 32,
    "search.population.slots": 4, "search.min_visits": 2,
}
PROXYLESS = {
    **IMAGES, "search.warmup_epochs": 6, "search.epochs": 12,
    "search.random_archs": 2, "search.random_tolerance": 0.02,
    "train.epochs": 8, "train.test_every": 8,
    "train.augment": "pad_crop+flip",
}
MADDS_M, _TOLERANCE = 3.5, 0.05
_ROUNDS, _CALIBRATION_NETS = 25, 5


def make_config(name: str, seed: int, fields: dict[str, Any]) -> Any:
    """Returns a config's local variant for the data of the benchmark."""
    config = config_files.load(f"{name}:local").copy_and_resolve_references()
    config.update_from_flattened_dict(
        {**fields, "data.name": _DATA.value, "seed": seed}
    )
    return config


def evolve(folder: pathlib.Path, seed: int) -> pathlib.Path:
    """Evolves a space; returns its file."""
    from tfnas.search import run_search

    config = make_config("configs/autospace_cells.py", seed, EVOLUTION)
    run_search(config, folder / "evolution")
    return folder / "evolution" / "space.json"


def cell_spaces(path: pathlib.Path, seed: int) -> dict[str, CandidateSpace]:
    """Returns the spaces to compare, of cells and skips alone."""
    file = autospace_files.read_space(path, SPEC_32.places)
    pinned = tuple(cells.REFERENCES.values())
    rng = np.random.default_rng(seed)
    number = len(file.positions[0]) - len(pinned)
    rows = {
        "evolved": [row[:number] for row in file.positions],
        "random": [_unlike(rng, number) for _ in file.positions],
        "reference": [pinned for _ in file.positions],
    }
    return {
        name: CandidateSpace(
            f"{name}@32", SPEC_32,
            [
                [str(cells.fuse(c)) for c in row[place.position]]
                for place in SPEC_32.places
            ],
        )
        for name, row in rows.items()
    }


def _unlike(rng: np.random.Generator, number: int) -> list[Cell]:
    """Draws random cells of which no two compute the same."""
    found: dict[Cell, Cell] = {}
    while len(found) < number:
        cell = cells.random_cell(rng)
        found.setdefault(cells.canonical(cell), cell)
    return list(found.values())


def train(folder: pathlib.Path, archs: Sequence[Arch], seed: int) -> list[dict]:
    """Trains networks from scratch; returns a record of each."""
    from tfnas import data
    from tfnas.train.retrain import retrain

    config = make_config("configs/proxyless_autospace.py", seed, PROXYLESS)
    dataset, records = data.load(config.data), []
    for arch in archs:
        _, accuracy = retrain(
            arch, config, folder / "trained" / arch.id, dataset,
            title=f"train {arch.id}",
        )
        counts = count(arch)
        records.append(
            {"id": arch.id, "accuracy": accuracy, "madds": counts.madds,
             "params": counts.params}
        )
    return records


def compare_spaces(
    folder: pathlib.Path, path: pathlib.Path, seed: int
) -> dict[str, list[dict]]:
    """Trains random networks of each space, of equal multiply-adds."""
    from tfnas.search.baselines import random_at_cost

    result = {}
    for name, space in cell_spaces(path, seed).items():
        archs = random_at_cost(
            space, lambda arch: count(arch).madds / 1e6,
            MADDS_M * (1 - _TOLERANCE), MADDS_M * (1 + _TOLERANCE),
            _NETS.value, seed,
        )
        result[name] = train(folder, archs, seed)
    return result


def search(
    folder: pathlib.Path, path: pathlib.Path, seed: int
) -> dict[str, dict[str, Any]]:
    """Searches in the evolved and in the hand-made space at one latency."""
    from tfnas.search import run_search

    names = {
        "evolved": f"autospace_proxyless@32:{path}",
        "hand_made": "proxyless_mbconv@32",
    }
    spaces = {
        "evolved": from_file(names["evolved"], SPEC_32, path),
        "hand_made": hand_made(names["hand_made"], SPEC_32),
    }
    measured = {
        name: measuring.build_table(
            space, folder / f"lut_{name}" / "table.json",
            rounds=_ROUNDS, nets=_CALIBRATION_NETS, strict=False,
        )
        for name, space in spaces.items()
    }
    target_ms = _middle(spaces["evolved"], measured["evolved"])
    result = {}
    for name, table in measured.items():
        fields = {
            **PROXYLESS, "space": names[name], "lut.path": table.source,
            "target_ms": target_ms,
        }
        config = make_config("configs/proxyless_autospace.py", seed, fields)
        found = run_search(config, folder / f"search_{name}")
        archs = [found.archs[0].arch, *(f.arch for f in found.baseline)]
        records = train(folder, archs, seed)
        for record, arch in zip(records, archs, strict=True):
            record["predicted_ms"] = table.latency_ms(arch)
        result[name] = {
            "target_ms": target_ms, "searched": records[0],
            "random": records[1:],
        }
    return result


def _middle(space: CandidateSpace, table: LatencyTable) -> float:
    """Returns the median latency of random networks."""
    return float(
        np.median([table.latency_ms(space.sample(i)) for i in range(300)])
    )


def _mean(records: Sequence[dict]) -> float:
    return float(np.mean([r["accuracy"] for r in records]))


def summarise(runs: Sequence[dict]) -> dict[str, Any]:
    """Returns means over seeds, and how often the first was better."""
    spaces = {
        name: [_mean(run["spaces"][name]) for run in runs]
        for name in runs[0]["spaces"]
    }
    found = {
        name: [run["searches"][name]["searched"]["accuracy"] for run in runs]
        for name in runs[0]["searches"]
    }
    random = {
        name: [_mean(run["searches"][name]["random"]) for run in runs]
        for name in found
    }

    def gain(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
        gaps = [one - other for one, other in zip(a, b, strict=True)]
        line = {"better": sum(gap > 0 for gap in gaps), "seeds": len(gaps)}
        return {**closing.interval(gaps), **line} if len(gaps) > 1 else line

    return {
        "space_accuracy": {k: float(np.mean(v)) for k, v in spaces.items()},
        "evolved_over_random_space": gain(
            spaces["evolved"], spaces["random"]
        ),
        "evolved_over_reference_space": gain(
            spaces["evolved"], spaces["reference"]
        ),
        "search_over_random_in_evolved": gain(
            found["evolved"], random["evolved"]
        ),
        "search_over_random_in_hand_made": gain(
            found["hand_made"], random["hand_made"]
        ),
        "search_in_evolved_over_hand_made": gain(
            found["evolved"], found["hand_made"]
        ),
    }


def run_seed(folder: pathlib.Path, seed: int) -> dict[str, Any]:
    """Returns the figures of one seed, from its file if they are there."""
    path = folder / "run.json"
    if not path.exists():
        space = evolve(folder, seed)
        artifacts.write_json(
            path,
            {"seed": seed, "spaces": compare_spaces(folder, space, seed),
             "searches": search(folder, space, seed)},
        )
    return artifacts.read_json(path)


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    from tfnas.train import run_state

    root = pathlib.Path(_WORKDIR.value)
    runs = [run_seed(root / f"seed_{seed}", int(seed)) for seed in _SEEDS.value]
    line = {
        "benchmark": "autospace_quality",
        "data": "CIFAR-10; accuracy on the test images that are there",
        "setting": {"evolution": EVOLUTION, "proxyless": PROXYLESS},
        "madds_m": MADDS_M, "nets": _NETS.value, **summarise(runs),
        "runs": runs, "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
