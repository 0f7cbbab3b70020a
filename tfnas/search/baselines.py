"""Random search at equal cost."""

from __future__ import annotations

from collections.abc import Callable

from tfnas.arch import Arch
from tfnas.errors import InfeasibleBudget
from tfnas.spaces.base import Space

_WALKS = 3  # for each network wanted
_WALK_STEPS = 1000


def random_at_cost(
    space: Space, cost: Callable[[Arch], float], low: float, high: float,
    number: int, seed: int, max_draws: int = 2_000,
) -> list[Arch]:
    """Draws different networks whose cost lies in a range.

    Where the range is rare in the space, so that too few draws fall into it,
    draws are changed at random until their cost does.

    Args:
        space: Where to draw from.
        cost: The cost of a network.
        low: Least cost.
        high: Greatest cost.
        number: How many networks to return; fewer come back where the range
            holds hardly any.
        seed: Seed of the draws.
        max_draws: Draws before networks are changed.

    Raises:
        InfeasibleBudget: when there is no such network.
    """

    def excess(arch: Arch) -> float:
        value = cost(arch)
        return max(low - value, value - high, 0.0)

    found: dict[str, Arch] = {}
    for i in range(max_draws + _WALKS * number):
        if len(found) == number:
            break
        arch = space.sample(seed * max_draws + i)
        if i >= max_draws:
            arch = _descend(space, excess, arch)
        if excess(arch) == 0:
            found.setdefault(arch.id, arch)
    if number and not found:
        raise InfeasibleBudget(
            f"random networks of `{space.name}` must cost {low:.4g}.."
            f"{high:.4g}. Received: none in {max_draws} draws"
        )
    return list(found.values())


def _descend(
    space: Space, excess: Callable[[Arch], float], arch: Arch
) -> Arch:
    """Changes a network at random, never for the worse, until it fits."""
    left = excess(arch)
    for step in range(_WALK_STEPS):
        if left == 0:
            break
        near = space.random_neighbor(arch, step)
        more = excess(near)
        if more <= left:
            arch, left = near, more
    return arch
