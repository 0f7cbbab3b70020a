"""Searches and trainings that take seconds, on digits in a tiny space."""

import dataclasses
import functools
import pathlib

from tests.cost.lut_tables import make_table
from tests.dense_nets import MBV2
from tflite_bench.device import HostDevice
from tfnas import config_files
from tfnas import spaces
from tfnas.spaces.dense import DenseSpace

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = f"{ROOT}/configs/densenas_mbv2.py:local"
SPACE = "tiny@32"
# 0 > 1, 1 > 2 3, 2 > 3 tail, 3 > tail.
SPEC = dataclasses.replace(
    MBV2,
    input_size=32,
    classes=10,
    widths=(8, 12, 16, 20),
    resolutions=(16, 8, 4, 4),
    stages=(0, 1, 2, 2, 3),
    layers=(0, 1, 1, 0),
)
# With batches of 16 every pass ends with a smaller batch.
FIELDS = {
    "space": SPACE,
    "data.limit_train": 70,
    "data.limit_test": 30,
    "search.epochs": 3,
    "search.arch_update_epoch": 1,
    "search.val_start_epoch": 2,
    "search.batch_size": 16,
    "search.random_archs": 2,
    "train.epochs": 2,
    "train.batch_size": 16,
    "train.test_every": 1,
}


@functools.cache
def space():
    """Returns the tiny space, from now on also known by its name.

    Not before: other tests go through all spaces of the product.
    """
    spaces.base.register(
        SPACE,
        lambda classes=None, input_shape=None: DenseSpace(
            SPACE, SPEC, classes, input_shape
        ),
    )
    return spaces.get(SPACE)


def make_config(**fields):
    """Returns a micro config; fields are given as `search__epochs=3`."""
    space()
    config = config_files.load(CONFIG).copy_and_resolve_references()
    changes = {name.replace("__", "."): v for name, v in fields.items()}
    config.update_from_flattened_dict({**FIELDS, **changes})
    return config


def make_flags(**fields):
    """Returns the command line that gives `make_config(**fields)`."""
    changes = {name.replace("__", "."): v for name, v in fields.items()}
    words = [f"--config.{k}={v}" for k, v in {**FIELDS, **changes}.items()]
    return [f"--config={CONFIG}", *words]


def write_table(path, space):
    """Writes a made-up table of this host for a space; returns the path."""
    table = make_table(space.lut_keys())
    host = HostDevice().describe()["device"]
    dataclasses.replace(table, header={**table.header, "device": host}).save(
        path
    )
    return str(path)
