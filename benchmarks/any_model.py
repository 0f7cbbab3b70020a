"""How far is the predicted latency of a network that is in no space?

    python -m benchmarks.any_model --workdir=runs/any_model \\
        [--networks=ResNet50,VGG16] [--rounds=25] [--result=NAME]

Twelve networks of `keras.applications` at 96 px with random weights are
exported in float32 and int8. `tfnas-lut --mode=predict` says for each file
what it takes, from a table of the runtime's operators to which it adds the
rows that are missing; then the file itself is measured. Printed is the mean
absolute error of all twelve in percent (`WANTED_MAPE`), with each network.

The table is one for each type, in the workdir; a network that is done stays,
and the same command goes on after a kill. Time: 12 minutes on two idle cores,
half of them to build and export. Prints one JSON line and writes it to
`benchmarks/results/`.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from benchmarks.journal import Journal
from tflite_bench.device import HostDevice
from tfnas import artifacts
from tfnas import cli

# Of different kinds: plain, residual, dense, depthwise, squeeze-excite,
# layer-normed, and one of cells.
NETWORKS = (
    "VGG16", "ResNet50", "ResNet50V2", "DenseNet121", "InceptionV3",
    "Xception", "MobileNet", "MobileNetV2", "MobileNetV3Small",
    "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0",
)

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_NETWORKS = flags.DEFINE_list(
    "networks", list(NETWORKS), "Functions of keras.applications."
)
_ROUNDS = flags.DEFINE_integer("rounds", 25, "Rounds.", lower_bound=2)
_RESULT = flags.DEFINE_string("result", "any_model", "In results/.")

QUANTIZE = {"float32": "none", "int8": "int8"}
WANTED_MAPE = 5.0  # percent
_SIZE, _IMAGES = 96, 8
_SPACE = "mobilenetv3@32"  # whose networks calibrate the tables


def export(name: str, folder: pathlib.Path) -> None:
    """Writes the files of a network that are not there."""
    import keras

    from tfnas.export import to_tflite

    paths = {dtype: folder / f"{name}_{dtype}.tflite" for dtype in QUANTIZE}
    if all(path.exists() for path in paths.values()):
        return
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        input_shape=(_SIZE, _SIZE, 3), weights=None
    )
    rng = np.random.default_rng(0)
    images = rng.standard_normal((_IMAGES, _SIZE, _SIZE, 3), np.float32)
    for dtype, path in paths.items():
        content = to_tflite(model, QUANTIZE[dtype], images)
        artifacts.write_bytes(path, content)
    keras.backend.clear_session()


def _start_table(table: pathlib.Path, dtype: str) -> None:
    """Makes a table of operators, calibrated on small networks of a space."""
    if table.exists():
        return
    done = subprocess.run(
        [
            sys.executable, "-m", "tfnas.bin.lut", f"--space={_SPACE}",
            "--entries=operators", f"--dtype={dtype}", f"--lut={table}",
            "--nostrict", f"--rounds={_ROUNDS.value}",
        ],
        capture_output=True, text=True, check=False,
    )
    if done.returncode:
        raise SystemExit(f"{table}: {done.stderr.strip()}")


def _predict(path: pathlib.Path, table: pathlib.Path) -> dict[str, float]:
    """Returns what `tfnas-lut --mode=predict` says of a file, in ms."""
    done = subprocess.run(
        [
            sys.executable, "-m", "tfnas.bin.lut", "--mode=predict",
            f"--model={path}", f"--lut={table}",
            f"--rounds={_ROUNDS.value}",
        ],
        capture_output=True, text=True, check=False,
    )
    if done.returncode:
        raise SystemExit(f"{path}: {done.stderr.strip()}")
    found = re.search(r"([0-9.]+) ms", done.stdout)
    if not found:
        raise SystemExit(f"{path}: no latency in {done.stdout!r}")
    return {"predicted_ms": float(found[1])}


def compare(
    name: str, dtype: str, folder: pathlib.Path, rounds: int
) -> dict[str, Any]:
    """Predicts and measures one file; returns its figures."""
    path = folder / f"{name}_{dtype}.tflite"
    row = _predict(path, folder / f"table_{dtype}.json")
    (found,) = HostDevice().measure([str(path)], rounds)
    off = 100 * (row["predicted_ms"] / found.latency_ms - 1)
    return {
        **row,
        "measured_ms": round(found.latency_ms, 4),
        "off_percent": round(off, 2),
        "spread_percent": round(100 * found.spread, 2),
        "pieces": found.delegate_nodes,
    }


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the errors of all networks in one type."""
    off = np.array([row["off_percent"] for row in rows.values()])
    mape = float(np.abs(off).mean())
    return {
        "mape_percent": round(mape, 2),
        "max_percent": round(float(np.abs(off).max()), 2),
        "bias_percent": round(float(off.mean()), 2),
        "holds": mape <= WANTED_MAPE,
        "networks": rows,
    }


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    rounds, folder = _ROUNDS.value, pathlib.Path(_WORKDIR.value)
    described = HostDevice().describe()
    artifacts.claim_workdir(folder, {"rounds": rounds, **described})
    for name in _NETWORKS.value:
        export(name, folder)
    journal = Journal(folder / "units", None)
    line: dict[str, Any] = {"benchmark": "any_model", "image_size": _SIZE}
    for dtype in QUANTIZE:
        _start_table(folder / f"table_{dtype}.json", dtype)
        line[dtype] = summary(
            {
                name: journal.unit(
                    f"{name}_{dtype}",
                    lambda name=name, dtype=dtype: compare(
                        name, dtype, folder, rounds
                    ),
                )
                for name in _NETWORKS.value
            }
        )
    line |= {
        "wanted_mape_percent": WANTED_MAPE,
        "rounds": rounds,
        "load_average": round(os.getloadavg()[0], 2),
        **described,
    }
    closing.show(line, _RESULT.value or None)


if __name__ == "__main__":
    cli.run(main)
