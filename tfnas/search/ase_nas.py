"""ASE-NAS: a learned policy evokes subspaces and looks for better centres.

Source: Chen et al., "Automatic Subspace Evoking for Efficient Neural
Architecture Search", arXiv 2210.17180. Ours: networks that are not repeated,
and a value model that chooses among proposals.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.results import SearchResult
from tfnas.search.ase_nas_options import PUBLISHED
from tfnas.search.ase_nas_options import Options
from tfnas.search.ase_nas_options import PolicyOptions
from tfnas.search.baselines import UniformPolicy
from tfnas.search.controller import Controller
from tfnas.search.limit import Limit
from tfnas.search.query import Query
from tfnas.search.query import Strategy
from tfnas.search.value_model import ValueModel
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes
from tfnas.supernets.base import stream

_ATTEMPTS = 50  # samples before a repeated network is accepted


@dataclasses.dataclass(frozen=True)
class _Proposal:
    """A network to evaluate, and how the policy came to it."""

    codes: Codes
    slot: int
    actions: np.ndarray
    features: np.ndarray


class ASENAS(Strategy):
    """The strategy (section 6).

    Args:
        space: The space.
        limit: The hard limit on the cost.
        seed: Seed of everything that it draws.
        options: How it runs.
        initial: Centres to start from, as in ASE-NAS+: well-designed ones,
            or the codes of another run's `centres`. They may be beyond the
            limit: the first network within it takes their place. Random ones
            within the limit fill them up.
        controller: A controller of the same space and options to start anew;
            by default one is made.

    Attributes:
        centres: The subspaces, one centre each, as evaluated.
        controller: The policy.
    """

    def __init__(
        self, space: CodedSpace, limit: Limit, seed: int,
        options: Options = PUBLISHED, initial: Sequence[Codes] = (),
        controller: Controller | None = None,
    ):
        if len(initial) > options.centres:
            raise ConfigError(
                f"there are {options.centres} centres to start from. "
                f"Received: {len(initial)} initial ones"
            )
        self.space, self.limit, self.seed = space, limit, seed
        self.options = options
        self.controller = controller or make_controller(space, options)
        self.controller.reset(seed)
        self.centres: tuple[Query, ...] = ()
        rng = stream(seed, "centres")
        self._initial = [space.canonical(codes) for codes in initial]
        while len(self._initial) < options.centres:
            self._initial.append(limit.sample(rng))
        self._history: list[Query] = []
        self._known: set[Any] = set()
        self._baseline: float | None = None
        self._pending: _Proposal | None = None

    @property
    def updates(self) -> int:
        """Number of updates of the policy."""
        return max(len(self._history) - self.options.centres, 0)

    def ask(self) -> Codes:
        """Returns the codes to evaluate next; asking again changes nothing.

        The initial centres come first, then edits of the policy.
        """
        if len(self.centres) < self.options.centres:
            return self._initial[len(self.centres)]
        if self._pending is None:
            self._pending = self._propose()
        return self._pending.codes

    def _propose(self) -> _Proposal:
        features = self.controller.features(
            [c.codes for c in self.centres],
            [100 * c.score for c in self.centres],
        )
        for attempt in range(_ATTEMPTS):
            step = self.updates * _ATTEMPTS + attempt
            drawn = [
                self._edit(features, actions)
                for actions in self.controller.sample(
                    features, self.seed, step
                )
            ]
            new = [p for p in drawn if not self._is_repeat(p.codes)]
            if new:
                break
        return self._choose(new or drawn)

    def _edit(self, features: np.ndarray, actions: np.ndarray) -> _Proposal:
        slot, edits = self.controller.read(actions)
        codes = self.space.edited(self.centres[slot].codes, edits)
        return _Proposal(codes, slot, actions, features)

    def _is_repeat(self, codes: Codes) -> bool:
        return (
            self.options.no_repeats
            and self.space.equivalence(codes) in self._known
        )

    def _choose(self, drawn: list[_Proposal]) -> _Proposal:
        """The first proposal, or the one that the value model likes best."""
        own = self.updates % self.options.policy_every == 0
        if own or self.options.proposals == 1:
            return drawn[0]
        drawn = [p for p in drawn if self.limit.fits(p.codes)] or drawn
        model = ValueModel(
            self.space, [told.codes for told in self._history],
            [100 * told.score for told in self._history],
        )
        mean, deviation = model.forecast([p.codes for p in drawn])
        best = np.argmax(mean + self.options.exploration * deviation)
        return drawn[int(best)]

    def tell(self, codes: Codes, score: float, cost: float) -> None:
        if tuple(codes) != self.ask():
            raise ValueError(
                f"expected the score of {self.ask()}. Received: {codes=}"
            )
        told = Query(tuple(codes), score, cost)
        if self._pending is None:
            self.centres += (told,)
        else:
            self._learn(self._pending, told)
        self._pending = None
        self._remember(told)

    def _remember(self, told: Query) -> None:
        self._history.append(told)
        self._known.add(self.space.equivalence(told.codes))

    def _learn(self, proposal: _Proposal, told: Query) -> None:
        o, slot = self.options, proposal.slot
        centre = self.centres[slot]
        gain = 100 * told.score - 100 * centre.score
        if self._baseline is None:  # so the first reward is 0
            self._baseline = gain
        else:
            self._baseline *= o.baseline_decay
            self._baseline += (1 - o.baseline_decay) * gain
        self.controller.update(
            proposal.features, proposal.actions, gain - self._baseline,
            o.entropy, self.updates,
        )
        better = gain > 0 or not self.limit.fits(centre.codes)
        if better and self.limit.fits(told.codes):
            before, after = self.centres[:slot], self.centres[slot + 1 :]
            self.centres = (*before, told, *after)

    def best(self) -> tuple[Codes, float]:
        """Returns the codes and the score of the best network so far.

        It is the best centre; where centres were given that the limit does
        not allow, the best network that fits, if any does.
        """
        best = max(
            self._history,
            key=lambda q: (self.limit.fits(q.codes), q.score),
        )
        return best.codes, best.score

    def state(self) -> dict[str, Any]:
        return {
            "history": [_to_json(query) for query in self._history],
            "centres": [_to_json(query) for query in self.centres],
            "baseline": self._baseline,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._history, self._known, self._pending = [], set(), None
        for record in state["history"]:
            self._remember(_from_json(record))
        self.centres = tuple(_from_json(r) for r in state["centres"])
        self._baseline = state["baseline"]

    def variables(self) -> dict[str, list]:
        return {"controller": self.controller.variables()}


def _to_json(query: Query) -> list[Any]:
    return [list(query.codes), query.score, query.cost]


def _from_json(record: list[Any]) -> Query:
    codes, score, cost = record
    return Query(tuple(codes), score, cost)


def make_controller(space: CodedSpace, options: Options) -> Controller:
    """Returns a controller that runs of these options can share in turn."""
    return Controller(
        space, options.centres, options.policy, options.proposals
    )


def make(space: CodedSpace, limit: Limit, search: Any, seed: int) -> ASENAS:
    """Makes the strategy that a config describes.

    Args:
        space: The space.
        limit: The hard limit on the cost.
        search: The `search` section: `subspaces` and `policy` hold the
            fields of `Options` and `PolicyOptions`, `initial` centres in the
            encoding of the space, and `transfer` the workdir of a finished
            ASE-NAS search of this space, to start from its final centres.
        seed: Seed of everything that it draws.

    Raises:
        ArtifactError: for an initial centre that is malformed, or a workdir
            without a finished search.
        ConfigError: for an option that is wrong, or a search of another
            space.
    """
    options = read_options(search)
    initial = [space.codes(space.decode(text)) for text in search.initial]
    if search.transfer is not None:
        initial += final_centres(search.transfer, space)
    return ASENAS(space, limit, seed, options, initial)


def uniform_subspace(
    space: CodedSpace, limit: Limit, search: Any, seed: int
) -> ASENAS:
    """Makes ASE-NAS whose policy learns nothing, from the same config.

    Args:
        space: The space.
        limit: The hard limit on the cost.
        search: The `search` section of a config of ASE-NAS.
        seed: Seed of all draws; the first centres are those of ASE-NAS.
    """
    strategy = make(space, limit, search, seed)
    options = strategy.options
    strategy.controller = UniformPolicy(  # type: ignore[assignment]
        space, options.centres, options.policy.edits, options.proposals
    )
    return strategy


def read_options(search: Any) -> Options:
    """Reads `subspaces` and `policy` of the `search` section of a config."""
    return Options(
        **search.subspaces.to_dict(),
        policy=PolicyOptions(**search.policy.to_dict()),
    )


def final_centres(
    workdir: str | os.PathLike, space: CodedSpace
) -> list[Codes]:
    """Returns the codes of the centres that a search ended with.

    Args:
        workdir: Workdir of a finished ASE-NAS search.
        space: Its space; data set and classes may be others.

    Raises:
        ArtifactError: when there is no finished ASE-NAS search.
        ConfigError: when it searched another space.
    """
    # Only here: searches of tables do without TensorFlow.
    from tfnas.train import checkpoint

    folder = pathlib.Path(workdir)
    found = SearchResult.load(folder / "result.json").header
    if (found["algorithm"], found["space"]) != ("ase_nas", space.name):
        raise ConfigError(
            f"{folder}: expected a search by ase_nas of {space.name}. "
            f"Received: by {found['algorithm']} of {found['space']}"
        )
    state = checkpoint.newest_state(folder / "checkpoints")
    if state is None:
        raise ArtifactError(
            f"{folder}: expected the checkpoint of a search. Received: none"
        )
    state = state["work"]["searched"]["strategy"]
    return [space.check_codes(codes) for codes, *_ in state["centres"]]
