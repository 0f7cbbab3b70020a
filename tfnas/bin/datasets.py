"""The flag `--data`, beside `--config`: what a program reads."""

import pathlib
from typing import TYPE_CHECKING
from typing import Any

from absl import flags

from tfnas.errors import ConfigError

if TYPE_CHECKING:
    from tfnas.data import Dataset
    from tfnas.data import Text

# Help lists the flag with the program that asked for it.
flags.disclaim_key_flags()


def define_data() -> flags.FlagHolder:
    """Defines `--data`."""
    return flags.DEFINE_string(
        "data",
        None,
        "Data set, e.g. digits, cifar10 or folder:<dir>, or a text, "
        "ptb:<dir>; it takes the place of the config's data.name, and needs "
        "no config.",
    )


def asks_for_text(config: Any, name: str | None) -> bool:
    """Says whether `--config` and `--data` ask for a text."""
    from tfnas import data

    if name is None and config is not None:
        name = config.data.name
    return name is not None and data.is_text(name)


def load_text(config: Any, name: str | None, model_path: str) -> "Text":
    """Loads the text that `--config` and `--data` ask for.

    Args:
        config: value of `--config`, or None.
        name: value of `--data`, or None.
        model_path: a model's file; its words are in `vocabulary.json` beside
            it, where there is one, else all words of the text count.

    Raises:
        ConfigError: if there is no such folder.
        ArtifactError: if a file is not what it should be.
    """
    from tfnas import data
    from tfnas.data.text import Vocabulary

    section = dict(config.data) if config is not None else {}
    if name is not None:
        section["name"] = name
    words = pathlib.Path(model_path).with_name("vocabulary.json")
    return data.load_text(
        section, Vocabulary.load(words) if words.exists() else None
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
