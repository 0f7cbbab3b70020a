"""Memory and load time of a model, each in a fresh process."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

from tflite_bench import apart
from tflite_bench.interpreter import Model
from tflite_bench.interpreter import load_runtime

_TIMEOUT_S = 300
_RUNS = 2


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What a model needs beside its time.

    Args:
        load_ms: Wall time to load it, once the runtime is imported.
        peak_bytes: What the process grew by at most while it loaded and ran
            the model, the runtime's own buffers included; `None` where the
            system does not tell.
        inputs: What it was run with; see `interpreter.Model`.
    """

    load_ms: float
    peak_bytes: int | None
    inputs: list[dict[str, Any]]


def footprint(
    path: str | os.PathLike,
    runtime: str = "litert",
    threads: int = 1,
    xnnpack: bool = True,
    free_sizes: Sequence[Sequence[int]] | None = None,
) -> Footprint:
    """Measures memory and load time in a process of its own.

    Args:
        path: The `.tflite` file.
        runtime: See `tflite_bench.interpreter.Model`.
        threads: See there.
        xnnpack: See there.
        free_sizes: See there.

    Raises:
        ArtifactError: when the model cannot be loaded.
        RuntimeCrash: when the process fails or takes too long.
    """
    job = {
        "path": str(path), "runtime": runtime, "threads": threads,
        "xnnpack": xnnpack, "free_sizes": free_sizes,
    }
    return Footprint(
        **apart.call(
            "tflite_bench.footprint", job, str(path),
            f"loading it and running it {_RUNS} times", _TIMEOUT_S,
        )
    )


def _peak_bytes() -> int | None:
    # Not `ru_maxrss`: that starts at what the parent process had.
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = re.search(r"VmHWM:\s+([0-9]+) kB", file.read())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _measure(job: dict[str, Any]) -> dict[str, Any]:
    load_runtime(job["runtime"])
    before = _peak_bytes()
    model = Model(
        job["path"], job["runtime"], job["threads"], job["xnnpack"],
        job["free_sizes"],
    )
    for _ in range(_RUNS):
        model.invoke()
    after = _peak_bytes()
    grown = None if before is None or after is None else after - before
    return {
        "load_ms": model.load_ms, "peak_bytes": grown, "inputs": model.inputs
    }


if __name__ == "__main__":
    apart.answer(_measure)
