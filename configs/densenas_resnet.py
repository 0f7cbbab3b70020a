"""DenseNAS in the ResNet space (Fang et al., CVPR 2020).

Command, on ImageNet-100 in class folders, by multiply-adds as published:
    tfnas-search --config=configs/densenas_resnet.py --workdir=runs/resnet \\
        --config.data.name=folder:imagenet
Expected: the paper found 1.61 to 3.06 G multiply-adds with 73.5 to 75.8 %
top-1 on ImageNet (the authors' figures; we have not run ImageNet here).
Time: the authors report 64 GPU hours for a search.

Variant `local` (digits, the space scaled to 32 px):
    tfnas-run --config=configs/densenas_resnet.py:local --workdir=runs/resnet
Expected: a network, its int8 file and a report. Time: about 10 minutes on 2
CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import densenas_mbv2


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    config = densenas_mbv2.get_config(variant)
    config.space = "densenas_resnet"
    config.search.temperature = 0.9
    config.search.cost.update(factor=0.2, log_base=3500.0, skip_reg=True)
    if variant == "local":
        config.space = "densenas_resnet@32"
        config.search.update(
            epochs=12, arch_update_epoch=4, val_start_epoch=10
        )
    else:
        config.search.update(
            epochs=70, arch_update_epoch=10, val_start_epoch=50,
            batch_size=512,
        )
    return config
