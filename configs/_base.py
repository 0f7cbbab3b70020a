"""What the configs share; no config itself.

A search is `search(...)`, the training of a given network `training(...)`.
Options that a dataclass or a recipe of tfnas owns have their defaults there:
a config says what is otherwise.
"""

import dataclasses
from typing import Any

from ml_collections import config_dict

from tfnas.errors import ConfigError
from tfnas.train import recipe

_NULLS = {"teacher": str, "teacher_mean": float, "teacher_std": float}
# Of the standard recipe alone: others have an optimizer of their own.
_OPTIMIZER = (
    "optimizer", "momentum", "nesterov", "beta1", "beta2", "epsilon",
    "decay_vectors",
)


def check_variant(variant: str, *known: str) -> None:
    """Refuses variants that there are not."""
    if variant not in known:
        *others, last = map(repr, known)
        raise ConfigError(
            f"`variant` must be {', '.join(others)} or {last}. "
            f"Received: {variant!r}"
        )


def training(
    variant: str, train: dict[str, Any], local: dict[str, Any]
) -> config_dict.ConfigDict:
    """Returns a config that trains a given network.

    Args:
        variant: `imagenet`, or `local`: digits of 32 px.
        train: The recipe; options that it leaves out are off.
        local: Fields of the recipe that are others in the variant `local`.
    """
    check_variant(variant, "imagenet", "local")
    config = config_dict.ConfigDict(
        {"seed": 0, "strategy": "default", "data": data(),
         "train": recipe_section(train)}
    )
    if variant == "local":
        config.data.update(name="digits", image_size=32)
        config.train.update(local)
    return config


def search(
    algorithm: str, space: str, section: dict[str, Any], **others: Any
) -> config_dict.ConfigDict:
    """Returns a config of a search.

    Args:
        algorithm: Its name, or `package.module.build` of another package.
        space: Name of the space.
        section: The section `search`.
        **others: Further fields and sections, or others than these.
    """
    return config_dict.ConfigDict(
        {
            "algorithm": algorithm,
            "space": space,
            "seed": 0,
            "strategy": "default",
            # Aims; without one the algorithm weighs cost as published.
            "target_ms": null(float),
            "target_madds": null(float),
            "data": data(),
            "lut": lut(),
            "search": section,
            **others,
        }
    )


def null(kind: type) -> config_dict.FieldReference:
    """Returns a field that is null until a flag gives it a value."""
    return config_dict.placeholder(kind)


def limits(max_madds: float | None = None) -> dict[str, Any]:
    """Returns hard limits of the cost; with a table the first one counts."""
    return {
        "max_latency_ms": null(float),
        "max_madds": null(float) if max_madds is None else max_madds,
    }


def data(
    name: str = "folder:imagenet", image_size: int = 224, **others: Any
) -> dict[str, Any]:
    """Returns the section `data`: by default ImageNet, in class folders."""
    return {
        "name": name, "image_size": image_size, "classes": null(int),
        "limit_train": null(int), "limit_test": null(int),
        "split_list": null(str),  # of searches
        **others,
    }


def lut(**others: Any) -> dict[str, Any]:
    """Returns the section `lut`."""
    return {
        "path": null(str),  # null: multiply-adds
        "device": "host",  # or adb:SERIAL, with a program to run there
        "benchmark_binary": null(str), "fixed_performance": False,
        "dtype": "int8", "rounds": 25,
        "nets": 5,  # whole networks to calibrate with
        **others,
    }


def run(target_quantile: float = 0.5) -> dict[str, Any]:
    """Returns the section `run`, of searches that `tfnas-run` takes.

    Args:
        target_quantile: Of random networks, with no target.
    """
    return {
        "rounds": 1,  # searches; each calibrates the table of the next
        "target_quantile": target_quantile, "random_networks": 1,
        "bench_rounds": 50,
    }


def section_of(options: Any) -> dict[str, Any]:
    """Returns the section that gives a dataclass of options."""
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if not dataclasses.is_dataclass(getattr(options, field.name))
    }


def recipe_section(train: dict[str, Any]) -> config_dict.ConfigDict:
    """Returns the section `train`: a recipe and, off, the other options."""
    section = config_dict.ConfigDict()
    is_standard = train.get("recipe", "standard") == "standard"
    for name, value in {**recipe.DEFAULTS, **train}.items():
        if name in _NULLS and value is None:
            section[name] = null(_NULLS[name])
        elif is_standard or name in train or name not in _OPTIMIZER:
            section[name] = value
    return section
