"""Is any network of ours slower in int8 than in float?

    python -m benchmarks.int8_over_float --workdir=runs/int8_over_float \\
        [--nets=10] [--rounds=10] [--spaces=nasbench201] [--result=NAME]

All applications that take images, and random networks of every space of
images: each is written in both types with random weights (directly, or by the
converter where the writer has no such operator), and the two files are timed
in turn on one thread. The ratio int8 / float has its 95 % interval; above 1
the network is slower for being smaller, which must not be.

A space that is done stays: the same command goes on after a kill. Time: 7
minutes on an idle core, most of them for the spaces of 224 px. Prints one JSON
line and writes it to `benchmarks/results/`.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from benchmarks.journal import Journal
from tflite_bench import convert
from tflite_bench import stats
from tflite_bench import writer
from tflite_bench.device import HostDevice
from tfnas import applications
from tfnas import artifacts
from tfnas import cli
from tfnas import spaces
from tfnas.arch import Arch

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_NETS = flags.DEFINE_integer(
    "nets", 10, "Random networks of each space.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Rounds.", lower_bound=2)
_SPACES = flags.DEFINE_list("spaces", None, "Only these; default: all.")
_RESULT = flags.DEFINE_string("result", "int8_over_float", "In results/.")

DTYPES = ("float32", "int8")
LIMIT = 1.0


def takes_images(arch: Arch) -> bool:
    """Says whether a network is one of images, not of words."""
    return len(arch.input_shape) == 3


def space_names() -> list[str]:
    """Returns the spaces of images."""
    return [
        name for name in spaces.names()
        if takes_images(spaces.get(name).sample(0))
    ]


def write(arch: Arch, dtype: str, path: str) -> None:
    """Writes the file of a network in one type."""
    try:
        artifacts.write_bytes(path, writer.write_arch(arch, dtype))
    except writer.UnsupportedNode:
        convert.convert({path: arch}, dtype)


def compare(arch: Arch, rounds: int) -> dict[str, Any]:
    """Times a network in both types in turn; returns its figures."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{dtype}.tflite" for dtype in DTYPES]
        for path, dtype in zip(paths, DTYPES, strict=True):
            write(arch, dtype, path)
        whole, int8 = HostDevice().measure(paths, rounds)
    found = stats.ratio(whole.samples_ms, int8.samples_ms)
    return {
        "arch_id": arch.id,
        "float32_ms": round(whole.latency_ms, 4),
        "int8_ms": round(int8.latency_ms, 4),
        "ratio": [round(x, 3) for x in (found.value, found.low, found.high)],
        "pieces": [whole.delegate_nodes, int8.delegate_nodes],
    }


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the ratios of one group of networks, and which are slower."""
    ratios = {name: row["ratio"][0] for name, row in rows.items()}
    return {
        "networks": len(rows),
        "median": round(float(np.median(list(ratios.values()))), 3),
        "largest": max(ratios.values()),
        "slower": {n: r for n, r in ratios.items() if r > LIMIT},
        "most_pieces": max(row["pieces"][1] for row in rows.values()),
    }


def group(name: str) -> dict[str, Arch]:
    """Returns the random networks of a space, or the applications."""
    if name == "applications":
        found = {
            n: applications.APPLICATIONS.get(n).get_arch()
            for n in applications.names()
        }
        return {n: arch for n, arch in found.items() if takes_images(arch)}
    space = spaces.get(name)
    return {str(seed): space.sample(seed) for seed in range(_NETS.value)}


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    rounds, folder = _ROUNDS.value, pathlib.Path(_WORKDIR.value)
    described = HostDevice().describe()
    artifacts.claim_workdir(
        folder, {"rounds": rounds, "nets": _NETS.value, **described}
    )
    journal = Journal(folder / "units", None)
    groups = {}
    for name in _SPACES.value or ["applications", *space_names()]:
        rows = journal.unit(
            name, lambda name=name: {
                key: compare(arch, rounds)
                for key, arch in group(name).items()
            },
        )
        found = summary(rows)
        groups[name] = found | {"rows": rows}
        print(f"{name}: int8 over float {found['median']}, at most "
              f"{found['largest']}")
    line = {
        "benchmark": "int8_over_float",
        "limit": LIMIT,
        "largest": max(found["largest"] for found in groups.values()),
        "holds": not any(found["slower"] for found in groups.values()),
        "groups": groups,
        "rounds": rounds,
        "load_average": round(os.getloadavg()[0], 2),
        **described,
    }
    closing.show(line, _RESULT.value or None)


if __name__ == "__main__":
    cli.run(main)
