"""A `.tflite` of which every tensor can be seen, as real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfnas.export.classifiers import dequantize
from tfnas.export.classifiers import quantize
from tfnas.export.inspection import list_ops
from tfnas.export.runtime import named_outputs
from tfnas.export.runtime import open_interpreter

_QUANTIZED = ("int8", "int16", "uint8")


class FileTensors:
    """An open `.tflite` of one image.

    Args:
        blob: Content of the file.
        inside: Whether more can be seen than what it gives. It is slower, and
            the runtime's own kernels run it.

    Attributes:
        ops: Its operators in the order they run.
        batch: How many images it takes at once.
        shape: `(height, width, channels)` of an image.
        given: Index of the image.
        outputs: Name of each output to its index.

    Raises:
        ArtifactError: If the bytes are no model that this runtime can run.
    """

    def __init__(self, blob: bytes, inside: bool = True):
        self._interpreter = open_interpreter(
            blob, delegate=not inside, keep_tensors=inside
        )
        self.ops = list_ops(self._interpreter)
        details = self._interpreter.get_tensor_details()
        self._details = {int(t["index"]): t for t in details}
        (image,) = self._interpreter.get_input_details()
        self.given = int(image["index"])
        self.batch, *shape = (int(n) for n in image["shape"])
        self.shape = tuple(shape)
        self.outputs = named_outputs(self._interpreter)

    @property
    def of_toolkit(self) -> bool:
        """Whether the optimization toolkit made the network."""
        return any(
            scope.startswith("quant_")
            for index in self.computed
            for scope in self.name(index).replace(";", "/").split("/")
        )

    @property
    def computed(self) -> list[int]:
        """The tensors of numbers that the operators compute."""
        return [index for op in self.ops for index in self.results(op)]

    def results(self, op: dict[str, Any]) -> list[int]:
        """Returns the tensors of numbers that an operator computes.

        Those that count or choose (int32, bool) are left out.
        """
        return [
            int(index) for index in op["outputs"]
            if self._holds_numbers(int(index))
        ]

    def _holds_numbers(self, index: int) -> bool:
        if index not in self._details:
            return False
        details = self._details[index]
        dtype = np.dtype(details["dtype"]).name
        scale, _ = details["quantization"]
        return dtype == "float32" or (dtype in _QUANTIZED and scale > 0)

    def name(self, index: int) -> str:
        """Returns the name of a tensor."""
        return self._details[index]["name"]

    def run(self, images: np.ndarray) -> None:
        """Computes all tensors for a batch of images."""
        self._interpreter.set_tensor(
            self.given, quantize(images, self._details[self.given])
        )
        self._interpreter.invoke()

    def value(self, index: int) -> np.ndarray | None:
        """Returns what a tensor holds; `None` if that was not kept."""
        try:
            values = self._interpreter.get_tensor(index)
        except ValueError:
            return None
        return dequantize(values, self._details[index]).astype(np.float64)
