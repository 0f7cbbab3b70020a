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
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
from absl import logging
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
_NO_LIMIT = 10**9


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


class _Hyperband(_Kept, keras_tuner.oracles.HyperbandOracle):
    pass


class _Bayesian(_Kept, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


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
        # A recipe that diverges is a result; any number may.
        "max_consecutive_failed_trials": _NO_LIMIT,
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

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict:
        """Trains a trial; returns its accuracy on the images held back.

        Raises:
            FailedTrialError: when the training diverges.
            FatalError: when anything else goes wrong; the tuning ends.
        """
        arch, config = self.make(trial.hyperparameters.values)
        folder = pathlib.Path(self.get_trial_dir(trial.trial_id)) / "train"
        try:
            accuracy = self.train(
                arch, config, folder, f"trial {trial.trial_id}"
            )
        except Diverged as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            raise keras_tuner.errors.FatalError(str(error)) from error
        logging.info("trial %s: %.4f", trial.trial_id, accuracy)
        return {OBJECTIVE: accuracy}

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
            rows.append(
                {
                    "trial": trial.trial_id,
                    "status": trial.status,
                    "epochs": int(
                        values.get(_EPOCHS, self.config.train.epochs)
                    ),
                    "values": {
                        name: value for name, value in values.items()
                        if not name.startswith("tuner/")
                    },
                    OBJECTIVE: trial.score,
                    "message": _last_line(trial.message),
                }
            )
        return rows


def _last_line(message: str | None) -> str | None:
    """Returns what an error said, without its trace."""
    lines = (message or "").strip().splitlines()
    return lines[-1] if lines else None
