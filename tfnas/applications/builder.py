"""Published and searched networks under the contract of Keras applications."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas import derive
from tfnas import ops
from tfnas import spaces
from tfnas.applications import weights as weight_files
from tfnas.arch import Arch
from tfnas.errors import ConfigError
from tfnas.registry import Registry

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
HALF = (127.5, 127.5, 127.5)
_POOLINGS = (None, "avg", "max")


@dataclasses.dataclass(frozen=True)
class Application:
    """A network with a name.

    Args:
        name: Lower-case name, such as `"densenas_a"`.
        space: The search space that reads `text`, or `None`.
        text: The network in the published encoding of the space.
        arch: The network itself, where there is no space to read it.
        mean: Of the channels on the 0..255 scale.
        std: Of the channels on the 0..255 scale.
        top1: Published top-1 accuracy on ImageNet, in percent: the authors'.
        presets: Name of a weight preset to its file.
    """

    name: str
    space: str | None = None
    text: str | None = None
    arch: Arch | None = None
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    top1: float | None = None
    presets: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def get_arch(
        self, classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> Arch:
        """Returns the network, for other classes or images if given."""
        if self.arch is None:
            assert self.space is not None and self.text is not None
            space = spaces.get(self.space, classes, input_shape)
            return space.decode(self.text)
        return _fitted(self.arch, classes, input_shape)


APPLICATIONS: Registry[Application] = Registry("application")


def register(
    name: str, arch: Arch, weights: str | os.PathLike | None = None,
    mean: tuple[float, ...] = HALF, std: tuple[float, ...] = HALF,
) -> Application:
    """Gives a network a name, so that `tfnas.applications.get` finds it.

    Args:
        name: A new name.
        arch: The network.
        weights: Weight file; it becomes the preset `"default"`.
        mean: Of the channels on the 0..255 scale, in training.
        std: Of the channels on the 0..255 scale, in training.

    Returns:
        The entry of the table of applications.
    """
    presets = {} if weights is None else {"default": os.fspath(weights)}
    return APPLICATIONS.register(
        name,
        Application(name, arch=arch, mean=mean, std=std, presets=presets),
    )


def get(name: str, **arguments: Any) -> Any:
    """Builds a registered network by its name; see `build`."""
    return build(APPLICATIONS.get(name), **arguments)


def from_arch(
    arch: Arch, include_top: bool = True, weights: str | None = None,
    input_tensor: Any = None, input_shape: tuple[int, ...] | None = None,
    pooling: str | None = None, classes: int | None = None,
    classifier_activation: str | None = "softmax", name: str | None = None,
) -> Any:
    """Builds a searched network under the contract of `build`."""
    entry = Application(name or f"tfnas_{arch.id}", arch=arch)
    return build(
        entry, include_top, weights, input_tensor, input_shape, pooling,
        classes, classifier_activation, name,
    )


def build(
    application: Application, include_top: bool = True,
    weights: str | os.PathLike | None = None, input_tensor: Any = None,
    input_shape: tuple[int, ...] | None = None, pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "softmax", name: str | None = None,
) -> Any:
    """Builds a network as a plain Keras model.

    Args:
        application: The network.
        include_top: Whether to end in the classifier.
        weights: `None` for random ones, the name of a preset, or the path of
            a weight file.
        input_tensor: Symbolic images to apply the network to.
        input_shape: `(height, width, channels)`. Defaults to that of the
            network, often `(224, 224, 3)`.
        pooling: Without top: `"avg"` or `"max"` for a vector, `None` for the
            last feature map `(batch, height, width, channels)`.
        classes: Number of classes. Defaults to the network's own.
        classifier_activation: `"softmax"`, or `None` for logits.
        name: Name of the model.

    Returns:
        A functional `keras.Model` of stock layers. It takes images as
        `preprocess_input` gives them.

    Raises:
        ConfigError: for contradicting arguments, or an unknown preset (the
            message lists those that exist).
        ArtifactError: when a weight file does not fit.
    """
    import keras

    _check(application, include_top, pooling, classes)
    if input_tensor is not None:
        input_shape = _shape_of(input_tensor, input_shape)
    arch = application.get_arch(classes, input_shape)
    image = input_tensor
    if image is None:
        image = keras.Input(arch.input_shape, name="image")
    number = len(arch.blocks) if include_top else _body(arch)
    x = derive.apply_blocks(arch, number, image, keras)
    if include_top and classifier_activation is not None:
        x = keras.layers.Activation(
            classifier_activation, dtype="float32", name="predictions"
        )(x)
    elif not include_top and pooling is not None:
        pools = {
            "avg": keras.layers.GlobalAveragePooling2D,
            "max": keras.layers.GlobalMaxPooling2D,
        }
        x = pools[pooling](name=f"{pooling}_pool")(x)
    source = image if input_tensor is None else keras.utils.get_source_inputs(
        input_tensor
    )
    model = keras.Model(source, x, name=name or application.name)
    if weights is not None:
        _load(application, weights, model, include_top)
    return model


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


def _shape_of(
    tensor: Any, input_shape: tuple[int, ...] | None
) -> tuple[int, ...]:
    shape = tuple(tensor.shape)[1:]
    if input_shape is not None and tuple(input_shape) != shape:
        raise ConfigError(
            "`input_shape` must be that of `input_tensor`, or be left out. "
            f"Received: {tuple(input_shape)} and {shape}"
        )
    return shape


def _body(arch: Arch) -> int:
    """Number of blocks up to the last feature map of a network."""
    shapes = ops.shapes(arch)
    return max(
        i for i, (h, w, *_) in enumerate(_spatial(shapes)) if h * w > 1
    )


def _spatial(shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [shape if len(shape) == 3 else (1, 1, *shape) for shape in shapes]


def _fitted(
    arch: Arch, classes: int | None, input_shape: tuple[int, ...] | None
) -> Arch:
    if classes is not None and classes != arch.classes:
        arch = derive.with_classes(arch, classes)
    if input_shape is not None:
        arch = dataclasses.replace(arch, input_shape=tuple(input_shape))
    return arch


def _load(
    application: Application, weights: str | os.PathLike, model: Any,
    include_top: bool,
) -> None:
    path = application.presets.get(os.fspath(weights), weights)
    if path is weights and not os.path.exists(path):
        known = sorted(application.presets) or "none"
        raise ConfigError(
            f"{application.name}: `weights` must be None, a preset (there "
            f"are: {known}) or a file. Received: {os.fspath(weights)!r}"
        )
    arch = weight_files.load(path, model)
    if include_top:
        derive.require_fit(arch, model.input_shape[1:], model.output_shape[-1])


def preprocess_input(images: Any, name: str) -> np.ndarray:
    """Scales images as a registered network takes them.

    Args:
        images: `(batch, height, width, 3)` in 0..255.
        name: Name of the application.

    Returns:
        Float32 images, normalised by channel.
    """
    entry = APPLICATIONS.get(name)
    mean, std = (np.array(v, np.float32) for v in (entry.mean, entry.std))
    return (np.asarray(images, np.float32) - mean) / std


def decode_predictions(
    predictions: Any, top: int = 5, labels: list[str] | None = None
) -> list[list[tuple[str, str, float]]]:
    """Names the most probable classes of each image.

    Args:
        predictions: `(batch, classes)` probabilities.
        top: How many classes to name.
        labels: Name of each class; by default those of ImageNet, which Keras
            fetches.

    Returns:
        For each image `(id, name, probability)`, most probable first.

    Raises:
        ConfigError: when there is not one label for each class.
    """
    values = np.asarray(predictions)
    if labels is None:
        from keras.applications import imagenet_utils

        return imagenet_utils.decode_predictions(values, top)
    if len(labels) != values.shape[-1]:
        raise ConfigError(
            f"`labels` must name {values.shape[-1]} classes. "
            f"Received: {len(labels)}"
        )
    order = np.argsort(-values, axis=-1, kind="stable")[:, :top]
    return [
        [(str(i), labels[i], float(row[i])) for i in best]
        for row, best in zip(values, order, strict=True)
    ]


def endpoints(arch: Arch) -> dict[str, str]:
    """Names the layers that end each resolution of a network.

    Args:
        arch: The network.

    Returns:
        `"stride_2"`, `"stride_4"` and so on, to the name of the layer that
        gives the last feature map of that stride: `get_layer(name).output`.
    """
    found, shapes = {}, ops.shapes(arch)
    for i, block in enumerate(arch.blocks[: _body(arch)]):
        graph = ops.lower(block, shapes[i])
        if graph.live:
            stride = round(arch.input_shape[0] / graph.output_shape[0])
            prefix = derive.layer_prefix(i, block.op)
            found[f"stride_{stride}"] = f"{prefix}_{graph.output}"
    return found
