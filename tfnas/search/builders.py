"""Makes query searches from configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.registry import Registry
from tfnas.search import evaluate
from tfnas.search.baselines import LocalSearch
from tfnas.search.baselines import RandomSearch
from tfnas.search.baselines import RegularizedEvolution
from tfnas.search.evaluate import Evaluator
from tfnas.search.evaluate import TableEvaluator
from tfnas.search.evaluate import TrainedEvaluator
from tfnas.search.limit import Limit
from tfnas.search.query import QuerySearch
from tfnas.search.query import Strategy
from tfnas.search.setting import Setting
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.nasbench201_table import DeviceTable
from tfnas.spaces.pool import Pool

StrategyMaker = Callable[[CodedSpace, Limit, Any, int], Strategy]


def build(
    setting: Setting, make: StrategyMaker | None = None
) -> QuerySearch:
    """Makes the search that a config describes.

    Args:
        setting: The config and what it names. Without a hard limit of the
            cost, a target is one: accuracy grows with cost. With
            `search.tolerance` a target is the middle of a band.
        make: `f(space, limit, config.search, seed)` to the strategy; `None`
            is the one of that name in `STRATEGIES`.

    Raises:
        ConfigError: for a space without codes, a table of another space, or
            one with fewer networks in the band than queries.
        LutMiss: with every operator that the latency table lacks.
        InfeasibleBudget: when no architecture meets the limit.
    """
    search, seed = setting.config.search, setting.config.seed
    make = make or STRATEGIES.get(setting.config.algorithm)
    evaluator = evaluate.make(setting)
    space = _space(setting, evaluator)
    limit = _limit(setting, evaluator, space)
    if isinstance(evaluator, TrainedEvaluator):
        limit = _pooled(limit, evaluator, search.queries)
        space = limit.space
    limit.check()
    return QuerySearch(
        make(space, limit, search, seed), RandomSearch(space, limit, seed),
        evaluator, limit, search.queries, search.unit_queries,
        search.top_archs, setting.loop.advance,
    )


def _pooled(
    limit: Limit, evaluator: TrainedEvaluator, queries: int
) -> Limit:
    """The same limit on the networks of a table that fit."""
    table = evaluator.table
    whole = Pool(table.space, [*table.trainings])
    wide = Limit(whole, limit.cost, limit.max_cost, limit.unit, limit.min_cost)
    members = [codes for codes in whole.members() if wide.fits(codes)]
    if not members:
        low, high = wide.reachable()
        raise InfeasibleBudget(
            f"{table.source}: its networks cost {low:.4g}..{high:.4g} "
            f"{limit.unit}; take a target within, or a wider "
            f"`search.tolerance`. Received: {limit.described()}"
        )
    if len(members) < queries:
        raise ConfigError(
            f"{table.source}: it has {len(members)} networks that fit; take "
            "no more `search.queries`, or a wider `search.tolerance`. "
            f"Received: search.queries={queries}"
        )
    return Limit(
        Pool(table.space, members), wide.cost, limit.max_cost, limit.unit,
        limit.min_cost,
    )


def _space(setting: Setting, evaluator: Evaluator) -> CodedSpace:
    """The space of the config, in the shape that the evaluator scores."""
    name = setting.config.space
    if isinstance(evaluator, TrainedEvaluator):
        return evaluator.table.space
    if isinstance(evaluator, TableEvaluator):
        if name != evaluator.table.space.name:
            raise ConfigError(
                f"the table scores the space `{evaluator.table.space.name}`. "
                f"Received: space={name!r}"
            )
        return evaluator.table.space
    if not isinstance(setting.space, CodedSpace):
        raise ConfigError(
            f"`{setting.config.algorithm}` needs a space whose architectures "
            f"are codes. Received: space={name!r}"
        )
    return setting.space


def _limit(
    setting: Setting, evaluator: Evaluator, space: CodedSpace
) -> Limit:
    """Costs by the latency table or device of the config, and their limit."""
    search, most = setting.config.search, setting.max_cost
    if search.get("device_table") is not None:
        device = _device(search, evaluator)
        _check_unit(setting.config, device.unit)
        most = setting.config.get("max_latency_ms")
        return Limit(space, device.latencies_ms.__getitem__, most, device.unit)
    cost = setting.cost
    _check_unit(setting.config, cost.unit)
    if setting.table is not None:
        setting.table.require_space(space)
    least, most = _band(setting)
    return Limit(
        space, lambda codes: cost.cost(space.from_codes(codes)), most,
        cost.unit, least,
    )


def _band(setting: Setting) -> tuple[float | None, float | None]:
    """Least and greatest cost of a search.

    Raises:
        ConfigError: for a tolerance that is no share.
    """
    most, target = setting.max_cost, setting.target
    tolerance = setting.config.search.get("tolerance")
    if target is None or tolerance is None:
        return None, target if most is None else most
    if not 0 < tolerance < 1:
        raise ConfigError(
            "`search.tolerance` must be a share between 0 and 1. "
            f"Received: {tolerance}"
        )
    highest = target * (1 + tolerance)
    return target * (1 - tolerance), min(highest, most or highest)


def _check_unit(config: Any, unit: str) -> None:
    """Refuses a limit that costs cannot be compared with."""
    wrong = {"ms": ("max_madds", "target_madds"),
             "madds_m": ("max_latency_ms", "target_ms")}
    for name in wrong[unit]:
        if config.get(name) is not None:
            raise ConfigError(
                f"`{name}` is not in the unit of the costs, {unit}; they are "
                "latencies with `lut.path` or `search.device_table`, and "
                f"multiply-adds without. Received: {name}={config[name]:g}"
            )


def _device(search: Any, evaluator: Evaluator) -> DeviceTable:
    """The measured latencies that a config names."""
    if not isinstance(evaluator, TableEvaluator):
        raise ConfigError(
            "`search.device_table` needs the evaluator `table`. "
            f"Received: evaluator={search.evaluator!r}"
        )
    if not search.latencies:
        raise ConfigError(
            "`search.device_table` is a device in the file "
            f"`search.latencies`. Received: latencies={search.latencies!r}"
        )
    table = evaluator.table
    device = DeviceTable.load(search.latencies, search.device_table, table)
    device.cost(table.space.sample(0))  # refuses images of another size
    return device


def random(space: CodedSpace, limit: Limit, search: Any, seed: int) -> Strategy:
    """Makes random search."""
    return RandomSearch(space, limit, seed)


def evolution(
    space: CodedSpace, limit: Limit, search: Any, seed: int
) -> Strategy:
    """Makes regularized evolution, as `search.evolution` says."""
    return RegularizedEvolution(space, limit, seed, **search.evolution)


def local_search(
    space: CodedSpace, limit: Limit, search: Any, seed: int
) -> Strategy:
    """Makes local search."""
    return LocalSearch(space, limit, seed)


STRATEGIES: Registry[StrategyMaker] = Registry(
    "strategy",
    {
        "ase_nas": "tfnas.search.ase_nas.make",
        "evolution": f"{__name__}.evolution",
        "guided": "tfnas.search.guided.make",
        "local_search": f"{__name__}.local_search",
        "random": f"{__name__}.random",
        "uniform_subspace": "tfnas.search.ase_nas.uniform_subspace",
    },
)
