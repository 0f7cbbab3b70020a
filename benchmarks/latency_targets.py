"""Does a search under a latency target give networks that keep it?

    python -m benchmarks.latency_targets --data=folder:photos \\
        --workdir=runs/latency_targets [--targets_ms=6,9] [--result=NAME]

ProxylessNAS in the learned space of AutoSpace at 128 px, float32, one thread
of this machine. One table serves all targets; for each of them `tfnas-run
--rounds=2` searches, times what it found, calibrates the table with it and
searches again. How far the networks of both rounds are from the target when
they are measured is the figure; the trainings are short (40 steps of warm-up,
80 of search), since what is asked here is the latency and not the accuracy.
A target that no network reaches is refused, and the reason is in the result.

The same command goes on where it was killed. Time: about 8 minutes for each
target on one core. Prints one JSON line and writes it to
`benchmarks/results/`.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any

from absl import flags

from benchmarks import closing
from tfnas import artifacts
from tfnas import cli
from tfnas import measuring
from tfnas import spaces
from tfnas.cost.lut import LatencyTable

_DATA = flags.DEFINE_string(
    "data", None, "Images, such as folder:DIR.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_TARGETS = flags.DEFINE_list(
    "targets_ms", ["6", "9"], "Latencies to aim at, in ms."
)
_CLASSES = flags.DEFINE_integer("classes", 10, "Classes of the images.")
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

CONFIG, SPACE, SIZE, DTYPE = (
    "proxyless_autospace", "autospace_proxyless", 128, "float32"
)
SETTING = {
    "space": SPACE,
    "data.image_size": SIZE,
    "data.limit_train": 400,
    "search.batch_size": 8,
    "search.split": 0.8,
    "search.warmup_epochs": 1,
    "search.epochs": 2,
    "search.arch_from_epoch": 0,
    "search.random_archs": 2,
    "search.augment": "flip",
    "search.cost.loss": "target",
    "search.arch.lr": 2e-2,
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.augment": "flip",
    "train.test_every": 1,
    "lut.dtype": DTYPE,
}
ROUNDS = 2
_TABLE_ROUNDS, _NETS = 25, 5


def run(folder: pathlib.Path, table: LatencyTable, target_ms: float) -> dict:
    """Runs the loop for one target; returns its figures."""
    here = folder / f"target_{target_ms:g}"
    words = [
        "--config=" + CONFIG, f"--workdir={here}", f"--lut={table.source}",
        f"--target_ms={target_ms}", f"--rounds={ROUNDS}",
        f"--config.data.name={_DATA.value}",
        *(f"--config.{name}={value}" for name, value in SETTING.items()),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tfnas.bin.run", *words],
        stderr=subprocess.PIPE, text=True, check=False,
    )
    if done.returncode == 2:  # refused, with the reason
        return {"target_ms": target_ms, "refused": done.stderr.strip()}
    if done.returncode:
        raise SystemExit(done.stderr)
    first = artifacts.read_json(here / "round-1" / "bench" / "bench.json")
    last = artifacts.read_json(here / "bench" / "bench.json")
    found = [
        artifacts.read_json(where / "search" / "result.json")["archs"][0]
        for where in (here / "round-1", here)
    ]
    return {
        "target_ms": target_ms,
        "rounds": [
            figures(bench, record, target_ms)
            for bench, record in zip((first, last), found, strict=True)
        ],
    }


def figures(
    bench: dict[str, Any], found: dict[str, Any], target_ms: float
) -> dict[str, Any]:
    """Returns what was predicted and measured of a round's result."""
    (row,) = [
        row for row in bench["models"]
        if row["dtype"] == DTYPE and row["arch_id"] == found["id"]
    ]
    reference = bench["reference"]
    return {
        "arch_id": row["arch_id"],
        "predicted_ms": row["predicted_ms"],
        "measured_ms": row["measured_ms"],
        "off_target_percent": 100 * (row["measured_ms"] / target_ms - 1),
        "machine_percent": 100 * (
            reference["bench_ms"] / reference["table_ms"] - 1
        ),
    }


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    folder = pathlib.Path(_WORKDIR.value)
    space = spaces.get(SPACE, _CLASSES.value, (SIZE, SIZE, 3))
    table = measuring.build_table(
        space, folder / "lut" / "table.json", dtype=DTYPE,
        rounds=_TABLE_ROUNDS, nets=_NETS, strict=False,
    )
    line = {
        "benchmark": "latency_targets",
        "setting": SETTING,
        "device": table.header["device"],
        "targets": [run(folder, table, float(t)) for t in _TARGETS.value],
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
