"""From architecture parameters to networks of a dense space.

`viterbi` is the published rule. `most_probable` is ours: it finds, for every
cost at once, the most probable network of that cost, so that a target is hit
and another target costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfnas.arch import Arch
from tfnas.cost.dense_costs import DenseCosts
from tfnas.errors import InfeasibleBudget
from tfnas.spaces.dense import DenseChoice
from tfnas.spaces.dense import DenseSpace

_BINS = 2000  # of the cost axis, which ends at _HEADROOM times the target
_HEADROOM = 1.25


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """Softmaxed architecture parameters at temperature 1.

    Args:
        paths: `(source, to)` to the probability of the connection.
        heads: `(source, to)` to the probabilities of the head ops.
        stacks: `(block, layer)` to the probabilities of the stack ops.
    """

    paths: dict[tuple[int, int], float]
    heads: dict[tuple[int, int], np.ndarray]
    stacks: dict[tuple[int, int], np.ndarray]


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max())
    return e / e.sum()


def probabilities(
    space: DenseSpace, heads: np.ndarray, stacks: np.ndarray,
    paths: np.ndarray,
) -> Probabilities:
    """Returns the probabilities of architecture parameters.

    Args:
        space: The space.
        heads: `(connections into blocks, head ops)`, by source then
            destination.
        stacks: `(stack layers, stack ops)`, by block then layer.
        paths: `(blocks, most connections out)`.
    """
    spec = space.spec
    result = Probabilities({}, {}, {})
    head_rows, stack_rows = iter(heads), iter(stacks)
    for block in range(spec.tail):
        out = spec.outgoing(block)
        for to, p in zip(out, _softmax(paths[block, : len(out)]), strict=True):
            result.paths[block, to] = float(p)
            if to != spec.tail:
                result.heads[block, to] = _softmax(next(head_rows))
        for layer in range(spec.layers[block]):
            result.stacks[block, layer] = _softmax(next(stack_rows))
    return result


def viterbi(space: DenseSpace, p: Probabilities) -> Arch:
    """Returns the published derivation (section 9).

    The path of the largest product of path probabilities, then the argmax of
    every op row on it; ties go to the nearest predecessor and the first op.

    Args:
        space: The space.
        p: Probabilities of paths and ops.
    """
    spec = space.spec
    best, source = {0: 1.0}, {}
    for block in range(1, spec.tail + 1):
        best[block] = -1.0
        for b in spec.incoming(block):
            value = best[b] * p.paths[b, block]
            if value > best[block]:
                best[block], source[block] = value, b
    path = [spec.tail]
    while path[-1] != 0:
        path.append(source[path[-1]])
    path.reverse()
    blocks = tuple(path[1:-1])
    heads = tuple(
        spec.head_ops[int(np.argmax(p.heads[link]))]
        for link in zip(path, blocks, strict=False)
    )
    stacks = tuple(
        _drop_skips(
            spec.stack_ops[int(np.argmax(p.stacks[b, j]))]
            for j in range(spec.layers[b])
        )
        for b in blocks
    )
    return space.to_arch(DenseChoice(blocks, heads, stacks))


def _drop_skips(ops) -> tuple[str, ...]:
    return tuple(op for op in ops if op != "skip_connect")


def choice_cost(space: DenseSpace, costs: DenseCosts, arch: Arch) -> float:
    """Returns the cost of a network of the space from its costs."""
    spec, choice = space.spec, space.to_choice(arch)
    total, source = costs.input_cost + costs.fc, 0
    for block, head, stack in zip(
        choice.path, choice.heads, choice.stacks, strict=True
    ):
        total += costs.heads[source, block][spec.head_ops.index(head)]
        skips = ("skip_connect",) * (spec.layers[block] - len(stack))
        for row, op in zip(
            costs.stacks.get(block, ()), (*stack, *skips), strict=True
        ):
            total += row[spec.stack_ops.index(op)]
        source = block
    return total + costs.tails[source]


def _options(
    table: np.ndarray, logs: np.ndarray, costs: Sequence[float], width: float
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Takes one of several options at every entry of a table.

    Args:
        table: Best log probability of each cost bin so far, `(bins,)`; `-inf`
            where no prefix has that cost.
        logs: Log probability of each option.
        costs: Cost of each option.
        width: Cost of a bin.

    Returns:
        The new table, the option taken in each bin, and each option's bins.
    """
    shifts = [round(cost / width) for cost in costs]
    rows = np.full((len(shifts), len(table)), -np.inf)
    for row, log, shift in zip(rows, logs, shifts, strict=True):
        if shift < len(table):
            row[shift:] = table[: len(table) - shift] + log
    return rows.max(0), rows.argmax(0), shifts


