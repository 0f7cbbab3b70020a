"""What does int8 cost in accuracy, and what does it give?

    python -m benchmarks.export_accuracy --data=webp:cifar10 \\
        --workdir=runs/export_accuracy [--seeds=0,1] [--units=N] \\
        [--result=NAME] [--smoke]

Four networks of 32 px, trained on all 50,000 training images of CIFAR-10 with
one setting (`SETTING`), with two seeds each:

| network | what it is | MAdds | params |
|---|---|---|---|
| DenseNAS | `densenas_mbv2@32`, the sample of seed 6 | 5.7M | 109k |
| ShrinkCNN | `autoshrink_cnn@32` with the published cell | 9.2M | 52k |
| AutoSpace | `autospace@32`, the sample of seed 4 | 7.1M | 131k |
| ASE-NAS | `mobilenetv3@32`, the sample of seed 13 | 8.6M | 289k |

Each is then quantized to int8 after training (200 training images to
calibrate on) and by quantization-aware fine-tuning (`TUNING`), and all three
files see the test images: the drop is the mean of (right as float) - (right
as int8) over images, with the standard error of those differences, so that
what both get right or wrong does not count. The files of a network are timed
side by side on one thread of this machine. A size ratio is also given for the
published networks, which have millions of parameters (weights random: they do
not change it).

Every training (resumable by epochs), conversion, tuning and timing is a unit
that is written down when it is done: after a kill the same command goes on.
`--units=N` ends it after N of them; `--smoke` runs all of it in minutes on a
few images, to see that it works. Seeds can run side by side, each in a process
of its own (`--seeds=1`); with all of them the program then sums up. Time: 13
to 24 minutes for a training (500,000 images, 350 to 650 a second on one core
beside the other seed) and 1.5 to 3 for a tuning, 92 minutes for a seed. Prints
one JSON line and writes it to `benchmarks/results/`.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from benchmarks.journal import Journal
from tfnas import artifacts
from tfnas import cli
from tfnas import config_files
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.spaces.dag_specs import SHRINK_CNN

_DATA = flags.DEFINE_string(
    "data", None, "CIFAR-10, such as webp:DIR or cifar10.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "Of the trainings.")
_UNITS = flags.DEFINE_integer(
    "units", None, "End after so many units; the same command goes on.",
    lower_bound=1,
)
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")
_SMOKE = flags.DEFINE_bool("smoke", False, "A run on a few images.")

CONFIG = "configs/densenas_mbv2.py:local"
SETTING = {
    "data.image_size": 32,
    "train.epochs": 10,
    "train.batch_size": 64,
    "train.lr": 0.1,
    "train.min_lr": 1e-5,
    "train.warmup_epochs": 1,
    "train.weight_decay": 1e-4,
    "train.label_smoothing": 0.0,
    "train.augment": "pad_crop+flip",
    "train.test_every": 10,
}
TUNING = {
    "epochs": 1, "lr": 1e-3, "batch_size": 64, "augment": "pad_crop+flip",
}
SMOKE = {
    "data.limit_train": 640, "data.limit_test": 200, "train.epochs": 1,
    "train.warmup_epochs": 0,
}
FILES = ("float", "ptq", "qat")
LARGE = ("DenseNASA", "ShrinkCNNA", "AutoSpace340M", "ASENAS")
_CALIBRATION_IMAGES = 200
_ROUNDS = 100
_PUBLISHED_SIZE = 96  # px; the size in bytes hardly depends on it


def networks() -> dict[str, Arch]:
    """Returns the networks by name."""
    shrink: Any = spaces.get("autoshrink_cnn@32")
    return {
        "densenas": spaces.get("densenas_mbv2@32").sample(6),
        "shrink_cnn": shrink.decode(SHRINK_CNN),
        "autospace": spaces.get("autospace@32").sample(4),
        "ase_nas": spaces.get("mobilenetv3@32").sample(13),
    }


def make_config(seed: int) -> Any:
    """Returns the config of a seed."""
    config = config_files.load(CONFIG).copy_and_resolve_references()
    config.data.name, config.seed = _DATA.value, seed
    config.update_from_flattened_dict(SETTING | (SMOKE if smoke() else {}))
    return config


def smoke() -> bool:
    """Says whether this is only to see that it works."""
    return bool(_SMOKE.value)


class Case:
    """One network with one seed: its training and its three files.

    Args:
        name: Name of the network.
        arch: The network.
        seed: Of training, calibration and tuning.
        dataset: The images.
        folder: Where its files are.
        journal: The units.
    """

    def __init__(
        self, name: str, arch: Arch, seed: int, dataset: Any,
        folder: pathlib.Path, journal: Journal,
    ):
        self.name, self.arch, self.seed = f"{name}_{seed}", arch, seed
        self.dataset, self.journal = dataset, journal
        self.folder = folder / self.name

    def unit(self, stage: str, run: Callable[[], dict]) -> dict:
        """Returns the figures of one stage."""
        return self.journal.unit(f"{self.name}_{stage}", run)

    def train(self) -> dict[str, Any]:
        """Trains the network."""
        from tfnas.train import retrain

        model, accuracy = retrain.retrain(
            self.arch, make_config(self.seed), self.folder / "train",
            self.dataset, title=self.name,
        )
        self.arch.save(self.folder / "arch.json")  # `publish_preset` asks
        retrain.save_model(model, self.folder / "model.keras")
        return {"accuracy": accuracy}

    def convert(self, kind: str) -> dict[str, Any]:
        """Makes one of the files and classifies the test images with it."""
        from tfnas import export

        model = export.load_keras(self.folder / "model.keras")
        if kind == "float":
            blob = export.to_tflite(model)
        elif kind == "ptq":
            images = self.dataset.train.representative(
                _CALIBRATION_IMAGES, self.seed
            )
            blob = export.to_tflite(model, "int8", images)
        else:
            from tfnas.export import qat

            settings = qat.FineTuning(seed=self.seed, **TUNING)  # type: ignore
            tuned = qat.quantize_aware(
                model, self.arch, self.dataset, settings
            )
            blob = qat.to_int8(tuned)
        artifacts.write_bytes(self.path(kind), blob)
        images, labels = self.dataset.test.arrays()
        logits = export.TFLiteClassifier(blob).predict(images)
        right = np.argmax(logits, axis=-1) == labels
        artifacts.write_npz(self.folder / f"{kind}.npz", right=right)
        return {"accuracy": float(right.mean()), "size_bytes": len(blob)}

    def path(self, kind: str) -> pathlib.Path:
        """Returns where a file is."""
        return self.folder / f"{kind}.tflite"

    def time(self) -> dict[str, Any]:
        """Times the three files side by side."""
        from tflite_bench import stats
        from tflite_bench.device import HostDevice

        paths = [str(self.path(kind)) for kind in FILES]
        measured = HostDevice().measure(paths, 2 if smoke() else _ROUNDS)
        first = measured[0].samples_ms
        return {
            kind: {
                "latency_ms": one.latency_ms,
                "speedup": stats.ratio(one.samples_ms, first).value,
            }
            for kind, one in zip(FILES, measured, strict=True)
        }

    def run(self) -> dict[str, Any]:
        """Does what is left; returns all figures."""
        self.unit("train", self.train)
        row: dict[str, Any] = {"seed": self.seed}
        for kind in FILES:
            row[kind] = self.unit(kind, lambda kind=kind: self.convert(kind))
        row["latency"] = self.unit("time", self.time)
        right = {
            kind: artifacts.read_npz(self.folder / f"{kind}.npz")["right"]
            for kind in FILES
        }
        for kind in FILES[1:]:
            row[kind] |= closing.paired_drop(right["float"], right[kind])
            sizes = row[kind]["size_bytes"], row["float"]["size_bytes"]
            row[kind]["size_ratio"] = sizes[0] / sizes[1]
        return row


def mean_drop(rows: list[dict], kind: str) -> dict[str, float]:
    """Returns the mean drop over seeds; the errors add in squares."""
    errors = [row[kind]["drop_error"] for row in rows]
    drops = [row[kind]["drop_points"] for row in rows]
    return {
        "drop_points": float(np.mean(drops)),
        "drop_error": float(np.sqrt(np.sum(np.square(errors))) / len(rows)),
    }


def published_size(name: str) -> dict[str, Any]:
    """Returns the size ratio of a published network."""
    from tfnas import applications
    from tfnas import export

    model = getattr(applications, name)(
        input_shape=(_PUBLISHED_SIZE, _PUBLISHED_SIZE, 3), weights=None
    )
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, *model.input_shape[1:]), np.float32)
    whole = len(export.to_tflite(model))
    int8 = len(export.to_tflite(model, "int8", images))
    params = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return {"params": params, "size_ratio": int8 / whole}


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    from tflite_bench.device import HostDevice
    from tfnas import data
    from tfnas.train import run_state

    folder = pathlib.Path(_WORKDIR.value)
    config = make_config(0)
    artifacts.claim_workdir(folder, {**config, "tuning": TUNING})
    journal = Journal(folder / "units", _UNITS.value)
    dataset = data.load(config.data)
    seeds = [int(seed) for seed in _SEEDS.value]
    if smoke():
        seeds = seeds[:1]
    results = {}
    for name, arch in networks().items():
        rows = [
            Case(name, arch, seed, dataset, folder, journal).run()
            for seed in seeds
        ]
        results[name] = {
            "arch_id": arch.id, "madds": count(arch).madds,
            "params": count(arch).params, "seeds": rows,
            **{kind: mean_drop(rows, kind) for kind in FILES[1:]},
        }
    large = () if smoke() else LARGE
    line = {
        "benchmark": "export_accuracy",
        "data": f"CIFAR-10, {len(dataset.train)} training images; accuracy on "
        f"{len(dataset.test)} test images",
        "setting": SETTING | (SMOKE if smoke() else {}),
        "tuning": TUNING,
        "networks": results,
        "published": {
            name: journal.unit(
                f"published_{name}", lambda name=name: published_size(name)
            )
            for name in large
        },
        "device": HostDevice().describe(),
        "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    # Each network keeps its shapes, so preparing kernels for them pays.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    cli.run(main)
