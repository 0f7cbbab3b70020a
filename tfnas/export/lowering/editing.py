"""A traced graph that can be rewritten node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.export.rewriting import without_gradients
from tfnas.export.tracing import IMAGE
from tfnas.export.tracing import from_definition

# What says nothing of the numbers.
_ALIASES = ("Identity", "IdentityN", "StopGradient", "PreventGradient")


class Editing:
    """The graph of a traced function, open for changes.

    A tensor goes by the name of its node, with `:1` and so on where that has
    several. A node that is rewritten keeps its name, so that what a file
    calls its tensors does not depend on the lowering.

    Args:
        traced: A function of `tracing.trace`.
        dtype: How the file will compute, as `rewritings.applies` calls it.

    Attributes:
        dtype: The same.
        nodes: Nodes that the outputs depend on, by name, inputs first.
    """

    def __init__(self, traced: Any, dtype: str = "float32"):
        self._traced = traced
        self.dtype = dtype
        definition = traced.graph.as_graph_def()
        self._outputs = {
            tensor.op.name for tensor in traced.structured_outputs.values()
        }
        self._definition = definition
        self.nodes = {node.name: node for node in definition.node}
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        for op in traced.graph.get_operations():
            for tensor in op.outputs:
                shape = tensor.shape
                known = shape.rank is not None and shape.is_fully_defined()
                self._shapes[_short(tensor.name)] = (
                    tuple(shape.as_list()) if known else None
                )
        self._skip_aliases()
        self._constants = _constants(traced.graph, self.nodes)
        self._users: dict[str, list[Any]] = {}
        self._count_users()

    def _skip_aliases(self) -> None:
        origin: dict[str, str] = {}
        for node in self.nodes.values():
            for i, ref in enumerate(node.input):
                node.input[i] = origin.get(ref, ref)
            controls = any(ref.startswith("^") for ref in node.input)
            if node.op in _ALIASES and not controls:
                origin[node.name] = node.input[0]
                for i, ref in enumerate(node.input):
                    origin[f"{node.name}:{i}"] = ref

    def _count_users(self) -> None:
        """Forgets what no output depends on and finds who reads what."""
        needed, todo = {IMAGE}, list(self._outputs)
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += map(_node_of, self.nodes[name].input)
        self.nodes = {n: x for n, x in self.nodes.items() if n in needed}
        self._users = {}
        for node in self.nodes.values():
            for ref in node.input:
                self._users.setdefault(_node_of(ref), []).append(node)

    def of_kind(self, *ops: str) -> list[Any]:
        """Returns the nodes of some operators on float32, inputs first."""
        return [
            node for node in self.nodes.values()
            if node.op in ops and node.attr["T"].type == tf.float32
        ]

    def has(self, node: Any) -> bool:
        """Says whether the outputs still depend on a node."""
        return self.nodes.get(node.name) is node

    def node(self, ref: str) -> Any:
        """Returns the node that computes a tensor."""
        return self.nodes[_node_of(ref)]

    def inputs(self, node: Any) -> list[str]:
        """Returns the tensors that a node reads."""
        return [ref for ref in node.input if not ref.startswith("^")]

    def shape(self, ref: str) -> tuple[int, ...] | None:
        """Returns the shape of a tensor; `None` if it is not all known."""
        return self._shapes.get(ref)

    def value(self, ref: str) -> np.ndarray | None:
        """Returns the numbers of a tensor that no image changes."""
        name = _node_of(ref)
        node = self.nodes.get(name)
        if node is not None and node.op == "Const":
            return tf.make_ndarray(node.attr["value"].tensor)
        return self._constants.get(ref)

    def users(self, node: Any) -> list[Any]:
        """Returns the nodes that read a node, once for each time."""
        return self._users.get(node.name, [])

    def is_output(self, node: Any) -> bool:
        """Says whether a node is one of the function's outputs."""
        return node.name in self._outputs

    def sole_user(self, node: Any) -> Any | None:
        """Returns the node that alone reads a node, and only once.

        Returns:
            `None` where there are several or none, or the function gives the
            tensor itself.
        """
        found = self.users(node)
        if self.is_output(node) or len(found) != 1:
            return None
        return found[0]

    def split_constant(self, node: Any) -> tuple[str, np.ndarray] | None:
        """Returns what else a node of two inputs reads but a constant."""
        refs = self.inputs(node)
        if len(refs) != 2:
            return None
        for ref, other in (refs, refs[::-1]):
            value = self.value(ref)
            if value is not None and self.value(other) is None:
                return other, value
        return None

    def add(self, name: str, op: str, inputs: Sequence[str], **attrs: Any
            ) -> str:
        """Adds a node of float32.

        Args:
            name: Its name; a number makes it distinct.
            op: Its operator.
            inputs: The tensors that it reads.
            **attrs: Its attributes; see `_set`.

        Returns:
            Its tensor.
        """
        base, number = name, 1
        while name in self.nodes:
            name, number = f"{base}_{number}", number + 1
        node = tf.compat.v1.NodeDef(name=name)
        self.nodes[name] = node
        self._fill(node, op, inputs, attrs)
        return name

    def become(
        self, node: Any, op: str, inputs: Sequence[str], **attrs: Any
    ) -> None:
        """Makes another operator of a node, which keeps its name."""
        controls = [ref for ref in node.input if ref.startswith("^")]
        del node.input[:]
        node.attr.clear()
        self._constants.pop(node.name, None)
        self._fill(node, op, [*inputs, *controls], attrs)
        self._count_users()

    def constant(self, name: str, value: Any) -> str:
        """Adds a constant and returns its tensor."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        proto = tf.make_tensor_proto(array)
        name = self.add(name, "Const", [])
        node = self.nodes[name]
        node.attr.clear()
        node.attr["dtype"].type = proto.dtype
        node.attr["value"].tensor.CopyFrom(proto)
        return name

    def _fill(
        self, node: Any, op: str, inputs: Sequence[str], attrs: dict[str, Any]
    ) -> None:
        node.op = op
        node.input.extend(inputs)
        for name, value in {"T": tf.float32, **attrs}.items():
            _set(node.attr[name], value)

    def traced(self) -> Any:
        """Returns the function of the graph as it now is."""
        self._count_users()
        definition = tf.compat.v1.GraphDef(
            versions=self._definition.versions, library=self._definition.library
        )
        definition.node.extend(self.nodes.values())
        without_gradients(definition)
        return from_definition(definition, self._traced)


def _set(attr: Any, value: Any) -> None:
    """Gives an attribute a value of Python, of TensorFlow or as it is."""
    if isinstance(value, tf.DType):
        attr.type = value.as_datatype_enum
    elif isinstance(value, bool):
        attr.b = value
    elif isinstance(value, int):
        attr.i = value
    elif isinstance(value, float):
        attr.f = value
    elif isinstance(value, str):
        attr.s = value.encode()
    elif isinstance(value, (list, tuple)):
        attr.list.i.extend(value)
    else:
        attr.CopyFrom(value)


def _short(name: str) -> str:
    return name.removesuffix(":0")


def _node_of(ref: str) -> str:
    return ref.removeprefix("^").partition(":")[0]


def _constants(graph: Any, nodes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Computes what no image changes, as far as others read it.

    Keras writes a batch norm as some arithmetic of its weights.
    """
    fixed: set[str] = set()
    for op in graph.get_operations():
        computed = op.inputs and not op.control_inputs
        numbers = all(tensor.dtype.is_numpy_compatible for tensor in op.outputs)
        if op.type == "Const" or (
            computed
            and numbers
            and not op.op_def.is_stateful
            and all(tensor.op.name in fixed for tensor in op.inputs)
        ):
            fixed.add(op.name)
    wanted = {
        ref
        for node in nodes.values() if node.name not in fixed
        for ref in node.input if not ref.startswith("^")
        and _node_of(ref) in fixed and nodes[_node_of(ref)].op != "Const"
    }
    if not wanted:
        return {}
    definition = graph.as_graph_def()
    whole = tf.compat.v1.wrap_function(
        lambda: tf.import_graph_def(definition, name=""), []
    )
    refs = sorted(wanted)
    full = [ref if ":" in ref else f"{ref}:0" for ref in refs]
    element = whole.graph.as_graph_element
    values = whole.prune([], [element(name) for name in full])()
    return {r: v.numpy() for r, v in zip(refs, values, strict=True)}
