"""What a `train` section may say."""

import pytest
from ml_collections import config_dict

from tfnas.errors import ConfigError
from tfnas.train import recipe


@pytest.mark.parametrize(
    "field, value",
    [
        ("recipe", "sgd"), ("optimizer", "adam"), ("epochs", 0),
        ("epochs", 1.5), ("batch_size", 0), ("test_every", 0),
        ("warmup_epochs", -1), ("lr", -0.1), ("lr", float("nan")),
        ("lr", "0.1"), ("min_lr", -1e-3), ("momentum", 1.0),
        ("weight_decay", -1e-4), ("nesterov", 1), ("decay_vectors", None),
        ("beta1", 1.0), ("beta2", -0.1), ("epsilon", 0.0),
        ("label_smoothing", 1.0), ("dropout", 1.0), ("dropout", True),
        ("precision", "float16"), ("ema_decay", 1.0), ("ema_decay", -0.1),
        ("mixup_alpha", -0.2), ("cutmix_alpha", float("inf")),
        ("teacher", "t.tflite"), ("teacher", 3), ("teacher_mean", (1, 2)),
        ("teacher_mean", "half"), ("teacher_std", 0.0),
        ("teacher_std", (1.0, 0.0, 1.0)), ("teacher_temperature", 0.0),
        ("distill_weight", 1.1), ("distill_weight", None), ("decay", 1.0),
        ("l2", -1.0),
    ],
)
def test_a_bad_value_is_refused_by_its_name(field, value):
    config = config_dict.ConfigDict({field: value})
    with pytest.raises(
        ConfigError, match=rf"`train\.{field}` must be .*Received: train\."
    ):
        recipe.check(config)


def test_defaults_are_right():
    recipe.check(config_dict.ConfigDict(recipe.DEFAULTS))
    for fields in ({"teacher_mean": (1, 2.0, 3)}, {"teacher_std": [1, 2, 3]}):
        recipe.check(config_dict.ConfigDict(fields))
    for name, default in recipe.DEFAULTS.items():
        assert recipe.option(config_dict.ConfigDict(), name) == default
