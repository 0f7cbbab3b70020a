"""A Keras model as TensorFlow sees it: its image, float32, one graph.

All that is exported, compared or diagnosed goes through here, so that a
Sequential model, a nested one and one of several outputs differ nowhere else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.errors import TfnasError

# What the signature of a file calls the image and the output of a model that
# has one.
IMAGE = "image"
LOGITS = "logits"

_CHANNELS = (1, 3, 4)  # of an image, in whichever place they stand
_FLOATS = ("float16", "bfloat16", "float64")
_INTEGERS = ("uint8", "int8", "uint16", "int16", "int32", "int64")
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\>-]*")
_FREE_SIZE = 64  # of the picture that a copy is checked on
_SAME = 1e-3
_SAME_HALF = 0.1  # where the model itself computes with 8 or 11 bits


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The one image that a model takes.

    Args:
        batch: How many images at once; `None` if any number.
        height: Of the image; `None` if any.
        width: Of the image; `None` if any.
        channels: Of the image.
        dtype: Name of the type of its pixels.
        name: Name of the input.
    """

    batch: int | None
    height: int | None
    width: int | None
    channels: int
    dtype: str
    name: str


def image_input(model: Any, source: str = "model") -> ImageInput:
    """Returns the image that a Keras model takes.

    Args:
        model: A functional or Sequential model.
        source: Its name, for error messages.

    Raises:
        ExportError: Unless the model takes one image with its channels last.
    """
    try:
        given = list(model.inputs)
    except AttributeError as error:
        raise ExportError(
            f"{source}: expected a functional model, or a Sequential one of a "
            f"known input shape. Received: {type(model).__name__} without"
        ) from error
    shapes = [tuple(tensor.shape) for tensor in given]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] is None:
        raise ExportError(
            f"{source}: expected one image as input, (batch, height, width, "
            f"channels). Received: shapes={shapes}"
        )
    (batch, height, width, channels), dtype = shapes[0], given[0].dtype
    if height in _CHANNELS and channels not in _CHANNELS:
        raise ExportError(
            f"{source}: expected the channels of the image last, (batch, "
            "height, width, channels). Received: channels first, "
            f"shape={shapes[0]}"
        )
    if dtype not in ("float32", *_FLOATS, *_INTEGERS):
        raise ExportError(
            f"{source}: expected an image of numbers. Received: dtype={dtype}"
        )
    return ImageInput(batch, height, width, channels, dtype, given[0].name)


def image_shape_of(
    model: Any, size: tuple[int, int] | None = None, source: str = "model"
) -> tuple[int, int, int]:
    """Returns `(height, width, channels)` of the image a model is traced for.

    Args:
        model: A Keras model of `image_input`.
        size: Height and width, which a model of free size needs.
        source: Its name, for error messages.

    Raises:
        ExportError: If the size is missing, or not the model's.
    """
    image = image_input(model, source)
    own = (image.height, image.width)
    if size is None and None in own:
        raise ExportError(
            f"{source}: expected an image size, as the model takes any. "
            f"Received: none, for a model of (height, width)={own}"
        )
    height, width = own if size is None else size
    assert height is not None and width is not None
    if any(
        mine not in (None, n) or n < 1
        for mine, n in zip(own, (height, width), strict=True)
    ):
        raise ExportError(
            f"{source}: expected images of the size that the model takes, "
            f"(height, width)={own}. Received: {(height, width)}"
        )
    return height, width, image.channels


def require_shape(
    shape: Sequence[int], wanted: Sequence[int | None]
) -> None:
    """Refuses images that a network does not take.

    Args:
        shape: Of an image.
        wanted: Height, width and channels; `None` where any will do.

    Raises:
        ConfigError: naming both.
    """
    if len(shape) != len(wanted) or any(
        want not in (None, n) for want, n in zip(wanted, shape, strict=True)
    ):
        raise ConfigError(
            f"The network takes images of shape {tuple(wanted)}. "
            f"Received: shape={tuple(shape)}"
        )


