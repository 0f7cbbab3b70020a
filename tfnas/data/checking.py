"""Finding the unreadable images of a set before it is used."""

import concurrent.futures
import io
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm
from absl import logging
from PIL import Image

from tfnas.errors import ArtifactError

MAX_BAD = 10
_LISTED = 20
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def readable(
    indices: np.ndarray,
    read: Callable[[int], bytes],
    name: Callable[[int], str],
    config: Mapping[str, Any],
) -> np.ndarray:
    """Decodes images once and returns the indices of those that can be.

    Args:
        indices: of the images to look at.
        read: takes an index and returns the image file.
        name: takes an index and returns what the image is called.
        config: with `check_images` (true) and `max_bad` (10); see
            `tfnas.data.load`.

    Raises:
        ArtifactError: if more than `max_bad` cannot be decoded; the message
            names them.
    """
    if not config.get("check_images", True):
        return indices
    max_bad = config.get("max_bad", MAX_BAD)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = list(
            tqdm.tqdm(
                pool.map(lambda index: _look(read, index), indices),
                "checking images",
                total=len(indices),
                delay=2,
            )
        )
    bad = [
        f"{name(index)}: {what}"
        for index, what in zip(indices, found, strict=True)
        if what
    ]
    listing = _listing(bad)
    if len(bad) > max_bad:
        raise ArtifactError(
            f"Expected at most max_bad={max_bad} unreadable images. "
            f"Received: {len(bad)}\n  {listing}"
        )
    if bad:
        logging.warning(
            "%d unreadable image(s) skipped:\n  %s", len(bad), listing
        )
    return indices[np.array([not what for what in found], bool)]


def _listing(lines: Sequence[str]) -> str:
    listing = "\n  ".join(lines[:_LISTED])
    if len(lines) > _LISTED:
        listing += f"\n  and {len(lines) - _LISTED} more"
    return listing


def _look(read: Callable[[int], bytes], index: int) -> str | None:
    try:
        return problem(read(index))
    except OSError as error:
        return error.strerror or str(error)


def problem(data: bytes) -> str | None:
    """Returns what is wrong with an image file, or None.

    The judge is the decoder that training uses, so what passes here cannot
    stop a training. It reads CMYK as RGB, 16 bits as 8, and of an animated
    PNG the image that programs without animation show.

    Args:
        data: the whole file.
    """
    import tensorflow as tf

    if not data:
        return "empty"
    if not data.startswith((_JPEG, _PNG)):
        return f"neither JPEG nor PNG: starts with {data[:6]!r}"
    try:
        # A header that promises far too many pixels is refused undecoded.
        Image.open(io.BytesIO(data), formats=("JPEG", "PNG")).close()
        if data.startswith(_PNG):
            tf.io.decode_png(data, channels=3)
        else:
            # At an eighth of the size: quick, yet every byte is visited.
            tf.io.decode_jpeg(data, channels=3, ratio=8)
    except Image.DecompressionBombError as error:
        return str(error)
    except (OSError, SyntaxError, tf.errors.InvalidArgumentError):
        # PIL raises SyntaxError on broken PNG files.
        kind = "PNG" if data.startswith(_PNG) else "JPEG"
        return f"damaged or unknown form of {kind}, {len(data)} bytes"
    return None
