"""How a trained network is trained on, and what goes from Keras to Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from tfnas.arch import Arch
from tfnas.data import Dataset
from tfnas.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How a trained network is trained on: SGD on a cosine down to zero.

    Args:
        epochs: Passes over the training images.
        lr: Learning rate of the first step; some hundredth of that of the
            training.
        batch_size: Images of a step.
        augment: As in `train.augment` of a config.
        seed: Of the order of the images and of their augmentation.
        progress: Whether to show a progress bar on a terminal.
    """

    epochs: int = 3
    lr: float = 1e-3
    batch_size: int = 64
    augment: str = "none"
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "lr", "batch_size"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"`{name}` of a fine-tuning must be above 0. "
                    f"Received: {name}={getattr(self, name)}"
                )

    def steps(self, dataset: Dataset) -> int:
        """Returns the number of steps on the training images of a set."""
        return self.epochs * dataset.train.num_batches(self.batch_size)


def copy_weights(source: Any, target: Any, arch: Arch) -> None:
    """Copies the weights of a network by the names of its layers.

    Args:
        source: Model of one Keras.
        target: Model of `arch` in the same or the other Keras.
        arch: The network, for the message.

    Raises:
        ConfigError: when the source has no such layer, or of another shape.
    """
    there = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if not layer.weights:
            continue
        found = there.get(layer.name)
        values = found.get_weights() if found is not None else []
        shapes = [tuple(v.shape) for v in layer.weights]
        if [v.shape for v in values] != shapes:
            raise ConfigError(
                f"Expected the model of network {arch.id}, with a layer "
                f"{layer.name} of {shapes}. Received: "
                f"{[v.shape for v in values] or 'a model without it'}"
            )
        layer.set_weights(values)


def take_weights_back(quantized: Any, twin: Any) -> None:
    """Puts the weights of a network that rounds into the one it is of.

    Args:
        quantized: A model of the toolkit; it calls a layer `quant_` and the
            name of the one it wraps.
        twin: The model that it was made of.
    """
    for layer in twin.layers:
        if not layer.weights:
            continue
        wrapper = quantized.get_layer(f"quant_{layer.name}")
        for weight in layer.weights:
            name = "/" + weight.name.split("/")[-1]
            weight.assign(
                next(w for w in wrapper.weights if w.name.endswith(name))
            )


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """Undoes the switch to legacy Keras that the toolkit makes for good."""
    name = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
