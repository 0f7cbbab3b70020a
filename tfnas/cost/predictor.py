"""A small network that predicts the accuracy of architectures.

It learns from pairs of codes and accuracies, such as those of networks with
shared weights, and knows how well it ranks networks that it has not seen.
Source: Chen et al. 2022 (ASE-NAS), after Cai et al. 2020 (Once-for-All).
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import Diverged

FORMAT = "tfnas-predictor/1"
MIN_TAU = 0.5
_LAYERS = 3


class Coded(Protocol):
    """What is asked of a space: see `tfnas.spaces.coded.CodedSpace`."""

    name: str
    alphabets: tuple[int, ...]
    alphabet_of: np.ndarray


@dataclasses.dataclass(frozen=True)
class Options:
    """How a predictor is made; the defaults are the published.

    Args:
        width: Units of the two hidden layers.
        dropout: Share of the hidden units that is dropped while it learns.
        epochs: Passes over the pairs.
        batch_size: Pairs of a step.
        lr: Learning rate of the first step; a cosine takes it to 0.
        momentum: Nesterov momentum.
        weight_decay: Coupled L2.
        huber: Errors beyond it, in standard deviations of the accuracies,
            count linearly; `None` squares all of them.
        validation: Share of the pairs that it does not learn from.
        seed: Seed of the split, the first weights, the order, the dropout.
    """

    width: int = 128
    dropout: float = 0.5
    epochs: int = 200
    batch_size: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 3e-5
    huber: float | None = None
    validation: float = 0.1
    seed: int = 2020


@dataclasses.dataclass(frozen=True)
class Quality:
    """How a predictor does on pairs that it has not learnt from.

    Args:
        pairs: Pairs that it learnt from.
        validation_pairs: Pairs that it has not seen.
        l1: Mean absolute error on them, in percent.
        tau: Kendall's tau-b on them.
    """

    pairs: int
    validation_pairs: int
    l1: float
    tau: float


def kendall_tau(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray
) -> float:
    """Returns Kendall's tau-b of two lists of values.

    Args:
        a: Values.
        b: As many others.

    Returns:
        -1..1: agreement of the two orders, ties allowed for; 0 where one of
        them has no order at all.
    """
    i, j = np.triu_indices(len(a), 1)
    x, y = (np.sign(v[i] - v[j]) for v in (np.asarray(a), np.asarray(b)))
    pairs = math.sqrt(float((x != 0).sum()) * float((y != 0).sum()))
    return float((x * y).sum()) / pairs if pairs else 0.0


def one_hot(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Returns codes as zeros and ones.

    Args:
        codes: `(networks, length)`.
        sizes: Size of the alphabet of each position.

    Returns:
        `(networks, sum(sizes))`, float32.
    """
    columns = [
        codes[:, i, None] == np.arange(size) for i, size in enumerate(sizes)
    ]
    return np.concatenate(columns, 1).astype(np.float32)


