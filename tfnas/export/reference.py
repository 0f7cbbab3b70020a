"""What a `.tflite` ought to compute: the tensors of the traced Keras model."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.errors import ConfigError
from tfnas.export import tracing

_NUMBERED = re.compile(r"(.+)_[0-9]+")


class Reference:
    """The graph of a Keras model, of which every tensor can be seen.

    Args:
        model: A Keras model of `tracing.image_input`.
        size: Height and width, which a model of free size needs.

    Attributes:
        batch: How many images it takes at once.
        tensors: Names of its float tensors, in the order of their making.
        outputs: Name of each output, as `tracing.output_names` calls them, to
            the name of its tensor.

    Raises:
        ExportError: See `tracing.trace`.
    """

    def __init__(self, model: Any, size: tuple[int, int] | None = None):
        self._model = tracing.float32_copy(model)
        traced = tracing.trace(self._model, size)
        self.batch = int(traced.inputs[0].shape[0])
        self._graph = traced.graph
        self.tensors = [
            tensor.name
            for op in self._graph.get_operations()
            if op.type not in ("Const", "Placeholder")
            for tensor in op.outputs
            if tensor.dtype == tf.float32
        ]
        self.outputs = {
            name: tensor.name
            for name, tensor in traced.structured_outputs.items()
        }
        definition = self._graph.as_graph_def()
        self._whole = tf.compat.v1.wrap_function(
            lambda: tf.import_graph_def(definition, name=""), []
        )
        self._order = {name: i for i, name in enumerate(self.tensors)}
        self._parts: dict[tuple[str, ...], Any] = {}

    def run(
        self, images: np.ndarray, tensors: Sequence[str]
    ) -> list[np.ndarray]:
        """Returns the values of some tensors.

        Args:
            images: float32 `(batch, height, width, channels)`.
            tensors: Their names.
        """
        names = tuple(tensors)
        if names not in self._parts:
            element = self._whole.graph.as_graph_element
            self._parts[names] = self._whole.prune(
                element(f"{tracing.IMAGE}:0"), [element(n) for n in names]
            )
        with full_precision():
            values = self._parts[names](tf.constant(images, tf.float32))
        return [value.numpy() for value in values]

    def named(self, name: str) -> list[str]:
        """Returns the tensors in the name of a file's tensor, in order.

        The converter joins the names of the operations that became one.
        """
        parts = (p if ":" in p else f"{p}:0" for p in name.split(";"))
        known = {part for part in parts if part in self._order}
        return sorted(known, key=self._order.__getitem__)

    def layer_of(self, tensor: str) -> str:
        """Returns the path of the Keras layer that makes a tensor.

        That is `"backbone/conv_1"` for a layer of a nested model. What no
        layer makes goes by the name of its operation.
        """
        op = self._graph.get_tensor_by_name(tensor).op
        while op.type == "Identity" and op.inputs:
            op = op.inputs[0].op
        return layer_path(self._model, op.name)


def reference_for(model: Any, images: np.ndarray) -> Reference:
    """Returns what a model computes for images of one size.

    Raises:
        ConfigError: If there are no images, or of another shape than the
            model takes.
        ExportError: See `Reference`.
    """
    if not len(images):
        raise ConfigError("Expected images to compare on. Received: none")
    image, shape = tracing.image_input(model), images.shape[1:]
    wanted = (image.height, image.width, image.channels)
    tracing.require_shape(shape, wanted)
    return Reference(model, shape[:2])


def layer_path(model: Any, operation: str) -> str:
    """Returns the path of the Keras layer of an operation in a graph."""
    *scopes, last = operation.split("/")
    found = []
    inner = _inside(model)
    for scope in scopes:
        # Keras enters the scope of a layer twice in each call, so what is in
        # it has a number behind the name.
        match = _NUMBERED.fullmatch(scope)
        name = match[1] if match and match[1] in inner else scope
        if name not in inner:
            break
        found.append(name)
        inner = _inside(inner[name])
    return "/".join(found or [*scopes, last])


def _inside(layer: Any) -> dict[str, Any]:
    """Returns the layers in a model or a wrapper by their names."""
    found = list(getattr(layer, "layers", ()))
    if hasattr(layer, "layer"):
        found.append(layer.layer)
    return {inner.name: inner for inner in found if hasattr(inner, "name")}


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Keeps a GPU from rounding factors to the 10 bits of TensorFloat-32."""
    precision = tf.config.experimental
    allowed = precision.tensor_float_32_execution_enabled()
    precision.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        precision.enable_tensor_float_32_execution(allowed)
