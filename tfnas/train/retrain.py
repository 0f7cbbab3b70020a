"""Training of a derived network, from scratch or from shared weights."""

from __future__ import annotations

import os
import pathlib
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
from tfnas.errors import ConfigError
from tfnas.supernets.base import one_by_one
from tfnas.train import distribute
from tfnas.train import losses
from tfnas.train import run_state
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Optimizer
from tfnas.train.stage import Stage

FORMAT = "tfnas-trained/1"


class Retraining:
    """Epochs of SGD on the training images, tested now and then.

    The test images choose nothing: the weights of the last epoch are kept.
    Dropout before the last layer (`config.dropout`, a fraction; none if the
    config does not say) belongs to the training, not to the model.

    Args:
        arch: The network.
        dataset: Its `train` and `test` splits are used.
        loop: The gradient loop.
        config: The `train` section of a config.
        weights: Shared weights to start from (see `derive.load_weights`).
    """

    def __init__(
        self, arch: Arch, dataset: Dataset, loop: Loop, config: Any,
        weights: Sequence[Sequence[np.ndarray]] | None = None,
    ):
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
            self._optimizer = self._make_optimizer(len(dataset.train))
            trainable = [v.value for v in self.model.trainable_variables]
            self._optimizer.build(trainable)
        seed = tf.constant(loop.seed, tf.int64)
        self._train = Phase(
            "train", dataset.train, config.batch_size, self._objective,
            lambda draw: one_by_one(trainable), self._optimizer,
            draw=lambda step: tf.stack([seed, step]), stateless=False,
            augment=config.augment,
        )
        self._test = Phase(
            "test", dataset.test, config.batch_size, self._test_objective,
            lambda draw: [], stateless=False, shuffle=False, bn_groups=None,
        )

    def _make_optimizer(self, examples: int) -> Optimizer:
        c = self.config
        return SGD(
            self._schedule(examples), c.momentum, c.weight_decay,
            nesterov=c.get("nesterov", False),
            decay_vectors=c.get("decay_vectors", True),
        )

    def _schedule(self, examples: int) -> schedules.Schedule:
        c = self.config
        steps = examples // c.batch_size + 1
        return schedules.cosine(
            c.lr, c.epochs * steps, c.min_lr, c.warmup_epochs * steps
        )

    def _objective(self, images, labels, draw, values) -> Objective:
        features = self._features(images, training=True)
        logits = self._classifier(self._dropout(features, draw))
        loss = losses.cross_entropy(
            labels, logits, self.config.label_smoothing
        )
        return Objective(
            loss, sums={"accuracy": losses.correct(labels, logits)}
        )

    def _dropout(self, x: tf.Tensor, step_seed: tf.Tensor) -> tf.Tensor:
        """Drops features, others on each replica."""
        rate = self.config.get("dropout", 0.0)
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

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Trains for an epoch; tests when it is time."""
        records = self._train_epoch(unit)
        if self._is_tested(unit):
            records += self._test_epoch(unit)
        return records

    def _train_epoch(self, epoch: int) -> list[dict[str, Any]]:
        means = self.loop.run(self._train, epoch)
        self.loop.average([v.value for v in self.model.non_trainable_variables])
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
        """Returns the model's variables and the optimizer's."""
        return {
            "model": [v.value for v in self.model.variables],
            "slots": self._optimizer.slots(),
        }


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
            or the images are not those that the network takes.
    """
    strategy = distribute.strategy(config.strategy)
    require_fit(arch, dataset.image_shape, dataset.classes)
    claim = {"arch": arch.to_json(), "train": config.train,
             "data": config.data, "seed": config.seed,
             "inherited": weights is not None}
    folder = artifacts.claim_workdir(workdir, claim)
    run_state.start(config.seed)
    loop = Loop(strategy, config.seed, progress)
    make = _training(config.train)
    work = make(arch, dataset, loop, config.train, weights)
    Stage(folder, work, loop, {"arch": arch.id}).run(title)
    assert work.accuracy is not None  # the last epoch is tested
    if distribute.is_chief(strategy):
        artifacts.write_json(
            folder / "result.json",
            {"format": FORMAT, "arch_id": arch.id, "accuracy": work.accuracy,
             "versions": run_state.versions(), "seed": config.seed},
        )
    return work.model, work.accuracy


def _training(config: Any) -> type[Retraining]:
    """Returns what trains by the recipe that a config names."""
    # Here: other recipes are made of `Retraining`.
    from tfnas.train.shrink_recipe import ShrinkTraining

    recipes = {"sgd": Retraining, "shrink_cnn": ShrinkTraining}
    name = config.get("recipe", "sgd")
    if name not in recipes:
        raise ConfigError(
            f"`train.recipe` must be one of {tuple(recipes)}. "
            f"Received: {name!r}"
        )
    return recipes[name]


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a `.keras` file, which takes the place of an old one at once."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
