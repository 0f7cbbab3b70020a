"""Training of a candidate on a small task, given up early (AutoShrink)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.data import Split
from tfnas.derive import build_model
from tfnas.supernets.base import one_by_one
from tfnas.train import initial
from tfnas.train import losses
from tfnas.train import penalty
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.tf1_optimizers import Adam


class MovingMeans:
    """Moving averages of loss and accuracy over the steps of an epoch.

    They start with the first step's values.

    Args:
        decay: Weight of the old average.
        easy: Accuracy above which there is nothing left to learn.
    """

    def __init__(self, decay: float, easy: float):
        self.decay, self.easy = decay, easy
        self.loss: float | None = None
        self.accuracy = 0.0

    def __call__(self, means: dict[str, float]) -> bool:
        """Takes the means of a step; says whether the epoch may end."""
        loss, accuracy = means["loss"], means["accuracy"]
        if self.loss is None:
            self.loss, self.accuracy = loss, accuracy
        self.loss += (1 - self.decay) * (loss - self.loss)
        self.accuracy += (1 - self.decay) * (accuracy - self.accuracy)
        return self.accuracy > self.easy


class ProxyTraining:
    """Adam on a small task, as AutoShrink's search trains its candidates.

    The last images, which would not fill a batch, are left out. The first
    weights depend on the seed and the names of the layers only.

    Args:
        arch: The network.
        train: Images to learn from.
        valid: Images to score on.
        loop: The gradient loop.
        config: `epochs`, `batch_size`, `valid_batch_size`, `lr`, `augment`,
            `initial` (see `tfnas.train.initial`), `l2`, `shortcut_l2`, and
            when to stop: `decay`, `easy`, `patience`, `hopeless_epoch`,
            `hopeless`, `loss_ratio`.

    Attributes:
        model: The Keras model.
        epochs: Epochs done.
    """

    def __init__(
        self, arch: Arch, train: Split, valid: Split, loop: Loop, config: Any
    ):
        self.loop, self.config, self.epochs = loop, config, 0
        self.model = build_model(arch)
        initial.draw(self.model, config.initial, loop.seed)
        self._penalty = penalty.l2(
            self.model, config.l2, config.shortcut_l2
        )
        optimizer = Adam(schedules.constant(config.lr))
        trainable = [v.value for v in self.model.trainable_variables]
        optimizer.build(trainable)
        whole = train.num_batches(config.batch_size, drop_remainder=True)
        train = train.subset(np.arange(whole * config.batch_size))
        self._train = Phase(
            "train", train, config.batch_size, self._objective,
            lambda draw: one_by_one(trainable), optimizer, stateless=False,
            augment=config.augment,
        )
        self._valid = Phase(
            "valid", valid, config.valid_batch_size, self._test_objective,
            lambda draw: [], stateless=False, shuffle=False, bn_groups=None,
        )

    def _objective(self, images, labels, draw, values) -> Objective:
        logits = self.model(images, training=True)
        return Objective(
            losses.cross_entropy(labels, logits), extra=self._penalty(),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    def _test_objective(self, images, labels, draw, values) -> Objective:
        logits = self.model(images, training=False)
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    def run(self) -> float:
        """Trains, and returns the best validation accuracy of any epoch.

        An epoch ends early once the moving training accuracy exceeds `easy`.
        Training ends after `patience` epochs without a better accuracy, after
        epoch `hopeless_epoch` (from 1) if it is below `hopeless`, or when the
        validation loss exceeds `loss_ratio` times the moving training loss.

        Raises:
            Diverged: when a loss is not finite.
        """
        c, best, worse = self.config, -1.0, 0
        for epoch in range(c.epochs):
            moving = MovingMeans(c.decay, c.easy)
            self.loop.run(self._train, epoch, moving)
            valid = self.loop.run(self._valid, 0)
            self.epochs = epoch + 1
            accuracy = valid["accuracy"]
            worse = 0 if accuracy > best else worse + 1
            best = max(best, accuracy)
            assert moving.loss is not None  # a pass has a step
            if (
                worse >= c.patience
                or (self.epochs == c.hopeless_epoch and accuracy < c.hopeless)
                or valid["loss"] > c.loss_ratio * moving.loss
            ):
                break
        return best
