"""`tf.distribute` strategies by name."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from tfnas.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

NAMES = ("default", "mirrored", "multiworker", "tpu")


def strategy(name: str = "default") -> tf.distribute.Strategy:
    """Returns a distribution strategy.

    Call it before TensorFlow computes anything: machines connect first.

    Args:
        name: `default` (one device), `mirrored` (all local devices),
            `multiworker` (machines named by the `TF_CONFIG` variable), or
            `tpu` (untested).

    Raises:
        ConfigError: for an unknown name, or without a usable `TF_CONFIG`.
    """
    import tensorflow as tf

    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        if tf.config.list_logical_devices("GPU"):
            return tf.distribute.MirroredStrategy()
        # Several programs in one process clash in CPU collectives.
        return tf.distribute.MirroredStrategy(
            [d.name for d in tf.config.list_logical_devices("CPU")],
            cross_device_ops=tf.distribute.ReductionToOneDevice(),
        )
    if name == "multiworker":
        return _multiworker()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    raise ConfigError(f"`strategy` must be one of {NAMES}. Received: {name!r}")


@functools.cache
def _multiworker() -> tf.distribute.Strategy:
    """Connects the machines, which a process can do once."""
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec().as_dict()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"TF_CONFIG is not readable: {error}") from error
    if not cluster or resolver.task_type not in cluster:
        raise ConfigError(
            "The strategy `multiworker` needs the environment variable "
            "TF_CONFIG, which names all machines and this one. "
            f"Received: TF_CONFIG={os.environ.get('TF_CONFIG')}"
        )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Says whether this process writes the files of the run."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_id == 0


def check_agree(
    strategy: tf.distribute.Strategy, number: int, what: str
) -> None:
    """Checks that all machines hold the same number.

    Raises:
        ConfigError: when they do not.
    """
    import tensorflow as tf

    if strategy.cluster_resolver is None:
        return

    def total() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", tf.constant(float(number)))

    replicas = strategy.num_replicas_in_sync
    sums = strategy.experimental_local_results(
        tf.function(lambda: strategy.run(total))()
    )
    if float(sums[0]) != number * replicas:
        raise ConfigError(
            f"All machines must have the same {what}: is the workdir on a "
            f"disk that they share? Received: {number} here, "
            f"{float(sums[0]) / replicas:g} on average"
        )
