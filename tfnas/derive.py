"""From an architecture to a plain Keras model of stock layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError


def layer_prefix(index: int, op: str) -> str:
    """Returns the prefix of the layer names of one block of a network."""
    return f"b{index:02d}_{op}"


def build_model(arch: Arch, K: Any = None) -> Any:
    """Builds the network as a plain Keras model.

    Args:
        arch: Any architecture of registered ops.
        K: The namespace to build in: `keras` (default) or `tf_keras`.

    Returns:
        A functional model from `(batch, height, width, channels)` to logits
        `(batch, classes)`. The input is called `"image"`; equal
        architectures have equal layer names.

    Raises:
        ArtifactError: when a block does not fit its registered op, or the
            last block does not give the logits.
    """
    if K is None:
        import keras

        K = keras
    shapes = ops.shapes(arch)
    if shapes[-1] != (arch.classes,):
        raise ArtifactError(
            f"arch {arch.id}: the last block must give {arch.classes} logits. "
            f"Received: output_shape={shapes[-1]}"
        )
    x = image = K.Input(arch.input_shape, name="image")
    for i, (block, shape) in enumerate(zip(arch.blocks, shapes, strict=False)):
        x = ops.build(block, shape, K, layer_prefix(i, block.op))(x)
    return K.Model(image, x, name=f"tfnas_{arch.id}")


def load_weights(
    model: Any, arch: Arch, weights: Sequence[Sequence[np.ndarray]]
) -> None:
    """Puts the weights of a supernet into a model of `build_model`.

    Args:
        model: The model, built from `arch`.
        arch: The architecture.
        weights: For each block the kernels of its convolutions, or kernel
            and bias of its dense layer, in order; an empty list leaves a
            block as it is. Normalisations stay as they are.

    Raises:
        ValueError: when a block is given too few or too many kernels, or one
            of another shape than its layer's.
    """
    shapes = ops.shapes(arch)
    for i, (block, shape, values) in enumerate(
        zip(arch.blocks, shapes, weights, strict=False)
    ):
        prefix, left = layer_prefix(i, block.op), list(values)
        for node in ops.lower(block, shape).nodes if left else ():
            count = {"conv": 1, "depthwise": 1, "dense": 2}.get(node.kind)
            if count:
                layer = model.get_layer(f"{prefix}_{node.name}")
                layer.set_weights(left[:count])
                left = left[count:]
        if left:
            raise ValueError(
                f"{prefix}: too many kernels. Received: {len(values)}"
            )


def require_fit(
    arch: Arch, image_shape: Sequence[int], classes: int
) -> None:
    """Refuses images or labels that a network was not made for.

    Raises:
        ConfigError: when the shapes or the numbers of classes differ.
    """
    ours = (tuple(arch.input_shape), arch.classes)
    if ours != (tuple(image_shape), classes):
        raise ConfigError(
            f"network {arch.id} takes images {ours[0]} of {ours[1]} classes. "
            f"Received: {tuple(image_shape)}, {classes} classes"
        )


def with_classes(arch: Arch, classes: int) -> Arch:
    """Returns the same network for another number of classes.

    Searches on a part of the classes are retrained on all of them.

    Args:
        arch: A network that ends in a classifier.
        classes: Width of the new logits.

    Raises:
        ArtifactError: when the network does not end in a classifier.
    """
    *body, last = arch.blocks
    if last.op != "classifier":
        raise ArtifactError(
            f"network {arch.id} must end in a classifier. Received: {last.op}"
        )
    head = dataclasses.replace(last, out_channels=classes)
    return dataclasses.replace(arch, blocks=(*body, head), classes=classes)
