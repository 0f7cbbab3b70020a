"""Times `.tflite` models on this machine, side by side.

  tflite-bench a.tflite b.tflite --rounds=50 --json=out.json

The models take turns in shuffled rounds, so their ratio holds even on a
machine that is busy with other things. Times of one thread are CPU time.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from typing import Any

import numpy as np
from absl import app
from absl import flags

from tflite_bench import interpreter
from tflite_bench import stats
from tflite_bench.device import HostDevice
from tflite_bench.device import Measurement
from tflite_bench.footprint import footprint
from tflite_bench.profile import profile
from tfnas import artifacts
from tfnas import cli

_RUNTIME = flags.DEFINE_enum(
    "runtime", "litert", interpreter.RUNTIMES, "Which TFLite runtime to use."
)
_THREADS = flags.DEFINE_integer(
    "num_threads", 1,
    "Threads of the runtime; with more than one the clock is the wall's.",
    lower_bound=1,
)
_XNNPACK = flags.DEFINE_bool(
    "xnnpack", True, "Let the XNNPACK delegate run what it can."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 50, "Rounds; each visits every model once.", lower_bound=2
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the order of the visits.")
_PROFILE = flags.DEFINE_bool(
    "profile", False, "Also time the operators inside (runtime litert only)."
)
_JSON = flags.DEFINE_string("json", None, "Also write the figures here.")
FORMAT = "tflite-bench/1"


def bench(
    paths: list[str], device: HostDevice, rounds: int, seed: int = 0
) -> dict[str, Any]:
    """Times models side by side.

    Args:
        paths: `.tflite` files.
        device: How to run them.
        rounds: Number of rounds, 2 or more.
        seed: Of the order of the visits.

    Returns:
        A JSON value: where the figures come from, a record for each model,
        and the ratio of every other model to the first.
    """
    described = device.describe()
    sizes = [
        footprint(path, device.runtime, device.threads, device.xnnpack)
        for path in paths
    ]
    measured = device.measure(paths, rounds, seed)
    first = measured[0].samples_ms
    return {
        "format": FORMAT,
        **described,
        "rounds": rounds,
        "load_average": round(os.getloadavg()[0], 2),
        "models": [
            {
                "file": path,
                "sha256": artifacts.sha256(path),
                "size_bytes": os.path.getsize(path),
                **_figures(measurement),
                "load_ms": size.load_ms,
                "peak_bytes": size.peak_bytes,
            }
            for path, measurement, size in zip(
                paths, measured, sizes, strict=True
            )
        ],
        "ratios": [
            {
                "first": paths[0],
                "second": path,
                **vars(stats.ratio(first, measurement.samples_ms)),
            }
            for path, measurement in zip(paths[1:], measured[1:], strict=True)
        ],
    }


def _figures(measurement: Measurement) -> dict[str, Any]:
    return {
        "latency_ms": measurement.latency_ms,
        "spread": measurement.spread,
        "median_ms": float(np.median(measurement.samples_ms)),
        "p90_ms": float(np.percentile(measurement.samples_ms, 90)),
        "wall_ms": stats.latency_ms(measurement.wall_ms),
        "involuntary_switches": measurement.switches,
        "delegate_nodes": measurement.delegate_nodes,
    }


def _table(result: dict[str, Any]) -> str:
    tflite = result["runtime"]["tflite"]
    lines = [
        f"{result['device']['cpu']}, {tflite['name']} {tflite['version']}, "
        f"{result['runtime']['threads']} thread(s), "
        f"clock {result['clock']}, {result['statistic']} over "
        f"{result['rounds']} rounds",
        f"{'ms':>9} {'+-':>6} {'median':>9} {'wall':>9} {'load':>8} "
        f"{'MB':>7} {'delegate':>8}  model",
    ]
    for m in result["models"]:
        peak = m["peak_bytes"]
        lines.append(
            f"{m['latency_ms']:9.4f} {m['spread']:6.1%} "
            f"{m['median_ms']:9.4f} {m['wall_ms']:9.4f} {m['load_ms']:8.2f} "
            f"{'?' if peak is None else f'{peak / 1e6:.1f}':>7} "
            f"{m['delegate_nodes']:8}  {m['file']}"
        )
    for r in result["ratios"]:
        lines.append(
            f"x {r['value']:.4f} ({r['low']:.4f} to {r['high']:.4f}): "
            f"{r['second']} against {r['first']}"
        )
    return "\n".join(lines)


def _profile_table(model: dict[str, Any]) -> str:
    """Returns the kinds of operators of a model, the slowest first."""
    totals: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    for op in model["profile"]:
        totals[op["kind"]] += op["mean_ms"]
        counts[op["kind"]] += 1
    whole = max(sum(totals.values()), 1e-9)
    lines = [f"inside {model['file']} (wall time):"]
    lines += [
        f"{ms:9.4f} {ms / whole:6.1%}  {counts[kind]:3} x {kind}"
        for kind, ms in totals.most_common()
    ]
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Times the models that the command line names."""
    if not argv[1:]:
        raise app.UsageError("Expected one .tflite file or more.")
    device = HostDevice(_RUNTIME.value, _THREADS.value, _XNNPACK.value)
    if _PROFILE.value and (_RUNTIME.value != "litert" or not _XNNPACK.value):
        raise app.UsageError("--profile needs --runtime=litert --xnnpack.")
    result = bench(argv[1:], device, _ROUNDS.value, _SEED.value)
    print(_table(result))
    for model in result["models"] if _PROFILE.value else ():
        times = profile(model["file"], _ROUNDS.value)
        model["profile"] = [dataclasses.asdict(time) for time in times]
        print(_profile_table(model))
    if _JSON.value:
        artifacts.write_json(_JSON.value, result)


def entry() -> None:
    """Console script."""
    cli.run(main, words=True)


if __name__ == "__main__":
    entry()
