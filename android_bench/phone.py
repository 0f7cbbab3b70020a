"""A phone as a device that latency tables are built on."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from android_bench import adb as adb_client
from android_bench import device
from android_bench.adb import Adb
from android_bench.benchmark import Tool
from android_bench.campaign import Campaign
from android_bench.campaign import Settings
from tflite_bench import stats
from tflite_bench.device import Measurement
from tflite_bench.journal import Journal
from tfnas.errors import ConfigError


class AdbDevice:
    """A phone that is reached over adb; a `tflite_bench.device.Device`.

    Args:
        serial: Its serial number; `None` for the only one attached.
        tool: The benchmark program that runs there.
        settings: How to measure.
        reference: Content of the reference model; `None` takes the first of
            the models of each measurement.
        journal: File in which each run is written down at once, so that
            nothing is lost when the phone goes away for good; `None` for
            none.
        adb: How to reach it, instead of the usual way.

    Raises:
        DeviceError: when there is no such phone, or it is not ready.
        ArtifactError: when the benchmark program cannot be read.
    """

    def __init__(
        self,
        serial: str | None,
        tool: Tool,
        settings: Settings | None = None,
        reference: bytes | None = None,
        journal: str | os.PathLike | None = None,
        adb: Adb | None = None,
    ):
        self.tool = tool
        self.settings = settings or Settings()
        self._runtime = tool.describe()  # before the phone is bothered
        self.adb = adb or Adb(adb_client.find(serial))
        self._reference = reference
        self._journal = journal
        self._described: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Returns where its numbers come from; see `Device`.

        Raises:
            ConfigError: when the phone has fewer cores than threads.
        """
        if self._described is None:
            phone = device.describe(self.adb)
            if self.tool.options.threads > phone["cores"]:
                raise ConfigError(
                    f"Expected 1 to {phone['cores']} threads, the number of "
                    "cores of the phone. "
                    f"Received: threads={self.tool.options.threads}"
                )
            mask = device.affinity_mask(
                device.clusters(self.adb), self.settings.affinity
            )
            self._described = {
                "device": phone,
                "runtime": {
                    **self._runtime,
                    "affinity": mask,
                    "fixed_performance": self.settings.fixed_performance,
                },
                "batch": 1,
                "statistic": stats.STATISTIC,
                "clock": "wall",
            }
        return self._described

    def measure(
        self, paths: Sequence[str], rounds: int, seed: int = 0
    ) -> list[Measurement]:
        """Times models in interleaved rounds; see `Device`.

        A round's time is that of the fastest run of its process.
        """
        journal = None
        if self._journal:
            journal = Journal(self._journal, self.describe())
        with tempfile.TemporaryDirectory() as folder:
            reference = None
            if self._reference is not None:
                reference = pathlib.Path(folder, "reference.tflite")
                reference.write_bytes(self._reference)
            campaign = Campaign(self.adb, self.tool, self.settings, reference)
            models, _ = campaign.measure(paths, rounds, seed, journal)
        measured = []
        for runs in models:
            ms = tuple(run.min_ms for run in runs)
            measured.append(
                Measurement(ms, ms, delegate_nodes=runs[0].delegate_nodes)
            )
        return measured
