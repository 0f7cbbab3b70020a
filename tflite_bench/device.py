"""What can time models: the contract, and the machine we run on."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Sequence
from typing import Any
from typing import Protocol

from tflite_bench import apart
from tflite_bench import interpreter
from tflite_bench import protocol
from tflite_bench import stats


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What the rounds of one model showed.

    Args:
        samples_ms: One time a round, by the device's clock.
        wall_ms: The same by the wall clock.
        switches: How often the system took the core away meanwhile.
        delegate_nodes: Parts of the model that a delegate runs; `None`
            where the device does not tell.
    """

    samples_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    switches: int = 0
    delegate_nodes: int | None = None

    @property
    def latency_ms(self) -> float:
        """The statistic of the rounds."""
        return stats.latency_ms(self.samples_ms)

    @property
    def spread(self) -> float:
        """How far two halves of the rounds disagree, as a fraction."""
        return stats.repeatability(self.samples_ms)


class Device(Protocol):
    """A machine that times models."""

    def describe(self) -> dict[str, Any]:
        """Returns where its numbers come from.

        The fields are those of a latency table: `device` (with `name` and
        `cpu`), `runtime` (with `tflite`, `threads`, `delegate`), `batch`,
        `statistic` and `clock`. Numbers of equal descriptions compare.
        """

    def measure(
        self, paths: Sequence[str], rounds: int, seed: int = 0
    ) -> list[Measurement]:
        """Times models in interleaved rounds.

        Args:
            paths: `.tflite` files.
            rounds: Number of rounds; each visits all models.
            seed: Of the order of the visits.

        Returns:
            One measurement for each path, in their order.

        Raises:
            ArtifactError: when a model cannot run there.
            DeviceError: when the device fails.
        """


@dataclasses.dataclass(frozen=True)
class HostDevice:
    """The machine this program runs on.

    Args:
        runtime: One of `interpreter.RUNTIMES`.
        threads: Threads of the runtime. One thread is timed by its own CPU
            time, which other programs do not disturb; more by the wall
            clock.
        xnnpack: Whether the XNNPACK delegate takes what it can.
        free_sizes: Shapes for inputs whose sizes are free; see
            `interpreter.Model`.

    Raises:
        ConfigError: when there are fewer cores than threads.
    """

    runtime: str = "litert"
    threads: int = 1
    xnnpack: bool = True
    free_sizes: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        interpreter.check_threads(self.threads)

    def describe(self) -> dict[str, Any]:
        """Returns where its numbers come from; see `Device`."""
        return {
            "device": {
                "name": "host",
                "cpu": _cpu(),
                "cores": interpreter.cores(),
                "system": f"{platform.system()} {platform.machine()}",
            },
            "runtime": {
                "tflite": interpreter.version(self.runtime),
                "threads": self.threads,
                "delegate": "xnnpack" if self.xnnpack else "none",
            },
            "batch": 1,
            "statistic": stats.STATISTIC,
            "clock": "thread_cpu" if self.threads == 1 else "wall",
        }

    def measure(
        self, paths: Sequence[str], rounds: int, seed: int = 0
    ) -> list[Measurement]:
        """Times models in interleaved rounds; see `Device`."""
        models = [
            interpreter.Model(
                path, self.runtime, self.threads, self.xnnpack,
                self.free_sizes,
            )
            for path in paths
        ]
        pin = self.threads == 1
        visits = protocol.measure(
            [model.invoke for model in models], rounds, seed, pin,
            [model.refresh for model in models],
        )
        return [
            Measurement(
                tuple(v.cpu_ms if pin else v.wall_ms),
                tuple(v.wall_ms),
                v.switches,
                model.delegate_nodes,
            )
            for v, model in zip(visits, models, strict=True)
        ]

    def measure_apart(
        self, paths: Sequence[str], rounds: int, seed: int = 0
    ) -> list[Measurement]:
        """Does the same in a process of its own, for files of strangers.

        Raises:
            RuntimeCrash: when the runtime crashes on one of them.
        """
        job = {
            "device": dataclasses.asdict(self), "paths": list(paths),
            "rounds": rounds, "seed": seed,
        }
        found = apart.call(
            "tflite_bench.device", job, ", ".join(paths), "timing"
        )
        return [Measurement(**fields) for fields in found]


def _measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    device = HostDevice(**job["device"])
    found = device.measure(job["paths"], job["rounds"], job["seed"])
    return [dataclasses.asdict(measurement) for measurement in found]


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or os.uname().machine


if __name__ == "__main__":
    apart.answer(_measure)
