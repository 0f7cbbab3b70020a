"""ASE-NAS on NAS-Bench-201 (Chen et al., arXiv 2210.17180).

Command, with the benchmark's table as `NasBench201Table` reads it:
    tfnas-search --config=configs/ase_nas_nasbench201.py \\
        --workdir=runs/ase_nas --config.search.table=nasbench201.npz
Expected: the authors report 94.23 % on the test images of CIFAR-10 (mean of
20 runs, 200 epochs of training). Time: seconds, as the table has the scores.

ASE-NAS+ on CIFAR-100 starts from the centres that a run ended with:
    tfnas-search --config=configs/ase_nas_nasbench201.py \\
        --workdir=runs/ase_nas_plus --config.search.table=nasbench201.npz \\
        --config.search.table_dataset=cifar100 \\
        --config.search.transfer=runs/ase_nas

Variant `improved` asks for no network twice, and has a value model choose
among the policy's proposals. Expected: 84.89 % on the validation images of
CIFAR-10 after 12 epochs, the most there is, in nearly every run (84.85 % on
average after 100 queries). Time: half a minute on one CPU core.

Variant `local` (digits, no table: every query is a short training):
    tfnas-search --config=configs/ase_nas_nasbench201.py:local \\
        --workdir=runs/ase_nas
Expected: a network and random ones beside it. Time: under 5 minutes on 2 CPU
cores.
"""

from ml_collections import config_dict

from tfnas.errors import ConfigError


def get_config(variant: str = "published") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `published`, `improved` or `local`.
    """
    config = _published()
    if variant == "improved":
        _improve(config.search)
    elif variant == "local":
        _make_local(config)
    elif variant != "published":
        raise ConfigError(
            "`variant` must be 'published', 'improved' or 'local'. "
            f"Received: {variant!r}"
        )
    return config


def _published() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()
    config.algorithm = "ase_nas"
    config.space = "nasbench201"
    config.seed = 23555  # the first of the authors' twenty
    config.strategy = "default"
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)
    # Hard limits of the cost; targets stand in for them where there are none.
    config.max_latency_ms = config_dict.placeholder(float)
    config.max_madds = config_dict.placeholder(float)

    # For trainings; with a table the search reads no images.
    config.data = config_dict.ConfigDict()
    config.data.name = "cifar10"
    config.data.image_size = 32
    config.data.classes = config_dict.placeholder(int)
    config.data.limit_train = config_dict.placeholder(int)
    config.data.limit_test = config_dict.placeholder(int)

    config.lut = config_dict.ConfigDict()
    config.lut.path = config_dict.placeholder(str)  # null: multiply-adds
    config.lut.device = "host"  # or adb:SERIAL, with a program to run there
    config.lut.benchmark_binary = config_dict.placeholder(str)
    config.lut.fixed_performance = False
    config.lut.dtype = "int8"
    config.lut.rounds = 25
    config.lut.nets = 5  # whole networks to calibrate with

    config.search = _search()
    config.train = _train(epochs=200)

    config.run = config_dict.ConfigDict()
    config.run.rounds = 1  # searches; each calibrates the table of the next
    config.run.target_quantile = 1.0  # of random networks, with no target
    config.run.random_networks = 1
    config.run.bench_rounds = 50
    return config


def _search() -> config_dict.ConfigDict:
    search = config_dict.ConfigDict()
    search.queries = 203  # 3 centres and 200 updates of the policy
    search.unit_queries = 50  # between two checkpoints
    search.top_archs = 10
    search.split = 0.5  # share of the training images for the weights

    search.evaluator = "table"  # or "train"
    search.table = config_dict.placeholder(str)
    search.table_dataset = "cifar10"  # or cifar100, ImageNet16-120
    search.signal = "val_acc_12ep"  # or val_acc_200ep
    search.latencies = config_dict.placeholder(str)  # file of measured ones
    search.device_table = config_dict.placeholder(str)  # a device in it
    search.training = _train(epochs=12)  # of the evaluator "train"
    search.workers = 1

    # ASE-NAS+: centres to start from, as cells or from a workdir.
    search.initial = ()
    search.transfer = config_dict.placeholder(str)

    search.subspaces = config_dict.ConfigDict()
    search.subspaces.centres = 3
    search.subspaces.baseline_decay = 0.9
    search.subspaces.entropy = 5.049559768158195e-4
    search.subspaces.entropy_half_life = config_dict.placeholder(float)
    search.subspaces.update_freq = 1
    search.subspaces.constraint = "hard"  # or "reward"
    search.subspaces.cost_weight = 0.5
    search.subspaces.use_absolute_perf = False
    search.subspaces.no_repeats = False
    search.subspaces.proposals = 1
    search.subspaces.exploration = 5.0
    search.subspaces.policy_every = 3

    search.policy = config_dict.ConfigDict()
    search.policy.edits = 4
    search.policy.hidden = 64
    search.policy.layers = 2
    search.policy.tanh_subspace = 1.5
    search.policy.tanh_edit = 0.6
    search.policy.lr = 9.446763714621489e-3
    search.policy.weight_decay = 2.3740059139364297e-5
    search.policy.one_hot_width = 6
    search.policy.normalize_acc = False
    search.policy.no_edge = False
    search.policy.different_policy = False
    search.policy.select_best_space = False

    # Of the algorithm "evolution", a baseline in the same setting.
    search.evolution = config_dict.ConfigDict()
    search.evolution.population = 20
    search.evolution.tournament = 20
    return search


def _train(epochs: int) -> config_dict.ConfigDict:
    """The benchmark's recipe (Dong and Yang 2020, section 2.2)."""
    train = config_dict.ConfigDict()
    train.epochs = epochs
    train.batch_size = 256
    train.lr = 0.1
    train.min_lr = 0.0
    train.momentum = 0.9
    train.weight_decay = 5e-4
    train.label_smoothing = 0.0
    train.warmup_epochs = 0
    train.test_every = 10
    train.augment = "pad_crop+flip"
    return train


def _improve(search: config_dict.ConfigDict) -> None:
    search.subspaces.no_repeats = True
    search.subspaces.proposals = 128
    search.policy.edits = 6


def _make_local(config: config_dict.ConfigDict) -> None:
    config.data.name = "digits"
    config.data.image_size = 16
    config.search.evaluator = "train"
    config.search.queries = 8
    config.search.unit_queries = 1
    config.search.split = 0.8
    for train in (config.search.training, config.train):
        train.batch_size = 32
        train.augment = "none"
    config.search.training.epochs = 1
    config.train.epochs = 10
