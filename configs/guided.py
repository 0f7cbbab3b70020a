"""Guided search: few verified networks, chosen by weak predictors.

The search to begin with. Random networks of the wanted cost are trained for a
short time, then predictors (Wu et al., NeurIPS 2021) say which is worth to be
trained next; networks of other costs are not looked at. On tables of trained
mobile networks it finds in 32 queries what random search does not in 128
(benchmarks/README.md).

Command, with a table of your device and CIFAR-10, at 2 ms (+-2.5 %):
    tfnas-lut --space=mobilenetv3@32 --lut=table.json
    tfnas-search --config=configs/guided.py --workdir=runs/guided \\
        --lut=table.json --target_ms=2
or, without a table, at 6M multiply-adds:
    tfnas-search --config=configs/guided.py --workdir=runs/guided \\
        --target_madds=6e6
Any space of codes will do (`--config.space=`), and every evaluator:
`--config.algorithm=guided` turns any config of ASE-NAS, with its supernet,
its predictor or its table, into a guided search.
Expected: a network of that cost, and random ones as often trained beside it.
Time: 64 trainings of 10 epochs.

Variant `local` (digits of 16 px, the space of NAS-Bench-Macro, 10M):
    tfnas-search --config=configs/guided.py:local --workdir=runs/guided
Expected: a network and random ones beside it. Time: under 5 minutes on 2 CPU
cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base

from tfnas.search.guided import Options

_RECIPE = {
    "batch_size": 128, "lr": 0.1, "min_lr": 0.0, "momentum": 0.9,
    "nesterov": True, "weight_decay": 1e-4, "warmup_epochs": 1,
    "test_every": 10, "augment": "pad_crop+flip", "label_smoothing": 0.0,
    "dropout": 0.0,
}


def get_config(variant: str = "cifar10") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `cifar10` or `local`.
    """
    _base.check_variant(variant, "cifar10", "local")
    search = {
        "queries": 32,
        "unit_queries": 1,  # between two checkpoints
        "top_archs": 5,
        "tolerance": 0.025,  # around the target; null: up to it
        "split": 0.9,  # share of the training images for the weights
        "evaluator": "train",
        "training": _base.recipe_section({"epochs": 10, **_RECIPE}),
        "workers": 1,  # processes that train
        "guided": {
            **_base.section_of(Options()),
            # File of a predictor, as one that learnt from shared weights: a
            # feature.
            "predictor": _base.null(str),
        },
        # Of the algorithm "evolution", a baseline in the same setting.
        "evolution": {"population": 8, "tournament": 4},
    }
    config = _base.search(
        "guided", "mobilenetv3@32", search, data=_base.data("cifar10", 32),
        run=_base.run(), **_base.limits(),  # without a target
        train=_base.recipe_section({"epochs": 100, **_RECIPE}),
    )
    if variant == "local":
        _make_local(config)
    return config


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "nasbench_macro"
    config.target_madds = 10e6
    config.data.update(name="digits", image_size=16)
    config.search.update(queries=6, split=0.8)
    for train in (config.search.training, config.train):
        train.update(batch_size=32, augment="none", warmup_epochs=0)
    config.search.training.epochs = 2
    config.search.guided.update(initial=3, candidates=64)
    config.train.epochs = 10
