"""ProxylessNAS in a learned space (Zhou et al., ICCV 2021; Cai et al. 2019).

Command, on ImageNet in class folders, with a table of your device:
    tfnas-run --config=configs/proxyless_autospace.py \\
        --workdir=runs/proxyless --target_ms=20
Expected: the paper's networks in the authors' space have 175M to 570M
multiply-adds with 71.1 to 77.0 % top-1 on ImageNet (the authors' figures; we
have not run ImageNet here). Time: not known for ImageNet.

In a space of your own, and in the hand-made space for comparison:
    --config.space=autospace_proxyless:runs/autospace/space.json
    --config.space=proxyless_mbconv

Variant `local` (digits, the spaces scaled to 32 px):
    tfnas-search --config=configs/proxyless_autospace.py:local \\
        --workdir=runs/proxyless --target_madds=3e6
Expected: a network within 2 % of the target, and random ones beside it.
Time: under 5 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _images
from tfnas.configs import autospace


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    config = _published()
    config.train = autospace.get_config(variant).train
    if variant == "local":
        _make_local(config)
    return config


def _published() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()
    config.algorithm = "proxyless"
    config.space = "autospace_proxyless"
    config.seed = 0
    config.strategy = "default"
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)

    config.data = _images.data()

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
    search.mode = "two_path"  # or full (the release's default), reinforce
    search.warmup_epochs = 40
    search.epochs = 120
    search.arch_from_epoch = 1
    # Weight steps for each architecture step; the recipe of reinforce has 300
    # architecture steps an epoch, which is 16.
    search.arch_every = 5
    search.batch_size = 256
    search.split = 0.96  # 50,000 images of ImageNet are for the choices
    search.augment = "resized_crop+flip+jitter"
    search.label_smoothing = 0.1
    search.bn_groups = 1
    search.share_weights = False  # among equal layers of a block's candidates
    search.top_archs = 2
    search.random_archs = 20
    search.random_tolerance = 0.05

    search.weights = config_dict.ConfigDict()
    search.weights.warmup_lr = 0.05
    search.weights.lr = 0.025
    search.weights.momentum = 0.9
    search.weights.weight_decay = 4e-5

    search.arch = config_dict.ConfigDict()
    search.arch.lr = 1e-3
    search.arch.beta1 = 0.0
    search.arch.beta2 = 0.999

    search.reinforce = config_dict.ConfigDict()
    search.reinforce.networks = 10  # of an update
    search.reinforce.rate = 0.99  # at which the mean reward follows
    search.reinforce.weight = 0.1  # of the cost in the reward

    search.cost = config_dict.ConfigDict()
    search.cost.loss = "mul_log"  # or add_linear, target, none
    # What the loss compares with where there is no target: ms, or millions
    # of multiply-adds. The recipe has 80 ms and 300M.
    search.cost.reference = 80.0
    search.cost.alpha = 0.2  # of mul_log, with the next
    search.cost.beta = 0.3
    search.cost.factor = 0.1  # of add_linear
    search.cost.target_factor = 0.5  # of target
    search.cost.tolerance = 0.02
    return search


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "autospace_proxyless@32"
    config.data.name = "digits"
    config.data.image_size = 32
    config.search.warmup_epochs = 20
    config.search.epochs = 40
    config.search.batch_size = 32
    config.search.split = 0.8
    config.search.augment = "none"
    config.search.label_smoothing = 0.0
    config.search.share_weights = True
    config.search.weights.warmup_lr = 0.1
    config.search.weights.lr = 0.05
    config.search.arch.lr = 2e-2  # few steps: the published rate is 1e-3
    config.search.random_archs = 10
    # Small networks take less than 1 ms, which `mul_log` cannot compare.
    config.search.cost.loss = "target"
    config.search.cost.reference = config_dict.placeholder(float)
