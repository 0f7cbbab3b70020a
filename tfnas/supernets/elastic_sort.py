"""Sorting the inner channels of an elastic supernet by importance.

A narrow candidate has the first channels of a wide one, so before narrower
ones are trained the channels that matter most are put first. Networks that
were trained compute what they computed before. Source: Cai et al. 2020
(Once-for-All), section 3.4; importance is the L1 norm of the kernel that
reads a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from tfnas.supernets.elastic import ElasticSupernet
from tfnas.supernets.elastic_layers import ElasticLayer
from tfnas.supernets.elastic_plan import Plan
from tfnas.supernets.elastic_plan import ranks
from tfnas.supernets.primitives import held


def sort_channels(net: ElasticSupernet, trained: Sequence[int]) -> None:
    """Sorts the channels of every layer, the most important first.

    A channel stays among those that the same trained candidates have.

    Args:
        net: The supernet.
        trained: Codes of the candidates that have been trained.
    """
    for layer in net.layers:
        if layer.plan.widths:
            _sort_layer(layer, [code - 1 for code in trained])


def _sort_layer(layer: ElasticLayer, trained: Sequence[int]) -> None:
    plan, groups = layer.plan, _groups(layer.plan)
    values = [v.numpy() for v in layer.weights]
    kernels = _by_node(plan, values)
    orders = {}
    for name in set(groups.values()):
        reader = [
            node.name for node in plan.graph.nodes
            if node.kind == "conv" and groups.get(node.inputs[0]) == name
        ][-1]
        importance = np.abs(kernels[reader][0]).sum((0, 1, 3))
        ends = plan.sizes[trained, plan.widths.index(name)]
        orders[name] = _order(importance, sorted({0, *ends.tolist()}))
    for node in plan.graph.nodes:
        own = kernels[node.name]
        order = {
            axis: orders.get(groups.get(tensor, ""))
            for axis, tensor in (("i", node.inputs[0]), ("o", node.name))
        }
        for i, variable in enumerate(held(node)):
            for place, axis in enumerate(variable.axes):
                if (new := order.get(axis)) is not None:
                    own[i] = own[i].take(new, place)
    flat = [value for node in plan.graph.nodes for value in kernels[node.name]]
    for variable, value in zip(layer.weights, flat, strict=True):
        variable.assign(value)


def _by_node(
    plan: Plan, values: Sequence[np.ndarray]
) -> dict[str, list[np.ndarray]]:
    left, result = list(values), {}
    for node in plan.graph.nodes:
        count = len(ranks(node, plan))
        result[node.name], left = left[:count], left[count:]
    return result


def _groups(plan: Plan) -> Mapping[str, str]:
    """Tensors with the same channels, each by the first tensor of its group.

    A convolution makes new channels; the gate of a product has those of what
    it gates.
    """
    groups: dict[str, str] = {}
    for node in plan.graph.nodes:
        if node.name not in plan.widths:
            continue
        first = node.inputs[0]
        groups[node.name] = groups[first] if node.kind != "conv" else node.name
        if node.kind == "mul":
            gate = groups[node.inputs[1]]
            for name, group in groups.items():
                if group == gate:
                    groups[name] = groups[first]
    return groups


def _order(importance: np.ndarray, ends: Sequence[int]) -> np.ndarray:
    """Indices by falling importance within each segment."""
    bounds = [*ends, len(importance)]
    parts = [
        start + np.argsort(-importance[start:end], kind="stable")
        for start, end in zip(bounds, bounds[1:], strict=False)
    ]
    return np.concatenate(parts)
