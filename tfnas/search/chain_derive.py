"""The most probable choices of a chain at a cost (ours).

A dynamic program over places and cost bins, so that a target is hit and
another target costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfnas.errors import InfeasibleBudget

_BINS = 2000  # of the cost axis, which ends at _HEADROOM times the target
_HEADROOM = 1.25
_CANDIDATES = 50  # best bins whose exact cost is looked at


def most_probable(
    logs: Sequence[np.ndarray], rows: Sequence[Sequence[float]],
    fixed: float, target: float, tolerance: float = 0.02,
) -> tuple[int, ...]:
    """Returns the most probable choice at each place for a total cost.

    Among the choices within the tolerance the most probable ones win; where
    there are none, those nearest to the target.

    Args:
        logs: Log probability of each candidate of each place.
        rows: Cost of each candidate of each place.
        fixed: Cost of everything else.
        target: Cost wanted.
        tolerance: Largest relative distance from the target.

    Raises:
        InfeasibleBudget: when the target is not positive, or everything
            costs far more.
    """
    if not target > 0:
        raise InfeasibleBudget(
            f"a target cost must be positive. Received: {target}"
        )
    width = _HEADROOM * target / _BINS
    best = np.full(_BINS, -np.inf)
    best[0] = 0.0
    steps: list[tuple[np.ndarray, list[int]]] = []
    for log, row in zip(logs, rows, strict=True):
        shifts = [round(cost / width) for cost in row]
        table = np.full((len(shifts), _BINS), -np.inf)
        for line, value, shift in zip(table, log, shifts, strict=True):
            if shift < _BINS:
                line[shift:] = best[: _BINS - shift] + value
        best = table.max(0)
        steps.append((table.argmax(0), shifts))
    bins = np.flatnonzero(np.isfinite(best))
    if not len(bins):
        raise InfeasibleBudget(
            f"nothing is as cheap as {_HEADROOM} times the target. "
            f"Received: {target:.4g}"
        )
    errors = np.abs((fixed + bins * width) / target - 1)
    likely = bins[errors <= 2 * tolerance]
    likely = likely[np.argsort(-best[likely], kind="stable")]
    nearest = bins[np.argsort(errors, kind="stable")]
    found = []
    for bin_ in [*likely[:_CANDIDATES], *nearest[:_CANDIDATES]]:
        choice = _trace_back(steps, int(bin_))
        cost = fixed + sum(r[i] for r, i in zip(rows, choice, strict=True))
        error = abs(cost / target - 1)
        if error <= tolerance:  # bins are rounded, so this one is exact
            return choice
        found.append((error, choice))
    return min(found)[1]


def _trace_back(
    steps: Sequence[tuple[np.ndarray, list[int]]], bin_: int
) -> tuple[int, ...]:
    choice = []
    for taken, shifts in reversed(steps):
        index = int(taken[bin_])
        choice.append(index)
        bin_ -= shifts[index]
    return tuple(reversed(choice))
