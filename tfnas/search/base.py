"""What a search is, and what it gives."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.cost.objective import pareto_front
from tfnas.errors import ArtifactError
from tfnas.registry import Registry

FORMAT = "tfnas-result/1"


@dataclasses.dataclass(frozen=True)
class Found:
    """A network that a search looked at.

    Args:
        arch: The network.
        cost: Its predicted cost, in the unit of the search.
        score: Its score, such as an accuracy with shared weights in 0..1.
        role: `"searched"` or `"random"`.
        epoch: When a search derived it.
    """

    arch: Arch
    cost: float
    score: float | None = None
    role: str = "searched"
    epoch: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the record of `result.json`, counts included."""
        counts = count(self.arch)
        return {
            "id": self.arch.id,
            "role": self.role,
            "epoch": self.epoch,
            "cost": self.cost,
            "score": self.score,
            "params": counts.params,
            "madds": counts.madds,
            "arch": self.arch.to_json(),
        }

    def log_record(self, epoch: int) -> dict[str, Any]:
        """Returns what the log says of its score."""
        return {
            "phase": "score", "epoch": epoch, "role": self.role,
            "arch_id": self.arch.id, "cost": self.cost, "accuracy": self.score,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], source: str) -> Found:
        """Reads a record of `result.json`.

        Raises:
            ArtifactError: when the network is not the one of its id.
        """
        arch = Arch.from_json(value["arch"], source)
        if value["id"] != arch.id:
            raise ArtifactError(
                f"{source}: field `id` must be that of the network, "
                f"{arch.id}. Received: {value['id']!r}"
            )
        return cls(
            arch, value["cost"], value["score"], value["role"], value["epoch"]
        )


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Args:
        header: Algorithm, space, seed, versions, unit and target.
        archs: The networks found; the first is the result.
        baseline: Random networks of the same cost, scored the same way.
        history: One record for each epoch.
    """

    header: dict[str, Any]
    archs: list[Found]
    baseline: list[Found]
    history: list[dict[str, Any]]

    @property
    def pareto(self) -> list[str]:
        """Ids of the scored networks that no other one dominates."""
        scored = [
            f for f in self.archs + self.baseline if f.score is not None
        ]
        front = pareto_front([(f.cost, f.score or 0.0) for f in scored])
        return [scored[i].arch.id for i in front]

    def save(self, path: str | pathlib.Path) -> None:
        """Writes `result.json`, sealed; it holds no clock times."""
        artifacts.write_json(
            path,
            {
                "format": FORMAT,
                **self.header,
                "archs": [f.to_json() for f in self.archs],
                "baseline": [f.to_json() for f in self.baseline],
                "pareto": self.pareto,
                "history": self.history,
            },
            sealed=True,
        )

    @classmethod
    def load(
        cls, path: str | pathlib.Path, sealed: bool = False
    ) -> SearchResult:
        """Reads `result.json`.

        Args:
            path: The file.
            sealed: Whether it must vouch for itself; see `artifacts`.

        Raises:
            ArtifactError: when the file is missing, damaged, or not of the
                format.
        """
        value = artifacts.read_json(path, FORMAT, sealed=sealed)
        try:
            archs, baseline = (
                [Found.from_json(f, str(path)) for f in value[name]]
                for name in ("archs", "baseline")
            )
            history = list(value["history"])
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path}: a field is missing or wrong: {error}"
            ) from error
        keys = ("format", "archs", "baseline", "pareto", "history")
        header = {k: v for k, v in value.items() if k not in keys}
        return cls(header, archs, baseline, history)


class Search(abc.ABC):
    """Decides; it opens no files and owns no strategy.

    A search is a number of units of work, done in order. After each unit the
    runner saves `state` and `variables`; a search that was killed is made
    anew, gets them back, and goes on with the next unit.

    Attributes:
        target: Cost aimed at, in the unit of the search, or `None`.
        unit: Unit of its costs: `"ms"`, or `"madds_m"` for millions of
            multiply-adds.
        goes_on_within: Whether a unit may be saved in its middle; see
            `train.middle`.
    """

    goes_on_within = False
    target: float | None = None
    unit: str = "madds_m"

    @property
    @abc.abstractmethod
    def units(self) -> int:
        """Number of units of work."""

    @abc.abstractmethod
    def unit_steps(self, unit: int) -> int:
        """Returns about how many steps a unit takes, for a progress bar."""

    @abc.abstractmethod
    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Does one unit of work and returns its log records."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Returns the results so far as plain JSON."""

    @abc.abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""

    @abc.abstractmethod
    def variables(self) -> dict[str, list]:
        """Returns named groups of TensorFlow variables to save."""

    @abc.abstractmethod
    def derive(self, target: float | None = None) -> Arch:
        """Returns the network that the search holds best now.

        Args:
            target: Cost to derive at; `None` is the algorithm's own rule.
        """

    @abc.abstractmethod
    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of any network."""

    @abc.abstractmethod
    def cost(self, arch: Arch) -> float:
        """Returns the predicted cost of a network of the space."""

    @abc.abstractmethod
    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network of the space.

        They are those that `derive.load_weights` takes.
        """

    @abc.abstractmethod
    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        """Returns the networks found, the random baseline, the history."""

    def files(self) -> dict[str, Any]:
        """Returns what else to write at the end: JSON by file name."""
        return {}


SEARCHES: Registry[Callable[..., Search]] = Registry("search algorithm")
