"""How far a `.tflite` file is from the model it was made from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfnas.errors import ExportError
from tfnas.export.file_tensors import FileTensors
from tfnas.export.reference import reference_for
from tfnas.export.tracing import in_batches

Outputs = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Parity:
    """The difference between the outputs of two networks.

    Attributes:
        max_abs: largest difference of two numbers, of all outputs.
        mean_abs: mean difference.
        argmax_agreement: share of the images that both put into one class;
            `None` if it is not known which output says the class.
        n: number of images.
    """

    max_abs: float
    mean_abs: float
    argmax_agreement: float | None
    n: int


def parity(
    model: Any, blob: bytes, images: np.ndarray, output: str | None = None
) -> Parity:
    """Compares a Keras model with its `.tflite`, in float32.

    Args:
        model: the Keras model.
        blob: content of the `.tflite` file.
        images: float32 `(n, height, width, channels)`, normalised.
        output: Name of the output that says the class; `None` is the one of
            shape `(batch, classes)`.

    Returns:
        A `Parity`.

    Raises:
        ConfigError: if there are no images, or of another shape than the
            model takes.
        ExportError: if the file has other inputs or outputs than the model.
    """
    expected, received = (
        _keras_outputs(model, images), _file_outputs(blob, images),
    )
    if len(expected) == len(received) == 1:
        received = dict(zip(expected, received.values(), strict=True))
    _check_same(expected, received)
    differences = np.concatenate(
        [
            np.abs(want - received[name].reshape(want.shape)).ravel()
            for name, want in expected.items()
        ]
    )
    if output is None:
        scores = [n for n, v in expected.items() if v[0].ndim == 1 < v[0].size]
        output = scores[0] if len(scores) == 1 else None
    agreement = None
    if output in expected:
        same = [
            np.argmax(outputs[output].reshape(len(images), -1), axis=-1)
            for outputs in (expected, received)
        ]
        agreement = float(np.mean(same[0] == same[1]))
    return Parity(
        max_abs=float(differences.max()),
        mean_abs=float(differences.mean()),
        argmax_agreement=agreement,
        n=len(images),
    )


def _check_same(expected: Outputs, received: Outputs) -> None:
    shapes = [
        {name: values[0].size for name, values in outputs.items()}
        for outputs in (expected, received)
    ]
    if shapes[0] != shapes[1]:
        raise ExportError(
            "Expected a file with the outputs of the model, by name and "
            f"size: {shapes[0]}. Received: {shapes[1]}"
        )


def _keras_outputs(model: Any, images: np.ndarray) -> Outputs:
    reference = reference_for(model, images)
    tensors = list(reference.outputs.values())
    found = [
        map(np.atleast_1d, reference.run(batch, tensors))
        for batch in in_batches(images, reference.batch)
    ]
    return {
        name: np.concatenate(values)[: len(images)].astype(np.float64)
        for name, values in zip(
            reference.outputs, zip(*found, strict=True), strict=True
        )
    }


def _file_outputs(blob: bytes, images: np.ndarray) -> Outputs:
    file = FileTensors(blob, inside=False)
    if file.shape != images.shape[1:]:
        raise ExportError(
            f"Expected a file of images {images.shape[1:]}. "
            f"Received: {file.shape}"
        )
    found: dict[str, list[np.ndarray]] = {name: [] for name in file.outputs}
    for batch in in_batches(images, file.batch):
        file.run(batch)
        for name, index in file.outputs.items():
            values = file.value(index)
            assert values is not None  # an output is always kept
            found[name].append(np.atleast_1d(values))
    return {n: np.concatenate(v)[: len(images)] for n, v in found.items()}
