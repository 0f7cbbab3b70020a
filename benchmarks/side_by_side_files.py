"""Writes `.tflite` files with the checkout that is on the path.

    PYTHONPATH=CHECKOUT python benchmarks/side_by_side_files.py CHECKOUT \\
        FOLDER densenas_a nasbench201_0 MobileNetV3Small

Started by `side_by_side.py`, once for each of two checkouts: it uses only what
both of them have. The same network has the same weights in both, and statistics
of noise. A file that is there stays, so that a run that was killed goes on.
"""

from __future__ import annotations

import os
import pathlib
import time
from typing import Any

import numpy as np

import tfnas
from tfnas import artifacts
from tfnas import cli

CELLS = "nasbench201_"  # and a seed
_IMAGES = 8  # to calibrate on; they change no latency
_QUANTIZE = {"float32": "none", "int8": "int8"}


def build(name: str) -> Any:
    """Builds a network with random weights.

    Args:
        name: An application of tfnas, `nasbench201_` with the seed of a
            sample, or a function of `keras.applications` at 96 px.
    """
    import keras

    from tfnas import applications
    from tfnas import derive
    from tfnas import spaces

    keras.utils.set_random_seed(0)
    if name.startswith(CELLS):
        seed = int(name.removeprefix(CELLS))
        return derive.build_model(spaces.get("nasbench201").sample(seed))
    if name in applications.names():
        application = applications.APPLICATIONS.get(name)
        return derive.build_model(application.get_arch())
    return getattr(keras.applications, name)(
        input_shape=(96, 96, 3), weights=None
    )


def dtypes_of(name: str) -> tuple[str, ...]:
    """Returns the types to compare a network in."""
    return ("int8",) if name.startswith(CELLS) else ("float32", "int8")


def settle(model: Any, images: np.ndarray) -> None:
    """Gives the normalisations the statistics of some images.

    Untrained ones let activations vanish, and a delegate refuses scales that
    are no network's.
    """
    import keras

    norms = [
        layer for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in norms:
        layer.momentum = 0.0
    model(images, training=True)


def write(name: str, folder: pathlib.Path) -> None:
    """Writes the files of a network that are not there."""
    from tfnas import export

    left = {
        dtype: folder / f"{name}_{dtype}.tflite" for dtype in dtypes_of(name)
    }
    left = {d: path for d, path in left.items() if not path.exists()}
    if not left:
        return
    start, model = time.monotonic(), build(name)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((_IMAGES, *model.input_shape[1:]), np.float32)
    settle(model, images)
    for dtype, path in left.items():
        content = export.to_tflite(model, _QUANTIZE[dtype], images)
        artifacts.write_bytes(path, content)
    print(f"{folder.name}: {name}, {time.monotonic() - start:.0f} s")


def main(argv: list[str]) -> None:
    """Writes the files."""
    checkout, folder, *names = argv[1:]
    found = pathlib.Path(tfnas.__file__).resolve().parents[1]
    if found != pathlib.Path(checkout).resolve():
        raise SystemExit(f"Expected tfnas of {checkout}. Received: {found}")
    cli.load_tensorflow()
    for name in names:
        write(name, pathlib.Path(folder))


if __name__ == "__main__":
    # Two of these run at a time, and none of what they do is wide.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    cli.run(main, words=True)
