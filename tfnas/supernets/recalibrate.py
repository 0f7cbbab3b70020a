"""Batch-norm statistics of one subnet, from training images.

Shared weights see another distribution in every subnet, so no moving average
is right for any of them: each subnet's statistics are measured when they are
needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnas.supernets.elastic import ElasticSupernet


def recalibrate(
    net: ElasticSupernet, codes: Sequence[int], batches: Iterable[Any]
) -> None:
    """Measures a subnet's statistics and records them in the supernet.

    Mean and variance of each channel are those of a batch, averaged over the
    batches with their sizes as weights; each batch is normalised by its own.

    Args:
        net: The supernet.
        codes: The subnet's codes.
        batches: `(images, ...)` of training images, not augmented.

    Raises:
        ValueError: when there is no batch.
    """
    total, count = tf.zeros(net.statistics.shape), 0.0
    constant = tf.constant(codes, tf.int32)
    for images, *_ in batches:
        size = float(images.shape[0])
        total += size * net.moments(images, constant)
        count += size
    if not count:
        raise ValueError("Statistics need images. Received: no batch")
    net.record(codes, total / count)
