"""AutoShrink for recurrent cells (Zhang et al., AAAI 2020).

Command, on a folder with train.txt, valid.txt and test.txt of the Penn
Treebank, of which the first 4,000 / 300 / 300 lines are the proxy:
    tfnas-search --config=configs/autoshrink_rnn.py --workdir=runs/rnn \\
        --config.data.name=ptb:penn
    tfnas-derive --workdir=runs/rnn --output=cell.json
    tfnas-train --config=configs/shrink_rnn.py --arch=cell.json \\
        --workdir=runs/final --config.data.name=ptb:penn \\
        --config.train.width=745
Expected: graphs of 14 down to 4 edges with their scores, and random graphs
beside them. The authors trained a cell of 12 edges (ShrinkRNN, see
`configs/shrink_rnn.py`).
Time: the authors report 1.5 GPU hours for the search; at most 95 networks.

Variant `local` (1,000 lines of the same text, 4 nodes, 32 units):
    tfnas-search --config=configs/autoshrink_rnn.py:local \\
        --workdir=runs/rnn --config.data.name=ptb:penn
Expected: graphs of 5 down to 2 edges, random ones beside them.
Time: under 5 minutes on 2 CPU cores.

The text is not shipped. Any folder with three such files will do; without
one nothing here runs. Published vectors of words (GloVe, of 100 numbers) are
taken from --config.search.training.vectors=FILE; without a file all words
start from random vectors.
"""

from ml_collections import config_dict

from tfnas.errors import ConfigError


def get_config(variant: str = "ptb") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `ptb` (as published) or `local`.
    """
    config = config_dict.ConfigDict()
    config.algorithm = "autoshrink"
    config.space = "autoshrink_rnn"
    config.seed = 189
    config.strategy = "default"
    config.target_ms = config_dict.placeholder(float)
    config.target_madds = config_dict.placeholder(float)

    config.data = config_dict.ConfigDict()
    config.data.name = "ptb:ptb"
    config.data.limit_train = 4000  # lines
    config.data.limit_valid = 300
    config.data.limit_test = 300

    config.lut = config_dict.ConfigDict()
    config.lut.path = config_dict.placeholder(str)  # null: multiply-adds
    config.lut.device = "host"  # or adb:SERIAL, with a program to run there
    config.lut.benchmark_binary = config_dict.placeholder(str)
    config.lut.fixed_performance = False
    config.lut.dtype = "float32"
    config.lut.rounds = 25
    config.lut.nets = 5

    config.search = _search()
    if variant == "local":
        _make_local(config)
    elif variant != "ptb":
        raise ConfigError(
            f"`variant` must be 'ptb' or 'local'. Received: {variant!r}"
        )
    return config


def _search() -> config_dict.ConfigDict:
    search = config_dict.ConfigDict()
    search.evaluator = "language"
    search.workers = 1  # networks trained side by side
    search.nodes = 6
    search.op_seed = 189  # draws the activations of the nodes
    search.candidates = 10  # edges tried in a round (K)
    search.keep_fraction = 0.25  # of the edges: then it stops
    search.metric = config_dict.ConfigDict()
    search.metric.name = "perplexity"
    search.metric.weight = 1.0
    search.random_archs = 10
    search.random_tolerance = 0.05
    search.training = _proxy()
    return search


def _proxy() -> config_dict.ConfigDict:
    """How candidates are trained."""
    training = config_dict.ConfigDict()
    training.epochs = 10
    training.batch_size = 128
    training.valid_batch_size = 256
    training.lr = 20.0  # of an update of `bptt` steps; others in proportion
    training.lr_drops = (6, 8)  # divided by 10 after these epochs
    training.clip = 0.25
    training.weight_decay = 0.0
    training.bptt = 35
    training.bptt_short = 0.05  # probability of half of that
    training.bptt_std = 0.0
    training.bptt_most = 35
    training.temporal_penalty = 0.0

    training.dropouts = config_dict.ConfigDict()
    training.dropouts.words = 0.0
    training.dropouts.inputs = 0.0
    training.dropouts.cell_inputs = 0.0
    training.dropouts.states = 0.0
    training.dropouts.outputs = 0.0

    training.table_range = 0.5  # words start from uniform(-0.5, 0.5)
    training.vectors = config_dict.placeholder(str)  # but for those in a file
    training.average_after = config_dict.placeholder(int)
    training.patience = 4  # epochs without a better validation
    training.max_ratio = 3.0  # of validation loss to training loss
    training.reload_best = False  # a candidate that diverges scores -inf
    # Scores as the release, whose mean over n - 1 rows is divided by n.
    training.released_mean = False
    return training


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "autoshrink_rnn@32"
    config.data.limit_train = 1000
    config.data.limit_valid = 100
    config.data.limit_test = 100
    config.search.nodes = 4
    config.search.candidates = 3
    config.search.random_archs = 3
    config.search.training.epochs = 4
    config.search.training.batch_size = 16
    config.search.training.valid_batch_size = 16
