"""Memory and load time of a model, each in a fresh process.

    python -m tflite_bench.footprint MODEL RUNTIME THREADS XNNPACK
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys

from tflite_bench.interpreter import Model
from tflite_bench.interpreter import load_runtime
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError

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
    """

    load_ms: float
    peak_bytes: int | None


def footprint(
    path: str | os.PathLike,
    runtime: str = "litert",
    threads: int = 1,
    xnnpack: bool = True,
) -> Footprint:
    """Measures memory and load time in a process of its own.

    Args:
        path: The `.tflite` file.
        runtime: See `tflite_bench.interpreter.Model`.
        threads: See there.
        xnnpack: See there.

    Raises:
        ArtifactError: when the model cannot be loaded.
        DeviceError: when the process fails or takes too long.
    """
    command = [
        sys.executable, "-m", "tflite_bench.footprint", str(path), runtime,
        str(threads), str(int(xnnpack)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"{path}: loading and two runs took more than {_TIMEOUT_S} s"
        ) from error
    if done.returncode == 2:
        raise ArtifactError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise DeviceError(
            f"{path}: the process that ran it ended with "
            f"{done.returncode}:\n{done.stderr[-2000:]}"
        )
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def _peak_bytes() -> int | None:
    # Not `ru_maxrss`: that starts at what the parent process had.
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = re.search(r"VmHWM:\s+([0-9]+) kB", file.read())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def main(argv: list[str]) -> None:
    """Prints the footprint of a model as JSON."""
    path, runtime, threads, xnnpack = argv[1:]
    load_runtime(runtime)
    before = _peak_bytes()
    try:
        model = Model(path, runtime, int(threads), xnnpack == "1")
    except ArtifactError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    for _ in range(_RUNS):
        model.invoke()
    after = _peak_bytes()
    grown = None if before is None or after is None else after - before
    print(json.dumps({"load_ms": model.load_ms, "peak_bytes": grown}))


if __name__ == "__main__":
    main(sys.argv)
