"""L2 penalties on some of a network's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def penalised(
    model: Any, strength: float, shortcut_strength: float | None = None
) -> list[tuple[Any, float]]:
    """Returns the kernels that a penalty is on, with its strength.

    These are the kernels of convolutions and dense layers. Depthwise kernels,
    biases and normalisations have none (AutoShrink's release).

    Args:
        model: A Keras model of `derive.build_model`.
        strength: Of all kernels but those of shortcuts.
        shortcut_strength: Of 1x1 convolutions on shortcuts; the same by
            default.
    """
    if shortcut_strength is None:
        shortcut_strength = strength
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            shortcut = layer.name.endswith("_shortcut")
            own = shortcut_strength if shortcut else strength
            found.append((layer.kernel, own))
    return found


def l2(
    model: Any, strength: float, shortcut_strength: float | None = None
) -> Callable[[], tf.Tensor]:
    """Returns a function that sums `strength * sum(w ** 2)`; see `penalised`.

    There is no factor of a half.
    """
    groups: dict[float, list[Any]] = {}
    for kernel, own in penalised(model, strength, shortcut_strength):
        groups.setdefault(own, []).append(kernel)

    def penalty() -> tf.Tensor:
        return tf.add_n(
            [
                # `l2_loss` halves the sum, and is one operator of a graph.
                2 * own * tf.add_n([tf.nn.l2_loss(k) for k in kernels])
                for own, kernels in groups.items()
            ]
        )

    return penalty
