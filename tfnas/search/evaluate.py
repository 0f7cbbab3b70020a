"""What scores architectures, and the ledger of who asked how often."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.registry import Registry
from tfnas.search.setting import Setting
from tfnas.spaces.nasbench201_table import NasBench201Table
from tfnas.spaces.nasbench201_table import check_signal
from tfnas.spaces.trained_tables import TABLES
from tfnas.spaces.trained_tables import TrainedTable


class Evaluator(abc.ABC):
    """Scores architectures: the higher, the better.

    An evaluator may have to work before its first score, as one that trains
    a supernet does. The search runs that work in units like its own, and
    saves `state` and `variables` after each.

    Attributes:
        meaning: What its scores are, for those who read a result.
        query_steps: Steps of the loop that a score takes; 0 where it does not
            use the loop.
    """

    meaning: str = "as the evaluator scores"
    query_steps: int = 0

    @classmethod
    def make(cls, setting: Setting) -> Evaluator:
        """Makes the evaluator that a config describes.

        Args:
            setting: The config and what it names.
        """
        return cls()

    @property
    def units(self) -> int:
        """Number of units of work before the first score."""
        return 0

    @abc.abstractmethod
    def score(self, arch: Arch) -> float:
        """Returns the score of an architecture, an accuracy in 0..1.

        Equal architectures get equal scores, however often and in whatever
        order they are asked for. `-inf` says that training diverged.
        """

    def scores(self, archs: Sequence[Arch]) -> list[float]:
        """Returns the scores of several architectures."""
        return [self.score(arch) for arch in archs]

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the weights that the score was measured with.

        Raises:
            ConfigError: when there are none to hand on.
        """
        raise ConfigError(
            "shared weights come from a search with a supernet. Received: "
            f"{type(self).__name__}, which has none for {arch.id}"
        )

    def unit_steps(self, unit: int) -> int:
        """Returns about how many steps a unit of work takes."""
        return 1

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Does one unit of work and returns its log records."""
        return []

    def state(self) -> dict[str, Any]:
        """Returns what the units made, as plain JSON."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Takes back what `state` returned."""

    def variables(self) -> dict[str, list]:
        """Returns named groups of TensorFlow variables to save."""
        return {}


class TableEvaluator(Evaluator):
    """Looks scores up in a table of trained networks.

    Args:
        table: The table; its space is what can be scored.
        signal: Accuracy to score by, such as `"val_acc_12ep"`.

    Raises:
        ConfigError: for an unknown signal, or one of the test images.
    """

    meaning = "from the table of trained networks"

    def __init__(self, table: NasBench201Table, signal: str):
        check_signal(signal)
        if signal.startswith("test"):
            raise ConfigError(
                "a search must not look at the test images: the signal must "
                f"be a validation accuracy. Received: {signal=}"
            )
        self.table, self.signal = table, signal

    @classmethod
    def make(cls, setting: Setting) -> Evaluator:
        """Makes it from `search.table`, for whose networks the space is."""
        search = setting.config.search
        if not search.table:
            raise ConfigError(
                "the evaluator `table` needs the file of a table, "
                f"`search.table`. Received: {search.table!r}"
            )
        if setting.config.space in TABLES:
            trained = TrainedTable.load(search.table, setting.config.space)
            return TrainedEvaluator(trained, setting.config.seed)
        table = NasBench201Table.load(search.table, search.table_dataset)
        return cls(table, search.signal)

    def score(self, arch: Arch) -> float:
        return self.table.accuracy(arch, self.signal)


class TrainedEvaluator(Evaluator):
    """Looks up one training of a network, drawn where there are several.

    Args:
        table: The table; its networks are what can be scored.
        seed: Decides which training is drawn.
    """

    def __init__(self, table: TrainedTable, seed: int):
        self.table, self.seed = table, seed

    def score(self, arch: Arch) -> float:
        return self.table.draw(self.table.space.codes(arch), self.seed)


class Ledger:
    """Counts the queries of one search.

    Every query is charged, also one for an architecture that was scored
    before: then only the time is saved.

    Args:
        evaluator: Who scores.
        scores: Scores by architecture id that are known already; several
            ledgers of one evaluator may share them.

    Attributes:
        records: `(arch_id, score)` of every query in order.
    """

    def __init__(
        self, evaluator: Evaluator, scores: dict[str, float] | None = None
    ):
        self.evaluator = evaluator
        self.records: list[tuple[str, float]] = []
        self._scores = {} if scores is None else scores
        self._asked: set[str] = set()

    @property
    def charged(self) -> int:
        """Number of queries."""
        return len(self.records)

    @property
    def unique(self) -> int:
        """Number of different architectures among them."""
        return len(self._asked)

    def score(self, arch: Arch) -> float:
        """Charges one query and returns the architecture's score."""
        if arch.id not in self._scores:
            self._keep([arch.id], [self.evaluator.score(arch)])
        self._record(arch.id, self._scores[arch.id])
        return self._scores[arch.id]

    def scores(self, archs: Sequence[Arch]) -> list[float]:
        """Charges one query each; new ones may be scored side by side."""
        new = {a.id: a for a in archs if a.id not in self._scores}
        values = self.evaluator.scores(list(new.values()))
        self._keep([*new], values)
        return [self.score(arch) for arch in archs]

    def _keep(self, ids: Sequence[str], scores: Sequence[float]) -> None:
        """Keeps scores.

        Raises:
            Diverged: for a score that ranks nothing.
        """
        for arch_id, score in zip(ids, scores, strict=True):
            if math.isnan(score) or score == math.inf:
                raise Diverged(
                    f"a score must be a number, `-inf` where training "
                    f"diverged; look into the evaluator "
                    f"({type(self.evaluator).__name__}) and its data. "
                    f"Received: {score} for arch={arch_id}"
                )
            self._scores[arch_id] = score

    def _record(self, arch_id: str, score: float) -> None:
        self.records.append((arch_id, score))
        self._asked.add(arch_id)

    def state(self) -> dict[str, Any]:
        """Returns the records as plain JSON, which has no infinity."""
        return {
            "records": [
                [i, s if math.isfinite(s) else None] for i, s in self.records
            ]
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""
        self.records, self._asked = [], set()
        for arch_id, score in state["records"]:
            self._record(arch_id, -math.inf if score is None else score)
        self._scores.update(self.records)


_HERE = "tfnas.search"
EVALUATORS: Registry[type[Evaluator]] = Registry(
    "evaluator",
    {
        "language": f"{_HERE}.evaluate_language.LanguageEvaluator",
        "predictor": f"{_HERE}.evaluate_supernet.PredictorEvaluator",
        "proxy": f"{_HERE}.evaluate_proxy.ProxyEvaluator",
        "supernet": f"{_HERE}.evaluate_supernet.SupernetEvaluator",
        "table": f"{_HERE}.evaluate.TableEvaluator",
        "train": f"{_HERE}.evaluate_training.TrainingEvaluator",
    },
    imports=True,
)


def make(setting: Setting) -> Evaluator:
    """Returns the evaluator that `config.search.evaluator` names.

    Raises:
        ConfigError: for an unknown name; the message lists the known ones.
    """
    name = setting.config.search.evaluator
    kind: Any = EVALUATORS.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Evaluator)):
        raise ConfigError(
            "Expected the path of a class that is an `Evaluator`. "
            f"Received: {name!r}, which is {kind!r:.80}"
        )
    return kind.make(setting)
