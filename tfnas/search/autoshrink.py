"""AutoShrink: a complete graph loses one edge a round.

In every round up to K edges are drawn; for each the network without it is
scored, and the edge whose absence is worth most goes. Source: Zhang et al.,
"AutoShrink: A Topology-Aware NAS for Discovering Efficient Neural
Architecture", AAAI 2020, and the authors' release. Ours: a candidate whose
training diverged is worth minus infinity, ties go to the edge drawn first,
and the metric may aim at a latency.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.cost.models import Cost
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.ops.masked_dag import Edge
from tfnas.ops.masked_dag import MaskedDag
from tfnas.search import evaluate
from tfnas.search import shrink_metrics
from tfnas.search.base import Found
from tfnas.search.base import Search
from tfnas.search.baselines import random_at_cost
from tfnas.search.evaluate import Evaluator
from tfnas.search.setting import Setting
from tfnas.search.shrink_metrics import Metric
from tfnas.spaces.dag import DagSpace
from tfnas.spaces.recurrent import EdgeMadds
from tfnas.spaces.recurrent import RecurrentSpace

_DRAWS = 200  # random graphs among which some cost what the result does


class AutoShrink(Search):
    """The search, for convolutional and recurrent cells.

    A unit of work scores as many networks as there are workers: first the
    candidates of one round after another, then random graphs that cost what
    the result costs. Rounds may drop several edges at once, so the last units
    may have nothing left to do. The last graph was scored as a candidate, and
    is not scored again.

    Args:
        space: The space, with the operations of its nodes drawn.
        evaluator: Scores candidates.
        cost: What networks cost.
        metric: `f(quality, cost)`, larger is better.
        config: `candidates` (K), `keep_fraction` of the edges at which to
            stop, `workers`, `random_archs` and `random_tolerance`.
        seed: Seed of the draws.
        target: Cost that the metric aims at, if it does.
        advance: Told of the steps done, for a progress bar.

    Raises:
        ConfigError: when nothing is to be shrunk.
    """

    def __init__(
        self, space: DagSpace, evaluator: Evaluator, cost: Cost,
        metric: Metric, config: Any, seed: int, target: float | None = None,
        advance: Callable[[int], None] = lambda steps: None,
    ):
        self.space, self.evaluator, self._cost = space, evaluator, cost
        self.metric, self.config, self.seed = metric, config, seed
        super().__init__()
        self.target, self.cost_unit, self._advance = target, cost.unit, advance
        self._dag = space.complete
        self._threshold = round(config.keep_fraction * self._dag.num_edges)
        if not self._threshold < self._dag.num_edges or config.candidates < 1:
            raise ConfigError(
                "`search.keep_fraction` must leave an edge to remove, and "
                "`search.candidates` be at least 1. Received: "
                f"keep_fraction={config.keep_fraction}, "
                f"candidates={config.candidates}"
            )
        self._candidates: list[dict[str, Any]] = []  # of the present round
        self._rounds: list[dict[str, Any]] = []

    @property
    def units(self) -> int:
        left = self.space.complete.num_edges
        rounds = [
            min(self.config.candidates, edges)
            for edges in range(left, self._threshold, -1)
        ]
        groups = [*rounds, self.config.random_archs]
        return sum(-(-number // self.config.workers) for number in groups)

    def unit_steps(self, unit: int) -> int:
        return self.config.workers * (self.evaluator.query_steps or 1)

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        if self._dag.num_edges > self._threshold:
            return self._score_candidates()
        return self._score_random()

    def _drawn(self) -> list[Edge]:
        """Returns the edges that this round tries, in the order drawn."""
        rng = np.random.default_rng([self.seed, len(self._rounds)])
        edges = self._dag.live_edges
        number = min(self.config.candidates, len(edges))
        picked = rng.choice(len(edges), number, replace=False)
        return [edges[int(i)] for i in picked]

    def _qualities(self, archs: Sequence[Arch]) -> list[float]:
        values = self.evaluator.scores(archs)
        if not self.evaluator.query_steps:  # else the loop says so itself
            self._advance(len(archs))
        return values

    def _score_candidates(self) -> list[dict[str, Any]]:
        drawn, done = self._drawn(), len(self._candidates)
        todo = drawn[done : done + self.config.workers]
        archs = [
            self.space.from_dag(self._dag.without(edge)) for edge in todo
        ]
        for edge, arch, quality in zip(
            todo, archs, self._qualities(archs), strict=True
        ):
            cost = self.cost(arch)
            self._candidates.append(
                {"edge": list(edge), "arch_id": arch.id, "cost": cost,
                 "accuracy": _finite(quality),
                 "score": _finite(self.metric(quality, cost))}
            )
        number = len(self._rounds)
        records = [
            {"phase": "candidate", "epoch": number, **c}
            for c in self._candidates[done:]
        ]
        if len(self._candidates) == len(drawn):
            ended = self._end_round()
            del ended["candidates"]
            records.append({"phase": "round", **ended})
        return records

    def _end_round(self) -> dict[str, Any]:
        """Removes the edge that is missed least; returns the record."""
        tried = self._candidates
        best = max(tried, key=lambda c: _value(c["score"]))  # first of equals
        edge, before = (best["edge"][0], best["edge"][1]), self._dag
        self._dag = before.without(edge).pruned()
        cut = set(before.live_edges) - set(self._dag.edges) - {edge}
        edges, start = self._dag.num_edges, self.space.complete.num_edges
        self._rounds.append(
            {
                "epoch": len(self._rounds),
                "step": len(self._rounds) + 1,
                "removed": list(edge),
                "pruned": [list(e) for e in sorted(cut)],
                "edges": edges,
                "kept": round(edges / start, 2),
                "graph": self._dag.encode(),
                "arch_id": best["arch_id"],
                "cost": best["cost"],
                "accuracy": best["accuracy"],
                "score": best["score"],
                "mean_score": _mean([c["score"] for c in tried]),
                "mean_accuracy": _mean([c["accuracy"] for c in tried]),
                "expected_cost": _mean([c["cost"] for c in tried]),
                "candidates": tried,
            }
        )
        self._candidates = []
        return dict(self._rounds[-1])

    def _score_random(self) -> list[dict[str, Any]]:
        done = len(self.baseline)
        archs = self._random_archs[done : done + self.config.workers]
        for arch, quality in zip(
            archs, self._qualities(archs), strict=True
        ):
            self.baseline.append(
                Found(arch, self.cost(arch), _finite(quality) or 0.0, "random")
            )
        return [
            found.log_record(len(self._rounds))
            for found in self.baseline[done:]
        ]

    @functools.cached_property
    def _random_archs(self) -> list[Arch]:
        """Draws different graphs that cost what the result does, or nearly.

        Those nearest in cost are taken where the tolerance finds too few.
        """
        c, cost = self.config, self.cost(self.derive())
        if not c.random_archs:
            return []
        low, high = cost * (1 - c.random_tolerance), cost
        high *= 1 + c.random_tolerance
        try:
            found = random_at_cost(
                self.space, self.cost, low, high, c.random_archs, self.seed,
                max_draws=_DRAWS,
            )
        except InfeasibleBudget:
            found = []
        drawn = (self.space.sample(self.seed * _DRAWS + i)
                 for i in range(_DRAWS))
        known = {arch.id for arch in found}
        others = {arch.id: arch for arch in drawn if arch.id not in known}
        nearest = sorted(
            others.values(), key=lambda arch: abs(self.cost(arch) - cost)
        )
        return [*found, *nearest][: c.random_archs]

    def _arch(self, number: int) -> Arch:
        """Returns the network of a finished round."""
        text = self._rounds[number]["graph"]
        return self.space.from_dag(
            MaskedDag.decode(text, self.space.known_ops)
        )

    def _order(self) -> list[int]:
        """Rounds, the best first; of equals the graph with fewer leaves."""
        return sorted(
            range(len(self._rounds)),
            key=lambda i: (
                -_value(self._rounds[i]["score"]),
                len(self.space.to_dag(self._arch(i)).leaves),
                self._rounds[i]["edges"],
            ),
        )

    def derive(self, target: float | None = None) -> Arch:
        """Returns the graph of the trail with the best score.

        Args:
            target: Its greatest cost; the most accurate graph that meets it
                is returned. `None`, or the target of the search, is the rule
                above.

        Raises:
            InfeasibleBudget: when no graph so far is so cheap.
        """
        order = self._order()
        if target is None or target == self.target:
            return self._arch(order[0]) if order else self.at_step(0)
        fitting = [i for i in order if self._rounds[i]["cost"] <= target]
        if not fitting:
            raise InfeasibleBudget(
                "the search has graphs of {:.4g}..{:.4g} so far. ".format(
                    *self.reachable()
                ) + f"Received: {target:.4g}"
            )
        return self._arch(
            max(fitting, key=lambda i: _value(self._rounds[i]["accuracy"]))
        )

    def at_step(self, step: int) -> Arch:
        """Returns a graph of the trail.

        Args:
            step: Number of rounds done; 0 is the complete graph.

        Raises:
            ConfigError: when the trail is not so long.
        """
        if not 0 <= step <= len(self._rounds):
            raise ConfigError(
                f"`step` must be in 0..{len(self._rounds)}, the rounds done. "
                f"Received: {step}"
            )
        if step == 0:
            return self.space.from_dag(self.space.complete)
        return self._arch(step - 1)

    def reachable(self) -> tuple[float, float]:
        """Returns the least and the greatest cost of the trail so far."""
        costs = [self.cost(self.at_step(0))]
        costs += [record["cost"] for record in self._rounds]
        return min(costs), max(costs)

    def cost(self, arch: Arch) -> float:
        return self._cost.cost(arch)

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        return self.evaluator.weights_for(arch)

    def state(self) -> dict[str, Any]:
        return {
            "rounds": self._rounds,
            "candidates": self._candidates,
            "baseline": [f.to_json() for f in self.baseline],
            "evaluator": self.evaluator.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._rounds, self._candidates = state["rounds"], state["candidates"]
        self.baseline = [
            Found.from_json(f, "state") for f in state["baseline"]
        ]
        self._dag = self.space.to_dag(self.at_step(len(self._rounds)))
        self.evaluator.restore(state["evaluator"])

    def variables(self) -> dict[str, list]:
        return self.evaluator.variables()

    def outcome(self) -> tuple[list[Found], list[Found], list[dict]]:
        # A network whose training diverged is as good as always wrong: 0.
        found: dict[str, Found] = {}
        for i in self._order():
            record, arch = self._rounds[i], self._arch(i)
            found.setdefault(
                arch.id,
                Found(arch, record["cost"], record["accuracy"] or 0.0, epoch=i),
            )
        return list(found.values()), self.baseline, self._rounds


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def _value(score: float | None) -> float:
    return -math.inf if score is None else score


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def build(setting: Setting) -> AutoShrink:
    """Makes the search that a config describes.

    Args:
        setting: The config and what it names.

    Raises:
        ConfigError: for another kind of space, or a metric without target.
    """
    config, search = setting.config, setting.config.search
    if not isinstance(setting.space, DagSpace):
        raise ConfigError(
            "`autoshrink` needs a space of graphs, such as autoshrink_cnn. "
            f"Received: space={setting.space.name!r}"
        )
    space = setting.space.drawn(search.nodes, search.op_seed)
    metric = shrink_metrics.get(
        search.metric.name, search.metric.weight, setting.target
    )
    cost = setting.cost
    if isinstance(space, RecurrentSpace) and setting.table is None:
        cost = EdgeMadds(space)  # as the published metric takes it
    return AutoShrink(
        space, evaluate.make(setting), cost, metric, search, config.seed,
        setting.target, setting.loop.advance,
    )
