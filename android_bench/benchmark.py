"""The benchmark program that runs on the phone, and its settings."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from android_bench import output
from android_bench.workspace import Workspace
from tfnas import artifacts
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

_LIBRARY = "libLiteRt.so"
_BINARY = "benchmark"
# TensorFlow Lite carries its version as a text of its own.
_VERSION = re.compile(rb"\0([12]\.[0-9]{1,2}\.[0-9]{1,2}(?:-rc[0-9])?)\0")
DELEGATES = ("xnnpack", "gpu", "nnapi", "none")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the benchmark program is told.

    Args:
        threads: Threads of the CPU kernels.
        delegate: One of `DELEGATES`: what runs the model.
        fp16: Whether XNNPACK or the GPU may compute in half precision.
        nnapi_accelerator: Which accelerator NNAPI takes; `None` leaves it
            the choice.
        num_runs: Least number of runs in a process.
        warmup_runs: Runs before these.
        min_secs: Least time of the runs together.
        max_secs: Most time of them.

    Raises:
        ConfigError: for an unknown delegate, or figures out of range.
    """

    threads: int = 1
    delegate: str = "xnnpack"
    fp16: bool = False
    nnapi_accelerator: str | None = None
    num_runs: int = 20
    warmup_runs: int = 2
    min_secs: float = 0.0
    max_secs: float = 30.0

    def __post_init__(self) -> None:
        if self.delegate not in DELEGATES:
            raise ConfigError(
                f"Expected one of {', '.join(DELEGATES)}. "
                f"Received: delegate={self.delegate!r}"
            )
        if self.threads < 1 or self.num_runs < 1 or self.warmup_runs < 0:
            raise ConfigError(
                "Expected 1 thread and 1 run or more. Received: "
                f"threads={self.threads}, num_runs={self.num_runs}, "
                f"warmup_runs={self.warmup_runs}"
            )

    @property
    def provenance(self) -> str:
        """Says what runs the model, for a table."""
        words = [self.delegate, self.nnapi_accelerator or ""]
        return " ".join(filter(None, [*words, "fp16" if self.fp16 else ""]))

    def flags(self) -> list[str]:
        """Returns the flags of the program."""
        values: dict[str, Any] = {
            "num_threads": self.threads,
            "num_runs": self.num_runs,
            "warmup_runs": self.warmup_runs,
            "min_secs": self.min_secs,
            "max_secs": self.max_secs,
            "warmup_min_secs": 0,
            "use_xnnpack": self.delegate == "xnnpack",
            "xnnpack_force_fp16": self.delegate == "xnnpack" and self.fp16,
            "use_gpu": self.delegate == "gpu",
            "use_nnapi": self.delegate == "nnapi",
        }
        if self.delegate == "gpu":
            values["gpu_precision_loss_allowed"] = self.fp16
        if self.delegate == "nnapi" and self.nnapi_accelerator:
            values["nnapi_accelerator_name"] = self.nnapi_accelerator
        return [
            f"--{name}={str(v).lower() if isinstance(v, bool) else v}"
            for name, v in values.items()
        ]


@dataclasses.dataclass(frozen=True)
class Tool:
    """A benchmark program: the official `benchmark_model`, or our own runner.

    Our own runner (`android_bench/native`) needs the LiteRT library, which
    is taken from beside it, under the name `libLiteRt.so`.

    Args:
        binary: The program, for the phone's processor.
        options: What it is told.
        timeout_s: How long one process may take.

    Raises:
        ArtifactError: when the program cannot be read.
    """

    binary: str | os.PathLike
    options: Options = Options()
    timeout_s: float = 180

    @property
    def library(self) -> pathlib.Path | None:
        """The runner's library, or `None` for the official program."""
        library = pathlib.Path(self.binary).with_name(_LIBRARY)
        return library if library.exists() else None

    @functools.cached_property
    def sha256(self) -> str:
        """The identity of the program."""
        return artifacts.sha256(self.binary)

    def describe(self) -> dict[str, Any]:
        """Returns the `runtime` of a latency table."""
        runtime = {
            "tflite": {
                "name": pathlib.Path(self.binary).name,
                "sha256": self.sha256,
                "version": self._version(),
            },
            "threads": self.options.threads,
            "delegate": self.options.provenance,
            "runs": self.options.num_runs,
        }
        if self.library:
            runtime["library_sha256"] = artifacts.sha256(self.library)
        return runtime

    def _version(self) -> str:
        path = self.library or pathlib.Path(self.binary)
        found = set(_VERSION.findall(path.read_bytes()))
        return found.pop().decode() if len(found) == 1 else "unknown"

    def install(self, workspace: Workspace) -> None:
        """Copies the program into a folder on the phone."""
        files = {_BINARY: self.binary}
        if self.library:
            files[_LIBRARY] = self.library
        workspace.put(files)
        workspace.adb.shell(["chmod", "755", workspace.path(_BINARY)])

    def run(
        self,
        workspace: Workspace,
        model: str,
        source: str,
        mask: str | None = None,
        extra: Sequence[str] = (),
    ) -> output.Report:
        """Runs one process on the phone.

        Args:
            workspace: Where the program and the model are.
            model: Name of the model there.
            source: Name of the model here, for messages.
            mask: Cores to stay on, for `taskset`.
            extra: Further flags.

        Raises:
            DeviceError: when it fails or prints what we cannot read.
            TimedOut: when it does not end in time.
        """
        words = [
            *(["taskset", mask] if mask else []),
            workspace.path(_BINARY),
            f"--graph={workspace.path(model)}",
            *self.options.flags(),
            *extra,
        ]
        if self.library:
            words.append(f"--library={workspace.path(_LIBRARY)}")
        done = workspace.run(words, self.timeout_s)
        if done.returncode:
            raise DeviceError(
                f"{source}: the benchmark program ended with "
                f"{done.returncode} on {workspace.adb.serial}: {done.tail}"
            )
        # Releases differ in where they print; a log line may be in either.
        text = done.stdout
        if not text.lstrip().startswith("{"):
            text = f"{done.stderr}\n{text}"
        return output.parse(text, source)
