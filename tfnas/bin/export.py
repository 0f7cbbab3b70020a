"""Converts a network to a `.tflite` file and says how true it stayed.

    tfnas-export --model=model.keras --quantize=int8 --data=digits \\
        --output=model_int8.tflite [--fine_tune=qat] [--max_drop=1.0]

Beside the file comes a report, `model_int8.report.json`: size, accuracy and
latency against the float network, the error of every layer, and all operators:
which the delegate of this machine takes, in how many pieces, why it leaves the
others out and what these cost. What XNNPACK has no fast kernels for is written
in operators that it has; `--lower=none` leaves them as they are in the model.
The file itself carries labels, normalisation and the architecture's id. The
model is fed as `tfnas-evaluate` feeds it: as its file says, or as `--mean`,
`--std` and `--labels` do.

`--fine_tune=` trains the network on before: for int8 (`qat`), for zeros
(`prune`), or for few values (`cluster`). For that it must be known what the
model is made of: from `arch.json` beside it, from the workdir of its training,
or from `--arch`.

A language model becomes the function of one step, with its state as an input
and an output (`--quantize=dynamic --data=ptb:DIR`, say).
"""

import pathlib
import tempfile
from typing import Any

from absl import flags

from tfnas import artifacts
from tfnas import cli
from tfnas import model_files
from tfnas import seeds
from tfnas.arch import Arch
from tfnas.bin import configs
from tfnas.bin import datasets
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError
from tfnas.errors import RuntimeCrash
from tfnas.feed import Feed
from tfnas.lowering import rewritings

_CALIBRATION_IMAGES = 200
_PARITY_IMAGES = 100
_PARITY_STEPS = 50
_INTEGERS = ("int8", "int16x8")
_USUAL = (127.5,)  # mean and std of random images, where nobody knows them

_MODEL = flags.DEFINE_string("model", None, "The .keras file to convert.")
_ARCH = flags.DEFINE_string(
    "arch",
    None,
    "JSON file of a network. Beside --model, what that is made of (default: "
    "as its folder says); alone, a network to convert with random "
    "weights: to time it, say.",
)
_QUANTIZE = flags.DEFINE_enum(
    "quantize",
    "none",
    ["none", "float16", "dynamic", "int8", "int16x8"],
    "How to store the weights; int8 also computes in int8 from end to end, "
    "int16x8 in int16 with int8 weights, and both need images to calibrate "
    "on.",
)
_IO = flags.DEFINE_enum(
    "io",
    None,
    ["int8", "int16", "float32"],
    "What a file that computes in integers takes and gives (default: the "
    "integers that it computes in).",
)
_FINE_TUNE = flags.DEFINE_enum(
    "fine_tune",
    "none",
    ["none", "qat", "prune", "cluster"],
    "Train the network on first, on the training images of --data: qat for "
    "the rounding of int8, prune for weights that are zero, cluster for "
    "kernels of few values.",
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 3, "Epochs of the fine-tuning.", lower_bound=1
)
_LR = flags.DEFINE_float(
    "lr", 1e-3, "Its first learning rate; the last is 0.", lower_bound=0
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 64, "Images of its steps.", lower_bound=1
)
_AUGMENT = flags.DEFINE_string(
    "augment", "none", "Augmentation of its images, such as pad_crop+flip."
)
_SPARSITY = flags.DEFINE_float(
    "sparsity", 0.5, "Share of zeros that prune makes."
)
_CLUSTERS = flags.DEFINE_integer(
    "clusters", 32, "Values of a kernel that cluster leaves."
)
_MAX_DROP = flags.DEFINE_float(
    "max_drop",
    None,
    "Write nothing if the file loses more points of accuracy than this on the "
    "test images of --data (1.0 is one image of 100).",
    lower_bound=0,
)
_MAX_PIECES = flags.DEFINE_integer(
    "max_pieces",
    None,
    "Write nothing if XNNPACK runs the file in more pieces than this, or none "
    "of it.",
    lower_bound=1,
)
_LOWER = flags.DEFINE_enum(
    "lower",
    rewritings.BACKENDS[0],
    rewritings.BACKENDS,
    "What to write the operators for: XNNPACK, the delegate of CPUs, or "
    "nothing (as it is best for GPUs and others, say).",
)
_ROUNDS = flags.DEFINE_integer(
    "rounds",
    30,
    "Rounds of timing on this machine, of the file and of operators that its "
    "delegate leaves out; 0 does not time.",
    lower_bound=0,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The .tflite file to write.", required=True
)
_REPORT = flags.DEFINE_string(
    "report", None, "The report to write (default: OUTPUT.report.json)."
)
_SEED = seeds.define(
    "Draws the images to calibrate and compare on, their order in the "
    "fine-tuning, and random weights", 0,
)
_DATA = datasets.define_data()
datasets.define_feed()
_CONFIG = configs.define_config(required=False)


