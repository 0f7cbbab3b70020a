"""Images per second of the two search steps, start-up time, peak memory.

    python benchmarks/search_step.py --size=64 --batch=16 [--result=NAME]

Builds the full supernet of DenseNAS' MobileNetV2 space (90 M parameters) as
the search does, on synthetic images, and times whole passes of its phases as
the search runs them, input included. One JSON line goes to the terminal and
into `results/NAME.json`. `--weight_k=7` makes all ops of the weight step
active: what sampling saves.
"""

import dataclasses
import os
import resource
import time

from absl import flags

from benchmarks import closing
from tfnas import cli

_SIZE = flags.DEFINE_integer("size", 64, "Image side in pixels.")
_BATCH = flags.DEFINE_integer("batch", 16, "Images of a step.")
_STEPS = flags.DEFINE_integer("steps", 4, "Steps of a pass.")
_PASSES = flags.DEFINE_integer("passes", 5, "Timed passes of each phase.")
_WEIGHT_K = flags.DEFINE_integer("weight_k", 1, "Active ops, weight step.")
_PHASES = flags.DEFINE_list("phases", ["weights", "arch"], "What to time.")
_SPACE = flags.DEFINE_string("space", "densenas_mbv2", "Dense space.")
_RESULT = flags.DEFINE_string("result", None, "Name of a file in results/.")

CLASSES = 100


def make_split(images):
    """Returns a split of synthetic images."""
    import numpy as np

    from tfnas.data import Split
    from tfnas.data.images import Pixels

    size, rng = _SIZE.value, np.random.default_rng(0)
    pixels = rng.integers(0, 255, (images, size, size, 3), np.uint8)
    return Split(
        Pixels(pixels), rng.integers(0, CLASSES, images), np.arange(images),
        (size, size), (127.5,) * 3, (127.5,) * 3,
    )


def make_search(loop):
    """Returns the search at the published settings."""
    from tfnas import config_files
    from tfnas import spaces
    from tfnas.cost.lattice import LatticeCosts
    from tfnas.search.densenas import DenseNAS

    config = config_files.load("densenas_mbv2").search
    config = config.copy_and_resolve_references()
    config.batch_size, config.augment = _BATCH.value, "none"
    config.weight_sample_num = _WEIGHT_K.value
    size = _SIZE.value
    space = spaces.get(_SPACE.value, CLASSES, (size, size, 3))
    split = make_split(_BATCH.value * _STEPS.value)
    return DenseNAS(
        space, LatticeCosts.from_madds(space), (split, split), loop, config, 0
    )


def measure(loop, phase):
    """Returns the seconds of the first step and the figures of a phase."""
    import numpy as np

    def timed(phase, epoch):
        start = time.monotonic()
        loop.run(phase, epoch)
        return time.monotonic() - start

    one = dataclasses.replace(phase, split=make_split(_BATCH.value))
    first = timed(one, 0)
    seconds = [timed(phase, 1 + i) for i in range(_PASSES.value)]
    images = _BATCH.value * _STEPS.value
    return first, {
        "images_per_s": round(images / float(np.median(seconds)), 2),
        "slowest": round(images / max(seconds), 2),
        "fastest": round(images / min(seconds), 2),
        "traces": loop.traces(phase.name),
    }


def main(argv):
    """Runs the benchmark."""
    del argv
    start = time.monotonic()
    cli.load_tensorflow()
    from tfnas.train import distribute
    from tfnas.train import run_state
    from tfnas.train.loop import Loop

    run_state.start(0)
    seconds = {"import": time.monotonic() - start}
    loop, start = Loop(distribute.strategy(), progress=False), time.monotonic()
    search = make_search(loop)
    seconds["build"] = time.monotonic() - start
    figures = {}
    for name in _PHASES.value:
        seconds[f"first_{name}"], figures[name] = measure(
            loop, search.phases[name]
        )
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = {
        "benchmark": "search_step",
        "space": search.space.name,
        "size": _SIZE.value,
        "batch": _BATCH.value,
        "weight_k": _WEIGHT_K.value,
        "phases": figures,
        "start_up_s": {k: round(v, 1) for k, v in seconds.items()},
        "start_up_total_s": round(sum(seconds.values()), 1),
        "peak_memory_gb": round(peak_kb / 1e6, 2),
        "cores": len(os.sched_getaffinity(0)),
        "deterministic_ops": True,
        "versions": run_state.versions(),
    }
    closing.show(line, _RESULT.value)


if __name__ == "__main__":
    cli.run(main)
