"""Which layer of a quantized file hurts: every tensor against the float one.

The tensors of a `.tflite` carry the names of the operations of the graph that
were made into one operator; what it computes is the output of the last of
those. The converter also moves factors about and misnames, so no name is
believed: the float file of the same model must have what the graph has there.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np

from tfnas.errors import ExportError
from tfnas.export.file_tensors import FileTensors
from tfnas.export.reference import Reference
from tfnas.export.reference import reference_for
from tfnas.export.tflite import to_tflite
from tfnas.export.tracing import in_batches

_CONVERTS = ("QUANTIZE", "DEQUANTIZE")
# Two ways to the same float32 differ by less, relatively. The narrow ones come
# first: an untrained batch norm changes a tensor by 5e-4.
_SAME = (1e-5, 1e-4, 1e-3)
_TOOLKIT = re.compile(r"quant_(.+?)(?:_[0-9]+)?")  # its scope of a layer


@dataclasses.dataclass(frozen=True)
class LayerError:
    """How far a tensor is from that of the float model.

    Args:
        layer: The Keras layer whose output it is; `"backbone/conv_1"` is one
            of a nested model.
        op: The operator that computes it.
        relative_rmse: Root mean square of the difference, by that of the
            float tensor.
        added: What of it the operator's inputs do not have yet; its own
            weights and its own rounding, roughly. Never below 0.
        fused: The other layers that the same operator computes.
    """

    layer: str
    op: str
    relative_rmse: float
    added: float
    fused: tuple[str, ...] = ()

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise; `None` without noise."""
        if not self.relative_rmse:
            return None
        return -20 * math.log10(self.relative_rmse)


@dataclasses.dataclass(frozen=True)
class LayerErrors:
    """The errors of a file.

    Args:
        errors: One for each operator that can be compared, in the order they
            run.
        left_out: How many operators compute numbers that nothing in the
            Keras model is known to be equal to.
    """

    errors: list[LayerError]
    left_out: int


def layer_errors(
    model: Any, blob: bytes, images: np.ndarray, float32: bytes | None = None
) -> list[LayerError]:
    """Compares the tensors of a `.tflite` with a Keras model's.

    See `compare_layers`.

    Returns:
        One `LayerError` for each operator whose tensor is a layer's output,
        in the order they run.
    """
    return compare_layers(model, blob, images, float32).errors


def compare_layers(
    model: Any, blob: bytes, images: np.ndarray, float32: bytes | None = None
) -> LayerErrors:
    """Compares the tensors of a `.tflite` with a Keras model's.

    Args:
        model: The float model that the file was made from.
        blob: Content of the file.
        images: float32 `(n, height, width, channels)`, normalised; a dozen
            tell enough.
        float32: Content of the model's float file; `None` makes one.

    Returns:
        The errors, and how many operators could not be compared.

    Raises:
        ConfigError: If there are no images, or of another shape.
        ExportError: If the file takes other images than the model.
    """
    reference = reference_for(model, images)
    file, size = FileTensors(blob), images.shape[1:3]
    if file.batch != reference.batch or file.shape != images.shape[1:]:
        raise ExportError(
            f"Expected a file of images {images.shape[1:]}, "
            f"{reference.batch} at a time. Received: {file.shape}, "
            f"{file.batch} at a time"
        )
    batches = in_batches(images, file.batch)
    if file.of_toolkit:
        truth = _match_toolkit(file, reference)
    else:
        float_file = FileTensors(float32 or to_tflite(model, image_size=size))
        truth = _match(file, float_file, reference, batches[0])
    truth.update(_match_outputs(file, reference))
    return _compare(file, reference, truth, batches)


def _match_outputs(file: FileTensors, reference: Reference) -> dict[int, str]:
    """Returns the tensors of the outputs; these need no proof."""
    named = {
        index: reference.outputs[name]
        for name, index in file.outputs.items()
        if name in reference.outputs
    }
    if len(file.outputs) == len(reference.outputs) == 1:
        named = dict(
            zip(file.outputs.values(), reference.outputs.values(), strict=True)
        )
    # Before a float output there may be the integers that it is made from.
    for op in reversed(file.ops):
        if op["op_name"] in _CONVERTS and op["outputs"][0] in named:
            named[int(op["inputs"][0])] = named[int(op["outputs"][0])]
    computed = {*file.computed}
    return {index: t for index, t in named.items() if index in computed}


def _match(
    file: FileTensors, float_file: FileTensors, reference: Reference,
    images: np.ndarray,
) -> dict[int, str]:
    """Returns the graph's tensor of each of the file's, where it has one."""
    proven = _prove(float_file, reference, images)
    known = {
        key: proven[index]
        for key, index in _keys(float_file).items()
        if index in proven
    }
    found = {
        index: known[key]
        for key, index in _keys(file).items()
        if key in known
    }
    mine, others = _operators(file), _operators(float_file)
    if [op["op_name"] for op in mine] == [op["op_name"] for op in others]:
        # The same operators, though rounding may have renamed a tensor.
        for op, other in zip(mine, others, strict=True):
            pairs = zip(op["outputs"], other["outputs"], strict=False)
            for index, same in pairs:
                if int(same) in proven:
                    found.setdefault(int(index), proven[int(same)])
    for index, name in _named(file, set(proven.values())).items():
        found.setdefault(index, name)
    return found


