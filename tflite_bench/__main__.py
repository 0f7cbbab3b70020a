"""Times `.tflite` models on this machine, side by side.

  tflite-bench a.tflite b.tflite --rounds=50 --json=out.json
  tflite-bench --check a.tflite
  tflite-bench --check --backend=gpu a.tflite

The models take turns in shuffled rounds, so their ratio holds even on a
machine that is busy with other things. Times of one thread are CPU time.
Every file runs in a process of its own first, and in the rounds in one that
does nothing else. Where a file leaves its batch free it is run as 1.

`--check` lists the operators of a file in order: which run in the delegate, in
how many pieces, why the others do not, and how long these take.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app
from absl import flags

from tflite_bench import asking
from tflite_bench import backends
from tflite_bench import checking
from tflite_bench import interpreter
from tflite_bench import stats
from tflite_bench.device import HostDevice
from tflite_bench.device import Measurement
from tflite_bench.footprint import Footprint
from tflite_bench.footprint import footprint
from tflite_bench.profile import profile
from tfnas import artifacts
from tfnas import cli
from tfnas import seeds
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

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
_SEED = seeds.define("Seed of the order of the visits.", 0)
_INPUT_SHAPE = flags.DEFINE_multi_string(
    "input_shape", [],
    "A shape like 1x224x224x3 for an input that leaves sizes free; give the "
    "flag again for another one. A free batch alone is 1 without it.",
)
_PROFILE = flags.DEFINE_bool(
    "profile", False, "Also time the operators inside (runtime litert only)."
)
_CHECK = flags.DEFINE_bool(
    "check", False,
    "Say where the operators run instead of how long the model takes; "
    "--rounds are the runs that those outside the delegate are timed in.",
)
_BACKEND = flags.DEFINE_enum(
    "backend", checking.HOST, (checking.HOST, *backends.NAMES),
    "The delegate of --check: the one of this machine, which is asked, or "
    "another, of which a table says what is known.",
)
_JSON = flags.DEFINE_string("json", None, "Also write the figures here.")
# Flags that mean nothing for --check, or for a backend that is not here.
_UNCHECKED = ("runtime", "num_threads", "xnnpack", "seed", "profile")
FORMAT = "tflite-bench/1"
_SIZE = re.compile(r"[1-9][0-9]{0,8}")


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

    Raises:
        TfnasError: when a model cannot be run so.
        RuntimeCrash: when the runtime crashes on one.
    """
    described = device.describe()
    sizes = [
        footprint(
            path, device.runtime, device.threads, device.xnnpack,
            device.free_sizes,
        )
        for path in paths
    ]
    _check_used(
        device.free_sizes or (),
        [x for size in sizes for x in (_free_dims(size) or {}).values()],
    )
    measured = device.measure_apart(paths, rounds, seed)
    first = measured[0].samples_ms
    batches = {_batch(size) for size in sizes}
    return {
        "format": FORMAT,
        **described,
        "batch": batches.pop() if len(batches) == 1 else None,
        "rounds": rounds,
        "load_average": round(os.getloadavg()[0], 2),
        "models": [
            {
                "file": path,
                "sha256": artifacts.sha256(path),
                "size_bytes": os.path.getsize(path),
                "batch": _batch(size),
                "inputs": size.inputs,
                "free_dims_run_as": _free_dims(size),
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


def _batch(size: Footprint) -> int:
    """Returns how many examples a run takes: the first size of all inputs."""
    shapes = [given["shape"] for given in size.inputs if given["shape"]]
    return shapes[0][0] if shapes else 1


def _free_dims(size: Footprint) -> dict[str, list[int]] | None:
    """Returns the shapes of the inputs that leave a size free, by name."""
    free = {x["name"]: x["shape"] for x in size.inputs if x["free"]}
    return free or None


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
    for m in result["models"]:
        for name, shape in (m["free_dims_run_as"] or {}).items():
            text = "x".join(map(str, shape))
            lines.append(f"free sizes run as {text}: {m['file']} ({name})")
        if m["batch"] != 1:
            lines.append(f"a run is a batch of {m['batch']}: {m['file']}")
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


def _input_shapes() -> tuple[tuple[int, ...], ...]:
    """Reads the flag `--input_shape`."""
    shapes = []
    for text in _INPUT_SHAPE.value:
        sizes = text.split("x")
        if not all(_SIZE.fullmatch(size) for size in sizes):
            raise app.UsageError(
                "Expected sizes of 1 or more like 1x224x224x3. Received: "
                f"--input_shape={text}"
            )
        shapes.append(tuple(int(size) for size in sizes))
    return tuple(shapes)


def _check_used(
    shapes: Sequence[Sequence[int]], used: Sequence[Sequence[int]]
) -> None:
    """Refuses to run another shape than the one asked for."""
    for shape in map(list, shapes):
        if shape not in map(list, used):
            text = "x".join(map(str, shape))
            raise ConfigError(
                "Expected the shape of an input that leaves sizes free. "
                f"Received: --input_shape={text}, which no file takes"
            )


def _check_models(paths: list[str]) -> None:
    """Says where the operators of the models run."""
    useless = list(_UNCHECKED)
    if _BACKEND.value != checking.HOST:
        useless.append("rounds")
    for name in useless:
        if flags.FLAGS[name].present:
            raise app.UsageError(
                f"Expected no --{name} with --check"
                + f" --backend={_BACKEND.value}" * (name == "rounds")
                + ": it would change nothing."
            )
    shapes = _input_shapes()
    found = [
        checking.check(path, _BACKEND.value, _ROUNDS.value, shapes)
        for path in paths
    ]
    _check_used(
        shapes, [x for each in found for x in each.free_dims_run_as.values()]
    )
    for path, checked in zip(paths, found, strict=True):
        print(checking.table(path, checked))
    if _JSON.value:
        models = [
            {
                "file": path, "sha256": artifacts.sha256(path),
                **checked.to_json(),
            }
            for path, checked in zip(paths, found, strict=True)
        ]
        artifacts.write_json(
            _JSON.value, {"format": checking.FORMAT, "models": models}
        )


def _bench_models(paths: list[str]) -> None:
    """Times the models."""
    if flags.FLAGS["backend"].present:
        raise app.UsageError("--backend needs --check.")
    device = HostDevice(
        _RUNTIME.value, _THREADS.value, _XNNPACK.value, _input_shapes()
    )
    if _PROFILE.value and (_RUNTIME.value != "litert" or not _XNNPACK.value):
        raise app.UsageError("--profile needs --runtime=litert --xnnpack.")
    try:
        result = bench(paths, device, _ROUNDS.value, _SEED.value)
    except ArtifactError as error:
        raise asking.explained(paths, error) from error
    print(_table(result))
    for model in result["models"] if _PROFILE.value else ():
        times = profile(
            model["file"], _ROUNDS.value, model["free_dims_run_as"]
        )
        model["profile"] = [dataclasses.asdict(time) for time in times]
        print(_profile_table(model))
    if _JSON.value:
        artifacts.write_json(_JSON.value, result)


def main(argv: list[str]) -> None:
    """Times or checks the models that the command line names."""
    if not argv[1:]:
        raise app.UsageError("Expected one .tflite file or more.")
    (_check_models if _CHECK.value else _bench_models)(argv[1:])


def entry() -> None:
    """Console script."""
    cli.run(main, words=True)


if __name__ == "__main__":
    entry()
