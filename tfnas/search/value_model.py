"""What the networks evaluated so far say about others of a coded space.

Ours: Gaussian-process regression (Rasmussen and Williams 2006, chapter 2) of
scores on codes. `ValueModel` chooses among the proposals of ASE-NAS, and
`WeakPredictor` leads the search `guided`.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

_DECAY = 2.0  # networks that share nothing are exp(-2) alike
_NOISE = 0.01  # variance of the scores of equal networks
# Shares of the ways in which networks are alike for `WeakPredictor`, and the
# noises that it chooses from.
_CODES, _COUNTS, _EXTRAS, _NEAR = 0.35, 0.35, 0.05, 0.25
_REACH = 0.3  # share of the positions beyond which networks are not near
_NOISES = (0.03, 0.1, 0.3)


class ValueModel:
    """A forecast of scores, with its uncertainty.

    Networks are alike in two ways, which count half each: `exp(-2 * share)`
    of the positions in which their codes differ, and of the codes that
    differ when they are compared in any order. Scores are replaced by normal
    quantiles of their ranks, as a network that fails altogether says no more
    than that it is the worst.

    Args:
        space: Space of the networks.
        codes: Codes of networks.
        scores: Their scores.
    """

    def __init__(
        self, space: CodedSpace, codes: Sequence[Codes],
        scores: Sequence[float],
    ):
        first = np.cumsum([0, *space.alphabets])
        self._first = first[space.alphabet_of]  # alphabets share no symbols
        self._symbols = np.arange(first[-1])
        self._known = self._read(codes)
        noise = _NOISE * np.eye(len(codes))
        self._inverse = np.linalg.inv(_alike(self._known, self._known) + noise)
        self._weights = self._inverse @ _normal_scores(np.array(scores))

    def _read(self, codes: Sequence[Codes]) -> tuple[np.ndarray, np.ndarray]:
        """The symbols of networks, and how often each occurs in them."""
        text = np.array(codes) + self._first
        return text, (text[..., None] == self._symbols).sum(1)

    def forecast(self, codes: Sequence[Codes]) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of networks' normal scores.

        Args:
            codes: Codes of networks.
        """
        alike = _alike(self._read(codes), self._known)
        known = np.sum(alike @ self._inverse * alike, 1)
        return alike @ self._weights, np.sqrt(np.maximum(1 - known, 0.0))


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What is expected of networks, in standard deviations of the scores.

    Args:
        known: `(known,)` means of those that were scored, their noise off.
        mean: `(candidates,)` means of the others.
        deviation: `(candidates,)` standard deviations of the others.
    """

    known: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class WeakPredictor:
    """A forecast for a few candidates, made anew whenever they are others.

    It need not know the space: that it ranks what it is asked about is
    enough. Most of a score is linear in one-hot codes, in how often each code
    occurs, and, a little, in extra features; the rest is shared by networks
    that differ in few positions. All features are standardised over the
    networks at hand. How noisy scores are is what makes them most likely.
    Scores are replaced by normal quantiles of their ranks.

    Args:
        space: Space of the networks.
        extras: Further features of codes, such as their parameters; as many
            for all codes.
    """

    def __init__(
        self, space: CodedSpace,
        extras: Callable[[Codes], Sequence[float]] | None = None,
    ):
        first = np.cumsum([0, *space.alphabets])
        self._first = first[space.alphabet_of]
        self._symbols = np.arange(first[-1])
        self._extras = extras

    def forecast(
        self, known: Sequence[Codes], scores: Sequence[float],
        candidates: Sequence[Codes],
    ) -> Forecast:
        """Returns what is expected of networks.

        Args:
            known: Codes of networks that were scored.
            scores: Their scores.
            candidates: Codes of others.
        """
        number = len(known)
        alike, own = self._alike([*known, *candidates], number)
        targets = _normal_scores(np.array(scores))
        inverse, variance = _most_likely(alike[:, :number], targets)
        mean = targets @ inverse @ alike
        spent = np.einsum("kn,kl,ln->n", alike, inverse, alike, optimize=True)
        left = np.maximum(own - spent, 1e-9)[number:]
        return Forecast(
            mean[:number], mean[number:], np.sqrt(variance * left)
        )

    def _alike(
        self, codes: Sequence[Codes], number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """How alike the first are with all, and each is with itself."""
        text = np.array(codes) + self._first
        symbols = text[..., None] == self._symbols
        parts = [
            (_CODES, symbols.reshape(len(text), -1), False),
            (_COUNTS, symbols.sum(1), True),
        ]
        if self._extras is not None:
            rows = np.array([self._extras(one) for one in codes])
            parts.append((_EXTRAS, rows, True))
        near = (text[:number, None] != text).mean(-1)
        found = _NEAR * np.exp(-near / _REACH)
        own = np.full(len(text), _NEAR)
        for share, features, scaled in parts:
            x = _standard(features.astype(float), scaled)
            found += share * x[:number] @ x.T
            own += share * (x * x).sum(1)
        return found, own


def _standard(features: np.ndarray, scaled: bool) -> np.ndarray:
    """Centres features; the mean square of a row becomes 1.

    Args:
        features: `(networks, features)`.
        scaled: Whether each feature gets a deviation of 1 before.
    """
    x = features - features.mean(0)
    if scaled:
        deviation = x.std(0)
        x = x / np.where(deviation > 1e-12, deviation, 1.0)
    length = np.sqrt((x * x).sum(1).mean())
    return x / length if length > 1e-12 else x


def _most_likely(
    alike: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, float]:
    """Inverse of the covariance with the likeliest noise, and its scale."""
    best, chosen = -np.inf, (alike, 1.0)
    for noise in _NOISES:
        covariance = alike + noise * np.eye(len(alike))
        inverse = np.linalg.inv(covariance)
        variance = max(float(targets @ inverse @ targets) / len(alike), 1e-12)
        _, volume = np.linalg.slogdet(covariance)
        likelihood = -(len(alike) * np.log(variance) + volume) / 2
        if likelihood > best:
            best, chosen = likelihood, (inverse, variance)
    return chosen


def _alike(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Returns how alike networks are, `(len(a), len(b))`, in 0..1."""
    (text_a, counts_a), (text_b, counts_b) = a, b
    in_place = (text_a[:, None] != text_b).mean(-1)
    in_all = np.abs(counts_a[:, None] - counts_b).sum(-1) / text_a.shape[1] / 2
    return (np.exp(-_DECAY * in_place) + np.exp(-_DECAY * in_all)) / 2


def _normal_scores(scores: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks; equal scores have the mean rank."""
    below = (scores[:, None] > scores).sum(1)
    equal = (scores[:, None] == scores).sum(1)
    quantile = statistics.NormalDist().inv_cdf
    shares = (below + equal / 2) / len(scores)
    return np.array([quantile(share) for share in shares])
