"""Made-up tables of trained networks, as the published ones are laid out."""

import itertools

import numpy as np

from tests.tiny_runs import ROOT
from tfnas import artifacts
from tfnas import config_files

MACRO = np.array(list(itertools.product(range(3), repeat=8)))
GAIN = np.array([0.0, 2.0, 3.0])
CHOICES = {
    "expansion": (1, 4, 6), "kernel": (3, 5), "depth": (1, 2, 3),
    "squeeze_excite": (0, 1),
}


def macro_mean():
    """Percent, `(6561,)`; identities commute within a stage."""
    weights = np.repeat([1.0, 0.8, 1.5, 0.7, 1.2, 0.5], [1, 1, 1, 2, 1, 2])
    return 60 + (GAIN[MACRO] * weights).sum(1)


def macro_arrays():
    """The arrays of a table like that of NAS-Bench-Macro."""
    shifts = np.array([-0.1, 0.0, 0.1])
    accuracies = (macro_mean()[:, None] + shifts).astype(np.float32)
    return {"codes": MACRO.astype(np.uint8), "test_acc": accuracies}


def accel_arrays(rows=5138):
    """The arrays of a table like that of Accel-NASBench."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.choice(values, (rows, 7)).astype(np.uint8)
        for name, values in CHOICES.items()
    }
    gain = sum(arrays[name].astype(float).sum(1) for name in CHOICES)
    arrays["val_top1"] = (20 + gain / 2).astype(np.float32)
    return arrays


def write_macro(folder):
    """Writes `nasbench_macro.npz` and returns its path."""
    path = folder / "nasbench_macro.npz"
    artifacts.write_npz(path, **macro_arrays())
    return path


def make_config(path, algorithm="guided", **search):
    """Returns the config of a search of 14 queries in the table of Macro."""
    config = config_files.load(
        f"{ROOT}/configs/guided_table.py"
    ).copy_and_resolve_references()
    config.algorithm, config.seed = algorithm, 3
    config.target_madds = 60e6
    config.search.table = str(path)
    config.search.queries, config.search.unit_queries = 14, 5
    config.search.top_archs = 4
    config.search.update(search)
    return config