class AccuracyPredictor:
    """Dense, dropout, ReLU, twice, and a dense layer to the accuracy.

    Args:
        space: Name of the space that it knows.
        sizes: Size of the alphabet of each position of the codes.
        weights: Kernel and bias of each layer in turn.
        quality: How it does on networks that it has not seen.
        min_tau: It predicts nothing when its tau is less.
    """

    def __init__(
        self, space: str, sizes: Sequence[int],
        weights: Sequence[np.ndarray], quality: Quality,
        min_tau: float = MIN_TAU,
    ):
        self.space, self.sizes = space, tuple(sizes)
        self.weights, self.quality = list(weights), quality
        self.min_tau = min_tau

    @property
    def parameters(self) -> int:
        """Number of parameters; 42,369 for 20 positions of 10 codes."""
        return sum(w.size for w in self.weights)

    def require(self, space: Coded) -> None:
        """Refuses a space that it does not know, and to guess at random.

        Raises:
            ConfigError: for another space, or a tau below `min_tau`.
        """
        sizes = alphabet_sizes(space)
        if (space.name, sizes) != (self.space, self.sizes):
            raise ConfigError(
                f"this predictor knows the space `{self.space}` of "
                f"{len(self.sizes)} positions. Received: `{space.name}` of "
                f"{len(sizes)}"
            )
        if not self.quality.tau >= self.min_tau:
            raise ConfigError(
                "a predictor must rank unseen networks with a Kendall tau of "
                f"at least `min_tau`, {self.min_tau}; more pairs may help. "
                f"Received: tau={self.quality.tau:.3f} on "
                f"{self.quality.validation_pairs} networks"
            )

    def predict(
        self, space: Coded, codes: Sequence[Sequence[int]]
    ) -> np.ndarray:
        """Returns the accuracies of networks, in percent.

        Args:
            space: The space that the codes belong to.
            codes: `(networks, length)`.

        Raises:
            ConfigError: see `require`.
        """
        self.require(space)
        inputs = one_hot(np.array(codes), self.sizes)
        return _forward(self.weights, inputs)[-1][:, 0]

    def save(self, path: str | os.PathLike) -> None:
        """Writes `path`, JSON, and its weights beside it as an .npz."""
        path = pathlib.Path(path)
        weights = path.with_suffix(".npz")
        arrays = {f"weight{i}": w for i, w in enumerate(self.weights)}
        artifacts.write_npz(weights, **arrays)
        artifacts.write_json(
            path,
            {
                "format": FORMAT, "space": self.space,
                "sizes": list(self.sizes),
                "quality": dataclasses.asdict(self.quality),
                "weights": weights.name,
                "weights_sha256": artifacts.sha256(weights),
            },
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike, min_tau: float = MIN_TAU
    ) -> AccuracyPredictor:
        """Reads what `save` wrote.

        Args:
            path: The JSON file.
            min_tau: It predicts nothing when its tau is less.

        Raises:
            ArtifactError: when a file is missing, damaged or not of the
                format.
        """
        path = pathlib.Path(path)
        value = artifacts.read_json(path, FORMAT)
        try:
            weights = path.parent / pathlib.Path(value["weights"]).name
            expected = value["weights_sha256"]
            sizes = [int(size) for size in value["sizes"]]
            quality = Quality(**value["quality"])
            space = str(value["space"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path}: a field is missing or wrong: {error}"
            ) from error
        found = artifacts.sha256(weights)
        if found != expected:
            raise ArtifactError(
                f"{weights}: its SHA-256 must be {expected}, as {path} says. "
                f"Received: {found}"
            )
        arrays = artifacts.read_npz(weights)
        names = [f"weight{i}" for i in range(2 * _LAYERS)]
        if missing := [name for name in names if name not in arrays]:
            raise ArtifactError(
                f"{weights}: expected arrays {', '.join(names)}. Received: "
                f"missing={missing}"
            )
        return cls(
            space, sizes, [arrays[name] for name in names],
            quality, min_tau,
        )


def alphabet_sizes(space: Coded) -> tuple[int, ...]:
    """Returns the size of the alphabet of each position of the codes."""
    return tuple(space.alphabets[i] for i in space.alphabet_of)


def fit(
    space: Coded, codes: Sequence[Sequence[int]],
    accuracies: Sequence[float], options: Options = Options(),
    min_tau: float = MIN_TAU,
) -> AccuracyPredictor:
    """Trains a predictor.

    It learns the distance from the mean accuracy in standard deviations; then
    its last layer is rescaled to percent. (From percent the published rate
    takes steps so large that every ReLU dies. Ours.)

    Args:
        space: The space of the networks.
        codes: `(networks, length)`.
        accuracies: Accuracy of each, 0..1.
        options: How.
        min_tau: Below this Kendall tau on unseen networks it will predict
            nothing.

    Raises:
        ConfigError: with too few pairs to hold some back.
        Diverged: when the learning rate is too high for the pairs.
    """
    sizes = alphabet_sizes(space)
    inputs = one_hot(np.array(codes), sizes)
    targets = 100 * np.array(accuracies, np.float32)
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(targets))
    held = round(options.validation * len(order))
    if held < 2 or held == len(order):
        raise ConfigError(
            "a predictor needs at least 2 networks to learn from and 2 to be "
            f"checked on. Received: {len(order)}, "
            f"validation={options.validation}"
        )
    learn, check = order[held:], order[:held]
    mean, deviation = targets[learn].mean(), targets[learn].std() or 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        weights = _train(
            inputs[learn], (targets[learn] - mean) / deviation, options, rng
        )
        weights[-2] *= deviation
        weights[-1] = weights[-1] * deviation + mean
        guessed = _forward(weights, inputs[check])[-1][:, 0]
    if not np.isfinite(guessed).all():
        raise Diverged(
            "the predictor must stay finite; a lower learning rate may help. "
            f"Received: lr={options.lr}"
        )
    quality = Quality(
        len(learn), len(check), float(np.abs(guessed - targets[check]).mean()),
        kendall_tau(guessed, targets[check]),
    )
    return AccuracyPredictor(space.name, sizes, weights, quality, min_tau)


