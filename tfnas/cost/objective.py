"""Targets that can be reached, and Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfnas import fields
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget


def check_target(
    target: float, bounds: tuple[float, float], unit: str
) -> None:
    """Refuses a target that no network reaches.

    Raises:
        InfeasibleBudget: with the reachable range.
    """
    low, high = bounds
    if not low <= target <= high:
        raise InfeasibleBudget(
            f"the target must lie in the reachable range {low:.4g}.."
            f"{high:.4g} {unit}. Received: {target:.4g} {unit}"
        )


def check_numbers(config: Any) -> None:
    """Refuses a target that no network can have.

    Args:
        config: The whole config.

    Raises:
        ConfigError: naming the target.
    """
    expected, is_right = fields.optional(fields.POSITIVE)
    for name in ("target_ms", "target_madds"):
        if not is_right(config[name]):
            raise ConfigError(
                f"`{name}` must be {expected}. Received: {config[name]!r}"
            )


def check_unit(config: Any) -> None:
    """Refuses a target that is none, or not in the unit of the search.

    Args:
        config: The whole config; with `lut.path` costs are latencies, else
            multiply-adds.

    Raises:
        ConfigError: naming the target.
    """
    check_numbers(config)
    if config.lut.path is None and config.target_ms is not None:
        raise ConfigError(
            "`target_ms` needs a latency table, `lut.path`; without one "
            f"`target_madds` is aimed at. Received: {config.target_ms} ms"
        )
    if config.lut.path is not None and config.target_madds is not None:
        raise ConfigError(
            "`target_madds` is for searches without a latency table. "
            f"Received: {config.target_madds:g}, lut.path={config.lut.path}"
        )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the indices of the points that no other point dominates.

    Args:
        points: `(cost, score)`; less cost and more score is better.

    Returns:
        Indices by ascending cost; of equal points the first is kept.
    """
    order = sorted(
        range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)
    )
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front
