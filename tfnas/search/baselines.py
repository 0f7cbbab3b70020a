"""Random search at equal cost."""

from __future__ import annotations

from collections.abc import Callable

from tfnas.arch import Arch
from tfnas.errors import InfeasibleBudget
from tfnas.spaces.base import Space


def random_at_cost(
    space: Space, cost: Callable[[Arch], float], low: float, high: float,
    number: int, seed: int, max_draws: int = 50_000,
) -> list[Arch]:
    """Draws networks whose cost lies in a range.

    Args:
        space: Where to draw from.
        cost: The cost of a network.
        low: Least cost.
        high: Greatest cost.
        number: How many different networks to return.
        seed: Seed of the draws.
        max_draws: Give up after this many.

    Raises:
        InfeasibleBudget: when too few draws fall into the range.
    """
    found: dict[str, Arch] = {}
    for i in range(max_draws):
        arch = space.sample(seed * max_draws + i)
        if low <= cost(arch) <= high:
            found.setdefault(arch.id, arch)
        if len(found) == number:
            return list(found.values())
    raise InfeasibleBudget(
        f"{number} random networks of `{space.name}` must cost "
        f"{low:.4g}..{high:.4g}. Received: {len(found)} in {max_draws} draws"
    )
