"""Scores language models by the proxy task of AutoShrink."""

from __future__ import annotations

import dataclasses
import functools
import gc
import math
from collections.abc import Mapping
from typing import Any

import keras
from ml_collections import config_dict

from tfnas.arch import Arch
from tfnas.data.text import Text
from tfnas.data.text import load_text
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.ops.recurrent import language_parts
from tfnas.search.evaluate_training import TrainingEvaluator
from tfnas.train.language import LanguageTraining
from tfnas.train.loop import Loop
from tfnas.train.stage import start_loop


@dataclasses.dataclass(frozen=True)
class LanguageProxy:
    """The proxy on which AutoShrink trains recurrent cells.

    Args:
        data: The `data` section of a config.
        seed: Seed of the first weights and of the steps of the updates; an
            edge starts from the same weights in every candidate.
        recipe: Fields as `search_recipe` in `configs/shrink_rnn.py` has.
    """

    data: Mapping[str, Any]
    seed: int
    recipe: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: Any) -> LanguageProxy:
        """Reads `data`, `seed` and `search.training`."""
        return cls(
            dict(config.data), config.seed, config.search.training.to_dict()
        )

    @functools.cached_property
    def text(self) -> Text:
        """The text; what it is tested on is not looked at."""
        return load_text(self.data)

    def score(self, arch: Arch) -> float:
        """Trains a network from scratch.

        Returns:
            The mean probability of a word of the validation text, `exp(-
            loss)` of the best epoch, which is 1 / perplexity; `-inf` if the
            training diverged.

        Raises:
            ConfigError: when the network does not have the text's words.
        """
        words = language_parts(arch).words
        if words != len(self.text.vocabulary):
            raise ConfigError(
                f"network {arch.id} has {words} words. Received: a text with "
                f"{len(self.text.vocabulary)}"
            )
        loop = start_loop(self.seed, progress=False)
        try:
            return math.exp(-self._lowest_loss(arch, loop))
        except Diverged:
            return -math.inf
        finally:
            keras.utils.clear_session(free_memory=False)
            gc.collect()  # models and traced functions refer to each other

    def _lowest_loss(self, arch: Arch, loop: Loop) -> float:
        recipe = config_dict.ConfigDict(dict(self.recipe))
        work = LanguageTraining(arch, self.text, loop, recipe)
        for epoch in range(work.units):
            work.run_unit(epoch)
        return min(work.losses)


class LanguageEvaluator(TrainingEvaluator):
    """Scores by the proxy: `search.training`, `search.workers`."""

    meaning = "1 / perplexity, each network trained for it"
    kind = LanguageProxy
