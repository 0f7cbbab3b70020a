"""ASE-NAS networks from scratch (Chen et al., arXiv 2210.17180).

Command, on ImageNet in class folders, for ASE-NAS (also ase_nas_plus):
    tfnas-train --config=configs/ase_nas.py --arch=ase_nas \\
        --workdir=runs/ase_nas --config.data.name=folder:imagenet
Expected: the authors report 79.9 % top-1, and 80.2 % for ASE-NAS+, with
weights from a supernet of Once-for-All and its teacher. They did not say how
those were made, so this is Once-for-All's training of one network; below the
published figures is to be expected of it, and `--config.train.teacher=` helps.
We have not run ImageNet here. A network that ase_nas_mobilenetv3 found starts
from its supernet with `--init_from=SEARCH`.
Time: not known; 180 epochs, on several GPUs (--strategy=mirrored).

Variant `local` (digits), for any network of images of 32 px:
    tfnas-train --config=configs/ase_nas.py:local --arch=ase_nas \\
        --workdir=runs/tiny
Expected: about 98 % of the test digits. Time: about 5 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` or `local`.
    """
    recipe = {
        "epochs": 180, "batch_size": 256,
        "lr": 0.32,  # 0.08 for 64 images
        "min_lr": 0.0, "momentum": 0.9, "nesterov": True,
        "weight_decay": 3e-5,
        "decay_vectors": False,  # scales, offsets and biases
        "label_smoothing": 0.1, "dropout": 0.1, "warmup_epochs": 5,
        "test_every": 10, "augment": "resized_crop+flip+jitter",
    }
    local = {
        "epochs": 15, "batch_size": 64, "lr": 0.1, "nesterov": False,
        "decay_vectors": True, "dropout": 0.0, "augment": "pad_crop",
    }
    return _base.training(variant, recipe, local)
