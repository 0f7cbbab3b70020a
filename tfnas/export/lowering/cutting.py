"""A part of a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas.export.lowering.editing import Editing


def cut(
    graph: Editing, name: str, image: str, begin: Sequence[int],
    size: Sequence[int],
) -> str:
    """Adds a slice without steps and returns its tensor."""
    return graph.add(
        name, "Slice",
        [
            image,
            graph.constant(f"{name}/begin", np.array(begin, np.int32)),
            graph.constant(f"{name}/size", np.array(size, np.int32)),
        ],
        Index=tf.int32,
    )
