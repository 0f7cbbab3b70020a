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
from tfnas.configs import _base


def get_config(variant: str = "cifar10") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `cifar10` (as published) or `local`.
    """
    _base.check_variant(variant, "cifar10", "local")
    search = {
        "evaluator": "proxy",
        "workers": 1,  # networks trained side by side
        "split": 5 / 6,  # share of the training images for the weights
        "nodes": 8,
        "op_seed": 5,  # draws the operations of the nodes
        "candidates": 10,  # edges tried in a round (K)
        "keep_fraction": 0.01,  # of the edges: then it stops
        "metric": {
            "name": "accuracy", "weight": 0.1,  # of a decade of cost
        },
        "random_archs": 10, "random_tolerance": 0.05,
        # How candidates are trained.
        "training": {
            "epochs": 20, "batch_size": 128, "valid_batch_size": 100,
            "lr": 4e-3,  # of Adam
            "augment": "none", "initial": "glorot_normal",
            "l2": 1e-5, "shortcut_l2": 4e-5,
            # When to stop; see tfnas.train.proxy.
            "decay": 0.99, "easy": 0.98, "patience": 5, "hopeless_epoch": 4,
            "hopeless": 0.2, "loss_ratio": 3.0,
        },
    }
    # How tfnas-train trains a derived network on small images (ours).
    train = {
        "epochs": 100, "batch_size": 128, "lr": 0.1, "min_lr": 0.0,
        "momentum": 0.9, "weight_decay": 1e-4, "label_smoothing": 0.0,
        "warmup_epochs": 2, "test_every": 10, "augment": "pad_crop+flip",
    }
    config = _base.search(
        "autoshrink", "autoshrink_cnn@32", search,
        # 5000 images to learn from, 1000 to score on.
        data=_base.data("cifar10", 32, limit_train=6000), run=_base.run(),
        train=_base.recipe_section(train),
    )
    if variant == "local":
        _make_local(config)
    return config


def _make_local(config: config_dict.ConfigDict) -> None:
    config.data.update(name="digits", limit_train=480)
    config.search.update(workers=2, nodes=5, candidates=3, random_archs=3)
    config.search.training.update(
        epochs=4, batch_size=16,  # few images: more steps
        hopeless=0.0, loss_ratio=1e9,
    )
    config.train.update(
        epochs=15, batch_size=64, warmup_epochs=0, augment="pad_crop"
    )
