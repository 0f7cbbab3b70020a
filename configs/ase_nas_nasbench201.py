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

from typing import Any

from ml_collections import config_dict
from tfnas.configs import _base

from tfnas.search.ase_nas_options import Options
from tfnas.search.ase_nas_options import PolicyOptions


def get_config(variant: str = "published") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `published`, `improved` or `local`.
    """
    _base.check_variant(variant, "published", "improved", "local")
    search = {
        "queries": 203,  # 3 centres and 200 updates of the policy
        "unit_queries": 50,  # between two checkpoints
        "top_archs": 10,
        "split": 0.5,  # share of the training images for the weights
        "evaluator": "table",  # or "train"
        "table": _base.null(str),
        "table_dataset": "cifar10",  # or cifar100, ImageNet16-120
        "signal": "val_acc_12ep",  # or val_acc_200ep
        "latencies": _base.null(str),  # file of measured ones
        "device_table": _base.null(str),  # a device in it
        "training": _train(epochs=12),  # of the evaluator "train"
        "workers": 1,
        # ASE-NAS+: centres to start from, as cells or from a workdir.
        "initial": (), "transfer": _base.null(str),
        "subspaces": _base.section_of(Options()),
        "policy": _base.section_of(PolicyOptions(one_hot_width=6)),
        # Of the algorithm "evolution", a baseline in the same setting.
        "evolution": {"population": 20, "tournament": 20},
    }
    config = _base.search(
        "ase_nas", "nasbench201", search,
        seed=23555,  # the first of the authors' twenty
        # For trainings; with a table the search reads no images.
        data=_base.data("cifar10", 32),
        # Targets stand in for limits where there are none.
        **_base.limits(), run=_base.run(target_quantile=1.0),
        train=_train(epochs=200),
    )
    if variant == "improved":
        config.search.subspaces.update(no_repeats=True, proposals=128)
        config.search.policy.edits = 6
    if variant == "local":
        _make_local(config)
    return config


def _train(epochs: int) -> dict[str, Any]:
    """The benchmark's recipe (Dong and Yang 2020, section 2.2)."""
    return {
        "epochs": epochs, "batch_size": 256, "lr": 0.1, "min_lr": 0.0,
        "momentum": 0.9, "weight_decay": 5e-4, "label_smoothing": 0.0,
        "warmup_epochs": 0, "test_every": 10, "augment": "pad_crop+flip",
    }


def _make_local(config: config_dict.ConfigDict) -> None:
    config.data.update(name="digits", image_size=16)
    config.search.update(
        evaluator="train", queries=8, unit_queries=1, split=0.8
    )
    for train, epochs in ((config.search.training, 1), (config.train, 10)):
        train.update(batch_size=32, augment="none", epochs=epochs)
