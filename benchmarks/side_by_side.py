"""Are the files that we write today faster than those of an older checkout?

    git worktree add /tmp/older 30cd082
    python -m benchmarks.side_by_side --old=/tmp/older \\
        --workdir=runs/side_by_side [--cells=20] [--rounds=50] \\
        [--networks=densenas_a,tfnas_small] [--result=NAME]

Both checkouts export the same networks with the same random weights, each in
a process with it on the path, side by side on two cores. Then the files of a
network, old and new, float32 and int8, are timed in turn in one run on one
thread. For each there are the ratio old / new (how many times faster) with
its 95 % interval, and the pieces: the parts of the file that the delegate
runs. Networks: six published ones and `TFNASSmall` at their own size, 20
random networks of `nasbench201` (in int8 alone), and
`keras.applications.MobileNetV3Small` at 96 px.

What has to hold is in `WANTED`, and the line says whether it does. A file
that is written and a network that is timed stay: the same command goes on
after a kill. Time: 10 minutes on two idle cores, 8 of them to export. Prints
one JSON line and writes it to `benchmarks/results/`.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from benchmarks import side_by_side_files as files
from benchmarks.journal import Journal
from tflite_bench import stats
from tflite_bench.device import HostDevice
from tfnas import artifacts
from tfnas import cli
from tfnas.errors import ConfigError

PUBLISHED = (
    "ase_nas", "densenas_a", "densenas_b", "densenas_c", "autospace_340m",
    "shrink_cnn_a", "tfnas_small",
)
STOCK = "MobileNetV3Small"

_OLD = flags.DEFINE_string("old", None, "An older checkout.", required=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_NETWORKS = flags.DEFINE_list(
    "networks", [*PUBLISHED, STOCK], "Beside the random cells."
)
_CELLS = flags.DEFINE_integer(
    "cells", 20, "Random networks of nasbench201.", lower_bound=0
)
_ROUNDS = flags.DEFINE_integer("rounds", 50, "Rounds.", lower_bound=2)
_RESULT = flags.DEFINE_string("result", "side_by_side", "In results/.")

HERE = pathlib.Path(__file__).resolve().parents[1]
# How many times faster: network, type, at least.
WANTED = (
    ("ase_nas", "int8", 4.0), ("ase_nas", "float32", 1.6),
    ("densenas_a", "int8", 2.7), ("densenas_a", "float32", 1.4),
    ("tfnas_small", "int8", 5.0), ("tfnas_small", "float32", 2.5),
    ("nasbench201", "int8", 2.5), (STOCK, "int8", 2.5),
)
MOST_PIECES = 2


def write_files(
    checkouts: dict[str, pathlib.Path], names: Sequence[str],
    folder: pathlib.Path,
) -> None:
    """Lets both checkouts write their files, at the same time.

    Raises:
        SystemExit: when one of them fails.
    """
    running = {}
    for which, checkout in checkouts.items():
        (folder / which).mkdir(parents=True, exist_ok=True)
        running[which] = subprocess.Popen(
            [
                sys.executable, files.__file__, str(checkout),
                str(folder / which), *names,
            ],
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )
    for which, process in running.items():
        if process.wait():
            raise SystemExit(f"The {which} checkout could not write its files.")


def compare(name: str, folder: pathlib.Path, rounds: int) -> dict[str, Any]:
    """Times the files of one network in turn; returns its figures."""
    kinds = [(w, d) for d in files.dtypes_of(name) for w in ("old", "new")]
    found = HostDevice().measure(
        [str(folder / w / f"{name}_{d}.tflite") for w, d in kinds], rounds
    )
    of = dict(zip(kinds, found, strict=True))
    row: dict[str, Any] = {}
    for dtype in files.dtypes_of(name):
        old, new = of["old", dtype], of["new", dtype]
        row[dtype] = {
            "old_ms": round(old.latency_ms, 4),
            "new_ms": round(new.latency_ms, 4),
            "times_faster": times(new.samples_ms, old.samples_ms),
            "old_pieces": old.delegate_nodes,
            "new_pieces": new.delegate_nodes,
        }
    return row


def times(first_ms: Sequence[float], second_ms: Sequence[float]) -> list[float]:
    """Returns second / first with the ends of its interval."""
    found = stats.ratio(first_ms, second_ms)
    return [round(x, 3) for x in (found.value, found.low, found.high)]


def cells(rows: dict[str, dict]) -> dict[str, Any]:
    """Sums up the random networks of `nasbench201`."""
    of = [row["int8"] for row in rows.values()]
    faster = [one["times_faster"][0] for one in of]
    return {
        "networks": len(of),
        "times_faster": {
            "median": round(float(np.median(faster)), 3),
            "least": min(faster), "most": max(faster),
        },
        "old_pieces": [one["old_pieces"] for one in of],
        "new_pieces": [one["new_pieces"] for one in of],
    }


def judge(networks: dict, random: dict | None) -> list[dict[str, Any]]:
    """Says what of `WANTED` holds."""
    rows = []
    for name, dtype, least in WANTED:
        if name == "nasbench201" and random:
            faster = random["times_faster"]["median"]
            pieces = max(random["new_pieces"])
        elif name in networks:
            one = networks[name][dtype]
            faster, pieces = one["times_faster"][0], one["new_pieces"]
        else:
            continue
        rows.append(
            {
                "network": name, "dtype": dtype, "wanted": least,
                "times_faster": faster, "pieces": pieces,
                "holds": faster >= least and pieces <= MOST_PIECES,
            }
        )
    return rows


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    old = pathlib.Path(_OLD.value).resolve()
    if not (old / "tfnas").is_dir():
        raise ConfigError(
            f"Expected the folder of a checkout. Received: --old={old}"
        )
    folder = pathlib.Path(_WORKDIR.value)
    commits = {"old": commit(old), "new": commit(HERE)}
    artifacts.claim_workdir(folder, {**commits, "rounds": _ROUNDS.value})
    drawn = [f"{files.CELLS}{seed}" for seed in range(_CELLS.value)]
    names = [*_NETWORKS.value, *drawn]
    write_files({"old": old, "new": HERE}, names, folder)
    journal = Journal(folder / "units", None)
    rows = {
        name: journal.unit(
            name, lambda name=name: compare(name, folder, _ROUNDS.value)
        )
        for name in names
    }
    random = cells({n: rows.pop(n) for n in drawn}) if drawn else None
    line = {
        "benchmark": "side_by_side",
        "commits": commits,
        "rounds": _ROUNDS.value,
        "networks": rows,
        "nasbench201": random,
        "wanted": judge(rows, random),
        "most_pieces": MOST_PIECES,
        "load_average": round(os.getloadavg()[0], 2),
        **HostDevice().describe(),
    }
    closing.show(line, _RESULT.value or None)


def commit(checkout: pathlib.Path) -> str:
    """Returns the commit of a checkout, with a mark where it was changed."""
    done = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    cli.run(main)
