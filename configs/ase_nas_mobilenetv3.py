"""ASE-NAS on the elastic MobileNetV3 space (Chen et al., arXiv 2210.17180).

Command, on ImageNet in class folders, at most 600M multiply-adds:
    tfnas-search --config=configs/ase_nas_mobilenetv3.py \\
        --workdir=runs/ase_nas --config.data.name=folder:imagenet
or, with a table of your device, at most 30 ms:
    tfnas-search --config=configs/ase_nas_mobilenetv3.py \\
        --workdir=runs/ase_nas --config.data.name=folder:imagenet \\
        --lut=phone.json --config.max_latency_ms=30
Trains the supernet as Once-for-All does, scores 2,000 random subnets, trains
a predictor on them and searches with it (`--config.search.evaluator=supernet`
scores every candidate itself). A search that was killed goes on.
Expected: the authors report 79.9 % top-1 at 586M multiply-adds, and 80.2 %
for ASE-NAS+ (we have not run ImageNet here).
Time: 500 epochs of ImageNet for the supernet; weeks on one GPU.

Variant `local` (digits, the space scaled to 32 px, shown at 16 px):
    tfnas-search --config=configs/ase_nas_mobilenetv3.py:local \\
        --workdir=runs/ase_nas
Expected: a network of at most 1.5M multiply-adds and random ones beside it.
Time: under 5 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _images
from tfnas.configs import ase_nas

KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    config = _published()
    config.train = ase_nas.get_config(variant).train
    if variant == "local":
        _make_local(config)
    return config


def _published() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()
    config.algorithm = "ase_nas"
    config.space = "mobilenetv3"  # or mobilenetv3_resolution, with 256 px
    config.seed = 0
    config.strategy = "default"
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)
    # Hard limits; with a latency table the first one counts.
    config.max_latency_ms = config_dict.placeholder(float)
    config.max_madds = 600e6

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
    search.queries = 1010  # 10 centres and 1000 updates of the policy
    search.unit_queries = 101  # between two checkpoints
    search.top_archs = 10
    search.split = 0.99  # share of the training images for the weights

    search.evaluator = "predictor"  # or "supernet"
    search.supernet = _supernet()
    search.predictor = config_dict.ConfigDict()
    search.predictor.path = config_dict.placeholder(str)  # null: learn one
    search.predictor.pairs = 2000  # networks scored for it
    search.predictor.unit_pairs = 50  # between two checkpoints
    search.predictor.min_tau = 0.5  # a worse one is refused
    search.predictor.dropout = 0.3
    search.predictor.epochs = 200
    search.predictor.batch_size = 256
    search.predictor.lr = 0.1

    # ASE-NAS+: centres to start from, as codes or from a workdir.
    search.initial = ()
    search.transfer = config_dict.placeholder(str)

    search.subspaces = config_dict.ConfigDict()
    search.subspaces.centres = 10
    search.subspaces.baseline_decay = 0.9
    search.subspaces.entropy = 5.049559768158195e-4
    search.subspaces.entropy_half_life = config_dict.placeholder(float)
    search.subspaces.update_freq = 1
    search.subspaces.constraint = "hard"  # or "reward"
    search.subspaces.cost_weight = 0.5
    search.subspaces.use_absolute_perf = False
    search.subspaces.no_repeats = False
    search.subspaces.proposals = 1
    search.subspaces.exploration = 0.0

    search.policy = config_dict.ConfigDict()
    search.policy.edits = 2
    search.policy.hidden = 64
    search.policy.layers = 2
    search.policy.tanh_subspace = 1.5
    search.policy.tanh_edit = 0.6
    search.policy.lr = 9.446763714621489e-3
    search.policy.weight_decay = 2.3740059139364297e-5
    search.policy.one_hot_width = 10
    search.policy.normalize_acc = False
    search.policy.no_edge = False
    search.policy.different_policy = False
    search.policy.select_best_space = False
    return search


def _supernet() -> config_dict.ConfigDict:
    """The schedule of Once-for-All, for a batch of 64 on each device."""
    supernet = config_dict.ConfigDict()
    supernet.batch_size = 64  # over all devices: multiply rates with it
    supernet.augment = "resized_crop+flip"
    supernet.label_smoothing = 0.1  # shared by the wrong classes
    supernet.momentum = 0.9
    supernet.nesterov = True
    supernet.weight_decay = 3e-5
    supernet.bn_groups = 1
    # What subnets learn from beside the labels: "none", "teacher" (the
    # largest network after the first phase), "in_place" (the largest one of
    # the step's sandwich, in place of the labels).
    supernet.distill = "teacher"
    supernet.distill_weight = 1.0
    supernet.calibration_images = 2000  # for a subnet's statistics
    supernet.calibration_batch = 100
    supernet.score_batch = 200

    supernet.phases = (
        "full", "kernel", "depth1", "depth2", "expand1", "expand2"
    )
    supernet.full = _phase(180, 0.08, 5)
    supernet.kernel = _phase(120, 3e-2, 5, kernels=KERNELS)
    shrunk = {"kernels": KERNELS, "subnets": 2}
    supernet.depth1 = _phase(25, 2.5e-3, depths=(3, 4), **shrunk)
    supernet.depth2 = _phase(120, 7.5e-3, 5, depths=DEPTHS, **shrunk)
    shrunk = {"kernels": KERNELS, "depths": DEPTHS, "subnets": 4}
    supernet.expand1 = _phase(25, 2.5e-3, expansions=(4, 6), **shrunk)
    supernet.expand2 = _phase(120, 7.5e-3, 5, expansions=EXPANSIONS, **shrunk)
    return supernet


def _phase(
    epochs: int, lr: float, warmup_epochs: int = 0, subnets: int = 1,
    sandwich: bool = False, kernels: tuple[int, ...] = (7,),
    depths: tuple[int, ...] = (4,), expansions: tuple[int, ...] = (6,),
) -> config_dict.ConfigDict:
    """A phase: what its steps draw, and for how long.

    Args:
        epochs: Length.
        lr: Rate of its first step; a cosine takes it to 0.
        warmup_epochs: Epochs in which the rate rises from 0.
        subnets: Subnets drawn for each step.
        sandwich: Whether the largest and the smallest come before those.
        kernels: Kernel sizes.
        depths: Layers of a unit.
        expansions: Expansion ratios.
    """
    return config_dict.ConfigDict(
        {
            "epochs": epochs, "lr": lr, "warmup_epochs": warmup_epochs,
            "subnets": subnets, "sandwich": sandwich, "kernels": kernels,
            "depths": depths, "expansions": expansions,
        }
    )


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "mobilenetv3@32"
    config.max_madds = 1.5e6
    config.data.name = "digits"
    config.data.image_size = 16
    search, supernet = config.search, config.search.supernet
    search.split = 0.8
    search.evaluator = "supernet"
    search.queries = 40
    search.unit_queries = 10
    search.subspaces.centres = 5
    supernet.batch_size = 32
    supernet.augment = "none"
    supernet.calibration_images = 300
    supernet.score_batch = 300
    # One phase instead of six: every step trains the largest, the smallest
    # and a random subnet, and the largest teaches the others.
    supernet.distill = "in_place"
    supernet.phases = ("all",)
    supernet.all = _phase(
        12, 0.1, 1, 1, True, KERNELS, DEPTHS, EXPANSIONS
    )
