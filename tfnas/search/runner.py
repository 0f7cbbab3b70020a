"""From a config and a workdir to a finished search."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Any

from tfnas import artifacts
from tfnas import locks
from tfnas import seeds
from tfnas.cost.lut import LatencyTable
from tfnas.cost.objective import check_unit
from tfnas.data import arrays
from tfnas.errors import ArtifactError
from tfnas.fields import check_is_config
from tfnas.search import SEARCHES
from tfnas.search.base import Search
from tfnas.search.base import SearchResult
from tfnas.search.setting import Setting
from tfnas.train import distribute
from tfnas.train import run_state
from tfnas.train.loop import Loop
from tfnas.train.stage import Stage
from tfnas.train.stage import check_log
from tfnas.train.stage import check_origin
from tfnas.train.stage import start_loop

__all__ = ["make_search", "open_search", "run_search"]


def make_search(config: Any, progress: bool = True) -> tuple[Search, Loop]:
    """Makes the search that a config describes.

    Args:
        config: The whole config; `config.lut.path` names the latency table,
            `None` counts multiply-adds instead.
        progress: Whether to show a progress bar.

    Returns:
        The search and the loop that runs its phases.

    Raises:
        ConfigError: when the target is not in the unit of the search, or
            the seed out of range.
        ArtifactError: when the table is of another type or lowering, or its
            error above the bound.
        LutMiss: with every operator that the table lacks.
        InfeasibleBudget: with the reachable range, when the target is
            outside it.
    """
    seeds.check(config.seed, "config.seed")
    check_unit(config)
    loop = start_loop(config.seed, config.strategy, progress)
    table = None
    if config.lut.path is not None:
        table = LatencyTable.load(config.lut.path)
        table.require_config(config.lut)
    search = SEARCHES.make(config.algorithm, Setting(config, loop, table))
    if not isinstance(search, Search):
        SEARCHES.refuse(config.algorithm, search)
    return search, loop


def _inputs(config: Any) -> dict[str, Any]:
    """What a search depends on beside its config: digests of its files."""
    files = {"lut": config.lut.path}
    for name in ("table", "latencies"):
        if name in config.search:
            files[name] = config.search[name]
    if config.data.get("split_list") is not None:
        files["split_list"] = config.data.split_list
    return {
        f"{name}_sha256": None if path is None else artifacts.sha256(path)
        for name, path in files.items()
    }


def open_search(config: Any, workdir: str | os.PathLike) -> Search:
    """Returns a search as its newest good checkpoint left it.

    Nothing in the workdir is changed, so the search may still be running.

    Args:
        config: The config of the search.
        workdir: Its workdir.

    Raises:
        ArtifactError: when there is no checkpoint, or no good one.
        ConfigError: when the checkpoint was made from another table, or by
            another config than stands in `config.json`.
    """
    folder = pathlib.Path(workdir)
    claim = None  # where it is lost, nothing says otherwise than `config`
    if (folder / "config.json").exists():
        claim = artifacts.read_json(folder / "config.json")
    config = config.copy_and_resolve_references()
    config.strategy = "default"
    search, loop = make_search(config, progress=False)
    if not Stage(folder, search, loop, _inputs(config), claim).restore():
        raise ArtifactError(
            f"{workdir}: expected the checkpoint of a search, which is there "
            "after its first epoch. Received: none"
        )
    return search


def _finished(folder: pathlib.Path, config: Any) -> SearchResult | None:
    """Returns the result of a finished search.

    Returns:
        The result; `None` where there is none, or where it, or a file that
        it names, is damaged: the checkpoint gives it once more.

    Raises:
        ConfigError: when the folder belongs to another table or config.
    """
    path = folder / "result.json"
    if path.exists() or (folder / "config.json").exists():
        artifacts.claim_workdir(folder, config)
    if not path.exists():
        return None
    try:
        result = SearchResult.load(path, sealed=True)
        if not result.archs:
            raise ArtifactError(f"{path}: expected a network. Received: none")
        for name, expected in result.header.get("files", {}).items():
            if artifacts.sha256(folder / name) != expected:
                raise ArtifactError(f"{folder / name}: the file is damaged")
    except ArtifactError as error:
        artifacts.warn(f"{error}. It is made anew from the checkpoint")
        return None
    check_origin(
        result.header, path, "result", folder, _inputs(config),
        artifacts.config_digest(config),
    )
    check_log(folder)
    return result


def run_search(
    config: Any, workdir: str | os.PathLike, progress: bool = True,
    data: Any = None,
) -> SearchResult:
    """Runs a search to its end; the same call again goes on where it was.

    What the folder holds is believed only with its digests: a damaged
    checkpoint is passed over for the one before, a damaged result or log is
    made anew from the checkpoint, and a warning says so. Results of versions
    without digests are made anew, too.

    Args:
        config: A config such as those in `configs/`.
        workdir: Folder of the run: `config.json`, `log.jsonl`,
            `checkpoints/`, `tensorboard/`, `result.json`.
        progress: Whether to show a progress bar.
        data: Images, in the place of the set that the config names:
            `(images, labels)` or a `tf.data.Dataset`; see
            `tfnas.data.arrays.held`. The workdir knows them, and goes on
            with the same ones only.

    Returns:
        The result, which is also in `result.json`.

    Raises:
        ConfigError: when the workdir belongs to another config, table or
            images.
        ArtifactError: when nothing good is left of the checkpoints.
        Locked: when another process works in the folder.
        LutMiss: with every operator that the latency table lacks.
        InfeasibleBudget: when the target cannot be reached.

    Example:
        >>> config = tfnas.config("guided:local", {"search.queries": 4})
        >>> digits = tfnas.data.load({"name": "digits"}).train
        >>> images, labels = digits.images.array, digits.labels
        >>> result = tfnas.run_search(config, "run", data=(images, labels))
        >>> model = tfnas.build_model(result.best.arch)
    """
    check_is_config(config)
    with arrays.held(config, data) as config:
        return _run_search(config, pathlib.Path(workdir), progress)


def _run_search(
    config: Any, folder: pathlib.Path, progress: bool
) -> SearchResult:
    chief = distribute.is_chief(distribute.strategy(config.strategy))
    if (found := _finished(folder, config)) is not None:
        return found
    with locks.workdir(folder) if chief else contextlib.nullcontext():
        # Another process may have come to the end meanwhile.
        if (found := _finished(folder, config)) is not None:
            return found
        # Claimed only now: a target that is refused leaves no trace.
        search, loop = make_search(config, progress)
        artifacts.claim_workdir(folder, config)
        inputs = _inputs(config)
        Stage(folder, search, loop, inputs, config).run("search")
        return _result(folder, config, search, inputs, chief)


def _result(
    folder: pathlib.Path, config: Any, search: Search,
    inputs: dict[str, Any], chief: bool,
) -> SearchResult:
    """Returns the result of a search at its end; the chief writes it."""
    digests = {}
    if chief:
        for name, value in search.files().items():
            artifacts.write_json(folder / name, value)
            digests[name] = artifacts.sha256(folder / name)
    header = {
        "algorithm": config.algorithm,
        "space": config.space,
        "seed": config.seed,
        "strategy": config.strategy,
        "versions": run_state.versions(),
        "inputs": inputs,
        "config_sha256": artifacts.config_digest(config),
        "files": digests,
        "unit": search.cost_unit,
        "target": search.target,
    }
    if changes := artifacts.changes(folder):
        header["changes"] = changes
    result = SearchResult(header, *search.outcome())
    if chief:
        result.save(folder / "result.json")
    return result
