"""The flag `--data`, beside `--config`: which images a program reads."""

from typing import TYPE_CHECKING
from typing import Any

from absl import flags

from tfnas.errors import ConfigError

if TYPE_CHECKING:
    from tfnas.data import Dataset

# Help lists the flag with the program that asked for it.
flags.disclaim_key_flags()


def define_data() -> flags.FlagHolder:
    """Defines `--data`."""
    return flags.DEFINE_string(
        "data",
        None,
        "Data set, e.g. digits, cifar10 or folder:<dir>; it takes the place "
        "of the config's data.name, and needs no config.",
    )


def load(config: Any, name: str | None, image_size: int) -> "Dataset":
    """Loads the images that `--config` and `--data` ask for.

    Args:
        config: value of `--config`, or None.
        name: value of `--data`, or None.
        image_size: height and width that the network takes, whatever the
            config says.

    Raises:
        ConfigError: if neither flag is given, or a field is wrong.
        ArtifactError: if the files are not what they should be.
    """
    from tfnas import data

    if config is None and name is None:
        raise ConfigError(
            "Expected --data=NAME, or --config=CONFIG for its data section. "
            "Received: neither"
        )
    section = dict(config.data) if config is not None else {}
    section["image_size"] = image_size
    if name is not None:
        section["name"] = name
    return data.load(section)
