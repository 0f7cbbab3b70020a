"""AutoSpace: evolves a space of cells (Zhou et al., ICCV 2021).

Command, on 100 classes of ImageNet in class folders:
    tfnas-search --config=configs/autospace_cells.py --workdir=runs/autospace
Expected: runs/autospace/space.json, six evolved and three reference cells for
each of 11 positions, for `--config.space=autospace_proxyless:SPACE.json` of
configs/proxyless_autospace.py. Time: not known; the paper does not say.

With a latency table of the cells' parts (`tfnas-lut --space=autospace`):
    --lut=runs/cells.json --config.search.cost.kind=latency --target_ms=20

Variant `local` (digits, the space scaled to 32 px):
    tfnas-search --config=configs/autospace_cells.py:local \\
        --workdir=runs/autospace
Expected: a space file of 4 positions. Time: under 5 minutes on 2 CPU cores.
"""

from ml_collections import config_dict

from tfnas.errors import ConfigError


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` or `local`.
    """
    config = _full()
    if variant == "local":
        _make_local(config)
    elif variant != "imagenet":
        raise ConfigError(
            f"`variant` must be 'imagenet' or 'local'. Received: {variant!r}"
        )
    return config


def _full() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()
    config.algorithm = "autospace"
    config.space = "autospace"
    config.seed = 0
    config.strategy = "default"
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)

    config.data = config_dict.ConfigDict()
    config.data.name = "folder:imagenet"
    config.data.image_size = 224
    config.data.classes = 100
    config.data.limit_train = config_dict.placeholder(int)
    config.data.split_list = config_dict.placeholder(str)
    config.data.limit_test = config_dict.placeholder(int)

    config.lut = config_dict.ConfigDict()
    config.lut.path = config_dict.placeholder(str)  # null: multiply-adds
    config.lut.device = "host"  # or adb:SERIAL, with a program to run there
    config.lut.benchmark_binary = config_dict.placeholder(str)
    config.lut.fixed_performance = False
    config.lut.dtype = "int8"
    config.lut.rounds = 25
    config.lut.nets = 0  # cells are measured, networks of them are not

    config.search = _search()
    return config


def _search() -> config_dict.ConfigDict:
    search = config_dict.ConfigDict()
    search.warmup_epochs = 10
    search.rounds = 200
    search.steps = 200  # weight steps of a round
    search.arch_every = 2  # weight steps for each gate step
    search.tau = 1.0  # temperature of the gates
    search.batch_size = 256
    search.split = 0.8
    search.augment = "resized_crop+flip"
    search.label_smoothing = 0.1
    search.bn_groups = 1
    search.evolved = 6  # cells of a position in the space file
    search.min_visits = 2  # rounds that they ran
    search.reference_weight = 0.0  # pulls features towards the reference's
    search.merge = "channel_gate"  # or hadamard
    search.large_kernel = "dense"  # or dilated
    search.random_archs = 10
    search.random_tolerance = 0.05

    search.population = config_dict.ConfigDict()
    search.population.size = 64
    search.population.slots = 4
    search.population.tournament = 5
    search.population.mutate = 0.8
    search.population.cross = 0.0
    search.population.inherit = 0.9
    search.population.rho = 0.5

    search.weights = config_dict.ConfigDict()
    search.weights.lr = 0.025
    search.weights.min_lr = 0.0
    search.weights.momentum = 0.9
    search.weights.weight_decay = 4e-5
    search.weights.clip_norm = 5.0

    search.gates = config_dict.ConfigDict()
    search.gates.lr = 3e-3
    search.gates.beta1 = 0.5
    search.gates.beta2 = 0.999

    search.cost = config_dict.ConfigDict()
    search.cost.kind = "madds"  # or params, or latency with a table
    search.cost.cap_ratio = 2.0  # of the cell whose kernels are 7x7
    # Budget of a network, in millions or ms; null is the run's target.
    search.cost.budget = config_dict.placeholder(float)
    search.cost.factor = 0.1
    search.cost.tolerance = 0.02
    return search


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "autospace@32"
    config.data.name = "digits"
    config.data.image_size = 32
    config.data.classes = config_dict.placeholder(int)
    config.search.warmup_epochs = 2
    config.search.rounds = 8
    config.search.steps = 40
    config.search.batch_size = 32
    config.search.augment = "none"
    config.search.label_smoothing = 0.0
    config.search.weights.lr = 0.05
    config.search.gates.lr = 3e-2  # few steps: the rate of a long run is 3e-3
    config.search.population.size = 16
    config.search.population.slots = 3
    config.search.population.tournament = 3
    config.search.min_visits = 1
    config.search.random_archs = 2
