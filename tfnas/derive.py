"""From an architecture to a plain Keras model of stock layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import keras_settings
from tfnas import ops
from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.recurrent import is_language_model
from tfnas.ops.recurrent import language_parts


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
        architectures have equal layer names. A language model is built as
        one time step, from `"word"` `(batch,)` int32 and `"state"` `(batch,
        width)` to logits and new state; its decoder holds the table of words
        a second time.

    Raises:
        ArtifactError: when a block does not fit its registered op, or the
            last block does not give the logits.
        ConfigError: when Keras does not run on TensorFlow.

    Example:
        >>> model = tfnas.build_model(tfnas.Arch.load("arch.json"))
        >>> model.output_shape
        (None, 10)
    """
    if K is None:
        keras_settings.check()
        import keras

        K = keras
    shapes = ops.shapes(arch)
    if shapes[-1] != (arch.classes,):
        raise ArtifactError(
            f"arch {arch.id}: the last block must give {arch.classes} logits. "
            f"Received: output_shape={shapes[-1]}"
        )
    # The model itself has a type, beside its layers, and takes no argument.
    with keras_settings.pinned(K):
        if is_language_model(arch):
            return _build_step(arch, K)
        return _build_classifier(arch, K)


def _build_classifier(arch: Arch, K: Any) -> Any:
    image = K.Input(
        arch.input_shape, name="image", dtype=keras_settings.DTYPE
    )
    logits = apply_blocks(arch, len(arch.blocks), image, K)
    return K.Model(image, logits, name=f"tfnas_{arch.id}")


def _build_step(arch: Arch, K: Any) -> Any:
    """Builds one time step of a language model."""
    table, cell, decoder = (
        ops.build(block, shape, K, layer_prefix(i, block.op))
        for i, (block, shape) in enumerate(
            zip(arch.blocks, ops.shapes(arch), strict=False)
        )
    )
    word = K.Input((), dtype="int32", name="word")
    state = K.Input(
        (language_parts(arch).width,), name="state",
        dtype=keras_settings.DTYPE,
    )
    hidden = cell(table(word), state)
    return K.Model(
        [word, state], [decoder(hidden), hidden], name=f"tfnas_{arch.id}"
    )


def apply_blocks(arch: Arch, number: int, x: Any, K: Any) -> Any:
    """Applies the first blocks of a network with new stock layers.

    Args:
        arch: Any architecture of registered ops.
        number: How many of its blocks.
        x: Symbolic tensor `(batch, height, width, channels)`.
        K: The namespace to build in: `keras` or `tf_keras`.

    Returns:
        The output of the last of them.
    """
    shapes = ops.shapes(arch)
    for i, block in enumerate(arch.blocks[:number]):
        x = ops.build(block, shapes[i], K, layer_prefix(i, block.op))(x)
    return x


def load_weights(
    model: Any, arch: Arch, weights: Sequence[Sequence[np.ndarray]]
) -> None:
    """Puts the weights of a supernet into a model of `build_model`.

    Args:
        model: The model, built from `arch`.
        arch: The architecture.
        weights: For each block the kernels of its convolutions and dense
            layers in order, each followed by its bias if it has one; an
            empty list leaves a block as it is. Between them may stand scale
            and offset (if it has them), mean and variance of every
            normalisation of the block; without, these stay as they are.

    Raises:
        ValueError: when a block is given too few or too many kernels, or one
            of another shape than its layer's.
    """
    shapes = ops.shapes(arch)
    for i, (block, shape, values) in enumerate(
        zip(arch.blocks, shapes, weights, strict=False)
    ):
        prefix, left = layer_prefix(i, block.op), list(values)
        graph = ops.lower(block, shape)
        nodes = graph.live if left else []
        if len(left) != sum(len(graph.variables(node)) for node in nodes):
            nodes = [node for node in nodes if node.kind != "norm"]
        for node in nodes:
            if count := len(graph.variables(node)):
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
