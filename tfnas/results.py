"""What the files of a workdir hold, for those who write them and read them."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.cost.objective import pareto_front
from tfnas.errors import ArtifactError

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