def _forward(
    weights: Sequence[np.ndarray], inputs: np.ndarray,
    keep: Sequence[np.ndarray] = (),
) -> list[np.ndarray]:
    """Outputs of all layers, the inputs first.

    Args:
        weights: Kernel and bias of each layer in turn.
        inputs: `(networks, inputs)`.
        keep: What dropout multiplies the hidden layers by.
    """
    outputs = [inputs]
    for layer in range(_LAYERS):
        x = outputs[-1] @ weights[2 * layer] + weights[2 * layer + 1]
        if layer < _LAYERS - 1:
            x = np.maximum(x * keep[layer] if keep else x, 0)
        outputs.append(x)
    return outputs


def _gradients(
    weights: Sequence[np.ndarray], outputs: Sequence[np.ndarray],
    keep: Sequence[np.ndarray], error: np.ndarray,
) -> list[np.ndarray]:
    """Gradients of a loss whose gradient to the last output is `error`."""
    gradients: list[np.ndarray] = []
    for layer in reversed(range(_LAYERS)):
        gradients = [outputs[layer].T @ error, error.sum(0), *gradients]
        if layer:
            error = error @ weights[2 * layer].T
            error = error * (outputs[layer] > 0) * keep[layer - 1]
    return gradients


def _initial(inputs: int, width: int, rng: Any) -> list[np.ndarray]:
    """Uniform within `1 / sqrt(inputs)` of each layer."""
    weights = []
    sizes = [inputs, width, width, 1]
    for before, after in zip(sizes, sizes[1:], strict=False):
        limit = 1 / math.sqrt(before)
        for shape in ((before, after), (after,)):
            weights.append(rng.uniform(-limit, limit, shape))
    return [w.astype(np.float32) for w in weights]


def _train(
    inputs: np.ndarray, targets: np.ndarray, options: Options,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """SGD with Nesterov momentum and a cosine over all steps."""
    o = options
    weights = _initial(inputs.shape[1], o.width, rng)
    velocity = [np.zeros_like(w) for w in weights]
    starts = range(0, len(targets), o.batch_size)
    for epoch in range(o.epochs):
        order = rng.permutation(len(targets))
        for i, start in enumerate(starts):
            done = (epoch + i / len(starts)) / o.epochs
            rate = o.lr * (1 + math.cos(math.pi * done)) / 2
            rows = order[start : start + o.batch_size]
            keep = [
                (rng.random((len(rows), o.width)) >= o.dropout)
                / np.float32(1 - o.dropout)
                for _ in range(_LAYERS - 1)
            ]
            outputs = _forward(weights, inputs[rows], keep)
            error = outputs[-1] - targets[rows, None]
            if o.huber is None:
                error = 2 * error
            else:
                error = np.clip(error / o.huber, -1, 1)
            found = _gradients(weights, outputs, keep, error / len(rows))
            for w, v, g in zip(weights, velocity, found, strict=True):
                g = g + o.weight_decay * w
                v[:] = o.momentum * v + g
                w -= np.float32(rate) * (g + o.momentum * v)
    return weights
