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


def show(line: dict[str, Any], name: str | None) -> None:
    """Prints the result of a benchmark and keeps it where it has a name.

    Args:
        line: The result.
        name: Name of the file in `results/`; `None` keeps nothing.
    """
    print(json.dumps(line))
    if name:
        artifacts.write_json(RESULTS / f"{name}.json", line)
