"""Scores from shared weights, and from a predictor that learns from those."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.arch import Arch
from tfnas.cost import predictor as predictors
from tfnas.cost.predictor import AccuracyPredictor
from tfnas.data import blame
from tfnas.errors import ConfigError
from tfnas.search.elastic_training import ElasticTraining
from tfnas.search.evaluate import Evaluator
from tfnas.search.setting import Setting
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes
from tfnas.spaces.elastic import ElasticSpace
from tfnas.supernets.elastic_layers import RECORDED
from tfnas.supernets.recalibrate import recalibrate
from tfnas.train import losses
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase


class SupernetEvaluator(Evaluator):
    """Scores a network by its accuracy with shared weights.

    Its units of work train the weights. The statistics of a network's
    normalisations are measured on images that train the weights, its
    accuracy on those that score architectures.

    Args:
        training: The training of the weights.
        splits: The weight and the architecture split.
        seed: Seed of the choice of the images for the statistics.
    """

    meaning = "shared weights, on the architecture split"

    @classmethod
    def make(cls, setting: Setting) -> SupernetEvaluator:
        """Makes it from a config with a section `search.supernet`.

        Raises:
            ConfigError: for a space that is not elastic, or a schedule that
                the space does not have.
        """
        config, space = setting.config, setting.space
        if not isinstance(space, ElasticSpace):
            raise ConfigError(
                "shared weights of this kind need an elastic space. "
                f"Received: space={config.space!r}"
            )
        training = ElasticTraining(
            space, setting.splits[0], setting.loop, config.search.supernet,
            config.seed,
        )
        return cls(training, setting.splits, config.seed)

    def __init__(
        self, training: ElasticTraining, splits: tuple[Any, Any], seed: int
    ):
        self.training, self._seed = training, seed
        self.net, self.loop = training.net, training.loop
        self.space, self.config = training.space, training.config
        self._weight_split, arch_split = splits
        with self.loop.strategy.scope():
            self._codes = tf.Variable(self.net.largest, trainable=False)
        self._phase = Phase(
            "score", arch_split, self.config.score_batch, self._objective,
            lambda codes: self.net.select(codes[None]),
            draw=lambda step: self._codes.read_value(), shuffle=False,
            bn_groups=None,
        )
        self.query_steps = self.loop.num_steps(self._phase)

    def _objective(self, images, labels, codes, values) -> Objective:
        logits, _ = self.net(images, codes, values, RECORDED)
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    def _recalibrate(self, codes: Codes) -> None:
        c = self.config
        batch = min(c.calibration_batch, len(self._weight_split))
        batches = self._weight_split.batches(
            batch, seed=self._seed, epoch=0, drop_remainder=True
        )
        number = max(1, c.calibration_images // batch)
        with blame.bad_image(self._weight_split):
            recalibrate(self.net, codes, itertools.islice(batches, number))

    def score_codes(self, codes: Codes) -> float:
        """Returns the accuracy of the network of canonical codes, 0..1."""
        self._recalibrate(codes)
        self._codes.assign(codes)
        return self.loop.run(self._phase, 0)["accuracy"]

    def score(self, arch: Arch) -> float:
        return self.score_codes(self.space.codes(arch))

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the shared weights of a network, statistics included."""
        self._recalibrate(self.space.codes(arch))
        return self.net.weights_for(arch)

    @property
    def units(self) -> int:  # type: ignore[override]
        """Number of epochs of the weights."""
        return self.training.units

    def unit_steps(self, unit: int) -> int:
        steps = self.training.unit_steps(unit)
        return steps + 2 * self.query_steps * self.training.is_last(unit)

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Trains for an epoch; after a phase scores its two extremes."""
        records = self.training.run_unit(unit)
        if self.training.is_last(unit):
            entry = self.training.schedule[self.training.number_of(unit)]
            for pick in (min, max):
                codes = entry.choices.extreme(self.space, pick)
                records.append(
                    {"phase": "valid", "epoch": unit,
                     "stretch": entry.name, "codes": list(codes),
                     "accuracy": self.score_codes(codes)}
                )
        return records

    def state(self) -> dict[str, Any]:
        return self.training.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.training.restore(state)

    def variables(self) -> dict[str, list]:
        return self.training.variables()


class PredictorEvaluator(Evaluator):
    """Scores a network by a predictor, at once.

    Args:
        predictor: The predictor.
        space: The space of the networks.

    Raises:
        ConfigError: when the predictor knows another space, or is so bad
            that it refuses to be used.
    """

    meaning = "as the predictor expects it"

    @classmethod
    def make(cls, setting: Setting) -> Evaluator:
        """Reads it from `search.predictor.path`, or has it learn.

        Where the path is null it learns from a supernet first.

        Raises:
            ConfigError: when it cannot be used for the space.
            ArtifactError: when its file is damaged.
        """
        part, space = setting.config.search.predictor, setting.space
        if part.path is None:
            supernet = SupernetEvaluator.make(setting)
            return LearntPredictorEvaluator(
                supernet, part, setting.config.seed
            )
        if not isinstance(space, CodedSpace):
            raise ConfigError(
                "a predictor needs a space whose architectures are codes. "
                f"Received: space={setting.config.space!r}"
            )
        return cls(AccuracyPredictor.load(part.path, part.min_tau), space)

    def __init__(self, predictor: AccuracyPredictor, space: CodedSpace):
        predictor.require(space)
        self.predictor, self.space = predictor, space

    def score(self, arch: Arch) -> float:
        return self.scores([arch])[0]

    def scores(self, archs: Sequence[Arch]) -> list[float]:
        if not archs:
            return []
        codes = [self.space.codes(arch) for arch in archs]
        return (self.predictor.predict(self.space, codes) / 100).tolist()


class LearntPredictorEvaluator(Evaluator):
    """Scores by a predictor that learns from networks with shared weights.

    Its units of work are those of the supernet, then the scoring of random
    networks with it, then the fit.

    Args:
        supernet: The supernet.
        config: The `search.predictor` section of a config.
        seed: Seed of the random networks.
    """

    def __init__(
        self, supernet: SupernetEvaluator, config: Any, seed: int
    ):
        self.supernet, self.space = supernet, supernet.space
        self.config, self._seed = config, seed
        self._starts = range(0, config.pairs, config.unit_pairs)
        self._pairs: list[tuple[Codes, float]] = []
        self._fitted: PredictorEvaluator | None = None

    @property
    def units(self) -> int:  # type: ignore[override]
        """Epochs, portions of scored networks, and the fit."""
        return self.supernet.units + len(self._starts) + 1

    def _portion(self, unit: int) -> range:
        """Numbers of the random networks of a unit; none for the fit."""
        start = (unit - self.supernet.units) * self.config.unit_pairs
        end = min(start + self.config.unit_pairs, self.config.pairs)
        return range(start, end)

    def unit_steps(self, unit: int) -> int:
        if unit < self.supernet.units:
            return self.supernet.unit_steps(unit)
        return len(self._portion(unit)) * self.supernet.query_steps

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        if unit < self.supernet.units:
            return self.supernet.run_unit(unit)
        portion = self._portion(unit)
        for number in portion:
            rng = np.random.default_rng([self._seed, number])
            codes = self.space.sample_codes(rng)
            self._pairs.append((codes, self.supernet.score_codes(codes)))
        if portion:
            return [
                {"phase": "pair", "epoch": unit, "codes": list(codes),
                 "accuracy": score}
                for codes, score in self._pairs[portion.start :]
            ]
        return [{"phase": "predictor", "epoch": unit, **self._fit()}]

    def _fit(self) -> dict[str, Any]:
        """Trains the predictor; returns and prints how good it is."""
        codes, scores = zip(*self._pairs, strict=True)
        predictor = predictors.fit(
            self.space, codes, scores, options(self.config),
            self.config.min_tau,
        )
        q = predictor.quality
        print(
            f"predictor: from {q.pairs} networks; on {q.validation_pairs} "
            f"others L1 {q.l1:.2f} %, Kendall tau {q.tau:.3f}"
        )
        self._fitted = PredictorEvaluator(predictor, self.space)
        return {"pairs": q.pairs, "validation_pairs": q.validation_pairs,
                "l1_percent": q.l1, "kendall_tau": q.tau}

    def score(self, arch: Arch) -> float:
        assert self._fitted is not None  # units come before scores
        return self._fitted.score(arch)

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        return self.supernet.weights_for(arch)

    def state(self) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state(),
            "pairs": [[list(codes), score] for codes, score in self._pairs],
            "fitted": self._fitted is not None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.supernet.restore(state["supernet"])
        self._pairs = [(tuple(codes), s) for codes, s in state["pairs"]]
        if state["fitted"]:
            self._fit()

    def variables(self) -> dict[str, list]:
        return self.supernet.variables()


def options(config: Any) -> predictors.Options:
    """Returns the options in the `search.predictor` section of a config."""
    names = predictors.Options.__dataclass_fields__
    return predictors.Options(**{n: config[n] for n in names if n in config})
