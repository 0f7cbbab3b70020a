"""Which output of a network holds the scores of the classes, and what kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export.file_graph import FileGraph
from tfnas.feed import LOGITS
from tfnas.feed import PROBABILITIES
from tfnas.feed import listing

# What only passes numbers on, in a graph of TensorFlow and in a file.
_PASSES = {
    "Identity", "Cast", "Reshape", "Squeeze", "StopGradient", "RESHAPE",
    "SQUEEZE", "CAST", "QUANTIZE", "DEQUANTIZE",
}
_PROBABILITIES = {"Softmax", "Sigmoid", "SOFTMAX", "LOGISTIC"}
_LOGITS = {
    "AddV2", "BiasAdd", "Conv2D", "MatMul", "Mean", "ADD", "BATCH_MATMUL",
    "CONV_2D", "FULLY_CONNECTED", "MEAN",
}

class Outputs:
    """The outputs of a network, one of which holds the scores.

    Args:
        names: Of the outputs.
        shapes: Of the outputs; what is not fixed is `None` or -1.
        kinds: What each holds, `"logits"` or `"probabilities"`; `None` where
            the operation that gives it does not tell.
        source: The network, for messages.
        need: Whether there must be an output that can hold scores.

    Attributes:
        any: Whether there is one.
        classes: Number of classes; 0 while several outputs might be meant.
        chosen: Number of the output; the first candidate until `select`.

    Raises:
        ExportError: when none can hold scores.
    """

    def __init__(
        self, names: Sequence[str], shapes: Sequence[Sequence[Any]],
        kinds: Sequence[str | None], source: str, need: bool = True,
    ):
        self._names, self._kinds, self._source = names, list(kinds), source
        widths = {i: _width(shape) for i, shape in enumerate(shapes)}
        found = {i: width for i, width in widths.items() if width}
        if any(width > 1 for width in found.values()):
            found = {i: width for i, width in found.items() if width > 1}
        if not found and need:
            raise ExportError(
                f"{source}: expected one image as input and logits as output. "
                f"Received: outputs of shapes {[tuple(s) for s in shapes]}"
            )
        self._found, self.any = found, bool(found)
        self.chosen = next(iter(found), 0)
        self.classes = self._classes() if len(found) == 1 else 0

    @property
    def widths(self) -> list[int]:
        """Numbers of classes that may be meant."""
        chosen = [self.chosen] if self.classes else self._found
        return sorted({max(self._found[i], 2) for i in chosen})

    @property
    def kind(self) -> str | None:
        """What the chosen output holds."""
        return self._kinds[self.chosen]

    @property
    def is_unclear(self) -> bool:
        """Whether one score tells two apart, and nobody knows at which."""
        return self._found.get(self.chosen) == 1 and self.kind is None

    def settle(self, values: np.ndarray) -> str:
        """Decides what the chosen output holds, by what it gives.

        Args:
            values: Of some images.

        Returns:
            A remark about that.
        """
        inside = bool(np.all((values >= 0) & (values <= 1)))
        self._kinds[self.chosen] = PROBABILITIES if inside else LOGITS
        return (
            "its one score is taken for a "
            + ("probability, as it lies" if inside else "logit, not lying")
            + " between 0 and 1: the second class is from "
            + ("0.5" if inside else "0") + " on"
        )

    def _classes(self) -> int:
        return max(self._found[self.chosen], 2)

    def select(self, output: str | None, classes: int) -> None:
        """Chooses the output of the scores.

        Args:
            output: Its name; `None` for the one with as many scores as there
                are classes.
            classes: Number of classes.

        Raises:
            ConfigError: when there is no such output, or several.
        """
        known = {self._names[i]: i for i in self._found}
        if output is not None:
            if output not in known:
                raise ConfigError(
                    f"{self._source}: expected an output of scores: "
                    f"{listing(list(known))}. Received: {output}"
                )
            self.chosen = known[output]
        elif not self.classes:
            fit = [
                i for i, width in self._found.items()
                if max(width, 2) == classes
            ]
            if len(fit) != 1:
                shown = listing([
                    f"{name} ({self._found[i]})" for name, i in known.items()
                ])
                raise ConfigError(
                    f"{self._source}: expected one output of {classes} "
                    f"scores. Received: {shown}; --scores=NAME chooses one"
                )
            (self.chosen,) = fit
        self.classes = self._classes()

    def both(self, values: np.ndarray) -> np.ndarray:
        """Returns scores `(n, classes)`, also where one tells two apart.

        Args:
            values: float32, what the chosen output gives.
        """
        values = values.reshape(len(values), -1)
        if values.shape[-1] > 1:
            return values
        other = 1 - values if self.kind == PROBABILITIES else 0 * values
        return np.concatenate([other, values], axis=-1)


def _width(shape: Sequence[Any]) -> int:
    """Returns the number of scores in an output, or 0 if it holds others."""
    known = [n for n in shape[1:] if n is not None and n > 0]
    if len(shape) < 2 or len(known) != len(shape) - 1 or any(
        n != 1 for n in known[:-1]
    ):
        return 0
    return int(known[-1])


def _kind_of(name: str) -> str | None:
    if name in _PROBABILITIES:
        return PROBABILITIES
    return LOGITS if name in _LOGITS else None


def kind_of_tensor(tensor: Any) -> str | None:
    """Returns what an output of a traced function holds."""
    op = tensor.op
    while op.type in _PASSES and op.inputs:
        op = op.inputs[0].op
    return _kind_of(op.type)


def kinds_of_file(blob: bytes) -> list[str | None]:
    """Returns what each output of a `.tflite` holds.

    Args:
        blob: Content of a file that the runtime has opened.
    """
    file, kinds = FileGraph(blob), []
    for index in file.graph.OutputsAsNumpy():
        name, op = "", file.maker(index)
        while op is not None:
            name = file.name(op)
            if name not in _PASSES:
                break
            op = file.maker(op.Inputs(0))
        kinds.append(_kind_of(name))
    return kinds


def unset_variables(blob: bytes) -> int:
    """Returns how many variables a `.tflite` reads and never sets.

    `TFLiteConverter.from_concrete_functions(..., model)` writes such a file
    of a Keras 3 model: TensorFlow does not find the weights in it to freeze
    (TensorFlow 2.21, Keras 3.15). It computes with whatever the memory held.

    Args:
        blob: Content of a file that the runtime has opened.
    """
    names = FileGraph(blob).names()
    return 0 if "ASSIGN_VARIABLE" in names else names.count("READ_VARIABLE")
