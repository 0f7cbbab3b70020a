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
from tfnas.train import distribute
from tfnas.train import run_state
from tfnas.train.loop import Loop
from tfnas.train.proxy import ProxyTraining


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
        run_state.start(self.seed)
        try:
            return self._train(arch)
        except Diverged:
            return -math.inf
        finally:
            keras.utils.clear_session(free_memory=False)
            gc.collect()

    def _train(self, arch: Arch) -> float:
        loop = Loop(distribute.strategy(), self.seed, progress=False)
        recipe = config_dict.ConfigDict(dict(self.recipe))
        training = ProxyTraining(
            arch, self.dataset.train, self.dataset.test, loop, recipe
        )
        return training.run()


class ProxyEvaluator(TrainingEvaluator):
    """Scores by the proxy: `search.training`, `search.workers`."""

    meaning = "each network trained for it, on the architecture split"
    kind = ProxyTask
