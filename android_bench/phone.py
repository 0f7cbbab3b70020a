"""A phone as a device that latency tables are built on."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from android_bench import adb as adb_client
from android_bench import device
from android_bench import programs
from android_bench import verdict
from android_bench.adb import Adb
from android_bench.benchmark import Tool
from android_bench.campaign import Campaign
from android_bench.campaign import Settings
from android_bench.verdict import Proof
from tflite_bench import stats
from tflite_bench.device import Measurement
from tflite_bench.journal import Journal
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError


class AdbDevice:
    """A phone that is reached over adb; a `tflite_bench.device.Device`.

    Args:
        serial: Its serial number; `None` for the only one attached.
        tool: The benchmark program that runs there.
        reference: Content of the reference model.
        settings: How to measure.
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
        reference: bytes,
        settings: Settings | None = None,
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

        The reference model is run once, to learn what runs models there:
        `runtime.delegate` is that, and `runtime.asked` what was asked.

        Raises:
            ConfigError: when the phone has fewer cores than threads.
            DeviceError: when something else runs models than was asked.
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
            with self._campaign() as campaign:
                proof = campaign.probe()
            self._described = {
                "device": phone,
                "runtime": {
                    **self._runtime,
                    "program": programs.NAMES[self.tool.kind],
                    "asked": proof.asked,
                    "delegate": proof.backend,
                    "affinity": mask,
                    "fixed_performance": self.settings.fixed_performance,
                },
                "batch": 1,
                "statistic": stats.STATISTIC,
                "clock": "wall",
            }
        return self._described

    @contextlib.contextmanager
    def _campaign(self) -> Iterator[Campaign]:
        """Yields a campaign with our reference model."""
        with tempfile.TemporaryDirectory() as folder:
            reference = pathlib.Path(folder, "reference.tflite")
            reference.write_bytes(self._reference)
            yield Campaign(self.adb, self.tool, self.settings, reference)

    def measure(
        self, paths: Sequence[str], rounds: int, seed: int = 0
    ) -> list[Measurement]:
        """Times models in interleaved rounds; see `Device`.

        A round's time is that of the fastest run of its process.

        Raises:
            DeviceError: when a model runs on something else than
                `describe` says.
        """
        described = self.describe()
        journal = None
        if self._journal:
            journal = Journal(self._journal, described)
        with self._campaign() as campaign:
            models = campaign.measure(paths, rounds, seed, journal)
        measured = []
        for path, model in zip(paths, models, strict=True):
            self._check_backend(path, model.proof)
            ms = tuple(run.min_ms for run in model.runs)
            measured.append(
                Measurement(ms, ms, delegate_nodes=model.proof.pieces)
            )
        return measured

    def _check_backend(self, path: str, proof: Proof) -> None:
        """Refuses to put times of two backends into one table."""
        usual = self.describe()["runtime"]["delegate"]
        leave = self.tool.options.allow_partial and proof.ran == verdict.NONE
        if proof.backend != usual and not leave:
            raise DeviceError(
                f"{self.adb.serial}: {path}: expected all models to run on "
                f"{usual}, as the reference model does. Received: "
                f"{proof.backend} ({proof.sentence!r})"
            )
