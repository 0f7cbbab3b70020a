"""Trials of a recipe: KerasTuner decides, `train.retrain` trains.

A trial trains one network on a part of the training images and is scored on
the rest of them; the test images are looked at once, by the best recipe at
the end. A longer trial of Hyperband starts afresh: a cosine that was cut to a
few epochs is no beginning of a longer one.
"""

from __future__ import annotations

import dataclasses
import gc
import pathlib
import shutil
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine import base_tuner

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.data import Dataset
from tfnas.errors import Diverged
from tfnas.train.retrain import retrain
from tfnas.tuning import space as tuning_space

OBJECTIVE = "val_accuracy"
NETWORK = "network"  # the hyper-parameter, where there are several
_EPOCHS = "tuner/epochs"  # Hyperband's name for the length of a trial
_PROJECT = "trials"
_DIVERGED = "diverged.json"  # in the folder of a trial: what went wrong
_PAUSE_S = 0.1  # before a worker asks for a trial, maybe again


class _Kept:
    """Writes an oracle's files so that a kill leaves the old or the new.

    KerasTuner itself writes them in place.
    """

    def save(self) -> None:
        artifacts.write_json(
            self._get_oracle_fname(), self.get_state()  # type: ignore
        )

    def _save_trial(self, trial: Any) -> None:
        folder = pathlib.Path(
            self._get_trial_dir(trial.trial_id)  # type: ignore
        )
        artifacts.write_json(folder / "trial.json", trial.get_state())

    def reload(self) -> None:
        super().reload()  # type: ignore[misc]
        # In the order of their start: sums depend on it in the last bits. A
        # kill between the file of a new trial and the oracle's leaves one that
        # the oracle knows nothing of; it will be drawn again.
        oracle: Any = self
        oracle.trials = {i: oracle.trials[i] for i in oracle.start_order}


class _Hyperband(_Kept, keras_tuner.oracles.HyperbandOracle):
    pass


class _Bayesian(_Kept, keras_tuner.oracles.BayesianOptimizationOracle):
    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # Its random state is not among what it saves.
        self._random_state = np.random.RandomState(
            [self.seed, len(self.trials)]
        )
        return super().populate_space(trial_id)


class _Random(_Kept, keras_tuner.oracles.RandomSearchOracle):
    pass


def make_oracle(
    tune: Mapping[str, Any], epochs: int, seed: int,
    networks: Sequence[str] = (),
) -> keras_tuner.Oracle:
    """Returns what decides about the trials.

    Args:
        tune: The settings; see `space.settings`.
        epochs: Length of a whole training.
        seed: Seed of what is drawn.
        networks: Names to choose a network from, where there are several.
    """
    space = dict(tune["space"])
    if len(networks) > 1:
        space[NETWORK] = {"choices": list(networks)}
    arguments = {
        "objective": keras_tuner.Objective(OBJECTIVE, "max"),
        "hyperparameters": tuning_space.hyperparameters(space),
        "allow_new_entries": False,
        "tune_new_entries": True,
        "seed": seed + 1,  # KerasTuner takes 0 for no seed
    }
    if tune["tuner"] == "hyperband":
        return _Hyperband(
            max_epochs=epochs, factor=tune["factor"], **arguments
        )
    kind = {"bayesian": _Bayesian, "random": _Random}[tune["tuner"]]
    return kind(max_trials=tune["trials"], **arguments)


class RecipeTuner(base_tuner.BaseTuner):
    """Trains the trials that an oracle asks for.

    The same call in the same workdir goes on: trials that are done stay, and
    one that was cut off goes on at its last epoch. With KerasTuner's
    environment variables set it is the chief of several workers, or one of
    them.

    Args:
        archs: Name to network.
        config: The whole config.
        dataset: The images; the test images are not used.
        workdir: Where `trials/` is.
        progress: Whether trainings show progress bars.
    """

    def __init__(
        self, archs: Mapping[str, Arch], config: Any, dataset: Dataset,
        workdir: pathlib.Path, progress: bool = True,
    ):
        self.archs, self.config, self._progress = archs, config, progress
        self.tune = tuning_space.settings(config)
        weights, valid = dataset.search_splits(self.tune["split"], config.seed)
        self._data = dataclasses.replace(dataset, train=weights, test=valid)
        oracle = make_oracle(
            self.tune, config.train.epochs, config.seed, list(archs)
        )
        oracle.verbose = 0
        super().__init__(
            oracle, directory=str(workdir), project_name=_PROJECT
        )

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()
        artifacts.write_json(self._get_tuner_fname(), self.get_state())

    def _get_tuner_fname(self) -> str:
        # One for all: a tuning goes on with any number of workers.
        return str(pathlib.Path(self.project_dir) / "tuner.json")

    def pre_create_trial(self) -> None:
        time.sleep(_PAUSE_S)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict:
        """Trains a trial; returns its accuracy on the images held back.

        A training that diverges has accuracy 0: KerasTuner learns nothing
        from a trial that failed, and waits for it in Hyperband.

        Raises:
            FatalError: when anything else goes wrong; the tuning ends.
        """
        arch, config = self.make(trial.hyperparameters.values)
        folder = pathlib.Path(self.get_trial_dir(trial.trial_id))
        try:
            accuracy = self.train(
                arch, config, folder / "train", f"trial {trial.trial_id}"
            )
        except Diverged as error:
            accuracy = 0.0
            # What the loop said: the stage adds paths and how to go on.
            message = str(error.__cause__ or error)
            artifacts.write_json(folder / _DIVERGED, {"message": message})
        except Exception as error:
            raise keras_tuner.errors.FatalError(str(error)) from error
        return {OBJECTIVE: accuracy}

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        folder = pathlib.Path(self.get_trial_dir(trial.trial_id)) / "train"
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def train(
        self, arch: Arch, config: Any, folder: pathlib.Path, title: str
    ) -> float:
        """Trains by a recipe; returns the accuracy on images held back."""
        try:
            _, accuracy = retrain(
                arch, config, folder, self._data, title=title,
                progress=self._progress,
            )
        finally:
            keras.utils.clear_session(free_memory=False)
            gc.collect()  # models and traced functions refer to each other
        return accuracy

    def make(self, values: Mapping[str, Any]) -> tuple[Arch, Any]:
        """Returns the network and the config that drawn values mean.

        Args:
            values: Of the hyper-parameters, and with Hyperband the epochs.
        """
        config = self.config.copy_and_resolve_references()
        for name in self.tune["space"]:
            tuning_space.with_value(config.train, name, values[name])
        epochs = int(values.get(_EPOCHS, config.train.epochs))
        config.train.epochs = config.train.test_every = epochs
        config.train.warmup_epochs = min(config.train.warmup_epochs, epochs)
        name = values.get(NETWORK, next(iter(self.archs)))
        return self.archs[name], config

    def records(self) -> list[dict[str, Any]]:
        """Returns all trials in the order of their numbers."""
        rows = []
        for trial in sorted(
            self.oracle.trials.values(), key=lambda t: t.trial_id
        ):
            values = trial.hyperparameters.values
            path = pathlib.Path(self.get_trial_dir(trial.trial_id)) / _DIVERGED
            message = None
            if path.exists():
                message = artifacts.read_json(path)["message"]
            rows.append(
                {
                    "trial": trial.trial_id,
                    "epochs": int(
                        values.get(_EPOCHS, self.config.train.epochs)
                    ),
                    "values": {
                        name: value for name, value in values.items()
                        if not name.startswith("tuner/")
                    },
                    OBJECTIVE: trial.score,
                    "diverged": message,
                }
            )
        return rows
