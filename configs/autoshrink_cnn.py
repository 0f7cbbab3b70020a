"""AutoShrink for convolutional cells (Zhang et al., AAAI 2020).

Command, on the published proxy, a part of CIFAR-10:
    tfnas-search --config=configs/autoshrink_cnn.py --workdir=runs/shrink
    tfnas-derive --workdir=runs/shrink --output=cell.json [--step=12]
Expected: graphs of 27 down to 0 edges with their scores, and random graphs
beside them. The authors' networks ShrinkCNN-A and -B come from one such cell
(see `configs/shrink_cnn.py`); the images that score candidates here are
training images, not test images as in the release.
Time: the authors report 1.5 GPU hours; at most 235 networks and 10 random
ones. --config.search.workers=N trains N of them side by side.

With a latency table the cost is milliseconds, and accuracy beyond a target
can be what counts:
    tfnas-search --config=configs/autoshrink_cnn.py --workdir=runs/shrink \\
        --lut=phone.json --target_ms=4 --config.search.metric.name=target \\
        --config.search.metric.weight=0.5

Variant `local` (digits, 5 nodes, 3 candidates a round):
    tfnas-search --config=configs/autoshrink_cnn.py:local --workdir=runs/shrink
    tfnas-run --config=configs/autoshrink_cnn.py:local --workdir=runs/loop
Expected: graphs of 9 down to 0 edges, 3 random ones beside them.
Time: the search under 5 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _images

from tfnas.errors import ConfigError


def get_config(variant: str = "cifar10") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `cifar10` (as published) or `local`.
    """
    config = _published()
    if variant == "local":
        _make_local(config)
    elif variant != "cifar10":
        raise ConfigError(
            f"`variant` must be 'cifar10' or 'local'. Received: {variant!r}"
        )
    return config


def _published() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()
    config.algorithm = "autoshrink"
    config.space = "autoshrink_cnn@32"
    config.seed = 0
    config.strategy = "default"
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)

    config.data = config_dict.ConfigDict()
    config.data.name = "cifar10"
    config.data.image_size = 32
    config.data.classes = config_dict.placeholder(int)
    config.data.limit_train = 6000  # 5000 to learn from, 1000 to score on
    config.data.split_list = config_dict.placeholder(str)
    config.data.limit_test = config_dict.placeholder(int)

    config.lut = config_dict.ConfigDict()
    config.lut.path = config_dict.placeholder(str)  # null: multiply-adds
    config.lut.device = "host"  # or adb:SERIAL, with a program to run there
    config.lut.benchmark_binary = config_dict.placeholder(str)
    config.lut.fixed_performance = False
    config.lut.dtype = "int8"
    config.lut.rounds = 25
    config.lut.nets = 5

    config.search = _search()
    config.train = _train()

    config.run = config_dict.ConfigDict()
    config.run.rounds = 1
    config.run.target_quantile = 0.5  # of random networks, with no target
    config.run.random_networks = 1
    config.run.bench_rounds = 50
    return config


def _search() -> config_dict.ConfigDict:
    search = config_dict.ConfigDict()
    search.evaluator = "proxy"
    search.workers = 1  # networks trained side by side
    search.split = 5 / 6  # share of the training images for the weights
    search.nodes = 8
    search.op_seed = 5  # draws the operations of the nodes
    search.candidates = 10  # edges tried in a round (K)
    search.keep_fraction = 0.01  # of the edges: then it stops
    search.metric = config_dict.ConfigDict()
    search.metric.name = "accuracy"
    search.metric.weight = 0.1  # of a decade of cost
    search.inherit = False  # candidates go on from the last round (ours)
    search.random_archs = 10
    search.random_tolerance = 0.05
    search.training = _proxy()
    return search


def _proxy() -> config_dict.ConfigDict:
    """How candidates are trained."""
    training = config_dict.ConfigDict()
    training.epochs = 20
    training.batch_size = 128
    training.valid_batch_size = 100
    training.lr = 4e-3  # of Adam
    training.augment = "none"
    training.initial = "glorot_normal"
    training.l2 = 1e-5
    training.shortcut_l2 = 4e-5
    # When to stop; see tfnas.train.proxy.
    training.decay = 0.99
    training.easy = 0.98
    training.patience = 5
    training.hopeless_epoch = 4
    training.hopeless = 0.2
    training.loss_ratio = 3.0
    return training


def _train() -> config_dict.ConfigDict:
    """How tfnas-train trains a derived network on small images (ours)."""
    return _images.recipe_section(
        {
            "epochs": 100, "batch_size": 128, "lr": 0.1, "min_lr": 0.0,
            "momentum": 0.9, "weight_decay": 1e-4, "label_smoothing": 0.0,
            "warmup_epochs": 2, "test_every": 10, "augment": "pad_crop+flip",
        }
    )


def _make_local(config: config_dict.ConfigDict) -> None:
    config.data.name = "digits"
    config.data.limit_train = 480
    config.search.workers = 2
    config.search.nodes = 5
    config.search.candidates = 3
    config.search.random_archs = 3
    config.search.training.epochs = 4
    config.search.training.batch_size = 16  # few images: more steps
    config.search.training.hopeless = 0.0
    config.search.training.loss_ratio = 1e9
    config.train.epochs = 15
    config.train.batch_size = 64
    config.train.warmup_epochs = 0
    config.train.augment = "pad_crop"
