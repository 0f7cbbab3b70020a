"""The flag `--arch`: a network in a file, or one of the published ones."""

from __future__ import annotations

import os

from absl import flags

from tfnas.arch import Arch
from tfnas.errors import ConfigError

# Help lists the flag with the program that asked for it.
flags.disclaim_key_flags()

_LANGUAGE = "shrink_rnn"


def define_arch() -> flags.FlagHolder:
    """Defines `--arch`."""
    return flags.DEFINE_string(
        "arch", None,
        "The network: a JSON file, or the name of a published one, such as "
        "densenas_a.", required=True,
    )


def get(
    text: str, classes: int | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> Arch:
    """Returns the network that `--arch` means.

    Args:
        text: A file that ends in `.json` or is there, or a name.
        classes: A published network is made for that many, and for images of
            `image_shape`; a file says itself what it is for.
        image_shape: `(height, width, channels)`.

    Raises:
        ConfigError: when it is neither a file nor a name; the message lists
            the names.
        ArtifactError: when the file is not readable.
    """
    from tfnas.applications import APPLICATIONS
    from tfnas.spaces.recurrent import shrink_rnn

    if text.endswith(".json") or os.path.exists(text):
        return Arch.load(text)
    if text == _LANGUAGE:
        return shrink_rnn()
    if text not in APPLICATIONS:
        names = ", ".join([*APPLICATIONS.names(), _LANGUAGE])
        raise ConfigError(
            f"`--arch` must be a JSON file or one of {names}. "
            f"Received: --arch={text}"
        )
    return APPLICATIONS.get(text).get_arch(classes, image_shape)
