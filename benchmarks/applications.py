"""Latency of the applications on this machine, for their table.

    python -m benchmarks.applications

Writes the int8 model of every application with random weights (a latency does
not depend on them), times them in interleaved rounds, and writes the figures
into `tfnas/applications/latency.json`, which `tfnas.applications.table()`
shows, and into `benchmarks/results/`. Prints one JSON line. Takes about two
minutes on an otherwise idle machine.
"""

from __future__ import annotations

import datetime
import os
import tempfile

from absl import flags

from benchmarks import closing
from tflite_bench import writer
from tflite_bench.device import HostDevice
from tfnas import applications
from tfnas import artifacts
from tfnas import cli
from tfnas.applications import listing

_ROUNDS = flags.DEFINE_integer("rounds", 25, "Rounds.", lower_bound=2)


def main(argv: list[str]) -> None:
    """Runs the benchmark."""
    del argv
    names = applications.names()
    archs = [applications.APPLICATIONS.get(n).get_arch() for n in names]
    device = HostDevice()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, arch in zip(names, archs, strict=True):
            paths.append(f"{folder}/{name}.tflite")
            artifacts.write_bytes(paths[-1], writer.write_arch(arch, "int8"))
        figures = device.measure(paths, _ROUNDS.value)
    result = {
        "format": listing.LATENCY_FORMAT,
        "date": datetime.date.today().isoformat(),
        **device.describe(),
        "dtype": "int8",
        "rounds": _ROUNDS.value,
        "load_average": round(os.getloadavg()[0], 2),
        "networks": {
            arch.id: {
                "name": name,
                "latency_ms": round(figure.latency_ms, 4),
                "spread": round(figure.spread, 4),
                "delegate_nodes": figure.delegate_nodes,
            }
            for name, arch, figure in zip(names, archs, figures, strict=True)
        },
    }
    artifacts.write_json(listing.LATENCY, result)
    closing.show(result, "applications")


if __name__ == "__main__":
    cli.run(main)
