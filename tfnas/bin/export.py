"""Converts a network to a `.tflite` file and says how true it stayed.

    tfnas-export --model=model.keras --quantize=int8 --data=digits \\
        --output=model_int8.tflite
"""

from typing import Any

from absl import flags

from tfnas import cli
from tfnas.bin import configs
from tfnas.bin import datasets

_CALIBRATION_IMAGES = 200
_PARITY_IMAGES = 100

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

    if _MODEL.value is not None:
        return export.load_keras(_MODEL.value)
    keras.utils.set_random_seed(_SEED.value)
    return derive.build_model(Arch.load(_ARCH.value))


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
