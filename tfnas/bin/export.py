"""Converts a network to a `.tflite` file and says how true it stayed.

    tfnas-export --model=model.keras --quantize=int8 --data=digits \\
        --output=model_int8.tflite

A language model becomes the function of one step, with its state as an input
and an output (`--quantize=dynamic --data=ptb:DIR`, say).
"""

from typing import Any

from absl import flags

from tfnas import cli
from tfnas.bin import configs
from tfnas.bin import datasets
from tfnas.errors import ConfigError

_CALIBRATION_IMAGES = 200
_PARITY_IMAGES = 100
_PARITY_STEPS = 50

_MODEL = flags.DEFINE_string("model", None, "The .keras file to convert.")
_ARCH = flags.DEFINE_string(
    "arch",
    None,
    "JSON file of a network to convert with random weights: to time it, say.",
)
_QUANTIZE = flags.DEFINE_enum(
    "quantize",
    "none",
    ["none", "float16", "dynamic", "int8"],
    "How to store the weights; int8 also computes in int8 from end to end, "
    "and needs images to calibrate on.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The .tflite file to write.", required=True
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Draws the images to calibrate and compare on, and random weights.",
    lower_bound=0,
)
_DATA = datasets.define_data()
_CONFIG = configs.define_config(required=False)
flags.mark_flags_as_mutual_exclusive(["model", "arch"], required=True)


def main(argv: list[str]) -> None:
    """Writes the file and prints one line about it."""
    del argv
    cli.load_tensorflow()
    from tfnas import artifacts
    from tfnas import export

    model = _read_model()
    if export.is_language_model(model):
        _export_language(model)
        return
    calibration, images, kind = _images(export.image_shape(model))
    blob = export.to_tflite(model, _QUANTIZE.value, calibration)
    artifacts.write_bytes(_OUTPUT.value, blob)
    print(
        f"{_OUTPUT.value}: {_facts(export.describe(blob))}; "
        f"{_difference(export.parity(model, blob, images))} {kind} images"
    )


def _read_model() -> Any:
    import keras

    from tfnas import derive
    from tfnas import export
    from tfnas.arch import Arch
    from tfnas.ops.recurrent import is_language_model
    from tfnas.recurrent_model import build_language_model

    if _MODEL.value is not None:
        return export.load_keras(_MODEL.value)
    keras.utils.set_random_seed(_SEED.value)
    arch = Arch.load(_ARCH.value)
    if is_language_model(arch):
        return build_language_model(arch, seed=_SEED.value)
    return derive.build_model(arch)


def _export_language(model: Any) -> None:
    """Writes a language model's step and prints one line about it."""
    from tfnas import artifacts
    from tfnas import export

    blob = export.to_step_tflite(model, _QUANTIZE.value)
    artifacts.write_bytes(_OUTPUT.value, blob)
    words, kind = _words(model)
    parity = export.step_parity(model, blob, words)
    print(
        f"{_OUTPUT.value}: {_facts(export.describe(blob))}; "
        f"{_difference(parity)} {kind} words in a row"
    )


def _words(model: Any) -> tuple[Any, str]:
    """Returns words to compare on, and what they are."""
    import numpy as np

    known = model.output_shape[0][-1]
    if _CONFIG.value is None and _DATA.value is None:
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


def _images(shape: tuple[int, ...]) -> tuple[Any, Any, str]:
    """Returns images to calibrate on and to compare on, and what they are."""
    import numpy as np

    seed = _SEED.value
    asked = _CONFIG.value is not None or _DATA.value is not None
    if not asked and _QUANTIZE.value != "int8":
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((_PARITY_IMAGES, *shape), np.float32)
        return None, noise, "random"
    dataset = datasets.load(_CONFIG.value, _DATA.value, shape[0])
    return (
        dataset.train.representative(_CALIBRATION_IMAGES, seed),
        dataset.test.representative(_PARITY_IMAGES, seed),
        f"{dataset.name} test",
    )


def _facts(description: dict[str, Any]) -> str:
    ops = description["ops"]
    nodes = description["delegate_nodes"]
    return (
        f"{description['size_bytes']:,} bytes, {sum(ops.values())} ops ("
        + ", ".join(f"{name} {n}" for name, n in ops.items())
        + f") in {nodes} delegate node{'s' * (nodes != 1)}"
    )


def _difference(parity: Any) -> str:
    return (
        f"logits differ from Keras by at most {parity.max_abs:.2g}, "
        f"argmax agrees on {100 * parity.argmax_agreement:.1f} % of {parity.n}"
    )


def entry() -> None:
    """Runs the program `tfnas-export`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
