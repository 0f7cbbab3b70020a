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
from tfnas.configs import _base


def get_config(variant: str = "ptb") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `ptb` (as published) or `local`.
    """
    _base.check_variant(variant, "ptb", "local")
    search = {
        "evaluator": "language",
        "workers": 1,  # networks trained side by side
        "nodes": 6,
        "op_seed": 189,  # draws the activations of the nodes
        "candidates": 10,  # edges tried in a round (K)
        "keep_fraction": 0.25,  # of the edges: then it stops
        "metric": {"name": "perplexity", "weight": 1.0},
        "random_archs": 10, "random_tolerance": 0.05,
        # How candidates are trained.
        "training": {
            "epochs": 10, "batch_size": 128, "valid_batch_size": 256,
            "lr": 20.0,  # of an update of `bptt` steps; others in proportion
            "lr_drops": (6, 8),  # divided by 10 after these epochs
            "clip": 0.25, "weight_decay": 0.0,
            "bptt": 35, "bptt_short": 0.05,  # probability of half of that
            "bptt_std": 0.0, "bptt_most": 35, "temporal_penalty": 0.0,
            "dropouts": dict.fromkeys(
                ("words", "inputs", "cell_inputs", "states", "outputs"), 0.0
            ),
            "table_range": 0.5,  # words start from uniform(-0.5, 0.5)
            "vectors": _base.null(str),  # but for those in a file
            "average_after": _base.null(int),
            "patience": 4,  # epochs without a better validation
            "max_ratio": 3.0,  # of validation loss to training loss
            "reload_best": False,  # a candidate that diverges scores -inf
        },
    }
    config = _base.search(
        "autoshrink", "autoshrink_rnn", search, seed=189,
        data={
            "name": "ptb:ptb",
            "limit_train": 4000,  # lines
            "limit_valid": 300, "limit_test": 300,
        },
        lut=_base.lut(dtype="float32"),
    )
    if variant == "local":
        _make_local(config)
    return config


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "autoshrink_rnn@32"
    config.data.update(limit_train=1000, limit_valid=100, limit_test=100)
    config.search.update(nodes=4, candidates=3, random_archs=3)
    config.search.training.update(
        epochs=4, batch_size=16, valid_batch_size=16
    )
