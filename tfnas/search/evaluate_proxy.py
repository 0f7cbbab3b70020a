"""Scores by the proxy task of AutoShrink."""

from __future__ import annotations

import dataclasses
import gc
import math

import keras
from ml_collections import config_dict

from tfnas.arch import Arch
from tfnas.derive import require_fit
from tfnas.errors import Diverged
from tfnas.search.evaluate_training import ShortTraining
from tfnas.search.evaluate_training import TrainingEvaluator
from tfnas.train.proxy import ProxyTraining
from tfnas.train.stage import start_loop


@dataclasses.dataclass(frozen=True)
class ProxyTask(ShortTraining):
    """The proxy on which AutoShrink trains its candidates.

    The release scores on a part of the test images; here the images that
    score are training images that no candidate learns from.

    Args:
        data: The `data` section of a config.
        split: Share of the training images that the weights learn from.
        seed: Seed of the split, the first weights and the order of images.
        recipe: The config of `ProxyTraining`.
    """

    def score(self, arch: Arch) -> float:
        """Trains a network; returns its best accuracy, `-inf` if it diverged.

        Models and traced functions of a candidate are gone afterwards.

        Raises:
            ConfigError: when the network does not take these images.
        """
        dataset = self.dataset
        require_fit(arch, dataset.image_shape, dataset.classes)
        loop = start_loop(self.seed, progress=False)
        recipe = config_dict.ConfigDict(dict(self.recipe))
        try:
            return ProxyTraining(
                arch, dataset.train, dataset.test, loop, recipe
            ).run()
        except Diverged:
            return -math.inf
        finally:
            keras.utils.clear_session(free_memory=False)
            gc.collect()


class ProxyEvaluator(TrainingEvaluator):
    """Scores by the proxy: `search.training`, `search.workers`."""

    meaning = "each network trained for it, on the architecture split"
    kind = ProxyTask
