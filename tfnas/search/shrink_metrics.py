"""What a graph is worth: its quality against its cost."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from tfnas.errors import ConfigError

Metric = Callable[[float, float], float]

NAMES = ("accuracy", "perplexity", "target")


def accuracy_and_cost(quality: float, cost: float, weight: float) -> float:
    """Returns `accuracy - weight * log10(cost)`.

    Args:
        quality: Accuracy, 0..1.
        cost: Millions of multiply-adds, or any other positive cost.
        weight: 0.1 as published (AutoShrink's convolutional search).
    """
    return quality - weight * math.log10(cost)


def perplexity_and_cost(quality: float, cost: float, weight: float) -> float:
    """Returns `0.25 * (200 - perplexity) - weight * log10(cost)`.

    Args:
        quality: Mean probability of a word, the inverse of the perplexity.
        cost: Millions of the cell's multiply-adds.
        weight: 1 as published (AutoShrink's recurrent search).
    """
    return 0.25 * (200 - 1 / quality) - weight * math.log10(cost)


def accuracy_within(
    quality: float, cost: float, weight: float, target: float
) -> float:
    """Returns `accuracy - weight * max(0, cost / target - 1)` (ours).

    Below the target cost counts nothing.

    Args:
        quality: Accuracy, 0..1.
        cost: Latency, or any other cost.
        weight: Accuracy that a cost of twice the target must bring.
        target: Cost that is free, in the unit of the cost.
    """
    return quality - weight * max(0.0, cost / target - 1)


def get(name: str, weight: float, target: float | None = None) -> Metric:
    """Returns a metric `f(quality, cost)`, larger is better.

    A quality that is not finite and positive, as after a training that
    diverged, is worth minus infinity; so is a graph with nothing left to
    cost, whose logarithm there is none.

    Args:
        name: `"accuracy"`, `"perplexity"`, or `"target"`.
        weight: Weight of the cost.
        target: Cost aimed at; `"target"` needs one.

    Raises:
        ConfigError: for an unknown name, or a missing or useless target.
    """
    if name not in NAMES:
        raise ConfigError(
            f"`search.metric.name` must be one of {NAMES}. Received: {name!r}"
        )
    forms: dict[str, Metric] = {
        "accuracy": functools.partial(accuracy_and_cost, weight=weight),
        "perplexity": functools.partial(perplexity_and_cost, weight=weight),
    }
    if name == "target":
        if target is None or not target > 0:
            raise ConfigError(
                "the metric `target` needs `target_ms` with a latency table, "
                f"`target_madds` without. Received: target={target}"
            )
        forms["target"] = functools.partial(
            accuracy_within, weight=weight, target=target
        )
    form = forms[name]

    def metric(quality: float, cost: float) -> float:
        if not math.isfinite(quality) or quality < 0 or not cost > 0:
            return -math.inf
        if quality == 0 and name == "perplexity":
            return -math.inf
        return form(quality, cost)

    return metric
