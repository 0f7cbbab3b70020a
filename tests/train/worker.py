"""One of several machines: searches, trains, and saves what it ended with.

    python -m tests.train.worker WORKDIR OUTPUT.npz
"""

import pathlib
import sys

import numpy as np

from tests import tiny_runs
from tfnas import data
from tfnas.search import runner
from tfnas.train import retrain

# Short and slow, so that rounding has no time to grow.
FIELDS = {
    "search__epochs": 2,
    "search__val_start_epoch": 1,
    "search__weights__lr": 0.01,
    "search__arch__lr": 3e-4,
}


def search(config, workdir):
    """Returns the result of a search, its final variables, its loop."""
    made, make = [], runner.make_search

    def remember(*args):
        made.append(make(*args))
        return made[-1]

    runner.make_search = remember
    try:
        result = runner.run_search(config, workdir, progress=False)
    finally:
        runner.make_search = make
    search, loop = made[0]
    groups = search.variables().values()
    return result, [v.numpy() for group in groups for v in group], loop


def main(workdir, output):
    """Runs the micro config on the machines of TF_CONFIG."""
    folder = pathlib.Path(workdir)
    config = tiny_runs.make_config(strategy="multiworker", **FIELDS)
    result, searched, loop = search(config, folder / "search")
    model, accuracy = retrain.retrain(
        result.archs[0].arch, config, folder / "train",
        data.load(config.data), progress=False,
    )
    trained = [np.asarray(v) for v in model.variables]
    traces = [loop.traces(name) for name in loop.steps]
    np.savez(
        output, *searched, **{f"trained{i}": v for i, v in enumerate(trained)},
        accuracy=accuracy, traces=traces,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
