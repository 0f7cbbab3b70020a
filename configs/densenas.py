"""DenseNAS networks, trained as published (Fang et al., CVPR 2020).

Command, on ImageNet in class folders, for DenseNAS-A (also densenas_b and
densenas_c, or the file of a network that densenas_mbv2 or densenas_resnet
found):
    tfnas-train --config=configs/densenas.py --arch=densenas_a \\
        --workdir=runs/densenas_a --config.data.name=folder:imagenet
Expected: the authors report 73.1 % (A), 74.6 % (B) and 75.3 % (C) top-1; and
73.5 % and 75.8 % for two networks of the ResNet space, whose descriptions
they did not release. We have not run ImageNet here. Difference: the weights
of the last epoch are kept; the authors kept the best on the validation set.
Time: not known; 240 epochs, on several GPUs (--strategy=mirrored).

Variant `local` (digits), for any network of images of 32 px:
    tfnas-train --config=configs/densenas.py:local --arch=densenas_a \\
        --workdir=runs/tiny
Expected: about 75 % of the test digits: its last maps have one pixel there.
Time: about a minute on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    recipe = {
        "epochs": 240, "batch_size": 1024, "lr": 0.5, "min_lr": 1e-5,
        "momentum": 0.9, "weight_decay": 4e-5, "label_smoothing": 0.1,
        "warmup_epochs": 0, "test_every": 10, "augment": "resized_crop+flip",
    }
    local = {
        "epochs": 15, "batch_size": 64, "lr": 0.1, "label_smoothing": 0.0,
        "augment": "pad_crop",
    }
    return _base.training(variant, recipe, local)
