"""The flags `--max_latency_ms` and `--max_size_kb`: which networks may stay."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from absl import flags

from tflite_bench import writer
from tflite_bench.device import HostDevice
from tfnas.arch import Arch
from tfnas.cost.lut import DEFAULT_LOWERING
from tfnas.cost.lut import LatencyTable
from tfnas.errors import InfeasibleBudget

# Help lists each flag with the program that asked for it.
flags.disclaim_key_flags()

_ROUNDS = 25


def define_limits() -> None:
    """Defines `--max_latency_ms`, `--max_size_kb` and `--lut`."""
    flags.DEFINE_float(
        "max_latency_ms", None, "Longest latency of a network, in ms: by the "
        "table of --lut, else its int8 file is timed on this machine.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "max_size_kb", None, "Largest int8 file of a network, in units of "
        "1000 bytes.", lower_bound=0,
    )
    flags.DEFINE_string("lut", None, "Latency table for --max_latency_ms.")


def asked() -> dict[str, Any]:
    """Returns the limits that were given, by the names of their flags."""
    names = ("max_latency_ms", "max_size_kb", "lut")
    return {name: flags.FLAGS[name].value for name in names}


def within(
    networks: Mapping[str, Arch],
) -> tuple[dict[str, Arch], dict[str, Any]]:
    """Returns the networks that keep the limits, and what all of them cost.

    Args:
        networks: Name to network.

    Returns:
        The networks that may stay, and for each that was looked at its
        `latency_ms` and `size_kb`, where a limit asks for them.

    Raises:
        InfeasibleBudget: when none keeps the limits; the message has the
            figures of all.
        LutMiss: when the table lacks operators.
    """
    limits = asked()
    bounds = {
        name: limits[f"max_{name}"] for name in ("latency_ms", "size_kb")
        if limits[f"max_{name}"] is not None
    }
    if not bounds:
        return dict(networks), {}
    costs = _costs(networks, bounds, limits["lut"])
    kept = {
        name: arch for name, arch in networks.items()
        if all(costs[name][k] <= bound for k, bound in bounds.items())
    }
    if not kept:
        raise InfeasibleBudget(
            f"no network keeps {_words(bounds)}. Received: " + "; ".join(
                f"{name}: {_words(cost)}" for name, cost in costs.items()
            )
        )
    for name in sorted(set(networks) - set(kept)):
        print(f"left out, beyond the limits: {name}: {_words(costs[name])}")
    return kept, {"asked": bounds, "networks": costs}


def _costs(
    networks: Mapping[str, Arch], bounds: Mapping[str, float],
    table: str | None,
) -> dict[str, dict[str, float]]:
    blobs = {k: writer.write_arch(arch, "int8") for k, arch in networks.items()}
    costs: dict[str, dict[str, float]] = {name: {} for name in networks}
    if "size_kb" in bounds:
        for name, blob in blobs.items():
            costs[name]["size_kb"] = len(blob) / 1000
    if "latency_ms" not in bounds:
        return costs
    if table is not None:
        lut = LatencyTable.load(table)
        lut.require("int8", lowering=DEFAULT_LOWERING)
        for name, arch in networks.items():
            costs[name]["latency_ms"] = lut.latency_ms(arch)
        return costs
    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder)
        paths = [where / f"{i}.tflite" for i in range(len(blobs))]
        for path, blob in zip(paths, blobs.values(), strict=True):
            path.write_bytes(blob)
        measured = HostDevice().measure([str(p) for p in paths], _ROUNDS)
    for name, measurement in zip(blobs, measured, strict=True):
        costs[name]["latency_ms"] = measurement.latency_ms
    return costs


def _words(costs: Mapping[str, float]) -> str:
    units = {"latency_ms": "ms", "size_kb": "kB"}
    return ", ".join(f"{value:.4g} {units[k]}" for k, value in costs.items())
