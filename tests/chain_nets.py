"""Tiny chains with their spaces, and searches in them, on noise."""

import numpy as np

from configs import autospace_cells
from configs import proxyless_autospace
from tests.search.tiny_search import make_split
from tfnas.cost import cell_costs
from tfnas.cost.lattice import LatticeCosts
from tfnas.search.autospace import AutoSpace
from tfnas.search.autospace import SearchCosts
from tfnas.search.proxyless import ProxylessNAS
from tfnas.spaces.autospace import CellSpace
from tfnas.spaces.autospace_specs import NORM
from tfnas.spaces.candidates import CandidateSpace
from tfnas.spaces.chain import ChainSpec
from tfnas.train import distribute
from tfnas.train.loop import Loop

BATCH = 8
# Blocks 1 and 2 are residual and make position 0; block 3 halves the image.
SPEC = ChainSpec(
    input_size=16, classes=5, stem=8, stem_stride=2, fixed=8,
    stages=((8, 2, 1), (16, 1, 2)), head=16, norm=NORM,
)
# A skip comes after the words of blocks 1 and 2.
WORDS = (
    ("0.1.0.2.2.5.1.1.5", "1.0.1.3.1.2.1.5.2", "mbconv_k3_e3"),
    ("2.0.0.7.5.2.1.2.5", "mbconv_k5_e1"),
    ("1.1.1.5.5.3.1.2.5", "2.0.0.2.2.5.1.1.2", "mbconv_k3_e6"),
)


def cell_space(**changes):
    """The space of all cells on the tiny chain."""
    return CellSpace("cells", SPEC, **changes)


def candidate_space(words=WORDS, **changes):
    """A space of cells, inverted residuals and skips on the tiny chain."""
    return CandidateSpace("candidates", SPEC, words, **changes)


def splits(space, images):
    """Returns two splits of random images."""
    return tuple(make_split(n, space, i) for i, n in enumerate(images))


def make_evolution(images=(3 * BATCH, 2 * BATCH), budget=None, **changes):
    """Returns a search for a space: three rounds of two cells.

    Args:
        images: Sizes of the weight and the architecture split.
        budget: Millions of multiply-adds.
        **changes: Changes of the config.
    """
    space = cell_space()
    config = autospace_cells.get_config("local").search
    config.batch_size, config.warmup_epochs, config.rounds = BATCH, 1, 3
    config.steps, config.evolved, config.random_archs = 4, 2, 1
    config.population.size, config.population.slots = 7, 2
    config.population.tournament, config.random_tolerance = 2, 0.5
    config.update(changes)
    fused = cell_costs.from_madds(space)
    costs = SearchCosts(
        cell_costs.from_madds(space, fused=False), fused, fused, budget
    )
    return AutoSpace(
        space, costs, splits(space, images),
        Loop(distribute.strategy(), progress=False), config, seed=5,
    )


def make_proxyless(
    target=None, images=(3 * BATCH, 2 * BATCH), spread=True, **changes
):
    """Returns a search in the space of candidates: two epochs and a warm-up.

    Args:
        target: Millions of multiply-adds to aim at.
        images: Sizes of the weight and the architecture split.
        spread: Whether the architecture parameters are far apart.
        **changes: Changes of the config.
    """
    space = candidate_space()
    config = proxyless_autospace.get_config("local").search
    config.batch_size, config.warmup_epochs, config.epochs = BATCH, 1, 2
    config.arch_every, config.random_archs = 2, 2
    config.random_tolerance = 0.5
    if target is None:
        config.cost.loss = "none"
    config.update(changes)
    search = ProxylessNAS(
        space, LatticeCosts.from_madds(space), splits(space, images),
        Loop(distribute.strategy(), progress=False), config, seed=5,
        target=target,
    )
    if spread:
        net, rng = search.training.net, np.random.default_rng(0)
        values = rng.normal(size=net.mask.shape) * net.mask
        net.alphas.assign(values.astype("float32"))
    return search
