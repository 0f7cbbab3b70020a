"""What a benchmark program is asked to do, whichever program it is."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re

from tfnas.errors import ConfigError

CPU = ("xnnpack", "ynnpack", "none")
DELEGATES = (*CPU, "gpu", "nnapi", "npu")
_FP16 = ("xnnpack", "gpu")
_FLAG = re.compile(r"--[A-Za-z][\w-]*=.*", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the benchmark program is told.

    Args:
        threads: Threads of the CPU kernels.
        delegate: One of `DELEGATES`: what is to run the model. `"none"` are
            the runtime's own kernels on the CPU, without a delegate.
        fp16: Whether XNNPACK or the GPU may compute in half precision.
        nnapi_accelerator: Which accelerator NNAPI takes; `None` leaves it
            the choice.
        num_runs: Least number of runs in a process.
        warmup_runs: Runs before these.
        min_secs: Least time of the runs together.
        max_secs: Most time of them.
        allow_partial: Whether a GPU, NPU or NNAPI may leave a part of the
            model to the CPU, and a delegate of the CPU take nothing.
        flags: Further flags (`"--name=value"`), as an NPU's vendor has
            them. `{folder}` in one is the folder of `files` on the phone.
        files: Files that are put beside the program: an NPU's libraries.

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
    allow_partial: bool = False
    flags: tuple[str, ...] = ()
    files: tuple[str | os.PathLike, ...] = ()

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
        if self.fp16 and self.delegate not in _FP16:
            raise ConfigError(
                f"Expected delegate {' or '.join(_FP16)} for half precision. "
                f"Received: delegate={self.delegate!r}, fp16=True"
            )
        if self.nnapi_accelerator and self.delegate != "nnapi":
            raise ConfigError(
                "Expected delegate nnapi for an accelerator of NNAPI. "
                f"Received: delegate={self.delegate!r}, "
                f"nnapi_accelerator={self.nnapi_accelerator!r}"
            )
        for flag in self.flags:
            if not _FLAG.fullmatch(flag):
                raise ConfigError(
                    "Expected flags of the program as --name=value. "
                    f"Received: {flag!r}"
                )
        names = [pathlib.Path(file).name for file in self.files]
        if len(set(names)) < len(names):
            raise ConfigError(
                "Expected files of different names, for one folder. "
                f"Received: files={', '.join(map(str, self.files))}"
            )

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU is to run the whole model."""
        return self.delegate in CPU

    @property
    def asked(self) -> str:
        """What is to run the model, for a table and for messages."""
        words = [self.delegate, self.nnapi_accelerator or ""]
        return " ".join(filter(None, [*words, "fp16" if self.fp16 else ""]))
