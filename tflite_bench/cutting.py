"""Single operators, cut out of a `.tflite` into files of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfnas import tflite_packing
from tfnas.errors import ArtifactError

_INTEGERS = ("int8", "uint8", "int16", "int32", "int64", "int4")
# Constants with scales of their own go into these.
_WEIGHTED = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"
)
_Change = Callable[["Cut"], bool]


class Cut:
    """One operator with its tensors, which may be changed before it is packed.

    Args:
        operator: The operator; it is copied.
        code: What it is, in the schema's words.
        name: The same as a word, such as `"CONV_2D"`.
        tensors: The tensors of its graph.
        buffers: The constants of its file.
        shapes: The shapes of all tensors as they are run.

    Attributes:
        tensors: Those it reads and gives, by their index in the file.
        data: The constants among them.
    """

    def __init__(
        self,
        operator: Any,
        code: Any,
        name: str,
        tensors: Sequence[Any],
        buffers: Sequence[Any],
        shapes: Sequence[Sequence[int]],
    ) -> None:
        self.operator, self.name = copy.copy(operator), name
        self._code = code
        self.inputs = [int(i) for i in _list(operator.inputs)]
        self.outputs = [int(i) for i in _list(operator.outputs)]
        self.tensors: dict[int, Any] = {}
        self.data: dict[int, np.ndarray] = {}
        for index in {*self.inputs, *self.outputs} - {-1}:
            tensor = copy.copy(tensors[index])
            tensor.name = None
            tensor.shape = [int(size) for size in shapes[index]]
            tensor.shapeSignature = None
            self.tensors[index] = tensor
            data = buffers[tensor.buffer].data
            if data is not None and len(data):
                self.data[index] = np.asarray(data, np.uint8)

    def kind(self, index: int) -> str:
        """Returns the type of a tensor, such as `"int8"`."""
        return tflite_packing.TYPES[self.tensors[index].type]

    def fed(self) -> list[int]:
        """Returns the tensors that must come from outside, in order."""
        return [
            index
            for index in dict.fromkeys(self.inputs)
            if index >= 0
            and index not in self.data
            and not self.tensors[index].isVariable
        ]

    def kinds(self) -> str:
        """Says what it computes with: `"int8"`, or what goes in and out."""
        given = [self.kind(i) for i in self.fed()]
        made = [self.kind(i) for i in self.outputs if i >= 0]
        weights = [
            self.kind(i) for i in self.data
            if i in self.inputs and self._scales(i) and self.kind(i) != "int32"
        ]
        first = (given or made or ["no"])[0]
        if "float32" in given and weights:
            return f"float32 with {weights[0]} weights"
        if set(given) | set(made) == {first}:
            return first
        words = [" and ".join(dict.fromkeys(side)) for side in (given, made)]
        return " to ".join(word for word in words if word)

    def in_float(self) -> bool:
        """Gives the same operator in float32; says whether that is another."""
        quantized = [
            index for index in self.tensors
            if self.kind(index) in _INTEGERS and self._scales(index)
        ]
        for index in quantized:
            tensor = self.tensors[index]
            tensor.type = schema.TensorType.FLOAT32
            tensor.quantization = None
            if index in self.data:
                size = max(int(np.prod(tensor.shape)), 1)
                self.data[index] = np.zeros(size, np.float32).view(np.uint8)
        return bool(quantized)

    def in_one_scale(self) -> bool:
        """Gives all that it adds, joins or moves one scale; see above."""
        flowing = [*self.fed(), *(i for i in self.outputs if i >= 0)]
        if self.name not in _WEIGHTED:
            flowing += [i for i in self.inputs if i in self.data]
        kind = self.kind(flowing[0]) if flowing else ""
        scaled = [
            i for i in flowing if self.kind(i) == kind and self._scales(i)
        ]
        if len({self._scales(i) for i in scaled}) < 2:
            return False
        coarsest = max(scaled, key=lambda i: max(self._scales(i)[0]))
        for index in scaled:
            self.tensors[index].quantization = (
                self.tensors[coarsest].quantization
            )
        return True

    def in_steps_of_one(self) -> bool:
        """Makes a slice leave nothing out between its ends; see above."""
        steps = self.inputs[3] if self.name == "STRIDED_SLICE" else -1
        if steps not in self.data or self.kind(steps) != "int32":
            return False
        ones = np.ones_like(self.data[steps].view(np.int32))
        changed = bool((ones != self.data[steps].view(np.int32)).any())
        self.data[steps] = ones.view(np.uint8)
        return changed

    def with_constants(self) -> bool:
        """Makes all that it reads constant but the first; see above."""
        later = self.fed()[1:]
        for index in later:
            tensor = self.tensors[index]
            dtype = _dtype(self.kind(index))
            if dtype is None:
                return False
            size = max(int(np.prod(tensor.shape)), 1)
            self.data[index] = np.zeros(size, dtype).view(np.uint8)
        return bool(later)

    def _scales(self, index: int) -> tuple[Any, ...]:
        """Returns scale and zero point; nothing where there are none."""
        found = self.tensors[index].quantization
        if found is None or found.scale is None or not len(found.scale):
            return ()
        points = _list(found.zeroPoint)
        return tuple(map(float, found.scale)), tuple(map(int, points))

    def pack(self) -> bytes:
        """Returns the content of a file of this operator alone."""
        places = {index: i for i, index in enumerate(sorted(self.tensors))}
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version = 3
        model.buffers = [schema.BufferT()]
        graph.tensors = []
        for index in places:
            tensor = self.tensors[index]
            tensor.name = f"t{places[index]}"
            tensor.buffer = 0
            if index in self.data:
                buffer = schema.BufferT()
                buffer.data = self.data[index]
                tensor.buffer = len(model.buffers)
                model.buffers.append(buffer)
            graph.tensors.append(tensor)
        self.operator.opcodeIndex = 0
        self.operator.inputs = [places.get(i, -1) for i in self.inputs]
        self.operator.outputs = [places.get(i, -1) for i in self.outputs]
        graph.operators = [self.operator]
        graph.inputs = [places[i] for i in self.fed()]
        graph.outputs = [places[i] for i in self.outputs if i >= 0]
        model.subgraphs, model.operatorCodes = [graph], [self._code]
        return tflite_packing.pack(model)


class Cutter:
    """A `.tflite` whose operators can be cut out.

    Args:
        content: Of the file.
        source: Its name, for messages.
        shapes: The shapes of all tensors as they are run; as the file says
            them by default.

    Attributes:
        codes: The name of each operator of the main graph, in order; those
            of others than the schema's have the names of their file.
        outputs: The name of the first tensor that each of them gives.

    Raises:
        ArtifactError: when the content is damaged.
    """

    def __init__(
        self,
        content: bytes,
        source: str,
        shapes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        try:
            self._model = schema.ModelT.InitFromPackedBuf(content)
            self._graph = self._model.subgraphs[0]
            self._operators = list(_list(self._graph.operators))
            self._shapes = shapes or [
                _list(tensor.shape) for tensor in self._graph.tensors
            ]
            self.codes = [self._name(each) for each in self._operators]
            self.outputs = [self._first(each) for each in self._operators]
        except Exception as error:  # damaged offsets raise nearly anything
            raise ArtifactError(
                f"{source}: expected a whole .tflite model. Received: a "
                "damaged one"
            ) from error

    def take(self, index: int) -> Cut:
        """Returns an operator of the main graph."""
        operator = self._operators[index]
        return Cut(
            operator, self._model.operatorCodes[operator.opcodeIndex],
            self.codes[index], self._graph.tensors, self._model.buffers,
            self._shapes,
        )

    def cut(self, index: int, change: _Change | None = None) -> bytes | None:
        """Returns the file of one operator.

        Args:
            index: The operator, by its place in the main graph.
            change: What is to be done to it first, one of the methods of
                `Cut` that say whether they did anything.

        Returns:
            The content; `None` where the change changes nothing.
        """
        taken = self.take(index)
        if change is not None and not change(taken):
            return None
        return taken.pack()

    def _name(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        if code.customCode:
            return code.customCode.decode(errors="replace")
        number = tflite_packing.operator_number(code)
        return tflite_packing.OPERATORS.get(number, f"number {number}")

    def _first(self, operator: Any) -> str:
        outputs = [int(i) for i in _list(operator.outputs) if i >= 0]
        if not outputs:
            return ""
        name = self._graph.tensors[outputs[0]].name
        return (name or b"").decode(errors="replace")


def _list(values: Any) -> Sequence[Any]:
    return [] if values is None else values


def _dtype(kind: str) -> np.dtype | None:
    try:
        return np.dtype(kind)
    except TypeError:
        return None
