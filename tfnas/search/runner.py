"""From a config and a workdir to a finished search."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from tfnas import artifacts
from tfnas import data
from tfnas import spaces
from tfnas.cost.lut import LatencyTable
from tfnas.search import densenas as _densenas
from tfnas.search.base import SEARCHES
from tfnas.search.base import Search
from tfnas.search.base import SearchResult
from tfnas.train import distribute
from tfnas.train import run_state
from tfnas.train.loop import Loop
from tfnas.train.stage import Stage

__all__ = ["make_search", "open_search", "run_search"]
_ALGORITHMS = (_densenas,)  # imported to register their searches


def make_search(config: Any, progress: bool = True) -> tuple[Search, Loop]:
    """Makes the search that a config describes.

    Args:
        config: The whole config; `config.lut.path` names the latency table,
            `None` counts multiply-adds instead.
        progress: Whether to show a progress bar.

    Returns:
        The search and the loop that runs its phases.

    Raises:
        LutMiss: with every operator that the table lacks.
        InfeasibleBudget: with the reachable range, when the target is
            outside it.
    """
    run_state.start(config.seed)
    dataset = data.load(config.data)
    splits = dataset.search_splits(config.search.split, config.seed)
    space = spaces.get(config.space, dataset.classes, dataset.image_shape)
    path = config.lut.path
    table = None if path is None else LatencyTable.load(path)
    loop = Loop(distribute.strategy(config.strategy), config.seed, progress)
    build = SEARCHES.get(config.algorithm)
    return build(config, space, splits, loop, table), loop


def _stage(config: Any, workdir: Any, search: Search, loop: Loop) -> Stage:
    path = config.lut.path
    inputs = {"lut": None if path is None else artifacts.sha256(path)}
    return Stage(workdir, search, loop.strategy, inputs)


def open_search(config: Any, workdir: str | os.PathLike) -> Search:
    """Returns a search as its newest checkpoint left it.

    Args:
        config: The config of the search.
        workdir: Its workdir.
    """
    search, loop = make_search(config, progress=False)
    _stage(config, workdir, search, loop).restore()
    return search


def run_search(
    config: Any, workdir: str | os.PathLike, progress: bool = True
) -> SearchResult:
    """Runs a search to its end; the same call again goes on where it was.

    Args:
        config: A config such as those in `configs/`.
        workdir: Folder of the run: `config.json`, `log.jsonl`,
            `checkpoints/`, `result.json`.
        progress: Whether to show a progress bar.

    Returns:
        The result, which is also in `result.json`.

    Raises:
        ConfigError: when the workdir belongs to another config.
        LutMiss: with every operator that the latency table lacks.
        InfeasibleBudget: when the target cannot be reached.
    """
    folder = pathlib.Path(workdir)
    result_path = folder / "result.json"
    if (folder / "config.json").exists():
        artifacts.claim_workdir(folder, config)
        if result_path.exists():
            return SearchResult.load(result_path)
    # Claimed only now: a target that is refused leaves no trace.
    search, loop = make_search(config, progress)
    artifacts.claim_workdir(folder, config)
    stage = _stage(config, folder, search, loop)

    def on_unit(done: int) -> None:
        if not loop.is_open:
            share = done / search.units
            total = search.total_steps()
            loop.expect(total, round(share * total), "search")

    stage.run(on_unit)
    loop.close()
    archs, baseline, history = search.outcome()
    table = config.lut.path is not None
    header = {
        "algorithm": config.algorithm,
        "space": config.space,
        "seed": config.seed,
        "strategy": config.strategy,
        "versions": run_state.versions(),
        "unit": "ms" if table else "madds_m",
        "target": search.target,
    }
    result = SearchResult(header, archs, baseline, history)
    if distribute.is_chief(loop.strategy):
        result.save(result_path)
    return result
