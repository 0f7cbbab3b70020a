"""Training of a derived network, from scratch or from shared weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.data import Dataset
from tfnas.derive import build_model
from tfnas.derive import load_weights
from tfnas.derive import require_fit
from tfnas.model_files import save_model
from tfnas.supernets.base import one_by_one
from tfnas.train import losses
from tfnas.train import precision
from tfnas.train import recipe
from tfnas.train import schedules
from tfnas.train.averaging import WeightAverage
from tfnas.train.distillation import Teacher
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.mixing import Mixing
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import AdamW
from tfnas.train.optimizers import Optimizer
from tfnas.train.stage import run_stage
from tfnas.train.stage import start_loop

__all__ = ["FORMAT", "Retraining", "retrain", "save_model"]

FORMAT = "tfnas-trained/1"


class Retraining:
    """Epochs on the training images, tested now and then.

    The test images choose nothing: the weights of the last epoch are kept, or
    with `config.ema_decay` their average. What the options of `recipe` add
    belongs to the training; the model stays one of float32 stock layers.

    Args:
        arch: The network.
        dataset: Its `train` and `test` splits are used.
        loop: The gradient loop.
        config: The `train` section of a config; see `recipe`.
        weights: Shared weights to start from (see `derive.load_weights`).

    Raises:
        ConfigError: when a field of the config makes no sense.
        ArtifactError: when the teacher's file is not readable.
    """

    goes_on_within = True

    def __init__(
        self, arch: Arch, dataset: Dataset, loop: Loop, config: Any,
        weights: Sequence[Sequence[np.ndarray]] | None = None,
    ):
        recipe.check(config)
        self.loop, self.config = loop, config
        self.accuracy: float | None = None
        with loop.strategy.scope():
            self.model = build_model(arch)
            *_, self._classifier = self.model.layers
            self._features = keras.Model(
                self.model.input, self._classifier.input
            )
            if weights is not None:
                load_weights(self.model, arch, weights)
            else:
                self._draw_weights()
            self._optimizer = precision.scaled(
                self._make_optimizer(len(dataset.train)),
                self._option("precision"),
            )
            trainable = [v.value for v in self.model.trainable_variables]
            self._optimizer.build(trainable)
            self._average = self._make_average()
            self._teacher = self._make_teacher(dataset)
        self._mixing = Mixing(
            self._option("mixup_alpha"), self._option("cutmix_alpha"),
            config.batch_size,
        )
        seed = tf.constant(loop.seed, tf.int64)
        self._train = Phase(
            "train", dataset.train, config.batch_size, self._objective,
            lambda draw: one_by_one(trainable), self._optimizer,
            draw=lambda step: tf.stack([seed, step]), stateless=False,
            augment=config.augment,
            after=None if self._average is None else self._after,
        )
        self._test = Phase(
            "test", dataset.test, config.batch_size, self._test_objective,
            lambda draw: [], stateless=False, shuffle=False, bn_groups=None,
        )

    def _option(self, name: str) -> Any:
        return recipe.option(self.config, name)

    def _draw_weights(self) -> None:
        """Draws the first weights; those of the layers are drawn already."""

    def _make_optimizer(self, examples: int) -> Optimizer:
        c, schedule = self.config, self._schedule(examples)
        if self._option("optimizer") == "adamw":
            return AdamW(
                schedule, self._option("beta1"), self._option("beta2"),
                self._option("epsilon"), c.weight_decay,
                self._option("decay_vectors"),
            )
        return SGD(
            schedule, self._option("momentum"), c.weight_decay,
            nesterov=self._option("nesterov"),
            decay_vectors=self._option("decay_vectors"),
        )

    def _make_average(self) -> WeightAverage | None:
        decay = self._option("ema_decay")
        return WeightAverage(self._averaged(), decay) if decay else None

    def _averaged(self) -> list[Any]:
        """Returns what is averaged: the moving statistics fit the weights."""
        return [v.value for v in self.model.variables]

    def _make_teacher(self, dataset: Dataset) -> Teacher | None:
        path = self._option("teacher")
        if path is None:
            return None
        return Teacher(
            path, dataset, self._option("teacher_mean"),
            self._option("teacher_std"),
        )

    def _schedule(self, examples: int) -> schedules.Schedule:
        c = self.config
        steps = examples // c.batch_size + 1
        return schedules.cosine(
            c.lr, c.epochs * steps, c.min_lr, c.warmup_epochs * steps
        )

    def _objective(self, images, labels, draw, values) -> Objective:
        batch = self._mixing(images, labels, draw)
        logits = self._logits(batch.images, draw)
        smoothing = self.config.label_smoothing
        loss = batch.blend(
            lambda y: losses.cross_entropy(y, logits, smoothing)
        )
        if self._teacher is not None:
            loss += self._option("distill_weight") * (
                losses.distillation(
                    self._teacher(batch.images), logits,
                    self._option("teacher_temperature"),
                )
                - loss
            )
        correct = batch.blend(lambda y: losses.correct(y, logits))
        return Objective(loss, sums={"accuracy": correct})

    def _logits(self, images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        """Applies the network as it trains; its last layer is in float32."""
        with precision.computing(
            self._features.layers[1:], self._option("precision")
        ):
            features = self._features(images, training=True)
        features = tf.cast(features, tf.float32)
        return self._classifier(self._dropout(features, draw))

    def _dropout(self, x: tf.Tensor, step_seed: tf.Tensor) -> tf.Tensor:
        """Drops features, others on each replica."""
        rate = self._option("dropout")
        if not rate:
            return x
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.random.experimental.stateless_fold_in(step_seed, replica)
        return tf.nn.experimental.stateless_dropout(x, rate, seed)

    def _test_objective(self, images, labels, draw, values) -> Objective:
        logits = self.model(images, training=False)
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    @property
    def units(self) -> int:
        """Number of epochs."""
        return self.config.epochs

    def unit_steps(self, unit: int) -> int:
        """Returns the number of steps of an epoch."""
        steps = self.loop.num_steps(self._train)
        if self._is_tested(unit):
            steps += self.loop.num_steps(self._test)
        return steps

    def _is_tested(self, epoch: int) -> bool:
        last = epoch + 1 == self.config.epochs
        return last or (epoch + 1) % self.config.test_every == 0

    def _after(self, draw, values) -> None:
        assert self._average is not None
        self._average.update(draw[1] + 1)  # the draw holds seed and step

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Trains for an epoch; tests when it is time.

        Averaged weights are what is tested, and what the model keeps after
        the last epoch.
        """
        records = self._train_epoch(unit)
        if self._is_tested(unit):
            self._swap()
            records += self._test_epoch(unit)
            if unit + 1 < self.units:
                self._swap()
        return records

    def _swap(self) -> None:
        """Exchanges the weights and their averages, where there are any."""
        if self._average is not None:
            self._average.swap()

    def _train_epoch(self, epoch: int) -> list[dict[str, Any]]:
        means = self.loop.run(self._train, epoch)
        apart = [v.value for v in self.model.non_trainable_variables]
        if self._average is not None:
            apart += self._average.of(apart)
        self.loop.average(apart)
        return [{"phase": "train", "epoch": epoch, **means}]

    def _test_epoch(self, epoch: int) -> list[dict[str, Any]]:
        means = self.loop.run(self._test, 0)
        self.accuracy = means["accuracy"]
        return [{"phase": "test", "epoch": epoch, **means}]

    def state(self) -> dict[str, Any]:
        """Returns the counters and the last test accuracy."""
        return {"steps": dict(self.loop.steps), "accuracy": self.accuracy}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""
        self.loop.steps.update(state["steps"])
        self.accuracy = state["accuracy"]

    def variables(self) -> dict[str, list]:
        """Returns the model's variables, the optimizer's, the averages."""
        groups = {
            "model": [v.value for v in self.model.variables],
            "slots": self._optimizer.slots(),
        }
        if self._average is not None:
            groups["averages"] = self._average.averages
        return groups


