"""Reads tables of trained networks: NAS-Bench-Macro and Accel-NASBench.

The files are the user's own; what is in them is checked before it is used.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np

from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces import accel_nasbench
from tfnas.spaces.accel_nasbench import AccelNasBenchSpace
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes
from tfnas.spaces.nasbench_macro import NasBenchMacroSpace
from tfnas.spaces.table_file import TableFile

MACRO_ROWS, MACRO_TRAININGS = 6_561, 3
ACCEL_ROWS = 5_138


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedTable:
    """The accuracies of trained networks, one or more trainings of each.

    The accuracies of NAS-Bench-Macro are those of the test images: it has no
    others, so that the mean of a network's trainings is what to report, and
    one of them is what a search may see.

    Args:
        source: Where the table was read, for messages.
        space: The space of the networks, in the shape of the trainings.
        trainings: Accuracies in 0..1 by canonical codes.

    Example:
        >>> table = TrainedTable.load("nasbench_macro.npz", "nasbench_macro")
        >>> table.draw((1, 0, 2, 2, 0, 2, 2, 1), seed=0)
    """

    source: str
    space: CodedSpace
    trainings: Mapping[Codes, tuple[float, ...]]

    @classmethod
    def load(cls, path: str | os.PathLike, space: str) -> TrainedTable:
        """Reads a table.

        Args:
            path: The `.npz` file.
            space: `"nasbench_macro"` or `"accel_nasbench"`.

        Raises:
            ConfigError: for a space that has no such table.
            ArtifactError: when the file is missing or damaged, or an array is
                missing, of another shape or type, or out of range; the
                message names the file and the array.
        """
        if space not in TABLES:
            raise ConfigError(
                f"tables are read for the spaces {', '.join(TABLES)}. "
                f"Received: space={space!r}"
            )
        file = TableFile(path)
        return cls(file.source, *TABLES[space](file))

    def draw(self, codes: Codes, seed: int) -> float:
        """Returns the accuracy of one training of a network.

        Args:
            codes: Canonical codes.
            seed: Decides which; equal seeds draw the same.

        Raises:
            ArtifactError: when the table has no such network.
        """
        known = self._of(codes)
        rng = np.random.default_rng([seed, *codes])
        return known[int(rng.integers(len(known)))]

    def mean(self, codes: Codes) -> float:
        """Returns the mean accuracy of the trainings of a network.

        Raises:
            ArtifactError: when the table has no such network.
        """
        known = self._of(codes)
        return sum(known) / len(known)

    def _of(self, codes: Codes) -> tuple[float, ...]:
        if codes not in self.trainings:
            raise ArtifactError(
                f"{self.source}: expected one of its {len(self.trainings)} "
                f"networks. Received: codes={codes}"
            )
        return self.trainings[codes]


def _macro(file: TableFile) -> tuple[CodedSpace, dict]:
    """Reads NAS-Bench-Macro; 6,561 rows are 3,969 networks."""
    space = NasBenchMacroSpace()
    size = (MACRO_ROWS, space.length)
    codes = file.array("codes", size, "i", 0, space.alphabets[0] - 1)
    accuracies = file.array(
        "test_acc", (MACRO_ROWS, MACRO_TRAININGS), "f", 0, 100
    )
    rows = [tuple(row) for row in codes.tolist()]
    if len(set(rows)) != MACRO_ROWS:
        raise ArtifactError(
            f'{file.source}: array "codes" must have each of the '
            f"{MACRO_ROWS} codes once. Received: {len(set(rows))} different"
        )
    return space, {
        row: tuple(trained) for row, trained in zip(
            rows, (accuracies.astype(float) / 100).tolist(), strict=True
        )
        if row == space.canonical(row)
    }


def _accel(file: TableFile) -> tuple[CodedSpace, dict]:
    """Reads Accel-NASBench; some networks were trained more than once."""
    space, columns = AccelNasBenchSpace(), []
    names = ("expansion", "kernel", "depth", "squeeze_excite")
    for name, known in zip(names, accel_nasbench.CHOICES, strict=True):
        values = file.array(name, (ACCEL_ROWS, len(accel_nasbench.WIDTHS)), "i")
        wrong = values[~np.isin(values, known)]
        if wrong.size:
            raise ArtifactError(
                f'{file.source}: array "{name}" must hold {[*known]} only. '
                f"Received: {int(wrong[0])}"
            )
        columns.append(np.searchsorted(known, values))
    codes = np.stack(columns, -1).reshape(ACCEL_ROWS, space.length)
    illegal = ~space.legal[np.arange(space.length), codes].all(1)
    if illegal.any():
        raise ArtifactError(
            f'{file.source}: array "depth" must be at most 3 but for the '
            f"sixth block. Received: row {int(illegal.argmax())}"
        )
    accuracies = file.array("val_top1", (ACCEL_ROWS,), "f", 0, 100)
    trainings: dict[Codes, tuple[float, ...]] = {}
    for row, accuracy in zip(
        codes.tolist(), (accuracies.astype(float) / 100).tolist(), strict=True
    ):
        trainings[tuple(row)] = (*trainings.get(tuple(row), ()), accuracy)
    return space, trainings


# Space to the reader of its table.
TABLES: dict[str, Callable[[TableFile], tuple[CodedSpace, dict]]] = {
    "nasbench_macro": _macro,
    "accel_nasbench": _accel,
}
