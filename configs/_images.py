"""What the configs of trainings on images share; no config itself."""

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


def get_config(
    variant: str, train: dict[str, Any], local: dict[str, Any]
) -> config_dict.ConfigDict:
    """Returns a config that trains a given network.

    Args:
        variant: `imagenet`, or `local`: digits of 32 px.
        train: The recipe; options that it leaves out are off.
        local: Fields of the recipe that are others in the variant `local`.
    """
    check_variant(variant)
    config = config_dict.ConfigDict()
    config.seed = 0
    config.strategy = "default"
    config.data = data()
    config.train = recipe_section(train)
    if variant == "local":
        config.data.name = "digits"
        config.data.image_size = 32
        config.train.update(local)
    return config


def check_variant(variant: str) -> None:
    """Refuses variants that there are not."""
    if variant not in ("imagenet", "local"):
        raise ConfigError(
            f"`variant` must be 'imagenet' or 'local'. Received: {variant!r}"
        )


def data() -> config_dict.ConfigDict:
    """Returns the section `data`: ImageNet, in class folders."""
    section = config_dict.ConfigDict()
    section.name = "folder:imagenet"
    section.image_size = 224
    section.classes = config_dict.placeholder(int)
    section.limit_train = config_dict.placeholder(int)
    section.limit_test = config_dict.placeholder(int)
    section.split_list = config_dict.placeholder(str)  # of searches
    return section


def recipe_section(train: dict[str, Any]) -> config_dict.ConfigDict:
    """Returns the section `train`: a recipe and, off, the other options."""
    section = config_dict.ConfigDict()
    is_standard = train.get("recipe", "standard") == "standard"
    for name, value in {**recipe.DEFAULTS, **train}.items():
        if name in _NULLS and value is None:
            section[name] = config_dict.placeholder(_NULLS[name])
        elif is_standard or name in train or name not in _OPTIMIZER:
            section[name] = value
    return section
