"""Scores by the proxy task of AutoShrink, from scratch or inherited."""

from __future__ import annotations

import dataclasses
import gc
import math
import pathlib
import tempfile
from typing import Any
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from ml_collections import config_dict

from tfnas import artifacts
from tfnas.applications import weights
from tfnas.arch import Arch
from tfnas.derive import build_model
from tfnas.derive import require_fit
from tfnas.errors import Diverged
from tfnas.search.evaluate import EVALUATORS
from tfnas.search.evaluate import Evaluator
from tfnas.search.evaluate_training import TRAININGS
from tfnas.search.evaluate_training import ShortTraining
from tfnas.search.evaluate_training import TrainingEvaluator
from tfnas.search.setting import Setting
from tfnas.train import distribute
from tfnas.train import run_state
from tfnas.train.inherit import inherit
from tfnas.train.loop import Loop
from tfnas.train.proxy import ProxyTraining

_PARENT = "parent.npz"


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
        folder: Where weights to inherit lie, and trained ones are put;
            `None` trains from scratch and keeps nothing.
    """

    name: ClassVar[str] = "proxy"

    folder: str | None = None

    def weights_of(self, arch: Arch) -> pathlib.Path:
        """Returns the file of a network's trained weights."""
        assert self.folder is not None  # who inherits has one
        return pathlib.Path(self.folder) / f"{arch.id}.npz"

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
        if self.folder is not None:
            self._inherit(training.model, arch)
        accuracy = training.run()
        if self.folder is not None:
            weights.save(self.weights_of(arch), training.model, arch)
        return accuracy

    def _inherit(self, model: keras.Model, arch: Arch) -> None:
        assert self.folder is not None
        path = pathlib.Path(self.folder) / _PARENT
        if path.exists():
            parent = weights.read_arch(path)
            inherit(model, arch, parent, artifacts.read_npz(path))


class InheritingEvaluator(TrainingEvaluator):
    """A proxy whose candidates go on from the last round's result (ours).

    Args:
        training: The proxy; its folder is set here.
        workers: Processes that train; 1 trains in this one.
    """

    def __init__(self, training: ProxyTask, workers: int = 1):
        self._folder = tempfile.TemporaryDirectory(prefix="tfnas-inherit-")
        self.task = dataclasses.replace(training, folder=self._folder.name)
        super().__init__(self.task, workers)
        self._parent: Arch | None = None
        # All the parent's weights in a row; their number changes.
        self._flat = tf.Variable(
            tf.zeros([0]), trainable=False, shape=tf.TensorShape([None])
        )

    def adopt(self, arch: Arch | None) -> None:
        """Makes a network the one that the next candidates inherit from.

        Args:
            arch: A network scored since the last call. One that was scored
                before this process started is trained again. With `None`
                the next candidates start from scratch.
        """
        if arch is None:
            self._parent = None
            for left in pathlib.Path(self._folder.name).glob("*.npz"):
                left.unlink()
            return
        path = self.task.weights_of(arch)
        if not path.exists():
            self.score(arch)
        if path.exists():  # not so when its training diverged
            model = build_model(arch)
            weights.load(path, model)
            self._flat.assign(
                np.concatenate([np.ravel(v) for v in model.weights])
            )
            self._parent = arch
            path.replace(path.with_name(_PARENT))
        for left in path.parent.glob("*.npz"):
            if left.name != _PARENT:
                left.unlink()

    def state(self) -> dict[str, Any]:
        parent = self._parent
        return {"parent": None if parent is None else parent.to_json()}

    def restore(self, state: dict[str, Any]) -> None:
        if state["parent"] is None:
            return
        self._parent = Arch.from_json(state["parent"], "state")
        model, flat = build_model(self._parent), self._flat.numpy()
        for variable in model.weights:
            size = math.prod(variable.shape)
            variable.assign(flat[:size].reshape(variable.shape))
            flat = flat[size:]
        path = pathlib.Path(self._folder.name) / _PARENT
        weights.save(path, model, self._parent)

    def variables(self) -> dict[str, list]:
        return {"inherited": [self._flat]}


def make(setting: Setting) -> Evaluator:
    """Returns the evaluator of a config: `search.training`, `workers`.

    With `search.inherit` candidates do not start from scratch.
    """
    config, search = setting.config, setting.config.search
    task = ProxyTask(
        dict(config.data), search.split, config.seed, dict(search.training)
    )
    if search.inherit:
        return InheritingEvaluator(task, search.workers)
    return TrainingEvaluator(task, search.workers)


TRAININGS.register(ProxyTask.name, ProxyTask)
EVALUATORS.register("proxy", make)
