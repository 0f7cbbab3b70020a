"""`tf.distribute` strategies by name."""

from __future__ import annotations

import tensorflow as tf

NAMES = ("default", "mirrored", "multiworker", "tpu")


def strategy(name: str = "default") -> tf.distribute.Strategy:
    """Returns a distribution strategy.

    Args:
        name: `default` (one device), `mirrored` (all local devices),
            `multiworker` (machines named by the `TF_CONFIG` variable), or
            `tpu` (untested).

    Raises:
        ValueError: for an unknown name.
    """
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        if gpus:
            return tf.distribute.MirroredStrategy()
        # Several programs in one process clash in CPU collectives.
        return tf.distribute.MirroredStrategy(
            [d.name for d in tf.config.list_logical_devices("CPU")],
            cross_device_ops=tf.distribute.ReductionToOneDevice(),
        )
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    raise ValueError(f"`name` must be one of {NAMES}. Received: {name=}")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Says whether this process writes the files of the run."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or resolver.task_id == 0


def worker(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of this process among the workers, chief 0."""
    resolver = strategy.cluster_resolver
    return 0 if resolver is None else int(resolver.task_id or 0)
