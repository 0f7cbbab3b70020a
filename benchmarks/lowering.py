"""What does each rewriting give, and what does it cost in accuracy?

    python -m benchmarks.lowering --data=webp:cifar10 \\
        --workdir=runs/lowering [--rounds=50] [--only=gain,small,trained] \\
        [--result=NAME] [--smoke]

Three parts:

* `gain`: one operator of a usual size for every entry of
  `tfnas.lowering.rewritings.XNNPACK`, exported plain and lowered, float32 and
  int8, the two files timed in turn on one thread: plain / lowered with its
  95 % interval, the pieces, and the error of each file against Keras.
* `trained`: `TFNASSmall` with its shipped weights on the test images of
  CIFAR-10: right answers of the float file, of int8 plain and of int8
  lowered, paired over images, with the standard error of the difference.
* `small`: a network with many of the operators (`many_patterns`), trained
  here; int8 plain against int8 with each rewriting alone and with all.

Every file, timing and training is a unit that stays; the same command goes on
after a kill. Time: 10 minutes on an idle core: 2 for the gains, 2 for
`TFNASSmall`, 3 for the training and 3 for what is judged then. `--smoke` runs
all of it on few images. Prints one JSON line and writes it to
`benchmarks/results/`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags

from benchmarks import closing
from benchmarks import lowering_nets as nets
from benchmarks.journal import Journal
from tflite_bench import stats
from tflite_bench.device import HostDevice
from tflite_bench.interpreter import Model
from tfnas import artifacts
from tfnas import cli
from tfnas.lowering import rewritings

_DATA = flags.DEFINE_string(
    "data", None, "CIFAR-10, such as webp:DIR or cifar10.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to keep what is done.", required=True
)
_ROUNDS = flags.DEFINE_integer("rounds", 50, "Rounds.", lower_bound=2)
_ONLY = flags.DEFINE_list("only", ["gain", "trained", "small"], "Parts.")
_RESULT = flags.DEFINE_string("result", "lowering", "In results/.")
_SMOKE = flags.DEFINE_bool("smoke", False, "A run on a few images.")

QUANTIZE = {"float32": "none", "int8": "int8"}
TRAINING = {"images": 20_000, "epochs": 8, "batch_size": 64, "lr": 2e-3}
WANTED_DROP = 0.3  # points, of TFNASSmall
_CALIBRATION_IMAGES = 200


def gain(name: str, dtype: str, folder: pathlib.Path) -> dict[str, Any]:
    """Times one operator, plain and lowered, in turn."""
    from tfnas.export import to_tflite

    model = nets.single(name)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((16, *model.input_shape[1:]), np.float32)
    paths, errors = [], []
    for lower in ("none", "xnnpack"):
        content = to_tflite(model, QUANTIZE[dtype], images, lower=lower)
        paths.append(str(folder / f"{name}_{dtype}_{lower}.tflite"))
        artifacts.write_bytes(paths[-1], content)
        errors.append(error_percent(content, model, images[:1]))
    plain, lowered = HostDevice().measure(paths, _ROUNDS.value)
    found = stats.ratio(lowered.samples_ms, plain.samples_ms)
    return {
        "plain_us": round(1e3 * plain.latency_ms, 1),
        "lowered_us": round(1e3 * lowered.latency_ms, 1),
        "gain": [round(x, 2) for x in (found.value, found.low, found.high)],
        "pieces": [plain.delegate_nodes, lowered.delegate_nodes],
        "error_percent": errors,
    }


def error_percent(content: bytes, model: Any, image: np.ndarray) -> float:
    """Returns how far a file's answer is from that of Keras."""
    from tfnas.export import classifiers
    from tfnas.export.runtime import open_interpreter

    runtime = open_interpreter(content)
    (given,) = runtime.get_input_details()
    (answer,) = runtime.get_output_details()
    if np.dtype(given["dtype"]).kind == "i":
        runtime.set_tensor(given["index"], classifiers.quantize(image, given))
    else:
        runtime.set_tensor(given["index"], image)
    runtime.invoke()
    found = runtime.get_tensor(answer["index"])
    if np.dtype(answer["dtype"]).kind == "i":
        found = classifiers.dequantize(found, answer)
    wanted = np.asarray(model(image))
    off = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    return round(float(100 * off), 5)


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Switches all rewritings but one off."""
    before = dict(rewritings.XNNPACK)
    for other, entry in before.items():
        if other != name:
            rewritings.XNNPACK[other] = dataclasses.replace(entry, types=())
    try:
        yield
    finally:
        rewritings.XNNPACK.update(before)


@dataclasses.dataclass(frozen=True)
class Judge:
    """Files of one network, and how many test images each gets right.

    Args:
        title: Name of the network.
        model: It, with trained weights.
        dataset: Images as it wants them.
        folder: Where its files are.
        journal: The units.
    """

    title: str
    model: Any
    dataset: Any
    folder: pathlib.Path
    journal: Journal

    def file(
        self, kind: str, quantize: str, lower: str, only: str | None = None
    ) -> dict[str, Any]:
        """Converts the network and classifies the test images."""
        name = f"{self.title}_{kind}"
        return self.journal.unit(
            name, lambda: self._file(name, quantize, lower, only)
        )

    def _file(
        self, name: str, quantize: str, lower: str, only: str | None
    ) -> dict[str, Any]:
        from tfnas import export
        from tfnas.export import tflite

        images = self.dataset.train.representative(_CALIBRATION_IMAGES, 0)
        with alone(only) if only else contextlib.nullcontext():
            made = tflite.convert(self.model, quantize, images, lower=lower)
        path = self.folder / f"{name}.tflite"
        artifacts.write_bytes(path, made.blob)
        tests, labels = self.dataset.test.arrays()
        scores = export.TFLiteClassifier(made.blob).predict(tests)
        right = np.argmax(scores, axis=-1) == labels
        artifacts.write_npz(self.folder / f"{name}.npz", right=right)
        return {
            "accuracy_percent": round(100 * float(right.mean()), 3),
            "pieces": Model(path).delegate_nodes,
            "lowering": made.lowering,
        }

    def drop(self, before: str, after: str) -> dict[str, float]:
        """Returns what is lost from one file to another, paired."""
        right = [
            artifacts.read_npz(self.folder / f"{self.title}_{kind}.npz")
            for kind in (before, after)
        ]
        return closing.paired_drop(*(one["right"] for one in right))

    def times(self, first: str, *others: str) -> dict[str, list[float]]:
        """Times files in turn; returns first / other with its interval."""
        kinds = (first, *others)
        found = HostDevice().measure(
            [str(self.folder / f"{self.title}_{k}.tflite") for k in kinds],
            _ROUNDS.value,
        )
        ratios = {}
        for kind, one in zip(others, found[1:], strict=True):
            ratio = stats.ratio(one.samples_ms, found[0].samples_ms)
            values = (ratio.value, ratio.low, ratio.high)
            ratios[kind] = [round(x, 3) for x in values]
        return ratios

    def row(self, kinds: dict[str, tuple]) -> dict[str, Any]:
        """Returns all figures; drops are from plain int8, and from float."""
        rows = {kind: self.file(kind, *how) for kind, how in kinds.items()}
        for kind in kinds:
            if kind != "float":
                rows[kind]["drop_from_float"] = self.drop("float", kind)
            if kind not in ("float", "plain"):
                rows[kind]["drop_from_plain"] = self.drop("plain", kind)
        speed = self.journal.unit(
            f"{self.title}_speed", lambda: self.times(
                "plain", *(kind for kind in kinds if kind != "plain")
            )
        )
        for kind, faster in speed.items():
            rows[kind]["times_faster_than_plain"] = faster
        return rows


BASE = {
    "float": ("none", "xnnpack"),
    "plain": ("int8", "none"),
    "lowered": ("int8", "xnnpack"),
}


def trained(folder: pathlib.Path, journal: Journal) -> dict[str, Any]:
    """Judges the network that the package ships."""
    from tfnas import applications

    entry = applications.APPLICATIONS.get("tfnas_small")
    model = applications.TFNASSmall(
        weights="cifar10", classifier_activation=None
    )
    dataset = load(mean=entry.mean, std=entry.std)
    rows = Judge("tfnas_small", model, dataset, folder, journal).row(BASE)
    lost = rows["lowered"]["drop_from_float"]["drop_points"]
    return {
        "images": len(dataset.test), "files": rows,
        "wanted_drop_points": WANTED_DROP, "holds": lost <= WANTED_DROP,
    }


def small(folder: pathlib.Path, journal: Journal) -> dict[str, Any]:
    """Judges the network with many patterns, rewriting by rewriting."""
    from tfnas import export

    dataset = load(limit_train=TRAINING["images"])
    path = folder / "many_patterns.keras"
    training = journal.unit(
        "small_training", lambda: train(dataset, path)
    )
    judge = Judge("small", export.load_keras(path), dataset, folder, journal)
    used = {
        name: ("int8", "xnnpack", name)
        for name in judge.file("lowered", *BASE["lowered"])["lowering"][
            "applied"
        ]
    }
    return {
        "images": len(dataset.test), "training": training,
        "files": judge.row(BASE | used),
    }


def train(dataset: Any, path: pathlib.Path) -> dict[str, Any]:
    """Trains the network with many patterns and keeps it."""
    import keras

    from tfnas.train import retrain

    keras.utils.set_random_seed(0)
    model = nets.many_patterns(len(dataset.class_names))
    images, labels = dataset.train.arrays()
    epochs = 1 if _SMOKE.value else int(TRAINING["epochs"])
    steps = epochs * len(images) // int(TRAINING["batch_size"])
    rate = keras.optimizers.schedules.CosineDecay(TRAINING["lr"], steps)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    found = model.fit(
        images, labels, int(TRAINING["batch_size"]), epochs, verbose=2
    )
    retrain.save_model(model, path)
    return {
        "setting": TRAINING,
        "train_accuracy": round(found.history["accuracy"][-1], 4),
    }


def load(**settings: Any) -> Any:
    """Reads CIFAR-10 with settings of the data."""
    from tfnas import data

    few = {"limit_train": 640, "limit_test": 200} if _SMOKE.value else {}
    return data.load(
        {"name": _DATA.value, "image_size": 32} | settings | few
    )


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    folder = pathlib.Path(_WORKDIR.value)
    described = HostDevice().describe()
    artifacts.claim_workdir(
        folder, {
            "rounds": _ROUNDS.value, "data": _DATA.value,
            "smoke": _SMOKE.value, **described,
        },
    )
    journal = Journal(folder / "units", None)
    line: dict[str, Any] = {"benchmark": "lowering"}
    if "gain" in _ONLY.value:
        line["gain"] = {
            name: gains(name, folder, journal) for name in rewritings.XNNPACK
        }
    if "trained" in _ONLY.value:
        line["trained"] = trained(folder, journal)
    if "small" in _ONLY.value:
        line["small"] = small(folder, journal)
    line |= {
        "rounds": _ROUNDS.value,
        "load_average": round(os.getloadavg()[0], 2),
        **described,
    }
    closing.show(line, _RESULT.value or None)


def gains(
    name: str, folder: pathlib.Path, journal: Journal
) -> dict[str, Any]:
    """Returns the figures of a rewriting in both types."""
    return {
        dtype: journal.unit(
            f"gain_{name}_{dtype}",
            lambda dtype=dtype: gain(name, dtype, folder),
        )
        for dtype in QUANTIZE
    }


if __name__ == "__main__":
    # The network keeps its shapes, so preparing kernels for them pays.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    cli.run(main)