def most_probable(
    space: DenseSpace, p: Probabilities, costs: DenseCosts, target: float,
    tolerance: float = 0.02,
) -> Arch:
    """Returns the most probable network whose cost is the target's.

    A dynamic program over blocks and cost bins keeps the most probable
    prefix of every cost. Among the networks within the tolerance the most
    probable one wins; when there is none, the one nearest to the target.

    Args:
        space: The space.
        p: Probabilities of paths and ops.
        costs: The cost of every choice.
        target: Cost wanted, in the unit of the costs.
        tolerance: Largest relative distance from the target.

    Raises:
        InfeasibleBudget: when the target is not positive, or every network
            costs far more.
    """
    if not target > 0:
        raise InfeasibleBudget(
            f"a target cost must be positive. Received: {target}"
        )
    spec, width = space.spec, _HEADROOM * target / _BINS
    start = np.full(_BINS, -np.inf)
    start[0] = 0.0
    after, steps = {0: start}, {}
    for block in range(1, spec.tail):
        after[block], steps[block] = _enter(
            spec, p, costs, width, after, block
        )
    found: list[tuple[float, float, int, int]] = []
    for b in spec.incoming(spec.tail):
        rest = costs.input_cost + costs.fc + costs.tails[b]
        score = after[b] + np.log(p.paths[b, spec.tail])
        for i in np.flatnonzero(np.isfinite(score)).tolist():
            error = abs((rest + i * width) / target - 1)
            found.append((error, -score[i], b, i))
    near = [f for f in found if f[0] <= tolerance]
    for _, _, block, i in sorted(near, key=lambda f: f[1]):
        arch = space.to_arch(_trace_back(spec, steps, block, i))
        cost = choice_cost(space, costs, arch)
        if abs(cost / target - 1) <= tolerance:  # bins are rounded
            return arch
    if not found:
        raise InfeasibleBudget(
            f"no network is as cheap as {_HEADROOM} times the target. "
            f"Received: {target:.4g}"
        )
    _, _, block, i = min(found)
    return space.to_arch(_trace_back(spec, steps, block, i))


def _enter(spec, p, costs, width, after, block):
    """Best table on leaving a block, and how each entry was made."""
    sources = spec.incoming(block)
    heads = [
        _options(
            after[b], np.log(p.paths[b, block]) + np.log(p.heads[b, block]),
            costs.heads[b, block], width,
        )
        for b in sources
    ]
    values = np.stack([h[0] for h in heads])
    came = values.argmax(0)
    table, layers = values.max(0), []
    for j, row in enumerate(costs.stacks.get(block, ())):
        table, choice, shifts = _options(
            table, np.log(p.stacks[block, j]), row, width
        )
        layers.append((choice, shifts))
    return table, (sources, came, heads, layers)


def _trace_back(spec, steps, block: int, bin_: int) -> DenseChoice:
    path, heads, stacks = [], [], []
    while block != 0:
        sources, came, head_tables, layers = steps[block]
        ops = []
        for choice, shifts in reversed(layers):
            op = int(choice[bin_])
            ops.append(spec.stack_ops[op])
            bin_ -= shifts[op]
        which = int(came[bin_])
        _, choice, shifts = head_tables[which]
        op = int(choice[bin_])
        bin_ -= shifts[op]
        path.append(block)
        heads.append(spec.head_ops[op])
        stacks.append(_drop_skips(reversed(ops)))
        block = sources[which]
    return DenseChoice(
        tuple(reversed(path)), tuple(reversed(heads)), tuple(reversed(stacks))
    )
