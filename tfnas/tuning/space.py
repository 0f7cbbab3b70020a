"""What a tuning may change: fields of a recipe and their ranges, as data.

The `tune` section of a config says it; where a config has none, or leaves
fields out, `DEFAULTS` stands in. `space` maps a field of the `train` section
to `{"choices": [...]}`, or to `{"min", "max"}`, with `log` where wanted; two
whole numbers are a range of whole numbers and may have a `step`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from tfnas import fields
from tfnas.errors import ConfigError
from tfnas.train import recipe

TUNERS = ("hyperband", "bayesian", "random")
DEFAULTS: dict[str, Any] = {
    "tuner": "hyperband",
    "trials": 20,  # of bayesian and random; hyperband counts for itself
    "factor": 3,  # of hyperband: one in so many goes on, so many times longer
    "split": 0.8,  # share of the training images that trains
    "space": {
        "lr": {"min": 0.01, "max": 0.5, "log": True},
        "weight_decay": {"min": 1e-6, "max": 1e-3, "log": True},
        "label_smoothing": {"choices": [0.0, 0.1]},
        "dropout": {"min": 0.0, "max": 0.3},
        "augment": {"choices": ["none", "flip", "pad_crop", "pad_crop+flip"]},
    },
}
_RULES: dict[str, fields.Rule] = {
    "tuner": fields.one_of(TUNERS),
    "trials": fields.whole(1),
    "factor": fields.whole(2),
    "split": ("a number between 0 and 1", lambda v: (
        isinstance(v, float) and 0 < v < 1
    )),
}
# The length of a trial and of its tests is the tuner's business.
_NOT_TUNED = ("epochs", "test_every", "recipe")
_KEYS = {"min", "max", "log", "step"}


def settings(config: Any) -> dict[str, Any]:
    """Returns the `tune` section of a config, complete and checked.

    Args:
        config: A whole config with a `train` section.

    Raises:
        ConfigError: for a field that is unknown or makes no sense; the
            message names it.
    """
    given = config.get("tune")
    given = given.to_dict() if hasattr(given, "to_dict") else dict(given or {})
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise ConfigError(
            f"`tune` has the fields {sorted(DEFAULTS)}. Received: {unknown}"
        )
    values = {**copy.deepcopy(DEFAULTS), **given}
    fields.check_section(values, _RULES, "tune")
    if not values["space"]:
        raise ConfigError("`tune.space` must name a field. Received: none")
    for name, spec in values["space"].items():
        values["space"][name] = _checked(name, spec, config.train)
    return values


def _checked(name: str, spec: Any, train: Any) -> dict[str, Any]:
    """Returns a range in plain types, or says what is wrong with it."""
    place = f"tune.space.{name}"
    if name not in train or name in _NOT_TUNED:
        raise ConfigError(
            f"`tune.space` may have the fields of `train` but {_NOT_TUNED}. "
            f"Received: {place}"
        )
    if not isinstance(spec, Mapping):
        raise ConfigError(
            f"`{place}` must be a table of `choices`, or of `min` and `max`. "
            f"Received: {spec!r}"
        )
    spec = dict(spec)
    if set(spec) == {"choices"}:
        spec["choices"] = list(spec["choices"])
        ends = spec["choices"]
        if len({type(v) for v in ends}) != 1:
            raise ConfigError(
                f"`{place}.choices` must be of one type. Received: {ends}"
            )
    else:
        _check_range(place, spec)
        ends = [spec["min"], spec["max"]]
    for value in ends:
        changed = copy.deepcopy(train)
        with_value(changed, name, value)
        recipe.check(changed)
    return spec


def _check_range(place: str, spec: Mapping[str, Any]) -> None:
    numbers: list[Any] = [spec.get(key) for key in ("min", "max")]
    ok = set(spec) <= _KEYS and all(
        type(v) in (int, float) and math.isfinite(v) for v in numbers
    )
    if not ok or not numbers[0] < numbers[1]:
        raise ConfigError(
            f"`{place}` must be `choices`, or numbers `min` < `max` with "
            f"`log` or `step`. Received: {dict(spec)}"
        )
    if "step" in spec and {type(v) for v in numbers} != {int}:
        raise ConfigError(
            f"`{place}.step` is for whole numbers; other steps are `choices`. "
            f"Received: {dict(spec)}"
        )
    if spec.get("log") and not numbers[0] > 0:
        raise ConfigError(
            f"`{place}` with `log` must have a `min` above 0. "
            f"Received: min={numbers[0]}"
        )


def with_value(train: Any, name: str, value: Any) -> None:
    """Sets a field of a `train` section to a value that a tuner drew.

    Raises:
        ConfigError: when the field takes another type.
    """
    try:
        train[name] = value
    except TypeError as error:
        raise ConfigError(
            f"`train.{name}` takes {type(train[name]).__name__}. "
            f"Received: {value!r}"
        ) from error


def hyperparameters(space: Mapping[str, Mapping[str, Any]]) -> Any:
    """Returns a space as KerasTuner's `HyperParameters`.

    Args:
        space: As `settings` returns it.
    """
    import keras_tuner

    result = keras_tuner.HyperParameters()
    for name, spec in space.items():
        if "choices" in spec:
            result.Choice(name, spec["choices"], ordered=False)
            continue
        kinds = {type(spec["min"]), type(spec["max"])}
        draw = result.Int if kinds == {int} else result.Float
        sampling = "log" if spec.get("log") else "linear"
        draw(
            name, spec["min"], spec["max"], step=spec.get("step"),
            sampling=sampling,
        )
    return result