def retrain(
    arch: Arch, config: Any, workdir: str | os.PathLike, dataset: Dataset,
    weights: Sequence[Sequence[np.ndarray]] | None = None,
    title: str = "train", progress: bool = True,
) -> tuple[keras.Model, float]:
    """Trains a network; the same call again goes on where it was.

    Args:
        arch: The network.
        config: A whole config; its `train` section is the recipe.
        workdir: Folder of the stage.
        dataset: The images.
        weights: Shared weights to start from; `None` is from scratch.
        title: Title of the progress bar.
        progress: Whether to show it.

    Returns:
        The trained model and its accuracy on the test images.

    Raises:
        ConfigError: when the workdir belongs to another network or config,
            the images are not those that the network takes, or a field of
            the config makes no sense.
        ArtifactError: when the teacher's file is not readable.
    """
    recipe.check(config.train)
    require_fit(arch, dataset.image_shape, dataset.classes)
    loop = start_loop(config.seed, config.strategy, progress)
    make = recipe.RECIPES.get(recipe.option(config.train, "recipe"))
    work = make(arch, dataset, loop, config.train, weights)
    claim = {"arch": arch.to_json(), "train": config.train,
             "data": config.data, "seed": config.seed,
             "inherited": weights is not None}
    inputs = {"arch": arch.id}
    if (teacher := recipe.option(config.train, "teacher")) is not None:
        inputs["teacher"] = artifacts.sha256(teacher)
    run_stage(
        workdir, work, loop, claim, inputs, title,
        lambda: {"format": FORMAT, "arch_id": arch.id,
                 "accuracy": work.accuracy},
    )
    return work.model, work.accuracy
