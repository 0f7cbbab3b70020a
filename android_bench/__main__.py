"""Times `.tflite` models on phones that are reached over adb.

  android-bench a.tflite b.tflite --benchmark_binary=benchmark_model
  android-bench a.tflite --benchmark_binary=benchmark_model --use_gpu \\
      --serial=R5CT,192.168.0.7:5555 --json=out.json

The program that runs on the phone is the official `benchmark_model` for
Android, which you supply. For Linux boards it may be our own runner from
`android_bench/native`, with `libLiteRt.so` beside it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import statistics
from typing import Any

from absl import app
from absl import flags

from android_bench import adb
from android_bench import device
from android_bench.benchmark import Options
from android_bench.benchmark import Tool
from android_bench.campaign import Campaign
from android_bench.campaign import Run
from android_bench.campaign import Settings
from android_bench.device import Gates
from android_bench.output import Report
from android_bench.phone import AdbDevice
from tflite_bench import stats
from tfnas import artifacts
from tfnas import cli
from tfnas import seeds
from tfnas.errors import ConfigError

_SERIAL = flags.DEFINE_list(
    "serial", [],
    "Serial numbers of phones; several are measured at the same time. None: "
    "the only one that is attached.",
)
_BINARY = flags.DEFINE_string(
    "benchmark_binary", None, "Program that runs on the phone.", required=True
)
_THREADS = flags.DEFINE_integer(
    "num_threads", 1, "Threads of the CPU kernels.", lower_bound=1
)
_XNNPACK = flags.DEFINE_bool("use_xnnpack", True, "Run on the CPU's XNNPACK.")
_GPU = flags.DEFINE_bool("use_gpu", False, "Run on the GPU.")
_NNAPI = flags.DEFINE_bool("use_nnapi", False, "Run on NNAPI.")
_ACCELERATOR = flags.DEFINE_string(
    "nnapi_accelerator_name", None, "Which accelerator NNAPI takes."
)
_FP16 = flags.DEFINE_bool(
    "fp16", False, "Let XNNPACK or the GPU compute in half precision."
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
_JSON = flags.DEFINE_string("json", None, "Also write the figures here.")
FORMAT = "android-bench/1"
_EXTRA = {
    "profile": ("--enable_op_profiling=true",),
    "memory": ("--report_peak_memory_footprint=true",),
}


def _delegate() -> str:
    """Returns what runs the models."""
    if _GPU.value and _NNAPI.value:
        raise app.UsageError("Expected --use_gpu or --use_nnapi, not both.")
    if _GPU.value or _NNAPI.value:
        return "gpu" if _GPU.value else "nnapi"
    return "xnnpack" if _XNNPACK.value else "none"


def _tool() -> Tool:
    options = Options(
        _THREADS.value, _delegate(), _FP16.value, _ACCELERATOR.value,
        _NUM_RUNS.value, _WARMUP_RUNS.value,
    )
    return Tool(_BINARY.value, options, _TIMEOUT.value)


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
    campaign = Campaign(
        phone.adb, phone.tool, phone.settings, _REFERENCE.value,
        progress=len(_SERIAL.value) < 2,
    )
    wanted = {"profile": _PROFILE.value, "memory": _MEMORY.value}
    extra = {name: _EXTRA[name] for name, on in wanted.items() if on}
    before = device.state(phone.adb)
    models, reports = campaign.measure(
        paths, _ROUNDS.value, _SEED.value, extra=extra
    )
    first = [run.min_ms for run in models[0]]
    return {
        **phone.describe(),
        "rounds": _ROUNDS.value,
        "state": {
            "before": dataclasses.asdict(before),
            "after": dataclasses.asdict(device.state(phone.adb)),
        },
        "models": [
            _record(path, runs, report)
            for path, runs, report in zip(paths, models, reports, strict=True)
        ],
        "ratios": [
            {
                "first": paths[0],
                "second": path,
                **vars(stats.ratio(first, [run.min_ms for run in runs])),
            }
            for path, runs in zip(paths[1:], models[1:], strict=True)
        ],
    }


def _record(
    path: str, runs: list[Run], reports: dict[str, Report]
) -> dict[str, Any]:
    fastest = [run.min_ms for run in runs]
    record = {
        "file": path,
        "sha256": artifacts.sha256(path),
        "size_bytes": os.path.getsize(path),
        "latency_ms": stats.latency_ms(fastest),
        "spread": stats.repeatability(fastest),
        "min_ms": min(fastest),
        "median_avg_ms": statistics.median(run.avg_ms for run in runs),
        "delegate_nodes": runs[0].delegate_nodes,
        "rounds": [dataclasses.asdict(run) for run in runs],
    }
    if "memory" in reports:
        record["peak_mb"] = reports["memory"].peak_mb
    if "profile" in reports:
        ops = reports["profile"].ops
        record["profile"] = [dataclasses.asdict(op) for op in ops]
    return record


def _table(result: dict[str, Any]) -> str:
    phone, runtime = result["device"], result["runtime"]
    lines = [
        f"{phone['name']} ({phone['serial']}), {phone['cpu']}, "
        f"{phone['system']}, cores {runtime['affinity']}",
        f"{runtime['tflite']['name']} {runtime['tflite']['version']}, "
        f"{runtime['threads']} thread(s), delegate {runtime['delegate']}, "
        f"{result['statistic']} over {result['rounds']} rounds",
        f"{'ms':>9} {'+-':>6} {'min':>9} {'avg':>9} {'MB':>7} "
        f"{'delegate':>8}  model",
    ]
    for m in result["models"]:
        peak, nodes = m.get("peak_mb"), m["delegate_nodes"]
        lines.append(
            f"{m['latency_ms']:9.4f} {m['spread']:6.1%} {m['min_ms']:9.4f} "
            f"{m['median_avg_ms']:9.4f} "
            f"{'?' if peak is None else f'{peak:.1f}':>7} "
            f"{'?' if nodes is None else nodes:>8}  {m['file']}"
        )
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


def main(argv: list[str]) -> None:
    """Times the models that the command line names."""
    paths = argv[1:]
    if not paths:
        raise app.UsageError("Expected one .tflite file or more.")
    tool, settings = _tool(), _settings()
    serials = [adb.find(serial) for serial in _SERIAL.value or [None]]
    if len(set(serials)) < len(serials):
        raise ConfigError(
            "Expected each phone once. "
            f"Received: serial={','.join(_SERIAL.value)}"
        )
    phones = [AdbDevice(serial, tool, settings) for serial in serials]
    with concurrent.futures.ThreadPoolExecutor(len(phones)) as workers:
        waiting = [workers.submit(bench, paths, phone) for phone in phones]
        results = []
        for future in waiting:
            results.append(future.result())
            print(_table(results[-1]))
    if _JSON.value:
        artifacts.write_json(_JSON.value, {"format": FORMAT, "phones": results})


def entry() -> None:
    """Console script."""
    cli.run(main, words=True)


if __name__ == "__main__":
    entry()
