"""Scores by short trainings from scratch, in one process or in several."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import json
import math
import queue
import subprocess
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
from typing import Any
from typing import Protocol

from ml_collections import config_dict

from tfnas import data
from tfnas import stopping
from tfnas.arch import Arch
from tfnas.data import Dataset
from tfnas.derive import require_fit
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.errors import TfnasError
from tfnas.search.evaluate import Evaluator
from tfnas.search.setting import Setting
from tfnas.train.retrain import Retraining
from tfnas.train.stage import start_loop

WORKER = "tfnas.search.training_worker"
_LOOK_S = 0.5  # between two looks whether a signal has come


class Training(Protocol):
    """A way to train: a frozen dataclass of plain JSON, so that it travels."""

    @classmethod
    def from_config(cls, config: Any) -> Training:
        """Reads the settings in a config."""
        ...

    def score(self, arch: Arch) -> float:
        """Trains a network; returns its score, `-inf` if it diverged."""
        ...


@dataclasses.dataclass(frozen=True)
class ShortTraining:
    """All that the score of a short training depends on, as plain JSON.

    Args:
        data: The `data` section of a config.
        split: Share of the training images that the weights learn from; the
            score is the accuracy on the others.
        seed: Seed of the split, the first weights and the order of images.
        recipe: Fields as in the `train` section of a config, but for
            `test_every`.
    """

    data: Mapping[str, Any]
    split: float
    seed: int
    recipe: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: Any) -> ShortTraining:
        """Reads `data`, `seed`, `search.split` and `search.training`."""
        return cls(
            dict(config.data), config.search.split, config.seed,
            dict(config.search.training),
        )

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The images; those that score stand in the place of the test."""
        whole = data.load(self.data)
        weights, arch = whole.search_splits(self.split, self.seed)
        return dataclasses.replace(whole, train=weights, test=arch)

    def score(self, arch: Arch) -> float:
        """Trains a network; returns its accuracy, `-inf` if it diverged.

        Raises:
            ConfigError: when the network does not take these images.
        """
        dataset = self.dataset
        require_fit(arch, dataset.image_shape, dataset.classes)
        recipe = config_dict.ConfigDict(dict(self.recipe))
        recipe.test_every = recipe.epochs
        loop = start_loop(self.seed, progress=False)
        work = Retraining(arch, dataset, loop, recipe)
        try:
            for epoch in range(work.units):
                work.run_unit(epoch)
        except Diverged:
            return -math.inf
        finally:
            gc.collect()  # models and traced functions refer to each other
        assert work.accuracy is not None  # the last epoch is tested
        return work.accuracy


class _Worker:
    """A process that trains; it ends when this one does."""

    def __init__(self, training: Any):
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        kind = type(training)
        self._write(
            {"module": kind.__module__, "name": kind.__qualname__,
             **dataclasses.asdict(training)}
        )

    def _write(self, value: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `score` says so
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()

    def score(self, arch: Arch) -> float:
        """Has a network trained."""
        self._write(arch.to_json())
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise TfnasError(
                "a process that trains candidates has ended; what it said "
                f"stands above. Received: exit code {self._process.wait()}"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise TfnasError(answer["error"])
        return -math.inf if answer["score"] is None else answer["score"]

    def kill(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


class TrainingEvaluator(Evaluator):
    """Scores an architecture by the accuracy after a short training.

    Several workers train side by side and score as one would: a training
    depends on nothing but the architecture and the settings. Where there are
    as many workers as cores, the environment variable
    `TF_NUM_INTRAOP_THREADS=1` keeps them out of each other's way.

    Args:
        training: What the scores depend on.
        workers: Processes that train; 1 trains in this one.

    Raises:
        ConfigError: when there would be no worker.
    """

    meaning = "each network trained for it, on images held back"
    kind: type[Training] = ShortTraining

    @classmethod
    def make(cls, setting: Setting) -> TrainingEvaluator:
        """Makes it from a config with `search.workers`."""
        config = setting.config
        return cls(cls.kind.from_config(config), config.search.workers)

    def __init__(self, training: Training, workers: int = 1):
        if workers < 1:
            raise ConfigError(
                f"`workers` must be at least 1. Received: {workers=}"
            )
        self.training, self.workers = training, workers
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._started: list[_Worker] = []

    def score(self, arch: Arch) -> float:
        return self.scores([arch])[0]

    def scores(self, archs: Sequence[Arch]) -> list[float]:
        if self.workers == 1:
            return [self.training.score(arch) for arch in archs]
        while len(self._started) < min(self.workers, len(archs)):
            self._started.append(_Worker(self.training))
            self._idle.put(self._started[-1])
        with futures.ThreadPoolExecutor(max(1, len(self._started))) as threads:
            jobs = [threads.submit(self._score, arch) for arch in archs]
            try:
                while futures.wait(jobs, _LOOK_S).not_done:
                    stopping.check()
            except KeyboardInterrupt:
                for worker in self._started:
                    worker.kill()
                threads.shutdown(wait=False, cancel_futures=True)
                raise
            return [job.result() for job in jobs]

    def _score(self, arch: Arch) -> float:
        worker = self._idle.get()
        try:
            return worker.score(arch)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Ends the processes; they end by themselves with this one."""
        while self._started:
            self._idle.get().close()
            self._started.pop()
