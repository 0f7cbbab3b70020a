"""A search in few queries: weak predictors choose what is scored next.

Source: Wu et al., "Stronger NAS with Weaker Predictors", NeurIPS 2021: a row
of predictors, each fitted to what is known so far and asked only where it is
good. Here each is a small Gaussian process (`value_model.WeakPredictor`), and
what is asked for is the greatest expected improvement (Jones et al. 1998).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.cost.counting import count
from tfnas.cost.predictor import AccuracyPredictor
from tfnas.errors import ConfigError
from tfnas.search.limit import Limit
from tfnas.search.query import Strategy
from tfnas.search.value_model import WeakPredictor
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

Extras = Callable[[Codes], Sequence[float]]
_FEW = 6_000  # of so many networks all are candidates
_TRIES = 100  # draws of something new, before known ones are taken
_BEST = 8  # networks whose surroundings are candidates
_NORMAL = statistics.NormalDist()
_DRAWS, _CHANGES, _CANDIDATES = range(3)  # names of streams


@dataclasses.dataclass(frozen=True)
class Options:
    """How the search runs.

    Args:
        initial: Random networks, before the first predictor.
        candidates: Random networks among which predictors choose, and as
            many changes of the best so far, where the space is too large to
            look at all that fit.
    """

    initial: int = 6
    candidates: int = 256

    def __post_init__(self) -> None:
        for name, least in (("initial", 2), ("candidates", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"`guided.{name}` must be at least {least}. "
                    f"Received: {getattr(self, name)}"
                )


DEFAULTS = Options()


class Guided(Strategy):
    """The strategy. All its decisions follow from the answers and the seed.

    Args:
        space: The space.
        limit: Nothing that it does not allow is asked for.
        seed: Seed of all draws.
        options: How it runs.
        extras: Cheap features beside the codes, such as `parameters`.
    """

    def __init__(
        self, space: CodedSpace, limit: Limit, seed: int,
        options: Options = DEFAULTS, extras: Extras | None = None,
    ):
        self.space, self.limit, self.seed = space, limit, seed
        self.options = options
        self._model = WeakPredictor(space, extras)
        self._told: list[tuple[Codes, float]] = []
        self._scores: dict[Codes, float] = {}
        self._pending: Codes | None = None

    def ask(self) -> Codes:
        """Returns the codes to score next; asking again changes nothing."""
        if self._pending is None:
            few = len(self._scores) < self.options.initial
            found = None if few else self._propose()
            self._pending = found or self._draw(len(self._told))
        return self._pending

    def _stream(self, *name: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *name])

    def _draw(self, number: int) -> Codes:
        """Draws what fits, something new unless hardly any is left."""
        rng = self._stream(_DRAWS, number)
        for _ in range(_TRIES):
            codes = self.limit.sample(rng)
            if codes not in self._scores:
                break
        return codes

    def _propose(self) -> Codes | None:
        """Returns the candidate of the greatest expected improvement."""
        candidates = [c for c in self._candidates() if c not in self._scores]
        if not candidates:
            return None
        known, scores = [*self._scores], [*self._scores.values()]
        found = self._model.forecast(known, scores, candidates)
        gain = (found.mean - found.known.max()) / found.deviation
        above = np.array([_NORMAL.cdf(float(g)) for g in gain])
        height = np.exp(-gain * gain / 2) / math.sqrt(2 * math.pi)
        improvement = found.deviation * (gain * above + height)
        return candidates[int(np.argmax(improvement))]

    def _candidates(self) -> Sequence[Codes]:
        """Returns what predictors choose from, sorted."""
        if self._all is not None:
            return self._all
        rng = self._stream(_CHANGES, len(self._told))
        best = sorted(self._scores, key=self._scores.__getitem__)[-_BEST:]
        near = {n for codes in best for n in self.space.neighbors(codes)}
        for _ in range(self.options.candidates):
            codes = best[int(rng.integers(len(best)))]
            for _ in range(2):
                edits = self.space.neighbors(codes)
                codes = edits[int(rng.integers(len(edits)))] if edits else codes
            near.add(codes)
        return sorted({*self._drawn, *filter(self.limit.fits, near)})

    @functools.cached_property
    def _all(self) -> list[Codes] | None:
        """All networks that fit, in a small space."""
        members = self.space.members()
        if members is None or len(members) > _FEW:
            return None
        return list(filter(self.limit.fits, members))

    @functools.cached_property
    def _drawn(self) -> set[Codes]:
        """Random networks that fit."""
        rng = self._stream(_CANDIDATES)
        return {
            self.limit.sample(rng) for _ in range(self.options.candidates)
        }

    def tell(self, codes: Codes, score: float, cost: float) -> None:
        self._told.append((tuple(codes), score))
        self._scores[tuple(codes)] = score
        self._pending = None

    def best(self) -> tuple[Codes, float]:
        """Returns the best network so far and its score.

        One training is a noisy judge: the best is the one of which the
        predictor that knows all of them expects most.
        """
        codes = self.ranked([*self._scores])[0]
        return codes, self._scores[codes]

    def ranked(self, asked: Sequence[Codes]) -> list[Codes]:
        expected = dict(zip(asked, self.expected(asked), strict=True))
        return sorted(asked, key=lambda c: (-expected[c], -self._scores[c]))

    def expected(self, codes: Sequence[Codes]) -> list[float]:
        """Returns what is expected of networks, whether asked for or not.

        Args:
            codes: Canonical codes, at least one.
        """
        known, scores = [*self._scores], [*self._scores.values()]
        return self._model.forecast(known, scores, codes).mean.tolist()

    def state(self) -> dict[str, Any]:
        return {"told": [[list(codes), score] for codes, score in self._told]}

    def restore(self, state: dict[str, Any]) -> None:
        self._told, self._scores, self._pending = [], {}, None
        for codes, score in state["told"]:
            self.tell(tuple(codes), score, 0.0)


def parameters(space: CodedSpace) -> Extras:
    """Returns the feature `log(parameters)` of codes."""

    @functools.cache
    def feature(codes: Codes) -> tuple[float, ...]:
        return (math.log(count(space.from_codes(codes)).params),)

    return feature


def make(space: CodedSpace, limit: Limit, search: Any, seed: int) -> Guided:
    """Makes the strategy that a config describes.

    Args:
        space: The space.
        limit: The band, or the hard limit, of the cost.
        search: The `search` section: `guided` has the fields of `Options`,
            and `predictor`, the file of an accuracy predictor (such as one
            that learnt from shared weights) whose forecast is a feature.
        seed: Seed of everything that it draws.

    Raises:
        ArtifactError: when the predictor's file is damaged.
        ConfigError: for an option that is wrong, or a predictor that does
            not know the space.
    """
    section = dict(search.get("guided", {}))
    path = section.pop("predictor", None)
    extras = parameters(space)
    if path is not None:
        extras = _with_predictor(extras, AccuracyPredictor.load(path), space)
    return Guided(space, limit, seed, Options(**section), extras)


def _with_predictor(
    extras: Extras, predictor: AccuracyPredictor, space: CodedSpace
) -> Extras:
    predictor.require(space)

    @functools.cache
    def features(codes: Codes) -> tuple[float, ...]:
        guess = float(predictor.predict(space, [codes])[0])
        return (*extras(codes), guess)

    return features
