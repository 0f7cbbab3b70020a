"""Finding the unreadable images of a set before it is used."""

import concurrent.futures
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import tqdm
from absl import logging

from tfnas.data import decoding
from tfnas.data.fields import Settings
from tfnas.errors import ArtifactError

_LISTED = 20

# Takes the number of an image; returns what is wrong with it, or None, and its
# `decoding.orientation`.
Look = Callable[[int], tuple[str | None, int]]


def readable(
    indices: np.ndarray,
    look: Look,
    name: Callable[[int], str],
    settings: Settings,
    where: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Looks at images once and returns those that can be read.

    Args:
        indices: of the images to look at.
        look: at one of them.
        name: takes an index and returns what the image is called.
        settings: `max_bad` of them may be unreadable.
        where: they all are, for the error message.

    Returns:
        The indices that are left, and the orientation of each.

    Raises:
        ArtifactError: if too many cannot be read; the message names them.
    """
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = list(
            tqdm.tqdm(
                pool.map(look, indices),
                "checking images",
                total=len(indices),
                delay=2,
            )
        )
    bad = [
        f"{name(index)}: {what}"
        for index, (what, _) in zip(indices, found, strict=True)
        if what
    ]
    listing = _listing(bad)
    if bad and len(bad) == len(indices):
        raise ArtifactError(
            f"{where}: expected images that can be read. "
            f"Received: {len(bad)} unreadable, the first is {bad[0]}"
        )
    if len(bad) > settings.max_bad:
        raise ArtifactError(
            f"Expected at most max_bad={settings.max_bad} unreadable images. "
            f"Received: {len(bad)}\n  {listing}"
        )
    if bad:
        logging.warning(
            "%d unreadable image(s) skipped:\n  %s", len(bad), listing
        )
    fine = np.array([what is None for what, _ in found], bool)
    turns = np.array([turn for _, turn in found], np.uint8)
    return indices[fine], turns[fine]


def _listing(lines: Sequence[str]) -> str:
    listing = "\n  ".join(lines[:_LISTED])
    if len(lines) > _LISTED:
        listing += f"\n  and {len(lines) - _LISTED} more"
    return listing


def decoded(read: Callable[[int], bytes], channels: int) -> Look:
    """Returns a look that decodes each image.

    Args:
        read: takes an index and returns the image file.
        channels: that training wants.
    """

    def look(index: int) -> tuple[str | None, int]:
        try:
            data = read(index)
        except OSError as error:
            return error.strerror or str(error), 1
        return decoding.look(data, channels)

    return look
