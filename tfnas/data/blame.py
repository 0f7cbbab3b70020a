"""Names the image that made TensorFlow give up in the middle of a pass."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfnas.data import decoding
from tfnas.data.images import Encoded
from tfnas.errors import ArtifactError

# So many are looked at before it is known whether a bad one is among them.
_AT_ONCE = 256


@contextlib.contextmanager
def bad_image(split: Any) -> Iterator[None]:
    """Says which image it is, where one of a split cannot be read.

    TensorFlow's own error has no name in it. Here the images of the split are
    looked at again, in their order, up to the first that cannot be read; if
    there is none, the error is passed on as it is.

    Args:
        split: whose batches are used meanwhile; one without image files, such
            as a text, changes nothing.

    Raises:
        ArtifactError: naming the image, and what is wrong with it.

    Example:
        >>> with blame.bad_image(split):
        ...     for images, labels in split.batches(32, seed=0, epoch=0):
        ...         ...
    """
    import tensorflow as tf

    try:
        yield
    except (
        tf.errors.DataLossError, tf.errors.FailedPreconditionError,
        tf.errors.InvalidArgumentError, tf.errors.NotFoundError,
        tf.errors.PermissionDeniedError, tf.errors.UnimplementedError,
        tf.errors.UnknownError,
    ) as error:
        if found := _first_bad(split):
            # The error itself is pages of the graph it happened in.
            raise ArtifactError(found) from error
        raise


def _first_bad(split: Any) -> str | None:
    """Returns name and trouble of the first image that cannot be read."""
    images = getattr(split, "images", None)
    if not isinstance(images, Encoded):
        return None

    def look(index: int) -> str | None:
        return _trouble(images, index, split.channels)

    indices = np.unique(split.indices)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for start in range(0, len(indices), _AT_ONCE):
            some = indices[start : start + _AT_ONCE].tolist()
            for index, what in zip(some, pool.map(look, some), strict=True):
                if what:
                    return f"{images.name(index)}: {what}"
    return None


def _trouble(images: Encoded, index: int, channels: int) -> str | None:
    import tensorflow as tf

    try:
        data = images.read(tf.constant(index)).numpy()
    except tf.errors.NotFoundError:
        return "no longer there"
    except tf.errors.OpError as error:
        return f"cannot be read ({type(error).__name__})"
    what, _ = decoding.look(data, channels)
    return what
