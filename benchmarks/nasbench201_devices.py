"""Accuracy against measured latency on the devices of NAS-Bench-201.

    python -m benchmarks.nasbench201_devices --table=nasbench201.npz \\
        --latencies=latency_nb201.npz

For every device: the networks of CIFAR-10 that no other beats in validation
accuracy and measured latency at once. For some devices also what ASE-NAS finds
under hard limits of the latency with as many queries as random search, one run
for each seed, and how far both stay below the best network that the limit
allows. Prints one JSON line, writes it to `benchmarks/results/` and draws the
fronts beside it. Takes about ten minutes on 2 cores.
"""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import numpy as np
from absl import flags

from tfnas import artifacts
from tfnas import cli
from tfnas import config_files
from tfnas.cost.objective import pareto_front
from tfnas.spaces.nasbench201 import is_connected
from tfnas.spaces.nasbench201_table import DeviceTable
from tfnas.spaces.nasbench201_table import NasBench201Table
from tfnas.spaces.nasbench201_table import device_names

_TABLE = flags.DEFINE_string(
    "table", None, "File of the benchmark's accuracies.", required=True
)
_LATENCIES = flags.DEFINE_string(
    "latencies", None, "File of the measured latencies.", required=True
)
_SEARCHED = flags.DEFINE_list(
    "searched", ["pixel3", "raspi4", "gold_6226", "titanx_1"],
    "Devices to search for.",
)
_SEEDS = flags.DEFINE_integer("seeds", 10, "Runs of each.", lower_bound=2)
_QUERIES = flags.DEFINE_integer("queries", 200, "Queries.", lower_bound=10)
_SIGNAL = "val_acc_200ep"
# Limits as quantiles of the latencies of the connected networks.
_QUANTILES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75)


class Landscape:
    """The connected networks, with accuracy and latency on one device.

    Args:
        table: Accuracies.
        device: Latencies.
    """

    def __init__(self, table: NasBench201Table, device: DeviceTable):
        self.table, self.device = table, device
        cells = [tuple(cell) for cell in table.codes.tolist()]
        rows = [i for i, cell in enumerate(cells) if is_connected(cell)]
        self.rows = np.array(rows)
        self.ms = np.array([device.latencies_ms[cells[i]] for i in rows])
        self.validation = 100 * table.accuracies[_SIGNAL][self.rows]
        self.test = 100 * table.accuracies["test_acc_200ep"][self.rows]

    def front(self) -> list[int]:
        """Returns the networks that no other beats, the fastest first."""
        points = list(zip(self.ms, self.validation, strict=True))
        return pareto_front(points)

    def best(self, limit_ms: float) -> float:
        """Returns the best validation accuracy that a limit allows."""
        return float(self.validation[self.ms <= limit_ms].max())


@functools.cache
def _template(path: str) -> Any:
    """A strategy whose compiled policy serves one run after another."""
    from tfnas.search import ase_nas
    from tfnas.search.limit import Limit

    space = NasBench201Table.load(path).space
    limit = Limit(space, lambda codes: 0.0)
    config = config_files.load("configs/ase_nas_nasbench201.py")
    return ase_nas.make(space, limit, config.search, 0)


def search(
    land: Landscape, limit_ms: float, seed: int, algorithm: str
) -> float:
    """Returns the validation accuracy of the network that a search finds."""
    from tfnas.search.ase_nas import ASENAS
    from tfnas.search.baselines import RandomSearch
    from tfnas.search.limit import Limit
    from tfnas.search.query import ask_and_tell

    table, cost = land.table, land.device.latencies_ms.__getitem__
    limit = Limit(table.space, cost, limit_ms)
    if algorithm == "random":
        strategy: Any = RandomSearch(table.space, limit, seed)
    else:
        made = _template(_TABLE.value)
        strategy = ASENAS(
            made.space, limit, seed, made.options, (), made.controller
        )
    scores = table.accuracies[_SIGNAL]
    ask_and_tell(
        strategy, _QUERIES.value, lambda c: float(scores[table.row(c)]), cost
    )
    return 100 * strategy.best()[1]


def searched(land: Landscape) -> list[dict[str, Any]]:
    """Searches under each limit; returns one record for each."""
    records = []
    for quantile in _QUANTILES:
        limit_ms = float(np.quantile(land.ms, quantile))
        record = {
            "device": land.device.device, "limit_ms": limit_ms,
            "quantile": quantile, "best": land.best(limit_ms),
        }
        for algorithm in ("ase_nas", "random"):
            found = [
                search(land, limit_ms, seed, algorithm)
                for seed in range(_SEEDS.value)
            ]
            record[f"{algorithm}_mean"] = float(np.mean(found))
            record[f"{algorithm}_std"] = float(np.std(found, ddof=1))
        print(json.dumps(record), flush=True)
        records.append(record)
    return records


def draw(
    lands: list[Landscape], records: list[dict[str, Any]], path: pathlib.Path
) -> None:
    """Draws the fronts and what the searches found, one panel a device."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(lands), figsize=(3.4 * len(lands), 3.2), squeeze=False
    )
    for axis, land in zip(axes[0], lands, strict=True):
        front = land.front()
        axis.plot(
            land.ms[front], land.validation[front], "k.-", lw=0.8, ms=3,
            label="front",
        )
        own = [r for r in records if r["device"] == land.device.device]
        for name, marker in (("ase_nas", "o"), ("random", "x")):
            axis.errorbar(
                [r["limit_ms"] for r in own], [r[f"{name}_mean"] for r in own],
                [r[f"{name}_std"] for r in own], fmt=marker, ms=4, lw=1,
                label=f"{name} at the limit",
            )
        axis.set(
            title=land.device.device, xscale="log", ylim=(80, 92),
            xlabel="measured latency (ms)",
        )
    axes[0][0].set_ylabel("validation accuracy (%)")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    table = NasBench201Table.load(_TABLE.value)
    lands = {
        name: Landscape(table, DeviceTable.load(_LATENCIES.value, name, table))
        for name in device_names(_LATENCIES.value)
    }
    fronts = {
        name: [
            {
                "row": int(land.rows[i]), "latency_ms": float(land.ms[i]),
                "validation": round(float(land.validation[i]), 3),
                "test": round(float(land.test[i]), 3),
            }
            for i in land.front()
        ]
        for name, land in lands.items()
    }
    chosen = [lands[name] for name in _SEARCHED.value]
    records = [record for land in chosen for record in searched(land)]
    result = {
        "benchmark": "nasbench201_devices",
        "table_sha256": artifacts.sha256(_TABLE.value),
        "signal": _SIGNAL,
        "queries": _QUERIES.value,
        "seeds": _SEEDS.value,
        "searched": records,
        "fronts": fronts,
    }
    folder = pathlib.Path("benchmarks/results")
    artifacts.write_json(folder / "nasbench201_devices.json", result)
    draw(chosen, records, folder / "nasbench201_devices.png")
    print(json.dumps({k: v for k, v in result.items() if k != "fronts"}))


if __name__ == "__main__":
    cli.run(main)
