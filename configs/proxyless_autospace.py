"""ProxylessNAS in a learned space (Zhou et al., ICCV 2021; Cai et al. 2019).

Command, on ImageNet in class folders, with a table of your device:
    tfnas-run --config=configs/proxyless_autospace.py \\
        --workdir=runs/proxyless --target_ms=20
Expected: the paper's networks in the authors' space have 175M to 570M
multiply-adds with 71.1 to 77.0 % top-1 on ImageNet (the authors' figures; we
have not run ImageNet here). Time: not known for ImageNet.

In a space of your own, and in the hand-made space for comparison:
    --config.space=autospace_proxyless:runs/autospace/space.json
    --config.space=proxyless_mbconv

Variant `local` (digits, the spaces scaled to 32 px):
    tfnas-search --config=configs/proxyless_autospace.py:local \\
        --workdir=runs/proxyless --target_madds=3e6
Expected: a network within 2 % of the target, and random ones beside it.
Time: under 5 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base
from tfnas.configs import autospace


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    search = {
        "mode": "two_path",  # or reinforce
        "warmup_epochs": 40, "epochs": 120, "arch_from_epoch": 1,
        # Weight steps for each architecture step; the recipe of reinforce has
        # 300 architecture steps an epoch, which is 16.
        "arch_every": 5,
        "batch_size": 256,
        "split": 0.96,  # 50,000 images of ImageNet are for the choices
        "augment": "resized_crop+flip+jitter", "label_smoothing": 0.1,
        "bn_groups": 1,
        "share_weights": False,  # among equal layers of a block's candidates
        "top_archs": 2, "random_archs": 20, "random_tolerance": 0.05,
        "weights": {
            "warmup_lr": 0.05, "lr": 0.025, "momentum": 0.9,
            "weight_decay": 4e-5,
        },
        "arch": {"lr": 1e-3, "beta1": 0.0, "beta2": 0.999},
        "reinforce": {
            "networks": 10,  # of an update
            "rate": 0.99,  # at which the mean reward follows
            "weight": 0.1,  # of the cost in the reward
        },
        "cost": {
            "loss": "mul_log",  # or add_linear, target, none
            # What the loss compares with where there is no target: ms, or
            # millions of multiply-adds. The recipe has 80 ms and 300M.
            "reference": 80.0,
            "alpha": 0.2, "beta": 0.3,  # of mul_log
            "factor": 0.1,  # of add_linear
            "target_factor": 0.5,  # of target
            "tolerance": 0.02,
        },
    }
    config = _base.search(
        "proxyless", "autospace_proxyless", search, run=_base.run(),
        train=autospace.get_config(variant).train,
    )
    if variant == "local":
        _make_local(config)
    return config


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "autospace_proxyless@32"
    config.data.update(name="digits", image_size=32)
    config.search.update(
        warmup_epochs=20, epochs=40, batch_size=32, split=0.8, augment="none",
        label_smoothing=0.0, share_weights=True, random_archs=10,
    )
    config.search.weights.update(warmup_lr=0.1, lr=0.05)
    config.search.arch.lr = 2e-2  # few steps: the published rate is 1e-3
    # Small networks take less than 1 ms, which `mul_log` cannot compare.
    config.search.cost.update(loss="target", reference=_base.null(float))