def main(argv: list[str]) -> None:
    """Writes the file and its report, and prints what became of it."""
    del argv
    _check_flags()
    _check_inputs()
    cli.load_tensorflow()
    from tfnas import export

    model, arch = _read_model()
    if export.is_language_model(model):
        _export_language(model)
        return
    network = export.KerasClassifier(
        model, _MODEL.value or _ARCH.value, _feed_beside(), need_scores=False
    )
    datasets.recognize(network)
    dataset = _load_images(network)
    calibration, images, kind = _choose_images(network, dataset)
    size = images.shape[1:3]
    float32 = export.to_tflite(model, image_size=size, lower=_LOWER.value)
    made = _convert(model, arch, dataset, calibration, size)
    blob = export.with_metadata(
        made.blob,
        export.Metadata.of(
            network.feed, _arch_id(model, arch), _QUANTIZE.value
        ),
    )
    test = None if dataset is None else dataset.test
    report = {
        **export.make_report(
            model, float32, blob, images, test, flags.FLAGS.scores
        ),
        "arch_id": _arch_id(model, arch),
        "quantize": _QUANTIZE.value,
        "fine_tune": _FINE_TUNE.value,
        "images": kind,
        "feed": network.feed.to_json(),
        "lowering": made.lowering,
        **_placement(blob),
    }
    if _MAX_DROP.value is not None:
        export.check_drop(report, _MAX_DROP.value)
    if _MAX_PIECES.value is not None:
        export.check_pieces(report, _MAX_PIECES.value)
    if _ROUNDS.value:
        report["latency"] = _time(float32, blob)
    # The report first: without it there is no file either.
    artifacts.write_json(_report_path(), report)
    artifacts.write_bytes(_OUTPUT.value, blob)
    print(
        f"{_OUTPUT.value}: {_facts(export.describe(blob))}; "
        f"{_difference(report['parity'])} {kind} images"
    )
    print(export.format_report(report))
    for remark in export.remarks(network, dataset):
        print(remark)


def _check_flags() -> None:
    """Raises a `ConfigError` for flags that contradict each other."""
    if _MODEL.value is None and _ARCH.value is None:
        raise ConfigError("Expected --model or --arch. Received: neither")
    _check_places()
    tuned, given = _FINE_TUNE.value != "none", _has_data()
    if tuned and not (given and _MODEL.value):
        raise ConfigError(
            "Expected a trained --model and --data to fine-tune it on. "
            f"Received: --fine_tune={_FINE_TUNE.value} without"
        )
    if _FINE_TUNE.value == "qat" and _QUANTIZE.value != "int8":
        raise ConfigError(
            "Expected --quantize=int8, which is what qat trains for. "
            f"Received: --quantize={_QUANTIZE.value}"
        )
    if _FINE_TUNE.value == "qat" and flags.FLAGS["lower"].present:
        raise ConfigError(
            "Expected no --lower: what qat has trained is written as it was. "
            f"Received: --fine_tune=qat --lower={_LOWER.value}"
        )
    if _IO.value is not None and _QUANTIZE.value not in _INTEGERS:
        raise ConfigError(
            f"Expected --quantize={' or '.join(_INTEGERS)} for --io. "
            f"Received: --quantize={_QUANTIZE.value} --io={_IO.value}"
        )
    if _MAX_DROP.value is not None and not given:
        raise ConfigError(
            "Expected --data, to measure the accuracy on. "
            f"Received: --max_drop={_MAX_DROP.value:g} without"
        )


def _check_inputs() -> None:
    """Refuses files that are not what they should be, at the first look."""
    datasets.given_feed()
    if _MODEL.value is not None:
        model_files.check_keras(_MODEL.value)
    if _ARCH.value is not None:
        Arch.load(_ARCH.value)
    if _has_data():
        datasets.check(_CONFIG.value, _DATA.value)


def _report_path() -> pathlib.Path:
    output = pathlib.Path(_OUTPUT.value)
    return pathlib.Path(_REPORT.value or output.with_suffix(".report.json"))


