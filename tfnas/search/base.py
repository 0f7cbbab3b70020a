"""What a search is, and what it gives."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.errors import ConfigError
from tfnas.results import Found
from tfnas.results import SearchResult as SearchResult


class Search(abc.ABC):
    """Decides; it opens no files and owns no strategy.

    A search is a number of units of work, done in order. After each unit the
    runner saves `state` and `variables`; a search that was killed is made
    anew, gets them back, and goes on with the next unit.

    A subclass says at least `units`, `run_unit`, `derive`, `cost`, `state`
    and `restore`.

    Attributes:
        target: Cost aimed at, in the unit of the costs, or `None`.
        cost_unit: Unit of the costs: `"ms"`, or `"madds_m"` for millions of
            multiply-adds.
        archs: The networks found; the first is the result.
        baseline: Random networks, scored the same way.
        history: One record for each epoch or round.
        goes_on_within: Whether a unit may be saved in its middle; see
            `train.middle`.
    """

    goes_on_within = False
    target: float | None = None
    cost_unit: str = "madds_m"

    def __init__(self) -> None:
        self.archs: list[Found] = []
        self.baseline: list[Found] = []
        self.history: list[dict[str, Any]] = []

    @property
    @abc.abstractmethod
    def units(self) -> int:
        """Number of units of work."""

    @abc.abstractmethod
    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Does one unit of work and returns its log records."""

    @abc.abstractmethod
    def derive(self, target: float | None = None) -> Arch:
        """Returns the network that the search holds best now.

        Args:
            target: Cost to derive at; `None` is the algorithm's own rule.
        """

    @abc.abstractmethod
    def cost(self, arch: Arch) -> float:
        """Returns the predicted cost of a network of the space."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Returns the results so far as plain JSON."""

    @abc.abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""

    def unit_steps(self, unit: int) -> int:
        """Returns about how many steps a unit takes, for a progress bar."""
        del unit
        return 1

    def variables(self) -> dict[str, list]:
        """Returns named groups of TensorFlow variables to save."""
        return {}

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost that `derive` can give."""
        cost = self.cost(self.derive())
        return cost, cost

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network of the space.

        They are those that `derive.load_weights` takes.

        Raises:
            ConfigError: when the search shares none.
        """
        raise ConfigError(
            f"this search shares no weights between networks. Received: "
            f"arch={arch.id}"
        )

    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        """Returns the networks found, the random baseline, the history."""
        return self.archs, self.baseline, self.history

    def at_step(self, step: int) -> Arch:
        """Returns the network that the search held after some of its rounds.

        Raises:
            ConfigError: when it keeps none but the last.
        """
        raise ConfigError(
            "a step is for searches that shrink a graph. "
            f"Received: step={step}, {type(self).__name__}"
        )

    def files(self) -> dict[str, Any]:
        """Returns what else to write at the end: JSON by file name."""
        return {}
