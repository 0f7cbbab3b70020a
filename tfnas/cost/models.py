"""Costs of whole networks: what a budget or a target is stated in."""

from __future__ import annotations

from typing import Protocol

from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.cost.lut import LatencyTable


class Cost(Protocol):
    """Prices any network of a space.

    Attributes:
        unit: `"ms"`, or `"madds_m"` for millions of multiply-adds.
    """

    unit: str

    def cost(self, arch: Arch) -> float:
        """Returns the cost of a network, in the unit."""
        ...


class MaddsCost:
    """Millions of multiply-adds."""

    unit = "madds_m"

    def cost(self, arch: Arch) -> float:
        """Returns the multiply-adds of a network, in millions."""
        return count(arch).madds / 1e6


class TableCost:
    """Latency by a table of the operators.

    Args:
        table: The table.
    """

    unit = "ms"

    def __init__(self, table: LatencyTable):
        self.table = table

    def cost(self, arch: Arch) -> float:
        """Returns the predicted latency of a network, in ms.

        Raises:
            LutMiss: with every operator that the table lacks.
        """
        return self.table.latency_ms(arch)