def in_batches(images: np.ndarray, batch: int) -> list[np.ndarray]:
    """Returns images in whole batches, the last filled from the start."""
    whole = -(-len(images) // batch) * batch
    filled = np.take(images, range(whole), axis=0, mode="wrap")
    return np.split(filled, whole // batch)


def require_finite(model: Any, source: str = "model") -> None:
    """Makes sure that every weight of a model is a number.

    Args:
        model: A Keras model.
        source: Its name, for error messages.

    Raises:
        ExportError: If one is NaN or infinite, or a variance is negative; the
            message names the layer and its weight.
    """
    for weight in model.weights:
        if not keras.backend.is_float_dtype(weight.dtype):
            continue
        values = _as_float32(weight)
        wrong = ~np.isfinite(values)
        if not wrong.any() and weight.name.endswith("variance"):
            wrong = values < 0
        if wrong.any():
            layer, _, name = weight.path.rpartition("/")
            raise ExportError(
                f"{source}: expected finite weights, and variances of 0 or "
                f"more. Received: {name}={values[wrong][0]} in layer {layer} "
                f"({int(wrong.sum())} of {values.size} values)"
            )


def _as_float32(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor)).astype(np.float32)


def float32_copy(model: Any, source: str = "model") -> Any:
    """Returns a model that computes in float32 from end to end.

    Args:
        model: A Keras model of `image_input`.
        source: Its name, for error messages.

    Returns:
        The model itself if it does so already. Else a copy with the same
        weights and the same names of layers; where the model takes integers,
        the copy takes the same numbers as float32.

    Raises:
        ExportError: If there is no such copy: a layer cannot be rebuilt, or
            the model computes in integers with what it is given.
    """
    dtype = image_input(model, source).dtype
    halves = not all(_is_float32(layer) for layer in _walk(model)) or any(
        weight.dtype in _FLOATS for weight in model.weights
    )
    if dtype == "float32" and not halves:
        return model
    try:
        copy = _clone(model, {})
        copy.set_weights(
            [
                _as_float32(weight)
                if keras.backend.is_float_dtype(weight.dtype)
                else np.asarray(weight)
                for weight in model.weights
            ]
        )
    except Exception as error:  # whatever the layers of others may raise
        raise ExportError(
            f"{source}: expected a model that can be rebuilt in float32. "
            f"Received: {reason_of(error)}"
        ) from error
    if dtype in _INTEGERS:
        _check_copy(model, copy, _SAME_HALF if halves else _SAME, source)
    return copy


def _walk(layer: Any) -> Iterator[Any]:
    """Yields a layer and all inside of it: of models and of wrappers."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from _walk(inner)
    if isinstance(inner := getattr(layer, "layer", None), keras.layers.Layer):
        yield from _walk(inner)


def _is_float32(layer: Any) -> bool:
    names = (layer.compute_dtype, layer.variable_dtype)
    return not any(name in _FLOATS for name in names)


def _clone(model: Any, made: dict[int, Any]) -> Any:
    """Returns a float32 copy of a model with weights of its own.

    Args:
        model: A functional or Sequential model.
        made: The copies so far, by what they are copies of: a layer that is
            used twice stays one layer.
    """

    def clone(layer: Any) -> Any:
        if id(layer) not in made:
            nested = isinstance(layer, keras.Model) and hasattr(layer, "inputs")
            made[id(layer)] = (
                _clone(layer, made) if nested else _clone_layer(layer)
            )
        return made[id(layer)]

    def image(tensor: Any) -> Any:
        return keras.Input(
            batch_shape=tensor.shape, dtype="float32", name=tensor.name
        )

    sequential = isinstance(model, keras.Sequential)
    given = model.inputs if sequential else model.input
    copy = keras.models.clone_model(
        model, keras.tree.map_structure(image, given), clone_function=clone
    )
    copy.trainable = model.trainable
    return copy


def _clone_layer(layer: Any) -> Any:
    if isinstance(layer, keras.layers.Lambda):
        # Its configuration would hold the function as bytes to execute.
        return keras.layers.Lambda(
            layer.function, layer._output_shape, layer.mask, layer.arguments,
            name=layer.name, dtype="float32",
        )
    return type(layer).from_config(_as_float32_config(layer.get_config()))


def _as_float32_config(value: Any, key: str = "") -> Any:
    """Returns a layer's configuration with float32 for every other float."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            name = value["config"]["name"]
            floats = any(part in name for part in _FLOATS)
            return "float32" if floats else value
        return {k: _as_float32_config(v, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_as_float32_config(v) for v in value)
    if key == "dtype" and isinstance(value, str):
        return "float32" if any(f in value for f in _FLOATS) else value
    return value


def _check_copy(model: Any, copy: Any, limit: float, source: str) -> None:
    """Makes sure that a model does not compute in the integers it is given."""
    image = image_input(model)
    shape = (
        image.batch or 1, image.height or _FREE_SIZE,
        image.width or _FREE_SIZE, image.channels,
    )
    top = min(255, np.iinfo(image.dtype).max)
    pixels = np.random.default_rng(0).integers(0, top + 1, shape)
    expected, received = (
        _numbers(_call(network, tf.constant(pixels, dtype)))
        for network, dtype in ((model, image.dtype), (copy, "float32"))
    )
    noise = np.sqrt(np.mean((received - expected) ** 2))
    # Halves may overflow where float32 does not.
    if np.isfinite(noise) and noise > limit * np.sqrt(np.mean(expected**2)):
        raise ExportError(
            f"{source}: expected a model that computes in floats. Received: "
            f"one that computes in the {image.dtype} it is given"
        )


def _numbers(outputs: Any) -> np.ndarray:
    """Returns all numbers of some tensors in one row."""
    tensors = keras.tree.flatten(outputs)
    return np.concatenate([_as_float32(tensor).ravel() for tensor in tensors])


def reason_of(error: Exception) -> str:
    """Returns in one line what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, TfnasError):
        return " ".join(lines)
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _packed(model: Any, image: Any) -> Any:
    """Returns an image in the structure that the model takes it in."""
    if isinstance(model, keras.Sequential):
        return image
    return keras.tree.pack_sequence_as(model.input, [image])


def _call(model: Any, image: Any) -> Any:
    return model(_packed(model, image), training=False)


def output_names(model: Any) -> list[str]:
    """Returns what a file calls the outputs of a model, in their order.

    That is `"logits"` where there is one; else the keys if they are a dict,
    or the layers that give them; a number makes equal names distinct.
    """
    if len(model.outputs) == 1:
        return [LOGITS]
    paths = [
        path for path, _ in keras.tree.flatten_with_path(model.output)
    ]
    named = all(path and isinstance(path[-1], str) for path in paths)
    names = (
        ["_".join(map(str, path)) for path in paths]
        if named else list(model.output_names)
    )
    found: list[str] = []
    for name in names:
        number, base = 1, name
        while name in found:
            name, number = f"{base}_{number}", number + 1
        found.append(name)
    return found


def trace(model: Any, size: tuple[int, int] | None = None) -> Any:
    """Traces a model for one batch, with its weights as constants.

    Without variables the converter has nothing to freeze, which makes it
    several times as fast as a saved model.

    Args:
        model: A Keras model of `image_input`.
        size: Height and width, which a model of free size needs.

    Returns:
        A concrete function from `image`, of the batch of the model (1 where
        any is taken), to a dict of its outputs by `output_names`.

    Raises:
        ExportError: If the size is missing or not the model's, or the model
            cannot be traced.
    """
    image = image_input(model)
    shape = (image.batch or 1, *image_shape_of(model, size))
    for layer in _walk(model):
        # Keras would go on in the wrong scope after an error in the middle.
        if layer is not model and not _SCOPE.fullmatch(layer.name):
            raise ExportError(
                "model: expected names of layers of letters, digits and ._->, "
                f"as TensorFlow wants them. Received: {layer.name!r}"
            )
    names = output_names(model)
    trainable = [np.asarray(v) for v in model.trainable_variables]
    fixed = [np.asarray(v) for v in model.non_trainable_variables]

    @tf.function(autograph=False)
    def outputs(image):
        given, _ = model.stateless_call(
            trainable, fixed, _packed(model, image), training=False
        )
        return dict(zip(names, keras.tree.flatten(given), strict=True))

    try:
        traced = outputs.get_concrete_function(
            tf.TensorSpec(shape, image.dtype, name=IMAGE)
        )
    except Exception as error:  # whatever the layers of others may raise
        raise ExportError(
            f"model: expected one that runs on {shape} as a graph. Received: "
            f"{reason_of(error)}"
        ) from error
    return _without_captures(traced)


def _without_captures(traced: Any) -> Any:
    """Returns a function that holds what it only referred to.

    A layer may have a tensor that is no weight: the mean and the variance
    that a normalisation was given.
    """
    held = {inner.op.name: outer for outer, inner in traced.graph.captures}
    if not held:
        return traced
    definition = traced.graph.as_graph_def()
    for node in definition.node:
        if node.name in held:
            value = tf.make_tensor_proto(held[node.name].numpy())
            name = node.name
            node.Clear()
            node.name, node.op = name, "Const"
            node.attr["dtype"].type = value.dtype
            node.attr["value"].tensor.CopyFrom(value)
    return from_definition(definition, traced)


def from_definition(definition: Any, traced: Any) -> Any:
    """Returns a traced function with another graph.

    Args:
        definition: The graph; its tensors have the names that they had.
        traced: A function of `trace`.
    """
    (image,) = (node for node in definition.node if node.name == IMAGE)
    definition.node.remove(image)
    wanted = traced.structured_outputs

    @tf.function(autograph=False)
    def outputs(image):
        values = tf.graph_util.import_graph_def(
            definition, {f"{IMAGE}:0": image},
            [tensor.name for tensor in wanted.values()], name="",
        )
        return dict(zip(wanted, values, strict=True))

    given = traced.inputs[0]
    return outputs.get_concrete_function(
        tf.TensorSpec(given.shape, given.dtype, name=IMAGE)
    )
