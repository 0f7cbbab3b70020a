"""One number from many rounds, and how far to trust it.

A busy machine slows single rounds down by any factor, but a free moment comes
back soon: the 10th percentile over rounds repeats within 1-2 % where the mean
and the median move by 30 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

STATISTIC = "p10"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How two models compare.

    Args:
        value: Time of the second by time of the first.
        low: Lower end of the 95 % interval.
        high: Its upper end.
    """

    value: float
    low: float
    high: float


def latency_ms(samples_ms: Sequence[float]) -> float:
    """Returns the statistic of a series of rounds: their 10th percentile."""
    return float(np.percentile(samples_ms, 10))


def repeatability(samples_ms: Sequence[float]) -> float:
    """Returns how far two halves of the rounds disagree.

    Args:
        samples_ms: At least two rounds, in order.

    Returns:
        The difference between the statistics of the even and of the odd
        rounds, as a fraction of the statistic of all.
    """
    halves = latency_ms(samples_ms[::2]) - latency_ms(samples_ms[1::2])
    return abs(halves) / latency_ms(samples_ms)


def ratio(
    first_ms: Sequence[float], second_ms: Sequence[float], seed: int = 0
) -> Ratio:
    """Compares two models that were timed in the same rounds.

    Both times of a round come from one state of the machine, so the ratios
    of rounds scatter less than the times do.

    Args:
        first_ms: Times of the first model, one a round.
        second_ms: Times of the second model in the same rounds.
        seed: Of the bootstrap that gives the interval.

    Returns:
        The median ratio with its interval.
    """
    ratios = np.asarray(second_ms) / np.asarray(first_ms)
    rng = np.random.default_rng(seed)
    draws = rng.choice(ratios, (1000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return Ratio(float(np.median(ratios)), float(low), float(high))