def _check_places() -> None:
    """Raises a `ConfigError` for files that cannot be written, or get lost."""
    if not pathlib.Path(_OUTPUT.value).name:
        raise ConfigError(
            f"--output={_OUTPUT.value}: expected a file that can be written. "
            "Received: a folder"
        )
    places = {"output": pathlib.Path(_OUTPUT.value), "report": _report_path()}
    read = {
        name: pathlib.Path(value)
        for name, value in (("model", _MODEL.value), ("arch", _ARCH.value))
        if value is not None
    }
    names: dict[pathlib.Path, str] = {}
    for name, path in {**read, **places}.items():
        other = names.setdefault(path.resolve(), name)
        if other != name:
            raise ConfigError(
                f"Expected another file for --{name} than for --{other}. "
                f"Received: {path} for both"
            )
    for name, path in places.items():
        folders = [p for p in path.resolve().parents if p.exists()]
        if path.is_dir() or not folders[0].is_dir():
            what = "a folder" if path.is_dir() else f"{folders[0]} is a file"
            raise ConfigError(
                f"--{name}={path}: expected a file that can be written. "
                f"Received: {what}"
            )


def _has_data() -> bool:
    return _CONFIG.value is not None or _DATA.value is not None


def _read_model() -> tuple[Any, Arch | None]:
    """Returns the model, and what it is made of if that is known."""
    import keras

    from tfnas import derive
    from tfnas import export
    from tfnas.ops.recurrent import is_language_model
    from tfnas.recurrent_model import build_language_model

    if _MODEL.value is not None:
        model = export.load_keras(_MODEL.value)
        if _ARCH.value is not None:
            return model, Arch.load(_ARCH.value)
        return model, _arch_beside(pathlib.Path(_MODEL.value))
    keras.utils.set_random_seed(_SEED.value)
    arch = Arch.load(_ARCH.value)
    if is_language_model(arch):
        return build_language_model(arch, seed=_SEED.value), arch
    return derive.build_model(arch), arch


def _feed_beside() -> Feed:
    """Returns what the model's file says of how it wants to be fed."""
    return Feed() if _MODEL.value is None else model_files.read_feed(
        _MODEL.value
    )


def _arch_beside(model: pathlib.Path) -> Arch | None:
    """Returns what a model is made of, from the files in its folder."""
    path = model.with_name("arch.json")
    if path.exists():
        return Arch.load(path)
    path = model.with_name("config.json")  # of a training
    found = artifacts.read_json(path).get("arch") if path.exists() else None
    return None if found is None else Arch.from_json(found, str(path))


def _arch_id(model: Any, arch: Arch | None) -> str | None:
    """Returns the id; models of ours have it in their name."""
    prefix = "tfnas_"
    if arch is not None:
        return arch.id
    if model.name.startswith(prefix):
        return model.name.removeprefix(prefix)
    return None


def _convert(
    model: Any, arch: Arch | None, dataset: Any, calibration: Any,
    size: tuple[int, int],
) -> Any:
    """Fine-tunes the network if that is wanted, and converts it."""
    from tfnas import export

    if _FINE_TUNE.value == "none":
        return export.convert(
            model, _QUANTIZE.value, calibration, _IO.value, image_size=size,
            lower=_LOWER.value,
        )
    if arch is None:
        raise ConfigError(
            "Expected arch.json beside the model, or --arch, to fine-tune it. "
            f"Received: --model={_MODEL.value}"
        )
    from tfnas.export import qat

    settings = qat.FineTuning(
        _EPOCHS.value, _LR.value, _BATCH_SIZE.value, _AUGMENT.value,
        _SEED.value,
    )
    if _FINE_TUNE.value == "qat":
        tuned = qat.quantize_aware(model, arch, dataset, settings)
        return export.Conversion(
            qat.to_int8(tuned, _IO.value),
            {
                "backend": "none",
                "applied": {},
                "plain_because": "what qat has trained is written as it was",
            },
        )
    if _FINE_TUNE.value == "prune":
        tuned = qat.prune(model, arch, dataset, _SPARSITY.value, settings)
    else:
        tuned = qat.cluster(model, arch, dataset, _CLUSTERS.value, settings)
    return export.convert(
        tuned, _QUANTIZE.value, calibration, _IO.value, lower=_LOWER.value
    )


def _placement(blob: bytes) -> dict[str, Any]:
    """Returns where the operators of a file run on this machine."""
    from tflite_bench import checking

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "file.tflite")
        path.write_bytes(blob)
        try:
            checked = checking.check(path, runs=_ROUNDS.value)
        except (DeviceError, RuntimeCrash) as error:
            said = str(error).replace(f"{path}: ", "")
            return {
                "operators": [], "pieces": None, "operators_missing": said
            }
    found = checked.to_json()
    return {
        "operators": found["operators"],
        "pieces": checked.pieces,
        "operators_total_ms": checked.total_ms,
    }


