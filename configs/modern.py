"""A recipe of ours for networks for phones: AdamW, averages, mixed images.

Command, on ImageNet in class folders, for any network (an application's name
or a file):
    tfnas-train --config=configs/modern.py --arch=densenas_c \\
        --workdir=runs/modern --config.data.name=folder:imagenet
With a teacher, any Keras classifier of the same classes:
    ... --config.train.teacher=teacher.keras --config.train.distill_weight=0.5
Expected: not known: we have not run ImageNet here. The choices are those that
are usual for networks of 3 to 10 million parameters: mild mixing, a long
cosine, a slow average of the weights. Larger networks take more of each.
Time: not known; 300 epochs. On GPUs with tensor cores
--config.train.precision=mixed_float16 (or mixed_bfloat16) is faster; on CPUs
it is slower.

Variant `local` (digits), for any network of images of 32 px:
    tfnas-train --config=configs/modern.py:local --arch=densenas_a \\
        --workdir=runs/tiny
Expected: about 96 % of the test digits. Time: about 3 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` or `local`.
    """
    recipe = {
        "optimizer": "adamw", "epochs": 300, "batch_size": 1024,
        "lr": 2e-3,  # 1e-3 for 512 images
        "min_lr": 1e-5, "warmup_epochs": 5, "weight_decay": 0.05,
        "decay_vectors": False, "label_smoothing": 0.1, "dropout": 0.1,
        "ema_decay": 0.9998,  # over about 4 epochs
        "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "test_every": 10,
        "augment": "resized_crop+flip+randaugment",
    }
    local = {
        "epochs": 20, "batch_size": 64, "warmup_epochs": 2,
        "ema_decay": 0.98, "cutmix_alpha": 0.0, "augment": "pad_crop",
    }
    return _base.training(variant, recipe, local)
