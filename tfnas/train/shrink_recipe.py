"""The recipe by which ShrinkCNN was trained on ImageNet.

RMSProp as TensorFlow 1 had it, a rate that changes with the epoch, L2 on
pointwise and dense kernels, weights averaged over time. Source: Zhang et al.,
AutoShrink, AAAI 2020, the authors' release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.data import Dataset
from tfnas.train import initial
from tfnas.train import penalty
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.optimizers import Optimizer
from tfnas.train.retrain import Retraining
from tfnas.train.schedules import epoch_cosine
from tfnas.train.tf1_optimizers import RMSProp


class ShrinkTraining(Retraining):
    """Trains with RMSProp and L2 in the loss.

    Args:
        arch: The network.
        dataset: Its `train` and `test` splits are used.
        loop: The gradient loop.
        config: The `train` section of a config, with the fields of
            `configs/shrink_cnn.py`.
        weights: Shared weights to start from (see `derive.load_weights`).
    """

    def __init__(
        self, arch: Arch, dataset: Dataset, loop: Loop, config: Any,
        weights: Sequence[Sequence[np.ndarray]] | None = None,
    ):
        super().__init__(arch, dataset, loop, config, weights)
        self._penalty = penalty.l2(self.model, config.l2)

    def _draw_weights(self) -> None:
        initial.draw(self.model, self.config.initial, self.loop.seed)

    def _averaged(self) -> list[Any]:
        """The published average leaves the moving statistics alone."""
        return [v.value for v in self.model.trainable_variables]

    def _make_optimizer(self, examples: int) -> Optimizer:
        c = self.config
        steps = -(-examples // c.batch_size)
        return RMSProp(
            epoch_cosine(c.lr, c.epochs, c.warmup_epochs, steps), c.decay,
            c.momentum, c.epsilon,
        )

    def _objective(self, images, labels, draw, values) -> Objective:
        objective = super()._objective(images, labels, draw, values)
        return dataclasses.replace(objective, extra=self._penalty())
