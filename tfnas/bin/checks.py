"""What can be seen to be wrong at once is said before TensorFlow is loaded.

The parts of a program say the same when it is their turn, with what only they
can see beside it; each of these asks the owner of a rule where it can be asked
without TensorFlow.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable
from typing import Any

from tfnas import artifacts
from tfnas import data
from tfnas import model_files
from tfnas import spaces
from tfnas.cost.lut import LatencyTable
from tfnas.cost.objective import check_unit
from tfnas.data import augment_words
from tfnas.data import fields
from tfnas.data.text import is_text
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.search import SEARCHES
from tfnas.search.evaluate import EVALUATORS
from tfnas.search.setting import NO_DATA
from tfnas.spaces import lattice
from tfnas.train import recipe


def require(config: Any, *fields: str) -> None:
    """Refuses a config that lacks fields, such as one of another program.

    Raises:
        ConfigError: naming them.
    """
    missing = [field for field in fields if field not in config]
    if missing:
        raise ConfigError(
            "Expected a config with the fields "
            f"{', '.join(f'`{field}`' for field in fields)}. Received: one "
            f"without {', '.join(missing)}"
        )


def search(config: Any, workdir: str) -> None:
    """Refuses a search that cannot run.

    Args:
        config: The whole config, merged.
        workdir: Its folder.

    Raises:
        ConfigError: naming the field, or the workdir of another config.
        ArtifactError: naming the file, when one is missing or not what it
            should be.
        LutMiss: with every operator that the latency table lacks.
    """
    require(config, "target_ms", "target_madds", "lut")
    check_unit(config)
    settings(config, workdir)


def settings(config: Any, workdir: str) -> None:
    """Refuses settings of a search that cannot be, whatever its target.

    Args:
        config: The whole config, merged.
        workdir: Its folder.

    Raises:
        ConfigError, ArtifactError, LutMiss: as `search`.
    """
    require(
        config, "algorithm", "space", "seed", "strategy", "data", "lut",
        "search",
    )
    SEARCHES.check(config.algorithm)
    if "evaluator" in config.search:
        EVALUATORS.check(config.search.evaluator)
    _search_fields(config.search)
    if config.data.name != NO_DATA:
        data.check(config.data)
    space = _space(config)
    for name in ("table", "latencies"):
        if config.search.get(name):
            _there(config.search[name])
    if config.lut.path is not None:
        table = LatencyTable.load(config.lut.path)
        table.require_config(config.lut)
        if space is not None:
            table.require_space(space)
    if config.algorithm == "densenas":
        lattice.require(spaces.get(config.space))
    own_workdir(workdir, config)


def own_workdir(workdir: str, config: Any) -> None:
    """Refuses a workdir that is no folder, or that of another config."""
    folder = pathlib.Path(workdir)
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise ConfigError(
            f"--workdir={workdir}: expected a folder. Received: {there} is a "
            "file"
        )
    if (folder / "config.json").exists():
        artifacts.claim_workdir(folder, config)


def training(config: Any) -> None:
    """Refuses a training that cannot run, for its data or its recipe.

    Raises:
        ConfigError: naming the field.
        ArtifactError: naming the file.
    """
    require(config, "seed", "strategy", "data", "train")
    data.check(config.data)
    recipe.check(config.train)
    augment_words.parse(config.train.get("augment") or "none")


def models(paths: Iterable[str]) -> None:
    """Refuses what are no `.keras` or `.tflite` files at the first look.

    Raises:
        ArtifactError: naming the first of them.
    """
    from tflite_bench import interpreter

    for path in paths:
        if path.endswith(".tflite"):
            interpreter.read_file(path)
        else:
            model_files.check_keras(path)


def _search_fields(section: Any) -> None:
    for name in ("batch_size", "queries"):
        value = section.get(name)
        if value is not None and value < 1:
            raise ConfigError(
                f"`search.{name}` must be at least 1. Received: "
                f"search.{name}={value}"
            )
    augment_words.parse(section.get("augment") or "none")
    if section.get("evaluator") == "table" and not section.get("table"):
        raise ConfigError(
            "the evaluator `table` needs the file of a table, `search.table`. "
            f"Received: {section.get('table')!r}"
        )


def _space(config: Any) -> spaces.Space | None:
    """Returns the space in the shape of the data, where that is known."""
    name = config.data.name
    if name == NO_DATA or is_text(name):
        spaces.get(config.space)
        return None
    read = fields.read(config.data)
    shape = (*read.image_size, read.channels)
    space = spaces.get(config.space, read.classes, shape)
    known = read.classes is not None and read.split_list is None
    return space if known else None


def _there(path: str) -> None:
    if not os.path.exists(path):
        raise ArtifactError(f"{path}: No such file or directory")
