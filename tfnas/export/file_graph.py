"""The operators of a `.tflite` as they stand in it: nothing is run."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfnas import tflite_packing


class FileGraph:
    """The operators of a file, and which tensors go from one to another.

    Args:
        blob: Content of the file. Offsets of a damaged one raise nearly
            anything, here and in the methods.

    Attributes:
        model: The flatbuffer.
        graph: Its main subgraph.
        ops: The operators of that, in order.
    """

    def __init__(self, blob: bytes):
        self.model = schema.Model.GetRootAs(blob)
        self.graph = self.model.Subgraphs(0)
        self.ops = _operators(self.graph)
        self._makers = {
            int(index): op for op in self.ops for index in op.OutputsAsNumpy()
        }

    def name(self, op: Any) -> str:
        """Returns the name of an operator, such as `"CONV_2D"`."""
        code = self.model.OperatorCodes(op.OpcodeIndex())
        number = tflite_packing.operator_number(code)
        return tflite_packing.OPERATORS.get(number, "")

    def names(self) -> list[str]:
        """Returns the names of all operators, in every subgraph."""
        graphs = map(self.model.Subgraphs, range(self.model.SubgraphsLength()))
        return [self.name(op) for g in graphs for op in _operators(g)]

    def maker(self, tensor: int) -> Any:
        """Returns the operator that computes a tensor, or `None`."""
        return self._makers.get(int(tensor))

    def users(self, tensor: int) -> list[Any]:
        """Returns the operators that a tensor goes into."""
        return [op for op in self.ops if tensor in op.InputsAsNumpy()]


def _operators(graph: Any) -> list[Any]:
    return [graph.Operators(i) for i in range(graph.OperatorsLength())]
