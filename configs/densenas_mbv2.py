"""DenseNAS in the MobileNetV2 space (Fang et al., CVPR 2020).

Command, on ImageNet-100 in class folders, with a table of your device:
    tfnas-run --config=configs/densenas_mbv2.py --workdir=runs/densenas \\
        --config.data.name=folder:imagenet --target_ms=20
Expected: the paper found 251M to 361M multiply-adds with 73.1 to 75.3 % top-1
on ImageNet (the authors' figures; we have not run ImageNet here).
Time: the authors report 64 GPU hours for the search.

Variant `local` (digits, the space scaled to 32 px):
    tfnas-run --config=configs/densenas_mbv2.py:local --workdir=runs/demo
Expected: see the README; measured table, search, two trained networks, int8
files and a report. Time: under 8 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base
from tfnas.configs import densenas


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    search = {
        "epochs": 150, "arch_update_epoch": 50, "val_start_epoch": 120,
        "batch_size": 352,
        "split": 0.8,  # share of the training images for the weights
        "augment": "resized_crop+flip", "temperature": 1.0, "bn_groups": 1,
        "weight_sample_num": 1, "sample_policy": "prob",
        "top_archs": 2, "random_archs": 20, "random_tolerance": 0.05,
        "weights": {
            "lr": 0.2, "min_lr": 1e-5, "momentum": 0.9, "weight_decay": 4e-5,
        },
        "arch": {
            "lr": 3e-4, "beta1": 0.5, "beta2": 0.999, "weight_decay": 1e-3,
        },
        "cost": {
            "factor": 0.15, "log_base": 15.0, "skip_reg": False,
            "target_factor": 0.5, "tolerance": 0.02,
        },
    }
    config = _base.search(
        "densenas", "densenas_mbv2", search, run=_base.run(),
        train=densenas.get_config(variant).train,
    )
    config.data.classes = 100  # tfnas-derive --classes=1000 for the retraining
    if variant == "local":
        _make_local(config)
    return config


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "densenas_mbv2@32"
    config.data.update(name="digits", image_size=32, classes=None)
    config.search.update(
        epochs=40, arch_update_epoch=16, val_start_epoch=36, batch_size=32,
        augment="none", random_archs=10,
    )
    config.search.weights.lr = 0.1
    config.search.arch.lr = 2e-2  # few steps: the published rate is 3e-4