def _time(float32: bytes, blob: bytes) -> dict[str, Any]:
    """Times the file and its float form side by side on this machine."""
    from tflite_bench import stats
    from tflite_bench.device import HostDevice

    device = HostDevice()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, content in (("float32", float32), ("file", blob)):
            paths.append(pathlib.Path(folder, f"{name}.tflite"))
            paths[-1].write_bytes(content)
        with cli.quiet():
            before, after = device.measure(
                [str(path) for path in paths], _ROUNDS.value
            )
    speedup = stats.ratio(after.samples_ms, before.samples_ms)
    return {
        "float32_ms": before.latency_ms,
        "file_ms": after.latency_ms,
        "speedup": speedup.value,
        "speedup_interval": [speedup.low, speedup.high],
        "rounds": _ROUNDS.value,
        **device.describe(),
    }


def _export_language(model: Any) -> None:
    """Writes a language model's step and prints one line about it."""
    from tfnas import export

    for name, value in (
        ("fine_tune", _FINE_TUNE.value != "none"),
        ("max_drop", _MAX_DROP.value is not None),
        ("max_pieces", _MAX_PIECES.value is not None),
        ("lower", flags.FLAGS["lower"].present),
        ("labels", flags.FLAGS.labels is not None),
    ):
        if value:
            raise ConfigError(
                "Expected a network of images. Received: a language model "
                f"with --{name}"
            )
    blob = export.to_step_tflite(model, _QUANTIZE.value)
    artifacts.write_bytes(_OUTPUT.value, blob)
    words, kind = _words(model)
    parity = export.step_parity(model, blob, words)
    print(
        f"{_OUTPUT.value}: {_facts(export.describe(blob))}; "
        f"{_difference(vars(parity))} {kind} words in a row"
    )


def _words(model: Any) -> tuple[Any, str]:
    """Returns words to compare on, and what they are."""
    import numpy as np

    known = model.output_shape[0][-1]
    if not _has_data():
        rng = np.random.default_rng(_SEED.value)
        return rng.integers(0, known, _PARITY_STEPS), "random"
    place = _MODEL.value or _ARCH.value
    text = datasets.load_text(_CONFIG.value, _DATA.value, place)
    if len(text.vocabulary) != known:
        raise ConfigError(
            f"expected a text of {known} words, as the network has. "
            f"Received: {text.name} with {len(text.vocabulary)}"
        )
    return text.test[:_PARITY_STEPS], f"{text.name} test"


def _load_images(network: Any) -> Any:
    """Returns the data set as the network wants it.

    Returns:
        `None` if none is given and none is needed; the network's `feed` is
        then what is known without.
    """
    from tfnas import export

    given = datasets.given_feed()
    known = given.filled(network.feed)
    if not _has_data() and _QUANTIZE.value not in _INTEGERS:
        if flags.FLAGS.scores is not None:
            network.select(flags.FLAGS.scores, network.classes)
        export.complete(network, known)
        return None
    dataset = datasets.load(
        _CONFIG.value, _DATA.value, network.input_shape, known
    )
    return export.fit(
        network, dataset, given, datasets.stated_feed(_CONFIG.value),
        flags.FLAGS.scores,
    )


def _choose_images(network: Any, dataset: Any) -> tuple[Any, Any, str]:
    """Returns images to calibrate on and to compare on, and what they are."""
    import numpy as np

    seed = _SEED.value
    if dataset is not None:
        return (
            dataset.train.representative(_CALIBRATION_IMAGES, seed),
            dataset.test.representative(_PARITY_IMAGES, seed),
            f"{dataset.name} test",
        )
    height, width, channels = network.input_shape
    size = network.feed.image_size or (height, width)
    if None in size:
        raise ConfigError(
            "Expected --image_size or --data, as the network takes images of "
            f"any size. Received: {network.source} alone"
        )
    pixels = np.random.default_rng(seed).uniform(
        0, 255, (_PARITY_IMAGES, *size, channels)
    )
    mean, std = network.feed.mean or _USUAL, network.feed.std or _USUAL
    return None, ((pixels - mean) / std).astype(np.float32), "random"


def _facts(description: dict[str, Any]) -> str:
    ops = description["ops"]
    nodes = description["delegate_nodes"]
    return (
        f"{description['size_bytes']:,} bytes, {sum(ops.values())} ops ("
        + ", ".join(f"{name} {n}" for name, n in ops.items())
        + f") in {nodes} delegate node{'s' * (nodes != 1)}"
    )


def _difference(parity: dict[str, Any] | None) -> str:
    if parity is None:
        return "not compared with Keras on"
    agreement, what = parity["argmax_agreement"], "outputs"
    said = f"compared on {parity['n']}"
    if agreement is not None:
        said = f"argmax agrees on {100 * agreement:.1f} % of {parity['n']}"
        what = "logits"
    most = f"{parity['max_abs']:.2g}"
    return f"{what} differ from Keras by at most {most}, {said}"


def entry() -> None:
    """Runs the program `tfnas-export`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
