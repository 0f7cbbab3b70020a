"""Images per second of reading and augmenting, against a bare decode.

    python benchmarks/input_pipeline.py --data=folder:DIR [--result=NAME]

Reads the training images of one or more sets (`--data=folder:A,tfrecord:B`)
as training does, whole epochs, shuffled, with each setting of `--augments`, and
for comparison only decodes the same files in a plain tf.data pipeline. The
settings take turns; the median of the rounds counts. One JSON line goes to the
terminal and into `results/NAME.json`. A GPU starves where it takes more
images/s than this machine's cores give here: on an idle machine that is its
cores divided by the CPU time of an image.
"""

import os
import time

from absl import flags

from benchmarks import closing
from tfnas import cli

_DATA = flags.DEFINE_list("data", None, "Sets of JPEG files.", required=True)
_SIZE = flags.DEFINE_integer("size", 224, "Image side in pixels.")
_BATCH = flags.DEFINE_integer("batch", 64, "Images of a batch.")
_REPEAT = flags.DEFINE_integer(
    "repeat", 2, "How often an epoch has each image: small sets end too soon."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Epochs of each setting.")
_AUGMENTS = flags.DEFINE_list(
    "augments",
    [
        "none",
        "resized_crop+flip",
        "resized_crop+flip+jitter",
        "large_crop+flip+jitter+hue+erase",
        "resized_crop+flip+randaugment",
    ],
    "Settings of the augmentation.",
)
_DETERMINISM = flags.DEFINE_bool(
    "determinism", True, "Op determinism, as in training on a CPU."
)
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

BARE = "bare decode"


def bare(split):
    """Returns the images of a split, read and decoded and nothing else."""
    import tensorflow as tf

    def decode(data):
        return tf.io.decode_jpeg(data, channels=3)

    auto = tf.data.AUTOTUNE
    dataset = tf.data.Dataset.from_tensor_slices(split.indices)
    dataset = dataset.map(split.images, num_parallel_calls=auto)
    return dataset.map(decode, num_parallel_calls=auto).prefetch(auto)


def seconds_of(split, setting, epoch):
    """Returns wall and CPU seconds of a pass over a split, start included."""
    start, cpu = time.monotonic(), time.process_time()
    if setting == BARE:
        dataset = bare(split)
    else:
        dataset = split.batches(
            _BATCH.value, seed=0, epoch=epoch, augment=setting
        )
    for _ in dataset:
        pass
    return time.monotonic() - start, time.process_time() - cpu


def measure(name):
    """Returns the figures of one set."""
    import numpy as np

    from tfnas import data

    split = data.load({"name": name, "image_size": _SIZE.value}).train
    split = split.subset(np.tile(np.arange(len(split)), _REPEAT.value))
    settings = [BARE, *_AUGMENTS.value]
    for setting in settings:  # from now on the files are in memory
        seconds_of(split.subset(np.arange(_BATCH.value)), setting, 0)
    seconds = {setting: [] for setting in settings}
    for number in range(_ROUNDS.value):
        for setting in settings:
            seconds[setting].append(seconds_of(split, setting, number))
    # Rows of wall and CPU seconds.
    median = {s: np.median(seconds[s], axis=0).tolist() for s in settings}
    count = len(split)
    return {
        "images": count,
        "images_per_s": {s: round(count / median[s][0]) for s in settings},
        "of_bare_decode": {
            s: round(median[BARE][0] / median[s][0], 2) for s in settings[1:]
        },
        "cpu_ms_per_image": {
            s: round(1e3 * median[s][1] / count, 2) for s in settings
        },
    }


def main(argv):
    """Runs the benchmark."""
    del argv
    cli.load_tensorflow()
    import tensorflow as tf

    from tfnas.train import run_state

    if _DETERMINISM.value:
        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(0)
    line = {
        "benchmark": "input_pipeline",
        "size": _SIZE.value,
        "batch": _BATCH.value,
        "rounds": _ROUNDS.value,
        "sets": {
            name.partition(":")[0]: measure(name) for name in _DATA.value
        },
        "cores": len(os.sched_getaffinity(0)),
        "deterministic_ops": _DETERMINISM.value,
        "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
