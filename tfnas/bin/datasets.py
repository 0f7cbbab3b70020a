"""The flags `--data`, beside `--config`: what a program reads.

And those that say how a model wants to be fed, better than its file knows:
`--mean --std --labels --scores --image_size`.
"""

import math
import pathlib
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from absl import flags

from tfnas import feed as feeds
from tfnas import labels
from tfnas.errors import ConfigError
from tfnas.feed import Feed

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


def check(config: Any, name: str | None) -> None:
    """Refuses at once what `--config` and `--data` ask for in vain.

    Args:
        config: value of `--config`, or None.
        name: value of `--data`, or None.

    Raises:
        ConfigError: if neither flag is given, or a field is wrong.
        ArtifactError: if files that must be there are not.
    """
    from tfnas import data

    data.check(_section(config, name))


def _section(config: Any, name: str | None) -> dict[str, Any]:
    if config is None and name is None:
        raise ConfigError(
            "Expected --data=NAME, or --config=CONFIG for its data section. "
            "Received: neither"
        )
    section = dict(config.data) if config is not None else {}
    if name is not None:
        section["name"] = name
    return section


def define_feed() -> None:
    """Defines the flags of `given_feed`."""
    for flag, what in (("mean", "subtract from"), ("std", "divide then")):
        flags.DEFINE_list(
            flag, None,
            f"What to {what} the pixels, on the 0 to 255 scale: a number, or "
            "one for each channel, with commas. By default as the model's "
            "file says; else as --config.data.mean and --config.data.std do; "
            "else as its type and first operations imply; else as the data "
            f"set has it. Alone, --{flag} stands beside "
            f"{'a std of 1' if flag == 'mean' else 'a mean of 0'}.",
        )
    flags.DEFINE_string(
        "labels", None,
        "Text file with the name of each class, one a line, in the order of "
        "the model's scores. By default as the model's file says; else in "
        "the order of --data.",
    )
    flags.DEFINE_string(
        "scores", None,
        "Name of the output that holds the scores of the classes, of models "
        "with several.",
    )
    flags.DEFINE_list(
        "image_size", None,
        "Height and width of the images, or one number for both, of models "
        "that take any size.",
    )


def given_feed() -> Feed:
    """Returns what the flags say of how a model wants to be fed.

    Raises:
        ConfigError: for a flag that is not what it should be.
        ArtifactError: when the label file is missing or damaged.
    """
    values, path = flags.FLAGS, flags.FLAGS.labels
    size = _numbers("image_size", values.image_size, int)
    mean = _numbers("mean", values.mean, float)
    std = _numbers("std", values.std, float)
    # One alone is the whole scale: the other is the one that does nothing.
    feed = Feed(
        mean=(0.0,) if mean is None and std is not None else mean,
        std=(1.0,) if std is None and mean is not None else std,
        image_size=None if size is None else (size[0], size[-1]),
        labels=None if path is None else labels.read_labels(path),
    )
    if size is not None and (len(size) > 2 or min(size) < 1):
        raise ConfigError(
            "--image_size takes one number or two, above 0. "
            f"Received: {','.join(values.image_size)}"
        )
    if feed.std is not None and min(feed.std) <= 0:
        raise ConfigError(
            f"--std must be above 0. Received: {feeds.words(feed.std)}"
        )
    return feed.by("a flag")


def stated_feed(config: Any) -> Feed:
    """Returns the scale that the data section of a config states.

    Args:
        config: value of `--config`, or None.
    """
    section = dict(config.data) if config is not None else {}
    mean, std = (
        None if section.get(name) is None
        else tuple(float(v) for v in np.ravel(section[name]))
        for name in ("mean", "std")
    )
    return Feed(mean=mean, std=std).by("the config")


def recognize(network: Any) -> None:
    """Adds what is known of a model that is one of the package's own.

    Args:
        network: A `KerasClassifier`, or one of a `.tflite`, which says itself.
    """
    from tfnas import applications
    from tfnas import export

    if isinstance(network, export.KerasClassifier):
        network.feed = network.feed.filled(
            applications.feed_of(network.model)
        )


def _numbers(flag: str, texts: list[str] | None, kind: Any) -> Any:
    if texts is None:
        return None
    try:
        numbers = tuple(kind(text) for text in texts)
        if not numbers or not all(math.isfinite(n) for n in numbers):
            raise ValueError
    except ValueError as error:
        raise ConfigError(
            f"--{flag} takes numbers with commas between them. "
            f"Received: {','.join(texts)}"
        ) from error
    return numbers


def load(
    config: Any, name: str | None, shape: tuple[int | None, int | None, int],
    feed: Feed | None = None,
) -> "Dataset":
    """Loads the images that `--config` and `--data` ask for.

    Args:
        config: value of `--config`, or None.
        name: value of `--data`, or None.
        shape: height, width and channels that the network takes, whatever
            the config says; height and width may be None, where any will do.
        feed: what is known of how the network wants to be fed; its image
            size is for such.

    Raises:
        ConfigError: if neither flag is given, or a field is wrong.
        ArtifactError: if the files are not what they should be.
    """
    from tfnas import data

    section = _section(config, name)
    height, width, section["channels"] = shape
    known = feed.image_size if feed is not None else None
    if known is not None:
        if any(m not in (None, n) for m, n in zip(shape, known, strict=False)):
            raise ConfigError(
                f"Expected images of {height}x{width}, as the network takes. "
                f"Received: image_size={known[0]},{known[1]}"
            )
        section["image_size"] = known
    elif height is not None and width is not None:
        section["image_size"] = (height, width)
    return data.load(section)
