"""Query searches that take a moment: a made-up table of NAS-Bench-201."""

import itertools

import numpy as np

from tests.tiny_runs import ROOT
from tfnas import artifacts
from tfnas import config_files

CONFIG = f"{ROOT}/configs/ase_nas_nasbench201.py"
CELLS = np.array(list(itertools.product(range(5), repeat=6)))
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
SIGNALS = ("val_acc_12ep", "val_acc_200ep", "test_acc_200ep")
DEVICES = ("phone", "board")


def accuracies(signal):
    """Percent, `(15625, 3)`: convolutions help, and there is some noise."""
    rng = np.random.default_rng(SIGNALS.index(signal))
    gain = np.array([0, 6, 8, 11, 4])[CELLS].sum(1, keepdims=True)
    return np.clip(20 + gain + rng.normal(0, 3, (len(CELLS), 3)), 0, 100)


def latencies():
    """Milliseconds, `(15625, 2)`."""
    rng = np.random.default_rng(9)
    of_op = np.array([0.1, 0.1, 1.0, 3.0, 0.5])[CELLS].sum(1, keepdims=True)
    return of_op * [1.0, 2.5] + rng.random((len(CELLS), 2))


def write_tables(folder):
    """Writes made-up files of accuracies and of latencies."""
    n1, n3 = (CELLS == 2).sum(1), (CELLS == 3).sum(1)
    ones = np.ones((len(CELLS), 3), np.int64)
    artifacts.write_npz(
        folder / "nasbench201.npz",
        op_names=np.array(OPS),
        dataset_names=np.array(DATASETS),
        ops=CELLS.astype(np.uint8),
        params=(73_306 + 28_000 * n1 + 243_040 * n3)[:, None] * ones,
        macs=(7_783_040 + 3_932_160 * n1 + 35_389_440 * n3)[:, None] * ones,
        train_time_200ep_s=1000.0 * ones,
        **{name: accuracies(name).astype(np.float32) for name in SIGNALS},
    )
    artifacts.write_npz(
        folder / "latency.npz",
        device_names=np.array(DEVICES),
        latency_ms=latencies().astype(np.float32),
    )
    return folder


def make_config(folder, algorithm="local_search", **search):
    """Returns the config of a search of 20 queries in those tables."""
    config = config_files.load(CONFIG).copy_and_resolve_references()
    config.algorithm, config.seed = algorithm, 3
    config.search.table = str(folder / "nasbench201.npz")
    config.search.latencies = str(folder / "latency.npz")
    config.search.queries, config.search.unit_queries = 20, 6
    config.search.top_archs = 4
    config.search.evolution.population = 8
    config.search.policy.hidden, config.search.policy.edits = 8, 2
    config.search.update(search)
    return config
