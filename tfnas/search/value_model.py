"""What the networks evaluated so far say about others of a coded space.

Ours: Gaussian-process regression (Rasmussen and Williams 2006, chapter 2) of
scores on codes.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

_DECAY = 2.0  # networks that share nothing are exp(-2) alike
_NOISE = 0.01  # variance of the scores of equal networks


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
