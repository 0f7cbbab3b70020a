"""ShrinkCNN on ImageNet (Zhang et al., AutoShrink, AAAI 2020).

Command, on ImageNet in class folders, for ShrinkCNN-A (`_swish` is -B):
    python -c "from tfnas import spaces; from tfnas.spaces import dag_specs; \\
        spaces.get('autoshrink_cnn', 1000).decode( \\
        dag_specs.SHRINK_CNN).save('shrink_cnn.json')"
    tfnas-train --config=configs/shrink_cnn.py --arch=shrink_cnn.json \\
        --workdir=runs/shrink_cnn --config.data.name=folder:imagenet
Expected: the authors report 73.9 % (A) and 75.1 % (B) top-1; we have not run
ImageNet here. Differences: 1000 classes instead of 1001 with an empty one;
crops of 8 to 100 % of the area instead of 75 to 100 %, one method of
resizing, no hue, no random erasing.
Time: the authors report 600 GPU hours. The rate is that of two devices with
128 images each.

Variant `local` (digits), for any network of images of 32 px:
    tfnas-train --config=configs/shrink_cnn.py:local --arch=cell.json \\
        --workdir=runs/tiny
Expected: above 90 % of the test digits. Time: minutes on 2 CPU cores.
"""

from ml_collections import config_dict

from tfnas.errors import ConfigError


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    config = config_dict.ConfigDict()
    config.seed = 0
    config.strategy = "default"

    config.data = config_dict.ConfigDict()
    config.data.name = "folder:imagenet"
    config.data.image_size = 224
    config.data.classes = config_dict.placeholder(int)
    config.data.limit_train = config_dict.placeholder(int)
    config.data.limit_test = config_dict.placeholder(int)
    config.data.mean = 127.5  # images are in -1..1
    config.data.std = 127.5

    config.train = _recipe()
    if variant == "local":
        config.data.name = "digits"
        config.data.image_size = 32
        config.train.epochs = 20
        config.train.warmup_epochs = 2
        config.train.batch_size = 32
        config.train.lr = 0.05
        config.train.average = 0.9
        config.train.test_every = 5
        config.train.augment = "pad_crop"
    elif variant != "imagenet":
        raise ConfigError(
            f"`variant` must be 'imagenet' or 'local'. Received: {variant!r}"
        )
    return config


def _recipe() -> config_dict.ConfigDict:
    """The published training."""
    train = config_dict.ConfigDict()
    train.recipe = "shrink_cnn"
    train.epochs = 300
    train.warmup_epochs = 10
    train.batch_size = 256
    train.lr = 0.1
    # RMSProp; its average starts at 1, epsilon is inside the root.
    train.decay = 0.9
    train.momentum = 0.9
    train.epsilon = 1.0
    train.l2 = 4e-5  # of kernels, but depthwise ones
    train.average = 0.999  # of the weights, over steps
    train.label_smoothing = 0.1
    train.initial = "fan_out"
    train.test_every = 10
    train.augment = "resized_crop+flip+jitter"
    return train
