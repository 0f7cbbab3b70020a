"""What every run of the product starts from: seeds, versions, determinism."""

from __future__ import annotations

import os
import platform

import keras
import numpy as np
import tensorflow as tf

from tfnas import __version__


def start(seed: int) -> None:
    """Seeds every library and makes ops deterministic on the CPU.

    Args:
        seed: The run's one seed.
    """
    keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "tfnas": __version__,
        # It decides about the last bits of every convolution.
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
    }
