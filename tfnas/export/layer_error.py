"""Which layer of a quantized file hurts: every tensor against the float one.

The tensors of a `.tflite` are named after the layers that were made into one
operator; what it computes is the output of the last of those.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import keras
import numpy as np

from tfnas.errors import ConfigError
from tfnas.export.classifiers import dequantize
from tfnas.export.classifiers import quantize
from tfnas.export.inspection import list_ops
from tfnas.export.runtime import open_interpreter

_CONVERTS = ("QUANTIZE", "DEQUANTIZE")
_SCOPE = re.compile(r"(?:quant_)?(.*?)(?:_[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class LayerError:
    """How far a tensor is from that of the float model.

    Args:
        layer: The Keras layer whose output it is.
        op: The operator that computes it.
        relative_rmse: Root mean square of the difference, by that of the
            float tensor.
        added: What of it the operator's inputs do not have yet; its own
            weights and its own rounding, roughly. Never below 0.
    """

    layer: str
    op: str
    relative_rmse: float
    added: float

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise; `None` without noise."""
        if not self.relative_rmse:
            return None
        return -20 * math.log10(self.relative_rmse)


def layer_errors(
    model: Any, blob: bytes, images: np.ndarray
) -> list[LayerError]:
    """Compares the tensors of a `.tflite` with a Keras model's.

    Args:
        model: The float model that the file was made from.
        blob: Content of the file.
        images: float32 `(n, height, width, channels)`, normalised; a dozen
            tell enough.

    Returns:
        One `LayerError` for each operator whose tensor is a layer's output,
        in the order they run.

    Raises:
        ConfigError: if there are no images.
    """
    if not len(images):
        raise ConfigError("Expected images to compare on. Received: none")
    interpreter = open_interpreter(blob, delegate=False, keep_tensors=True)
    details = {t["index"]: t for t in interpreter.get_tensor_details()}
    (given,) = interpreter.get_input_details()
    layer_of = _match(model, interpreter, details)
    probe = keras.Model(
        model.input, [model.get_layer(n).output for n in layer_of.values()]
    )
    noise = dict.fromkeys([given["index"], *layer_of], 0.0)
    signal = dict(noise)
    for image in images:
        expected = keras.tree.flatten(probe(image[None], training=False))
        interpreter.set_tensor(given["index"], quantize(image[None], given))
        interpreter.invoke()
        for index, tensor in zip(noise, [image, *expected], strict=True):
            want = np.asarray(tensor, np.float64)
            got = dequantize(interpreter.get_tensor(index), details[index])
            noise[index] += float(np.sum((got.reshape(want.shape) - want) ** 2))
            signal[index] += float(np.sum(want**2))
    relative = {i: _ratio(noise[i], signal[i]) for i in noise}
    return _listed(interpreter, layer_of, relative)


def _listed(
    interpreter: Any, layer_of: dict[int, str], relative: dict[int, float]
) -> list[LayerError]:
    found = []
    for op in list_ops(interpreter):
        (index,) = op["outputs"]
        before = max((relative.get(i, 0.0) for i in op["inputs"]), default=0.0)
        error = relative.setdefault(index, before)
        if index in layer_of:
            found.append(
                LayerError(
                    layer_of[index], op["op_name"], error,
                    max(0.0, error - before),
                )
            )
    return found


def _ratio(noise: float, signal: float) -> float:
    if not signal:
        return 0.0 if not noise else 1.0
    return math.sqrt(noise / signal)


def _match(
    model: Any, interpreter: Any, details: dict[int, Any]
) -> dict[int, str]:
    """Returns the layer of each tensor that is computed, where it has one."""
    order = {layer.name: i for i, layer in enumerate(model.layers)}
    (result,) = (t["index"] for t in interpreter.get_output_details())
    # The converter calls the output by a name of its own; before it there may
    # be the integers that it is made from.
    last = {result}
    for op in list_ops(interpreter):
        if op["op_name"] in _CONVERTS and op["outputs"][0] == result:
            last.add(op["inputs"][0])
    found: dict[str, int] = {}
    for op in list_ops(interpreter):
        if op["op_name"] in _CONVERTS:
            continue
        (index,) = op["outputs"]
        names = [
            name
            for part in details[index]["name"].split(";")
            for scope in part.split("/")
            for name in _layer_names(scope)
            if name in order
        ]
        if index in last:
            names.append(model.layers[-1].name)
        if names:
            # What is inside of a layer comes before its output.
            found[max(names, key=order.__getitem__)] = index
    return {index: name for name, index in found.items()}


def _layer_names(scope: str) -> tuple[str, ...]:
    """Returns what the layer of a name scope may be called."""
    match = _SCOPE.fullmatch(scope)
    assert match is not None
    return scope, scope.removeprefix("quant_"), match[1]