def _named(file: FileTensors, proven: set[str]) -> dict[int, str]:
    """Returns tensors by the first of their names, where the graph has it.

    A lowered operator of several steps is named after what it stands for:
    the last step by that name, or like all of them below it.
    """
    exact, below = {}, {}
    for op in _operators(file):
        for index in file.results(op):
            head = file.name(index).partition(";")[0]
            if f"{head}:0" in proven:
                exact[f"{head}:0"] = index
            elif (parent := f"{head.rpartition('/')[0]}:0") in proven:
                below[parent] = index
    return {index: name for name, index in {**below, **exact}.items()}


def _operators(file: FileTensors) -> list[dict[str, Any]]:
    return [op for op in file.ops if op["op_name"] not in _CONVERTS]


def _keys(file: FileTensors) -> dict[tuple[str, int], int]:
    """Returns computed tensors by name, and a number where that is shared."""
    found: dict[tuple[str, int], int] = {}
    for op in _operators(file):
        for index in file.results(op):
            number = 0
            while (file.name(index), number) in found:
                number += 1
            found[file.name(index), number] = index
    return found


def _prove(
    float_file: FileTensors, reference: Reference, images: np.ndarray
) -> dict[int, str]:
    """Returns what each tensor of a float file is seen to be in the graph.

    Those that it is named after come first, the latest before the others;
    then all that are equal to it, from the first.
    """
    float_file.run(images)
    every = reference.run(images, reference.tensors)
    values = dict(zip(reference.tensors, every, strict=True))
    by_size: dict[int, list[str]] = {}
    for name in reference.tensors:
        by_size.setdefault(values[name].size, []).append(name)
    found = {}
    for index in _keys(float_file).values():
        got = float_file.value(index)
        if got is None or not got.any():
            continue
        names = (
            *reversed(reference.named(float_file.name(index))),
            *by_size.get(got.size, ()),
        )
        errors = {name: _relative(got, values[name]) for name in names}
        for limit in _SAME:
            same = [name for name in names if errors[name] < limit]
            if same:
                found[index] = same[0]
                break
    return found


def _relative(got: np.ndarray, want: np.ndarray) -> float:
    if got.size != want.size:
        return math.inf
    return _ratio(*_energies(got, want))


def _match_toolkit(file: FileTensors, reference: Reference) -> dict[int, str]:
    """Returns the outputs of layers by the toolkit's names for these.

    Its network is a twin with weights of its own, in legacy Keras: only the
    names of layers are common.
    """
    last = {reference.layer_of(name): name for name in reference.tensors}
    order = {name: i for i, name in enumerate(reference.tensors)}
    found: dict[str, int] = {}
    for op in _operators(file):
        for index in file.results(op):
            scopes = re.split("[;/]", file.name(index))
            layers = [m[1] for s in scopes if (m := _TOOLKIT.fullmatch(s))]
            names = [last[layer] for layer in layers if layer in last]
            if names:
                # What is inside of a layer comes before its output.
                found[max(names, key=order.__getitem__)] = index
    return {index: name for name, index in found.items()}


def _compare(
    file: FileTensors, reference: Reference, truth: dict[int, str],
    batches: list[np.ndarray],
) -> LayerErrors:
    fetched = list(dict.fromkeys(truth.values()))
    noise = dict.fromkeys([file.given, *truth], 0.0)
    signal = dict(noise)
    for images in batches:
        values = reference.run(images, fetched)
        expected = dict(zip(fetched, values, strict=True))
        file.run(images)
        for index in list(noise):
            got = file.value(index)
            want = images if index == file.given else expected[truth[index]]
            if got is None or got.size != want.size:
                del noise[index], signal[index]
                continue
            more = _energies(got, want)
            noise[index] += more[0]
            signal[index] += more[1]
    relative = {i: _ratio(noise[i], signal[i]) for i in noise}
    return _listed(file, reference, truth, relative)


def _listed(
    file: FileTensors, reference: Reference, truth: dict[int, str],
    relative: dict[int, float],
) -> LayerErrors:
    found, left_out = [], 0
    for op in file.ops:
        before = max(
            (relative.get(int(i), 0.0) for i in op["inputs"]), default=0.0
        )
        results = file.results(op)
        known = [index for index in results if index in relative]
        for index in op["outputs"]:
            relative.setdefault(int(index), before)
        if op["op_name"] in _CONVERTS:
            continue
        if not known:
            left_out += bool(results)
            continue
        worst = max(known, key=relative.__getitem__)
        layer = reference.layer_of(truth[worst])
        parts = map(reference.layer_of, reference.named(file.name(worst)))
        fused = tuple(part for part in dict.fromkeys(parts) if part != layer)
        found.append(
            LayerError(
                layer, op["op_name"], relative[worst],
                max(0.0, relative[worst] - before), fused,
            )
        )
    return LayerErrors(found, left_out)


def _energies(got: np.ndarray, want: np.ndarray) -> tuple[float, float]:
    """Returns the sums of squares of a difference and of what is wanted."""
    want = np.asarray(want, np.float64)
    difference = got.reshape(want.shape) - want
    return float(np.sum(difference**2)), float(np.sum(want**2))


def _ratio(noise: float, signal: float) -> float:
    if not signal:
        return 0.0 if not noise else 1.0
    return math.sqrt(noise / signal)
