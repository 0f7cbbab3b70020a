"""Published and searched networks under the contract of Keras applications."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from tfnas import derive
from tfnas import keras_settings
from tfnas import ops
from tfnas.applications import weights as weight_files
from tfnas.applications.entry import APPLICATIONS
from tfnas.applications.entry import Application
from tfnas.applications.entry import find
from tfnas.applications.weights import Weights
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.keras_settings import DATA_FORMAT
from tfnas.keras_settings import DTYPE

_POOLINGS = (None, "avg", "max")
_LARGE = 4096  # a side at which only a pool over the whole map leaves 1 x 1
_ARGUMENTS = """

    Args:
        include_top: Whether to end in the classifier.
        weights: `None` for random ones, the name of a preset, or the path of
            a weight file (`tfnas.applications.weights.save` writes them, and
            `tfnas-import-weights` from the authors' checkpoints).
        input_tensor: Symbolic images to apply the network to.
        input_shape: `(height, width, channels)`; height and width may be
            `None`, for images of any size. Defaults to that of the weights,
            else to that of the network, often `(224, 224, 3)`.
        pooling: Without top: `"avg"` or `"max"` for a vector, `None` for the
            last feature map `(batch, height, width, channels)`.
        classes: Number of classes. Defaults to that of the weights, else to
            the network's own. With the top of given weights no other is
            possible; see `with_new_head`.
        classifier_activation: `"softmax"`, or `None` for logits.
        name: Name of the model.

    Returns:
        A functional `keras.Model` of stock layers. It takes images as
        `preprocess_input` gives them.

    Raises:
        ConfigError: for contradicting arguments, or an unknown preset (the
            message lists those that exist).
        ArtifactError: when a weight file is damaged or does not fit.
    """


def get(name: str, **arguments: Any) -> Any:
    """Builds a registered network by its name; see `build`."""
    return build(APPLICATIONS.get(name), **arguments)


def from_arch(
    arch: Arch, include_top: bool = True,
    weights: str | os.PathLike | None = None, input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None, classes: int | None = None,
    classifier_activation: str | None = "softmax", name: str | None = None,
) -> Any:
    """Builds a searched network under the contract of `build`."""
    return build(
        find(arch), include_top, weights, input_tensor, input_shape, pooling,
        classes, classifier_activation, name,
    )


@keras_settings.pinned()
def build(
    application: Application, include_top: bool = True,
    weights: str | os.PathLike | None = None, input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None, classes: int | None = None,
    classifier_activation: str | None = "softmax", name: str | None = None,
) -> Any:
    import keras

    _check(application, include_top, pooling, classes)
    read = None if weights is None else application.read_weights(weights)
    if read is not None and include_top:
        classes = _classes_of(read, classes)
    shape, arch = _arch_for(
        application, classes, input_shape, input_tensor, read
    )
    number = len(arch.blocks) if include_top else body_length(arch)
    if read is not None:
        require_same(read, arch, number)
    image = input_tensor
    if image is None:
        image = keras.Input(shape, name="image", dtype=DTYPE)
    x = derive.apply_blocks(arch, number, image, keras)
    if include_top:
        x = activate(x, classifier_activation)
    elif pooling is not None:
        pools = {
            "avg": keras.layers.GlobalAveragePooling2D,
            "max": keras.layers.GlobalMaxPooling2D,
        }
        x = pools[pooling](
            name=f"{pooling}_pool", dtype=DTYPE, data_format=DATA_FORMAT
        )(x)
    source = image if input_tensor is None else keras.utils.get_source_inputs(
        input_tensor
    )
    model = keras.Model(source, x, name=name or application.name)
    if read is not None:
        weight_files.assign(read, model)
    return model


build.__doc__ = (
    """Builds a network as a plain Keras model."""
    + _ARGUMENTS.replace(
        "Args:", "Args:\n        application: The network.", 1
    )
)


def constructor(key: str, function: str, summary: str) -> Callable[..., Any]:
    """Returns the function that builds one application.

    Args:
        key: Name of the application.
        function: Name of the function.
        summary: First sentences of its docstring.
    """

    def construct(
        include_top: bool = True, weights: str | os.PathLike | None = None,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: str | None = None, classes: int | None = None,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
    ) -> Any:
        return build(
            APPLICATIONS.get(key), include_top, weights, input_tensor,
            input_shape, pooling, classes, classifier_activation, name,
        )

    construct.__name__ = construct.__qualname__ = function
    construct.__doc__ = summary + _ARGUMENTS
    return construct


def with_new_head(
    network: str | Arch | Application, classes: int,
    weights: str | os.PathLike | None, freeze: bool = False,
    input_shape: Sequence[int] | None = None,
    classifier_activation: str | None = "softmax", name: str | None = None,
) -> Any:
    """Builds a trained network with a new classifier, to fine-tune it.

    All but the last layer have the given weights. The model has the layers
    that `tfnas.build_model` gives the network for that many classes, so that
    everything that takes such models takes it too.

    Args:
        network: Name of an application, an entry, or a searched network.
        classes: Number of the new classes.
        weights: Name of a preset, or the path of a weight file; `None` for
            random weights everywhere.
        freeze: Whether only the new layer is trainable; batch normalisations
            then use their averages in training, too.
        input_shape: `(height, width, channels)`; defaults to that of the
            weights.
        classifier_activation: `"softmax"`, or `None` for logits.
        name: Name of the model.

    Returns:
        A functional `keras.Model` of stock layers.

    Raises:
        ConfigError: for contradicting arguments, or an unknown preset.
        ArtifactError: when the weight file is damaged or does not fit.

    Example:
        >>> net = with_new_head("densenas_a", 5, "weights.npz", freeze=True)
    """
    entry = find(network)
    _check(entry, True, None, classes)
    read = None if weights is None else entry.read_weights(weights)
    _, arch = _arch_for(entry, classes, input_shape, None, read)
    last = len(arch.blocks) - 1
    model = build(
        entry, input_shape=arch.input_shape, classes=classes,
        classifier_activation=classifier_activation, name=name,
    )
    prefix = derive.layer_prefix(last, arch.blocks[last].op)
    if read is not None:
        require_same(read, arch, last)
        weight_files.assign(read, model, skip=f"{prefix}_")
    if freeze:
        for layer in model.layers:
            layer.trainable = layer.name.startswith(f"{prefix}_")
    return model


def activate(logits: Any, activation: Any) -> Any:
    """Applies an activation to logits; `None` leaves them as they are."""
    import keras

    if activation is None:
        return logits
    try:
        layer = keras.layers.Activation(
            activation, dtype=DTYPE, name="predictions"
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "`classifier_activation` must be None or an activation of Keras, "
            f"such as 'softmax'. Received: {activation!r}"
        ) from error
    return layer(logits)


def _check(
    application: Application, include_top: bool, pooling: str | None,
    classes: int | None,
) -> None:
    if pooling not in _POOLINGS:
        raise ConfigError(
            f"`pooling` must be one of {_POOLINGS}. Received: {pooling!r}"
        )
    if include_top and pooling is not None:
        raise ConfigError(
            "`pooling` is for networks without top. Received: "
            f"pooling={pooling!r}, include_top=True"
        )
    if classes is not None and classes < 1:
        raise ConfigError(
            f"{application.name}: `classes` must be at least 1. "
            f"Received: {classes}"
        )
    if len(application.get_arch().input_shape) != 3:
        raise ConfigError(
            "This needs a network for images, and a language model has a "
            "contract of its own (`tfnas.applications.ShrinkRNN`). "
            f"Received: {application.name}"
        )


def _classes_of(read: Weights, classes: int | None) -> int:
    """Returns the number of classes of weights that bring their top along."""
    theirs = read.arch.classes
    if classes is not None and classes != theirs:
        raise ConfigError(
            f"`classes` must be {theirs}, as the top of the weights "
            f"{read.path} has, or be left out. Other classes need another "
            "top: `include_top=False`, or `tfnas.applications.with_new_head`. "
            f"Received: classes={classes}"
        )
    return theirs


def _arch_for(
    application: Application, classes: int | None,
    input_shape: Sequence[int | None] | None, input_tensor: Any,
    read: Weights | None,
) -> tuple[tuple[int | None, ...], Arch]:
    """Returns the shape that images have, and the network for them.

    Sizes that are left open change nothing of a network; it is described at
    its own size then.
    """
    native = (application.get_arch() if read is None else read.arch).input_shape
    shape: tuple[int | None, ...] = native
    if input_tensor is not None:
        shape = tuple(input_tensor.shape)[1:]
        if input_shape is not None and tuple(input_shape) != shape:
            raise ConfigError(
                "`input_shape` must be that of `input_tensor`, or be left "
                f"out. Received: {tuple(input_shape)} and {shape}"
            )
    elif input_shape is not None:
        shape = tuple(input_shape)
    known = len(shape) == 3 and shape[2] is not None
    if not known or any(n is not None and n < 1 for n in shape):
        raise ConfigError(
            "`input_shape` must be (height, width, channels), where height "
            f"and width may be None. Received: {shape}"
        )
    fixed = tuple(
        n if s is None else s for s, n in zip(shape, native, strict=True)
    )
    return shape, application.get_arch(classes, fixed)


def body_length(arch: Arch) -> int:
    """Number of blocks up to the last feature map of a network.

    What follows the pool over the whole map is the top; on small images the
    last map itself may be 1 x 1.
    """
    large = (_LARGE, _LARGE, arch.input_shape[-1])
    shapes = ops.shapes(dataclasses.replace(arch, input_shape=large))
    return max(
        i for i, shape in enumerate(shapes)
        if len(shape) == 3 and shape[0] * shape[1] > 1
    )


def require_same(read: Weights, arch: Arch, number: int) -> None:
    """Makes sure that weights belong to a network.

    Two networks can have equal variables and compute different things, with
    another activation say.

    Args:
        read: The weights.
        arch: The network.
        number: How many of its blocks are to get the weights.

    Raises:
        ArtifactError: naming the first block that differs.
    """
    place = f"{read.path}: weights of another network, {read.arch.id}"
    theirs, ours = read.arch.blocks, arch.blocks
    for i in range(min(number, len(ours), len(theirs))):
        expected, received = _described(ours[i]), _described(theirs[i])
        if i == number - 1 and number == len(ours) == len(theirs):
            expected["out"] = received["out"]  # as many as there are classes
        if expected != received:
            raise ArtifactError(
                f"{place}: block {i}: expected {expected}. "
                f"Received: {received}"
            )
    if len(theirs) < number or (number == len(ours) != len(theirs)):
        raise ArtifactError(
            f"{place}: expected {len(ours)} blocks. Received: {len(theirs)}"
        )


def _described(block: Block) -> dict[str, Any]:
    """Returns what a block computes in inference."""
    attrs = ops.get(block.op).attributes(block)
    if "norm" in attrs:
        attrs["norm"] = {
            k: v for k, v in attrs["norm"].items() if k != "momentum"
        }
    return {
        "op": block.op, "in": block.in_channels, "out": block.out_channels,
        "stride": block.stride, **attrs,
    }
