"""Times `.tflite` models on phones that are reached over adb.

  android-bench a.tflite b.tflite --binary=benchmark_model
  android-bench a.tflite --binary=benchmark_model --backend=gpu \\
      --serial=R5CT,192.168.0.7:5555 --json=out.json
  android-bench a.tflite --binary=benchmark_model --backend=gpu --check

The program that runs on the phone is TFLite's or LiteRT 2's `benchmark_model`
for Android, which you supply; `docs/phone.md` says where to get it. For Linux
boards it may be our own runner from `android_bench/native`, with
`libLiteRt.so` beside it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import os
import statistics
import sys
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from absl import app
from absl import flags

from android_bench import adb
from android_bench import binary
from android_bench import campaign
from android_bench import device
from android_bench import flags as phone_flags
from android_bench.benchmark import Tool
from android_bench.campaign import Campaign
from android_bench.campaign import Measured
from android_bench.campaign import Settings
from android_bench.device import Gates
from android_bench.phone import AdbDevice
from tflite_bench import interpreter
from tflite_bench import stats
from tfnas import artifacts
from tfnas import cli
from tfnas import seeds
from tfnas.errors import ConfigError
from tfnas.errors import TfnasError

_SERIAL = flags.DEFINE_list(
    "serial", [],
    "Serial numbers of phones; several are measured at the same time. None: "
    "the only one that is attached.",
)
_THREADS = flags.DEFINE_integer(
    "num_threads", 1, "Threads of the CPU kernels.", lower_bound=1
)
_NUM_RUNS = flags.DEFINE_integer(
    "num_runs", 20, "Runs in each process.", lower_bound=1
)
_WARMUP_RUNS = flags.DEFINE_integer(
    "warmup_runs", 2, "Runs before these.", lower_bound=0
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Rounds; each starts one process for every model.",
    lower_bound=2,
)
_SEED = seeds.define("Seed of the order of the visits.", 0)
_PROFILE = flags.DEFINE_bool(
    "enable_op_profiling", False, "Also time the operators inside."
)
_MEMORY = flags.DEFINE_bool(
    "report_peak_memory_footprint", False, "Also measure peak memory."
)
_AFFINITY = flags.DEFINE_string(
    "affinity", "big",
    "Cores to stay on: big, little, all, or a mask in hexadecimal.",
)
_FIXED = flags.DEFINE_bool(
    "fixed_performance", False,
    "Hold the phone's clocks at a level it can keep up (Android 11 and "
    "later); they are freed afterwards.",
)
_MAX_THERMAL = flags.DEFINE_integer(
    "max_thermal_status", 0,
    "Wait for the phone to cool down to this: 0 none, 1 light, 2 moderate.",
    lower_bound=0,
)
_MAX_BATTERY_C = flags.DEFINE_float(
    "max_battery_c", 40, "Wait for the battery to cool down to this."
)
_MIN_BATTERY = flags.DEFINE_integer(
    "min_battery_percent", 20, "Least charge of the battery.", 0, 100
)
_MAX_SLOWDOWN = flags.DEFINE_float(
    "max_slowdown", 0.1,
    "Discard the runs after which the reference model is slower by more.",
    lower_bound=0,
)
_REFERENCE = flags.DEFINE_string(
    "reference", None, "Reference model; defaults to the first model."
)
_TIMEOUT = flags.DEFINE_float(
    "timeout_s", 180, "How long a process may take.", lower_bound=1
)
_CHECK = flags.DEFINE_bool(
    "check", False,
    "Compare the outputs on the phone with those of this machine, in place "
    "of timing.",
)
_JSON = flags.DEFINE_string("json", None, "Also write the figures here.")
FORMAT = "android-bench/2"


def _tool() -> Tool:
    options = phone_flags.options_of(
        _THREADS.value, num_runs=_NUM_RUNS.value,
        warmup_runs=_WARMUP_RUNS.value,
    )
    return Tool(phone_flags.BINARY.value, options, _TIMEOUT.value)


def _settings() -> Settings:
    gates = Gates(
        _MAX_THERMAL.value, _MAX_BATTERY_C.value, _MIN_BATTERY.value
    )
    return Settings(
        gates, _AFFINITY.value, _FIXED.value, max_slowdown=_MAX_SLOWDOWN.value
    )


def bench(paths: list[str], phone: AdbDevice) -> dict[str, Any]:
    """Times models on one phone, side by side, as the flags say.

    Returns:
        A JSON value: where the figures come from, and a record a model.
    """
    measuring = Campaign(
        phone.adb, phone.tool, phone.settings, _REFERENCE.value,
        progress=len(_SERIAL.value) < 2,
    )
    wanted = {"profile": _PROFILE.value, "memory": _MEMORY.value}
    before = device.state(phone.adb)
    models = measuring.measure(
        paths, _ROUNDS.value, _SEED.value,
        extra=[name for name, on in wanted.items() if on],
    )
    first = [run.min_ms for run in models[0].runs]
    return {
        **phone.describe(),
        "rounds": _ROUNDS.value,
        "state": {
            "before": dataclasses.asdict(before),
            "after": dataclasses.asdict(device.state(phone.adb)),
        },
        "models": [
            _record(path, model)
            for path, model in zip(paths, models, strict=True)
        ],
        "ratios": [
            {
                "first": paths[0],
                "second": path,
                **vars(stats.ratio(first, [run.min_ms for run in model.runs])),
            }
            for path, model in zip(paths[1:], models[1:], strict=True)
        ],
    }


def _record(path: str, model: Measured) -> dict[str, Any]:
    runs = model.runs
    fastest = [run.min_ms for run in runs]
    record = {
        "file": path,
        "sha256": artifacts.sha256(path),
        "size_bytes": os.path.getsize(path),
        "latency_ms": stats.latency_ms(fastest),
        "spread": stats.repeatability(fastest),
        "min_ms": min(fastest),
        "median_avg_ms": statistics.median(run.avg_ms for run in runs),
        "backend": model.proof.backend,
        "proof": dataclasses.asdict(model.proof),
        "rounds": [dataclasses.asdict(run) for run in runs],
    }
    for name in ("median_ms", "p5_ms", "p95_ms"):
        values = [getattr(run, name) for run in runs]
        record[name] = None if None in values else statistics.median(values)
    if "memory" in model.reports:
        record["peak_mb"] = model.reports["memory"].peak_mb
    if "profile" in model.reports:
        ops = model.reports["profile"].ops
        record["profile"] = [dataclasses.asdict(op) for op in ops]
    return record


def check(paths: list[str], phone: AdbDevice) -> dict[str, Any]:
    """Compares the answers of one phone with those of this machine.

    Returns:
        A JSON value: where they come from, and a record a model.
    """
    checking = Campaign(phone.adb, phone.tool, phone.settings)
    return {
        **phone.describe(),
        "models": [
            {
                "file": path,
                **dataclasses.asdict(found),
                # JSON has no infinity.
                "error": found.error if math.isfinite(found.error) else None,
            }
            for path, found in zip(paths, checking.check(paths), strict=True)
        ],
    }


def _verdicts(result: dict[str, Any]) -> str:
    lines = [_head(result)]
    for model in result["models"]:
        said = "; ".join(model["problems"]) or "as on this machine"
        far = "without bound"
        if model["error"] is not None:
            far = f"{model['error']:.2%} of the spread of an output"
        lines.append(
            f"{model['file']}: {said} ({model['inputs']} inputs, largest "
            f"error {far})"
        )
    return "\n".join(lines)


def _head(result: dict[str, Any]) -> str:
    phone, runtime = result["device"], result["runtime"]
    return (
        f"{phone['name']} ({phone['serial']}), {phone['cpu']}, "
        f"{phone['system']}, cores {runtime['affinity']}\n"
        f"{runtime['program']} ({runtime['tflite']['name']} "
        f"{runtime['tflite']['version']}), {runtime['threads']} thread(s), "
        f"ran on {runtime['delegate']}"
    )


def _table(result: dict[str, Any]) -> str:
    lines = [
        _head(result),
        f"{result['statistic']} over {result['rounds']} rounds",
        f"{'ms':>9} {'+-':>6} {'min':>9} {'median':>9} {'p95':>9} {'MB':>7} "
        f"{'operators':>10} {'pieces':>6}  model",
    ]
    for m in result["models"]:
        proof = m["proof"]
        part = "?"
        if proof["of_nodes"] is not None:
            part = f"{proof['nodes']}/{proof['of_nodes']}"
        lines.append(
            f"{m['latency_ms']:9.4f} {m['spread']:6.1%} {m['min_ms']:9.4f} "
            f"{_number(m['median_ms'], 9, 4)} {_number(m['p95_ms'], 9, 4)} "
            f"{_number(m.get('peak_mb'), 7, 1)} {part:>10} "
            f"{_number(proof['pieces'], 6, 0)}  {m['file']}"
        )
        if m["backend"] != result["runtime"]["delegate"]:
            lines.append(f"          ran on {m['backend']}")
    for r in result["ratios"]:
        lines.append(
            f"x {r['value']:.4f} ({r['low']:.4f} to {r['high']:.4f}): "
            f"{r['second']} against {r['first']}"
        )
    for m in result["models"]:
        if ops := m.get("profile"):
            lines.append(f"inside {m['file']} (wall time):")
            lines += [
                f"{op['mean_ms']:9.4f}  {'  ' * op['delegated']}{op['kind']}"
                for op in ops
            ]
    return "\n".join(lines)


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'?' if value is None else f'{value:.{digits}f}':>{width}}"


def main(argv: list[str]) -> None:
    """Times the models that the command line names, or checks them."""
    paths = argv[1:]
    if not paths:
        raise app.UsageError("Expected one .tflite file or more.")
    if not phone_flags.BINARY.value:
        raise app.UsageError(
            "Expected the program that runs on the phone: --binary=FILE."
        )
    tool, settings = _tool(), _settings()
    tool.describe()  # files are read before a phone is bothered
    binary.architecture(tool.binary)
    for path in [*paths, *filter(None, [_REFERENCE.value])]:
        campaign.read(path)
    reference = interpreter.read_file(_REFERENCE.value or paths[0])
    serials = [adb.find(serial) for serial in _SERIAL.value or [None]]
    if len(set(serials)) < len(serials):
        raise ConfigError(
            "Expected each phone once. "
            f"Received: serial={','.join(_SERIAL.value)}"
        )
    phones = [
        AdbDevice(serial, tool, reference, settings) for serial in serials
    ]
    work, show = (check, _verdicts) if _CHECK.value else (bench, _table)
    results, failed = _on_all(phones, lambda phone: work(paths, phone), show)
    if _JSON.value:
        artifacts.write_json(
            _JSON.value,
            {"format": FORMAT, "phones": results, "failed": failed},
        )
    wrong = any(m.get("problems") for r in results for m in r["models"])
    if failed or wrong:
        raise SystemExit(1)


def _on_all(
    phones: Sequence[AdbDevice],
    work: Callable[[AdbDevice], dict[str, Any]],
    show: Callable[[dict[str, Any]], str],
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Works on all phones at once; one that fails does not end the others.

    Returns:
        The results, and for each phone that failed why.
    """
    results, failed = [], {}
    with concurrent.futures.ThreadPoolExecutor(len(phones)) as workers:
        waiting = {workers.submit(work, phone): phone for phone in phones}
        for future, phone in waiting.items():
            try:
                results.append(future.result())
                print(show(results[-1]))
            except TfnasError as error:
                if len(phones) == 1:
                    raise
                failed[phone.adb.serial] = str(error)
                print(f"{phone.adb.serial} failed: {error}", file=sys.stderr)
    return results, failed


def entry() -> None:
    """Console script."""
    cli.run(main, words=True)


if __name__ == "__main__":
    entry()
