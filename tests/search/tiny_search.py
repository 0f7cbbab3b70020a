"""A DenseNAS search in a tiny space, on noise."""

import numpy as np

from configs import densenas_mbv2
from tests import dense_nets
from tfnas.cost.lattice import LatticeCosts
from tfnas.data import Split
from tfnas.data.images import Pixels
from tfnas.search.densenas import DenseNAS
from tfnas.train import distribute
from tfnas.train.loop import Loop

BATCH = 8


def make_split(number, space, seed=0):
    """Returns a split of random images, labels in turn."""
    size, rng = space.input_shape[0], np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (number, size, size, 3), np.uint8)
    labels = np.arange(number) % space.classes
    return Split(
        Pixels(pixels), labels, np.arange(number), (size, size),
        (127.5,) * 3, (64.0,) * 3,
    )


def make_config(**changes):
    """Returns the `search` section of a config: two short epochs."""
    config = densenas_mbv2.get_config("local").search
    config.batch_size, config.augment = BATCH, "none"
    config.epochs, config.arch_update_epoch, config.val_start_epoch = 2, 1, 1
    config.random_archs, config.random_tolerance = 2, 0.3
    config.top_archs = 1
    config.update(changes)
    return config


def make_search(target=None, images=(BATCH, BATCH), **changes):
    """Returns a search whose architecture parameters are spread out.

    Args:
        target: Multiply-adds to aim at, in millions.
        images: Sizes of the weight and the architecture split.
        **changes: Changes of the config.
    """
    space = dense_nets.space()
    splits = tuple(make_split(n, space, i) for i, n in enumerate(images))
    loop = Loop(distribute.strategy(), progress=False)
    search = DenseNAS(
        space, LatticeCosts.from_madds(space), splits, loop,
        make_config(**changes), seed=5, target=target,
    )
    rng = np.random.default_rng(0)
    heads, stacks, paths = search.net.arch.as_list()
    heads.assign(rng.normal(size=heads.shape))
    stacks.assign(rng.normal(size=stacks.shape))
    paths.assign(rng.normal(size=paths.shape) * search.net.path_mask)
    return search
