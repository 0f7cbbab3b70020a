"""DenseNAS in the MobileNetV2 space (Fang et al., CVPR 2020).

Command, on ImageNet-100 in class folders, with a table of your device:
    tfnas-run --config=configs/densenas_mbv2.py --workdir=runs/densenas \\
        --config.data.name=folder:imagenet --target_ms=20
Expected: the paper found 251M to 361M multiply-adds with 73.1 to 75.3 % top-1
on ImageNet (the authors' figures; we have not run ImageNet here).
Time: the authors report 64 GPU hours for the search.

Variant `local` (digits, the space scaled to 32 px):
    tfnas-run --config=configs/densenas_mbv2.py:local --workdir=runs/demo
Expected: see the README; measured table, search, two trained networks, int8
files and a report. Time: under 8 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _images
from tfnas.configs import densenas


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    config = _published()
    config.train = densenas.get_config(variant).train
    if variant == "local":
        _make_local(config)
    return config


def _published() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()
    config.algorithm = "densenas"
    config.space = "densenas_mbv2"
    config.seed = 0
    config.strategy = "default"
    # Aim of the search; without one, `search.cost` weighs cost as published.
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)

    config.data = _images.data()
    config.data.classes = 100  # tfnas-derive --classes=1000 for the retraining

    config.lut = config_dict.ConfigDict()
    config.lut.path = config_dict.placeholder(str)  # null: multiply-adds
    config.lut.device = "host"  # or adb:SERIAL, with a program to run there
    config.lut.benchmark_binary = config_dict.placeholder(str)
    config.lut.fixed_performance = False
    config.lut.dtype = "int8"
    config.lut.rounds = 25
    config.lut.nets = 5  # whole networks to calibrate with

    config.search = _search()

    config.run = config_dict.ConfigDict()
    config.run.rounds = 1  # searches; each calibrates the table of the next
    config.run.target_quantile = 0.5  # of random networks, with no target
    config.run.random_networks = 1
    config.run.bench_rounds = 50
    return config


def _search() -> config_dict.ConfigDict:
    search = config_dict.ConfigDict()
    search.epochs = 150
    search.arch_update_epoch = 50
    search.val_start_epoch = 120
    search.batch_size = 352
    search.split = 0.8  # share of the training images for the weights
    search.augment = "resized_crop+flip"
    search.temperature = 1.0
    search.bn_groups = 1
    search.weight_sample_num = 1
    search.sample_policy = "prob"
    search.top_archs = 2
    search.random_archs = 20
    search.random_tolerance = 0.05

    search.weights = config_dict.ConfigDict()
    search.weights.lr = 0.2
    search.weights.min_lr = 1e-5
    search.weights.momentum = 0.9
    search.weights.weight_decay = 4e-5
    search.weights.unsampled = "active"

    search.arch = config_dict.ConfigDict()
    search.arch.lr = 3e-4
    search.arch.beta1 = 0.5
    search.arch.beta2 = 0.999
    search.arch.weight_decay = 1e-3

    search.cost = config_dict.ConfigDict()
    search.cost.factor = 0.15
    search.cost.log_base = 15.0
    search.cost.skip_reg = False
    search.cost.target_factor = 0.5
    search.cost.tolerance = 0.02
    return search


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "densenas_mbv2@32"
    config.data.name = "digits"
    config.data.image_size = 32
    config.data.classes = config_dict.placeholder(int)
    config.search.epochs = 40
    config.search.arch_update_epoch = 16
    config.search.val_start_epoch = 36
    config.search.batch_size = 32
    config.search.augment = "none"
    config.search.weights.lr = 0.1
    config.search.arch.lr = 2e-2  # few steps: the published rate is 3e-4
    config.search.random_archs = 10
