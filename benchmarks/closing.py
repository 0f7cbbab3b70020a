"""How a benchmark ends: intervals over its seeds and one JSON line."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from tfnas import artifacts

RESULTS = pathlib.Path(__file__).parent / "results"


def interval(values: Sequence[float]) -> dict[str, float]:
    """Returns the mean and half the width of its 95 % interval.

    Args:
        values: One of each seed, at least two.
    """
    n = len(values)
    error = np.std(values, ddof=1) / math.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1) * error)
    return {"mean": round(float(np.mean(values)), 4), "ci95": round(half, 4)}


def paired_drop(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Returns the drop in percentage points with its standard error.

    Args:
        before: Whether each image is right with one file.
        after: The same with another.
    """
    lost = 100 * (before.astype(np.float64) - after)
    error = lost.std(ddof=1) / np.sqrt(len(lost))
    return {"drop_points": float(lost.mean()), "drop_error": float(error)}


def show(line: dict[str, Any], name: str | None) -> None:
    """Prints the result of a benchmark and keeps it where it has a name.

    Args:
        line: The result.
        name: Name of the file in `results/`; `None` keeps nothing.
    """
    print(json.dumps(line))
    if name:
        artifacts.write_json(RESULTS / f"{name}.json", line)
