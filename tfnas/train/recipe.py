"""What the `train` section of a config may say.

Options that a config leaves out are off: `DEFAULTS` has them all. Config files
read this table, so it does without TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tfnas.errors import ConfigError

# Options of every training on images, and the values that leave them out.
DEFAULTS: dict[str, Any] = {
    "recipe": "standard",
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "beta1": 0.9,  # of adamw, with the next two
    "beta2": 0.999,
    "epsilon": 1e-8,
    "decay_vectors": True,
    "dropout": 0.0,
    "precision": "float32",
    "ema_decay": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "teacher": None,
    "teacher_mean": None,
    "teacher_std": None,
    "teacher_temperature": 1.0,
    "distill_weight": 0.5,
}

RECIPES = ("standard", "shrink_cnn")
OPTIMIZERS = ("sgd", "adamw")
# Names of Keras' dtype policies.
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def option(config: Any, name: str) -> Any:
    """Returns an option of a `train` section, or its default."""
    return config.get(name, DEFAULTS[name])


def _number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _channels(value: Any, least: float = -math.inf) -> bool:
    """Says whether a value is null, a number, or one for each channel."""
    if value is None or _number(value):
        values: tuple[Any, ...] = () if value is None else (value,)
    else:
        values = tuple(value) if isinstance(value, (list, tuple)) else ("",)
    return len(values) in (0, 1, 3) and all(
        _number(v) and v > least for v in values
    )


Rule = tuple[str, Callable[[Any], bool]]

_AT_LEAST_1: Rule = ("a whole number, at least 1", lambda v: (
    _whole(v) and v >= 1
))
_POSITIVE: Rule = ("a number above 0", lambda v: _number(v) and v > 0)
_NOT_NEGATIVE: Rule = ("a number, at least 0", lambda v: (
    _number(v) and v >= 0
))
_SHARE: Rule = ("a number from 0 to 1", lambda v: _number(v) and 0 <= v <= 1)
_BELOW_1: Rule = ("a number from 0 to below 1", lambda v: (
    _number(v) and 0 <= v < 1
))
_BOOL: Rule = ("true or false", lambda v: isinstance(v, bool))


def _one_of(names: tuple[str, ...]) -> Rule:
    return (f"one of {names}", lambda v: v in names)


_RULES: dict[str, Rule] = {
    "recipe": _one_of(RECIPES),
    "optimizer": _one_of(OPTIMIZERS),
    "epochs": _AT_LEAST_1,
    "batch_size": _AT_LEAST_1,
    "test_every": _AT_LEAST_1,
    "warmup_epochs": ("a whole number, at least 0", lambda v: (
        _whole(v) and v >= 0
    )),
    "lr": _NOT_NEGATIVE,
    "min_lr": _NOT_NEGATIVE,
    "momentum": _BELOW_1,
    "weight_decay": _NOT_NEGATIVE,
    "nesterov": _BOOL,
    "decay_vectors": _BOOL,
    "beta1": _BELOW_1,
    "beta2": _BELOW_1,
    "epsilon": _POSITIVE,
    "decay": _BELOW_1,  # of shrink_cnn, with the next
    "l2": _NOT_NEGATIVE,
    "label_smoothing": _BELOW_1,
    "dropout": _BELOW_1,
    "precision": _one_of(PRECISIONS),
    "ema_decay": _BELOW_1,
    "mixup_alpha": _NOT_NEGATIVE,
    "cutmix_alpha": _NOT_NEGATIVE,
    "teacher": ("null or the path of a .keras file", lambda v: (
        v is None or (isinstance(v, str) and v.endswith(".keras"))
    )),
    "teacher_mean": ("null, a number, or one for each of 3 channels",
                     _channels),
    "teacher_std": (
        "null, a number above 0, or one for each of 3 channels",
        lambda v: _channels(v, 0.0),
    ),
    "teacher_temperature": _POSITIVE,
    "distill_weight": _SHARE,
}


def check(config: Any) -> None:
    """Refuses a `train` section that cannot be trained by.

    Args:
        config: The section; fields that only some recipes have are theirs to
            check.

    Raises:
        ConfigError: for the first field with a value that makes no sense.
    """
    for field, (expected, is_right) in _RULES.items():
        if field in config and not is_right(config[field]):
            raise ConfigError(
                f"`train.{field}` must be {expected}. "
                f"Received: train.{field}={config[field]!r}"
            )
