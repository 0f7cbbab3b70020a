"""ShrinkCNN, trained as published (Zhang et al., AutoShrink, AAAI 2020).

Command, on ImageNet in class folders, for ShrinkCNN-A (shrink_cnn_b is -B, or
the file of a network that autoshrink_cnn found):
    tfnas-train --config=configs/shrink_cnn.py --arch=shrink_cnn_a \\
        --workdir=runs/shrink_cnn --config.data.name=folder:imagenet
Expected: the authors report 73.9 % (A) and 75.1 % (B) top-1; we have not run
ImageNet here. Differences: 1000 classes instead of 1001 with an empty one;
colours change in one order, one method of resizing.
Time: the authors report 600 GPU hours. The rate is that of two devices with
128 images each.

Variant `local` (digits), for any network of images of 32 px, such as a cell
that autoshrink_cnn found:
    tfnas-train --config=configs/shrink_cnn.py:local --arch=cell.json \\
        --workdir=runs/tiny
Expected: above 90 % of the test digits. Time: minutes on 2 CPU cores.
(--arch=shrink_cnn_a runs as well, in 4 minutes, and learns; but the moving
statistics of its normalisation, of momentum 0.999, take thousands of steps to
arrive, and until then it is tested at chance.)
"""

from ml_collections import config_dict
from tfnas.configs import _base


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    recipe = {
        "recipe": "shrink_cnn", "epochs": 300, "warmup_epochs": 10,
        "batch_size": 256, "lr": 0.1,
        # RMSProp; its average starts at 1, epsilon is inside the root.
        "decay": 0.9, "momentum": 0.9, "epsilon": 1.0,
        "l2": 4e-5,  # of kernels, but depthwise ones
        "ema_decay": 0.999, "label_smoothing": 0.1, "initial": "fan_out",
        "test_every": 10, "augment": "large_crop+flip+jitter+hue+erase",
    }
    local = {
        "epochs": 20, "warmup_epochs": 2, "batch_size": 32, "lr": 0.05,
        "ema_decay": 0.9, "test_every": 5, "augment": "pad_crop",
    }
    config = _base.training(variant, recipe, local)
    config.data.mean = 127.5  # images are in -1..1
    config.data.std = 127.5
    return config
