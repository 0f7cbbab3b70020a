"""Flags that several programs share, and how they enter a config.

The precedence is: config file, then `--config.x=`, then a named flag.
"""

from __future__ import annotations

from typing import Any

from absl import flags
from ml_collections import config_dict

from tfnas import artifacts
from tfnas import fields
from tfnas import seeds
from tfnas.cost.lut import MAX_ERROR
from tfnas.errors import ConfigError
from tfnas.fields import Fields
from tfnas.registry import is_path
from tfnas.train import distribute

# Help lists each flag with the program that asked for it.
flags.disclaim_key_flags()


def define_workdir(required: bool = True) -> flags.FlagHolder:
    """Defines `--workdir`."""
    return flags.DEFINE_string(
        "workdir",
        None,
        "Folder of the run; the same command again goes on where it stopped.",
        required=required,
    )


def define_target() -> None:
    """Defines `--target_ms` and `--target_madds`."""
    flags.DEFINE_float(
        "target_ms", None, "Latency to aim at, in ms.", lower_bound=0
    )
    flags.DEFINE_float(
        "target_madds", None, "Multiply-adds to aim at, where there is no "
        "latency table.", lower_bound=0,
    )


def define_overrides() -> None:
    """Defines the named flags that take the place of config fields."""
    flags.DEFINE_string("space", None, "Search space, instead of the config's.")
    flags.DEFINE_string("lut", None, "Latency table, instead of the config's.")
    flags.DEFINE_float(
        "max_table_error", None, "Percent by which the predictions of the "
        f"latency table may be off; {MAX_ERROR:g} unless the config says "
        "otherwise.", lower_bound=0,
    )
    seeds.define("Seed, instead of the config's.")
    flags.DEFINE_enum(
        "strategy", None, distribute.NAMES,
        "Distribution, instead of the config's. multiworker reads TF_CONFIG "
        "and needs a --workdir that all machines share; tpu is untested.",
    )


def merge(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Returns a config with the named flags that were given put in.

    Raises:
        ConfigError: for a flag whose field the config does not have, or a
            seed out of range.
    """
    merged = config.copy_and_resolve_references()
    for field, flag in (
        ("space", "space"), ("lut.path", "lut"), ("seed", "seed"),
        ("strategy", "strategy"), ("target_ms", "target_ms"),
        ("target_madds", "target_madds"), ("run.rounds", "rounds"),
        ("lut.max_table_error", "max_table_error"),
        ("lut.device", "device"), ("lut.benchmark_binary", "benchmark_binary"),
        ("search.workers", "workers"),
    ):
        value = flags.FLAGS[flag].value if flag in flags.FLAGS else None
        if value is None:
            continue
        try:
            merged.update_from_flattened_dict({field: value})
        except KeyError as error:
            raise ConfigError(
                f"--{flag} is for configs with `{field}`. "
                f"Received: --{flag}={value}"
            ) from error
    check_seeds(merged)
    return merged


def check_seeds(config: config_dict.ConfigDict) -> None:
    """Refuses seeds of a config that are out of range.

    Raises:
        ConfigError: naming the field.
    """
    for name in ("seed", "search.op_seed"):
        *section, field = name.split(".")
        holder = config.get(section[0]) if section else config
        if holder is not None and field in holder:
            seeds.check(holder[field], f"config.{name}")


def target(config: config_dict.ConfigDict) -> float | None:
    """Returns the target flag that was given, in the unit of a search.

    Args:
        config: The config of the search.

    Raises:
        ConfigError: when the flag is not in that unit.
    """
    flag, other, scale = "target_ms", "target_madds", 1.0
    if config.lut.path is None:
        flag, other, scale = "target_madds", "target_ms", 1e-6
    if flags.FLAGS[other].value is not None:
        raise ConfigError(
            f"This search takes --{flag}. Received: "
            f"--{other}={flags.FLAGS[other].value:g}"
        )
    value = flags.FLAGS[flag].value
    return None if value is None else value * scale


def define_allow_imports() -> None:
    """Defines `--allow_imports`, for `saved_config`."""
    flags.DEFINE_boolean(
        "allow_imports", False, "Whether the workdir may name searches, "
        "spaces and evaluators of other packages, which are imported.",
    )


def saved_config(workdir: str) -> config_dict.ConfigDict:
    """Returns the merged config that a workdir was made with.

    Raises:
        ArtifactError: when the workdir has none, or a damaged one.
        ConfigError: when it is no search's, or names what is to be imported
            without `--allow_imports`.
    """
    path = f"{workdir}/config.json"
    value: dict[str, Any] = artifacts.read_json(path)
    if not {"search", "lut", "space"} <= set(value):
        raise ConfigError(
            "`workdir` must be that of a search. "
            f"Received: {workdir} with {sorted(value)}"
        )
    file = Fields(value, path)
    for section in ("lut", "data"):
        file.need(section, fields.OBJECT)
    names = {
        "algorithm": file.need("algorithm", fields.TEXT),
        "space": file.need("space", fields.TEXT),
        "search.evaluator": file.section("search").text("evaluator"),
    }
    for field, name in names.items():
        if is_path(name) and not flags.FLAGS.allow_imports:
            raise ConfigError(
                f"{workdir} names a part of another package; if you trust "
                f"it: --allow_imports. Received: {field}={name!r}"
            )
    return config_dict.ConfigDict(value)
