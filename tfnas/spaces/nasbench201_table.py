"""Reads published tables of NAS-Bench-201: accuracies, times, latencies.

The files are the user's own; what is in them is checked before it is used.
Row i of every array belongs to the benchmark's architecture i.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.nasbench201 import CELL_OPS
from tfnas.spaces.nasbench201 import NasBench201Space
from tfnas.spaces.table_file import TableFile

ROWS = 15_625
# Classes and image side of each data set, in the order of the files.
DATASETS = {
    "cifar10": (10, 32), "cifar100": (100, 32), "ImageNet16-120": (120, 16)
}
# Epochs of the training behind each accuracy.
SIGNALS = {"val_acc_12ep": 12, "val_acc_200ep": 200, "test_acc_200ep": 200}
_DEVICE_SHAPE = (32, 32, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class NasBench201Table:
    """What the benchmark measured on one data set.

    Args:
        source: Where the table was read, for messages.
        dataset: Key of `DATASETS`.
        codes: `(15625, 6)` op codes of each row's cell.
        accuracies: Each signal's accuracies `(15625,)`, in 0..1.
        train_time_200ep_s: `(15625,)` simulated seconds of 200 epochs.
        params: `(15625,)` trainable parameters.
        madds: `(15625,)` multiply-adds.

    Example:
        >>> table = NasBench201Table.load("nasbench201.npz", "cifar100")
        >>> table.accuracy(table.space.sample(seed=0), "val_acc_12ep")
    """

    source: str
    dataset: str
    codes: np.ndarray
    accuracies: Mapping[str, np.ndarray]
    train_time_200ep_s: np.ndarray
    params: np.ndarray
    madds: np.ndarray

    @classmethod
    def load(
        cls, path: str | os.PathLike, dataset: str = "cifar10"
    ) -> NasBench201Table:
        """Reads a table.

        Args:
            path: The `.npz` file.
            dataset: `"cifar10"`, `"cifar100"` or `"ImageNet16-120"`.

        Raises:
            ConfigError: for an unknown data set.
            ArtifactError: when the file is missing or damaged, or an array is
                missing, of another shape or type, or out of range; the
                message names the file and the array.
        """
        if dataset not in DATASETS:
            raise ConfigError(
                f"the data set must be one of {', '.join(DATASETS)}. "
                f"Received: dataset={dataset!r}"
            )
        file = TableFile(path)
        file.names("op_names", CELL_OPS)
        file.names("dataset_names", tuple(DATASETS))
        column, shape = [*DATASETS].index(dataset), (ROWS, len(DATASETS))

        def numbers(
            name: str, kind: str, low: float, high: float = np.inf
        ) -> np.ndarray:
            return file.array(name, shape, kind, low, high)[:, column]

        return cls(
            file.source,
            dataset,
            _all_cells(file),
            {
                signal: numbers(signal, "f", 0, 100).astype(float) / 100
                for signal in SIGNALS
            },
            numbers("train_time_200ep_s", "f", 0).astype(float),
            numbers("params", "i", 1),
            numbers("macs", "i", 1),
        )

    @functools.cached_property
    def space(self) -> NasBench201Space:
        """The space of the networks that were measured."""
        classes, side = DATASETS[self.dataset]
        return NasBench201Space(
            classes=classes, input_shape=(side, side, 3)
        )

    @functools.cached_property
    def _row_of(self) -> dict[tuple[int, ...], int]:
        return {tuple(cell): i for i, cell in enumerate(self.codes.tolist())}

    def row(self, codes: Sequence[int]) -> int:
        """Returns the row of a cell, the index in the benchmark.

        Raises:
            ArtifactError: unless these are six codes 0..4.
        """
        return self._row_of[self.space.check_codes(codes)]

    def accuracy(self, arch: Arch, signal: str) -> float:
        """Returns an accuracy of a network in 0..1.

        Args:
            arch: A network of `space`.
            signal: `"val_acc_12ep"`, `"val_acc_200ep"` or
                `"test_acc_200ep"`: validation after 12 epochs, validation
                and test after 200, the mean over the benchmark's runs.

        Raises:
            ArtifactError: when the network is of another space or data set.
            ConfigError: for an unknown signal.
        """
        check_signal(signal)
        row = self.row(self.space.codes(arch))
        return float(self.accuracies[signal][row])

    def query_s(self, arch: Arch, signal: str) -> float:
        """Returns the simulated seconds that training for a signal takes.

        Twelve epochs take 12/200 of the 200 that were timed.

        Raises:
            ArtifactError: when the network is of another space or data set.
            ConfigError: for an unknown signal.
        """
        check_signal(signal)
        row = self.row(self.space.codes(arch))
        return float(self.train_time_200ep_s[row]) * SIGNALS[signal] / 200


@dataclasses.dataclass(frozen=True, eq=False)
class DeviceTable:
    """Measured latencies of whole networks on one device: a cost.

    The networks are those for 32 x 32 images of 10 classes; the few
    multiply-adds of a wider classifier are not seen.

    Args:
        device: Name of the device; `_N` at its end is a batch of N images.
        latencies_ms: Latency in ms of every cell's network by its codes.

    Attributes:
        unit: `"ms"`.

    Example:
        >>> table = NasBench201Table.load("nasbench201.npz")
        >>> cost = DeviceTable.load("latency_nb201.npz", "pixel3", table)
        >>> cost.cost(arch)
    """

    device: str
    latencies_ms: Mapping[tuple[int, ...], float]
    unit = "ms"

    @classmethod
    def load(
        cls, path: str | os.PathLike, device: str, table: NasBench201Table
    ) -> DeviceTable:
        """Reads the latencies of one device.

        Args:
            path: The `.npz` file of latencies.
            device: Name of a device in it.
            table: Says which row is which cell; its data set does not
                matter.

        Raises:
            ConfigError: for an unknown device; the message lists the known
                ones.
            ArtifactError: when the file is missing or damaged, or an array is
                missing, of another shape or type, or out of range.
        """
        file = TableFile(path)
        devices = file.array("device_names", (None,), "U").tolist()
        latencies = file.array(
            "latency_ms", (ROWS, len(devices)), "f", 1e-9
        )
        if device not in devices:
            raise ConfigError(
                f"{file.source}: the device must be one of "
                f"{', '.join(devices)}. Received: device={device!r}"
            )
        column = latencies[:, devices.index(device)].tolist()
        cells = map(tuple, table.codes.tolist())
        return cls(device, dict(zip(cells, column, strict=True)))

    def cost(self, arch: Arch) -> float:
        """Returns the measured latency of a network in ms.

        Raises:
            ArtifactError: unless it is a network of the space `nasbench201`
                for 32 x 32 images.
        """
        if tuple(arch.input_shape) != _DEVICE_SHAPE:
            raise ArtifactError(
                f"the latencies on {self.device} were measured with images "
                f"{_DEVICE_SHAPE}. Received: images {arch.input_shape}"
            )
        space = NasBench201Space(classes=arch.classes)
        return self.latencies_ms[space.codes(arch)]


def device_names(path: str | os.PathLike) -> list[str]:
    """Returns the devices in a file of latencies.

    Raises:
        ArtifactError: when the file is missing or damaged.
    """
    return TableFile(path).array("device_names", (None,), "U").tolist()


def check_signal(signal: str) -> None:
    """Refuses what is no signal of the benchmark.

    Raises:
        ConfigError: with the known signals.
    """
    if signal not in SIGNALS:
        raise ConfigError(
            f"the signal must be one of {', '.join(SIGNALS)}. "
            f"Received: signal={signal!r}"
        )


def _all_cells(file: TableFile) -> np.ndarray:
    """Returns the op codes of all rows: every cell once."""
    last = len(CELL_OPS) - 1
    cells = file.array("ops", (ROWS, 6), "i", 0, last).astype(np.int64)
    distinct = len(np.unique(cells, axis=0))
    if distinct != ROWS:
        raise ArtifactError(
            f'{file.source}: array "ops" must have each of the {ROWS} cells '
            f"once. Received: {distinct} different ones"
        )
    return cells
