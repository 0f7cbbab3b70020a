"""AutoSpace networks, trained as those of ProxylessNAS (Cai et al. 2019).

Command, on ImageNet in class folders, for the network that the authors of
AutoSpace (Zhou et al., ICCV 2021) released, or one that proxyless_autospace
found:
    tfnas-train --config=configs/autospace.py --arch=autospace_340m \\
        --workdir=runs/autospace_340m --config.data.name=folder:imagenet
Expected: the authors report 75.3 % top-1; the paper does not say how they
trained, so this is the recipe of ProxylessNAS. We have not run ImageNet here.
Time: not known; 300 epochs (150 is ProxylessNAS' short run), on several GPUs
(--strategy=mirrored).

Variant `local` (digits), for any network of images of 32 px:
    tfnas-train --config=configs/autospace.py:local --arch=autospace_340m \\
        --workdir=runs/tiny
Expected: about 95 % of the test digits. Time: under 2 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    recipe = {
        "epochs": 300, "batch_size": 256, "lr": 0.05, "min_lr": 0.0,
        "momentum": 0.9, "nesterov": True, "weight_decay": 4e-5,
        "decay_vectors": False,  # scales and offsets
        "label_smoothing": 0.1,
        "dropout": 0.1,  # 0.3 for the network 1.4 times as wide
        "warmup_epochs": 0, "test_every": 10,
        "augment": "resized_crop+flip+jitter+hue",
    }
    local = {
        "epochs": 15, "batch_size": 64, "lr": 0.1, "label_smoothing": 0.0,
        "dropout": 0.0, "augment": "pad_crop",
    }
    return _base.training(variant, recipe, local)
