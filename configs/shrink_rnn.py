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
from tfnas.configs import _base


def get_config(variant: str = "ptb") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `ptb` (as published) or `local`.
    """
    _base.check_variant(variant, "ptb", "local")
    train = {
        # Of the network that is trained; null keeps that of the architecture.
        "width": _base.null(int),
        "epochs": 3000, "batch_size": 64, "valid_batch_size": 10,
        "test_batch_size": 1,
        "lr": 20.0,  # of an update of `bptt` steps; others in proportion
        "lr_drops": (),  # epochs after which the rate is divided by 10
        "clip": 0.25, "weight_decay": 8e-7,
        "bptt": 35, "bptt_short": 0.05,  # probability of half of that
        "bptt_std": 5.0, "bptt_most": 55,
        "temporal_penalty": 1e-3,  # times the mean of (h_(t+1) - h_t)^2
        "dropouts": {
            "words": 0.1, "inputs": 0.2, "cell_inputs": 0.75, "states": 0.25,
            "outputs": 0.75,
        },
        "table_range": 0.04,  # words start from uniform(-0.04, 0.04)
        "vectors": _base.null(str),  # or from a file of vectors
        # Averages the weights once the validation loss exceeds the lowest of
        # all epochs but the last 5.
        "average_after": 5,
        "patience": _base.null(int),  # epochs until it gives up
        "max_ratio": _base.null(float),
        "reload_best": True,  # goes on from there after a loss of NaN
    }
    data = {
        "name": "ptb:ptb",
        "limit_train": _base.null(int),  # lines
        "limit_valid": _base.null(int), "limit_test": _base.null(int),
    }
    config = config_dict.ConfigDict(
        {"seed": 1267,
         "strategy": "default",  # language models train on one device
         "data": data, "train": train}
    )
    if variant == "local":
        config.data.update(limit_train=1000, limit_valid=100, limit_test=100)
        config.train.update(
            width=32, epochs=3, batch_size=16, average_after=1
        )
    return config
