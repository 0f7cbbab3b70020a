"""What the `train` section of a config may say.

Options that a config leaves out are off: `DEFAULTS` has them all. Config files
read this table, so it does without TensorFlow.
"""

from __future__ import annotations

import math
from typing import Any

from tfnas import fields
from tfnas.registry import Registry

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

# Names of recipes, and the trainings on images that follow them.
RECIPES: Registry[Any] = Registry(
    "recipe",
    {
        "standard": "tfnas.train.retrain.Retraining",
        "shrink_cnn": "tfnas.train.shrink_recipe.ShrinkTraining",
    },
)
OPTIMIZERS = ("sgd", "adamw")
# Names of Keras' dtype policies.
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def option(config: Any, name: str) -> Any:
    """Returns an option of a `train` section, or its default."""
    return config.get(name, DEFAULTS[name])


def _channels(value: Any, least: float = -math.inf) -> bool:
    """Says whether a value is null, a number, or one for each channel."""
    if value is None or fields.is_number(value):
        values: tuple[Any, ...] = () if value is None else (value,)
    else:
        values = tuple(value) if isinstance(value, (list, tuple)) else ("",)
    return len(values) in (0, 1, 3) and all(
        fields.is_number(v) and v > least for v in values
    )


_RULES: dict[str, fields.Rule] = {
    "recipe": fields.one_of(RECIPES.names()),
    "optimizer": fields.one_of(OPTIMIZERS),
    "epochs": fields.whole(1),
    "batch_size": fields.whole(1),
    "test_every": fields.whole(1),
    "warmup_epochs": fields.whole(0),
    "lr": fields.NOT_NEGATIVE,
    "min_lr": fields.NOT_NEGATIVE,
    "momentum": fields.BELOW_1,
    "weight_decay": fields.NOT_NEGATIVE,
    "nesterov": fields.BOOL,
    "decay_vectors": fields.BOOL,
    "beta1": fields.BELOW_1,
    "beta2": fields.BELOW_1,
    "epsilon": fields.POSITIVE,
    "decay": fields.BELOW_1,  # of shrink_cnn, with the next
    "l2": fields.NOT_NEGATIVE,
    "label_smoothing": fields.BELOW_1,
    "dropout": fields.BELOW_1,
    "precision": fields.one_of(PRECISIONS),
    "ema_decay": fields.BELOW_1,
    "mixup_alpha": fields.NOT_NEGATIVE,
    "cutmix_alpha": fields.NOT_NEGATIVE,
    "teacher": ("null or the path of a .keras file", lambda v: (
        v is None or (isinstance(v, str) and v.endswith(".keras"))
    )),
    "teacher_mean": ("null, a number, or one for each of 3 channels",
                     _channels),
    "teacher_std": (
        "null, a number above 0, or one for each of 3 channels",
        lambda v: _channels(v, 0.0),
    ),
    "teacher_temperature": fields.POSITIVE,
    "distill_weight": fields.SHARE,
}


def check(config: Any) -> None:
    """Refuses a `train` section that cannot be trained by.

    Args:
        config: The section; fields that only some recipes have are theirs to
            check.

    Raises:
        ConfigError: for the first field with a value that makes no sense.
    """
    fields.check_section(config, _RULES, "train")
