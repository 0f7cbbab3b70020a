"""Tuning of a recipe (KerasTuner: Hyperband, Bayesian or random search).

Command, on your pictures in class folders, for one network or several:
    tfnas-tune --config=configs/tune.py --arch=mine.json --workdir=runs/tune \\
        --config.data.name=folder:pictures [--max_latency_ms=20 --lut=p.json]
What may be changed stands below, in `tune.space`; any config with a `train`
section can be tuned, with these ranges unless it has a section of its own.
Expected: the recipe as given and the best one, on images that neither saw,
and the flags that give `tfnas-train` the best one.
Time: Hyperband over 81 epochs trains about 143 trials, 1,900 epochs in all.

Variant `local` (digits, 9 epochs at most):
    tfnas-tune --config=configs/tune.py:local --arch=densenas_a \\
        --workdir=runs/tune_local
"""

from ml_collections import config_dict
from tfnas.configs import _base


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` or `local`.
    """
    recipe = {
        "epochs": 81, "batch_size": 256, "lr": 0.1, "min_lr": 0.0,
        "warmup_epochs": 1, "nesterov": True, "weight_decay": 4e-5,
        "label_smoothing": 0.1, "test_every": 81,
        "augment": "resized_crop+flip",
    }
    local = {
        "epochs": 9, "batch_size": 64, "label_smoothing": 0.0,
        "test_every": 9, "augment": "none",
    }
    config = _base.training(variant, recipe, local)
    config.tune = _tune()
    if variant == "local":
        config.tune.space.augment["choices"] = ("none", "pad_crop")
    return config


def _tune() -> config_dict.ConfigDict:
    tune = config_dict.ConfigDict()
    tune.tuner = "hyperband"  # or bayesian, random
    tune.trials = 20  # of bayesian and random
    tune.factor = 3  # one trial in so many goes on, so many times longer
    tune.split = 0.8  # share of the training images that trains
    # Fields of `train`: a range or a list of values.
    tune.space = config_dict.ConfigDict(
        {
            "lr": {"min": 0.01, "max": 0.5, "log": True},
            "weight_decay": {"min": 1e-6, "max": 1e-3, "log": True},
            "label_smoothing": {"choices": (0.0, 0.1)},
            "dropout": {"min": 0.0, "max": 0.3},
            "augment": {
                "choices": ("resized_crop+flip", "resized_crop+flip+jitter")
            },
        }
    )
    return tune
