"""ShrinkRNN on the Penn Treebank (Zhang et al., AutoShrink, AAAI 2020).

Command, on a folder with train.txt, valid.txt and test.txt:
    tfnas-train --config=configs/shrink_rnn.py --arch=shrink_rnn \\
        --workdir=runs/shrink_rnn --config.data.name=ptb:penn
Expected: the authors report perplexities 58.5 (validation) and 56.5 (test);
we have not run it to the end.
Time: 3,000 epochs; days on a GPU.

Variant `local` (1,000 lines, 32 units, three epochs), for any language model:
    tfnas-train --config=configs/shrink_rnn.py:local --arch=shrink_rnn \\
        --workdir=runs/tiny --config.data.name=ptb:penn
Expected: a perplexity that falls; model, vocabulary and result in the
workdir. Time: under 2 minutes on 2 CPU cores.

The text is not shipped. Any folder with three such files will do; without
one nothing here runs.
"""

from ml_collections import config_dict

from tfnas.errors import ConfigError


def get_config(variant: str = "ptb") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `ptb` (as published) or `local`.
    """
    config = config_dict.ConfigDict()
    config.seed = 1267
    config.strategy = "default"  # language models train on one device

    config.data = config_dict.ConfigDict()
    config.data.name = "ptb:ptb"
    config.data.limit_train = config_dict.placeholder(int)  # lines
    config.data.limit_valid = config_dict.placeholder(int)
    config.data.limit_test = config_dict.placeholder(int)

    config.train = _recipe()
    if variant == "local":
        config.data.limit_train = 1000
        config.data.limit_valid = 100
        config.data.limit_test = 100
        config.train.width = 32
        config.train.epochs = 3
        config.train.batch_size = 16
        config.train.average_after = 1
    elif variant != "ptb":
        raise ConfigError(
            f"`variant` must be 'ptb' or 'local'. Received: {variant!r}"
        )
    return config


def _recipe() -> config_dict.ConfigDict:
    """The published training."""
    train = config_dict.ConfigDict()
    # Of the network that is trained; null keeps that of the architecture.
    train.width = config_dict.placeholder(int)
    train.epochs = 3000
    train.batch_size = 64
    train.valid_batch_size = 10
    train.test_batch_size = 1
    train.lr = 20.0  # of an update of `bptt` steps; others in proportion
    train.lr_drops = ()  # epochs after which the rate is divided by 10
    train.clip = 0.25
    train.weight_decay = 8e-7
    train.bptt = 35
    train.bptt_short = 0.05  # probability of half of that
    train.bptt_std = 5.0
    train.bptt_most = 55
    train.temporal_penalty = 1e-3  # times the mean of (h_(t+1) - h_t)^2

    train.dropouts = config_dict.ConfigDict()
    train.dropouts.words = 0.1
    train.dropouts.inputs = 0.2
    train.dropouts.cell_inputs = 0.75
    train.dropouts.states = 0.25
    train.dropouts.outputs = 0.75

    train.table_range = 0.04  # words start from uniform(-0.04, 0.04)
    train.vectors = config_dict.placeholder(str)  # or from a file of vectors
    # Averages the weights once the validation loss exceeds the lowest of all
    # epochs but the last 5.
    train.average_after = 5
    train.patience = config_dict.placeholder(int)  # epochs until it gives up
    train.max_ratio = config_dict.placeholder(float)
    train.reload_best = True  # goes on from there after a loss of NaN
    return train
