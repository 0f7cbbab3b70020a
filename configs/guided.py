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
from tfnas.configs import _images

from tfnas.errors import ConfigError

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
    if variant not in ("cifar10", "local"):
        raise ConfigError(
            f"`variant` must be 'cifar10' or 'local'. Received: {variant!r}"
        )
    config = config_dict.ConfigDict()
    config.algorithm = "guided"
    config.space = "mobilenetv3@32"
    config.seed = 0
    config.strategy = "default"
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)
    # Hard limits of the cost, without a target.
    config.max_latency_ms = config_dict.placeholder(float)
    config.max_madds = config_dict.placeholder(float)

    config.data = _images.data()
    config.data.name = "cifar10"
    config.data.image_size = 32

    config.lut = config_dict.ConfigDict()
    config.lut.path = config_dict.placeholder(str)  # null: multiply-adds
    config.lut.device = "host"  # or adb:SERIAL, with a program to run there
    config.lut.benchmark_binary = config_dict.placeholder(str)
    config.lut.fixed_performance = False
    config.lut.dtype = "int8"
    config.lut.rounds = 25
    config.lut.nets = 5  # whole networks to calibrate with

    config.search = _search()
    config.train = _images.recipe_section({"epochs": 100, **_RECIPE})

    config.run = config_dict.ConfigDict()
    config.run.rounds = 1  # searches; each calibrates the table of the next
    config.run.target_quantile = 0.5  # of random networks, with no target
    config.run.random_networks = 1
    config.run.bench_rounds = 50
    if variant == "local":
        _make_local(config)
    return config


def _search() -> config_dict.ConfigDict:
    search = config_dict.ConfigDict()
    search.queries = 32
    search.unit_queries = 1  # between two checkpoints
    search.top_archs = 5
    search.tolerance = 0.025  # around the target; null: up to it
    search.split = 0.9  # share of the training images for the weights

    search.evaluator = "train"
    search.training = _images.recipe_section({"epochs": 10, **_RECIPE})
    search.workers = 1  # processes that train

    search.guided = config_dict.ConfigDict()
    search.guided.initial = 6  # random networks before the first predictor
    search.guided.candidates = 256  # in spaces too large to look at all
    # File of a predictor, as one that learnt from shared weights: a feature.
    search.guided.predictor = config_dict.placeholder(str)

    # Of the algorithm "evolution", a baseline in the same setting.
    search.evolution = config_dict.ConfigDict()
    search.evolution.population = 8
    search.evolution.tournament = 4
    return search


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "nasbench_macro"
    config.target_madds = 10e6
    config.data.name = "digits"
    config.data.image_size = 16
    config.search.queries = 6
    config.search.split = 0.8
    for train in (config.search.training, config.train):
        train.batch_size = 32
        train.augment = "none"
        train.warmup_epochs = 0
    config.search.training.epochs = 2
    config.search.guided.initial = 3
    config.search.guided.candidates = 64
    config.train.epochs = 10
