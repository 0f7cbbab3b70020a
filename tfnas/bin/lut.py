"""Measures, shows and checks the latency table of a search space.

  tfnas-lut --space=densenas_mbv2 --device=host --dtype=int8 --lut=host.json
  tfnas-lut --space=densenas_mbv2 --image_size=48,64 --channels=1 \\
      --classes=10 --lut=grey.json
  tfnas-lut --space=densenas_mbv2 --device=adb:R5CT --lut=phone.json \\
      --benchmark_binary=benchmark_model
  tfnas-lut --mode=show --lut=host.json
  tfnas-lut --mode=check --lut=host.json --space=densenas_mbv2 --fresh=20
  tfnas-lut --mode=predict --lut=host.json --arch=a.json
  tfnas-lut --mode=predict --lut=host.json --model=M.tflite [--nomeasure]
  tfnas-lut --mode=diff --lut=a.json --other=b.json
  tfnas-lut --mode=merge --lut=a.json --other=b.json --out=both.json
  tfnas-lut --mode=import --space=densenas_mbv2 --lut=list.txt --out=a.json
  tfnas-lut --mode=export --space=densenas_mbv2 --lut=a.json --out=list.txt

A build that was killed goes on when the same command is given again. It says
how far its table is off, and where that is more than --max_error it tries
other entries by itself.
"""

from __future__ import annotations

import os

import numpy as np
from absl import app
from absl import flags

from android_bench import flags as phone_flags
from tflite_bench import build
from tflite_bench import interpreter
from tflite_bench.device import HostDevice
from tfnas import cli
from tfnas import locks
from tfnas import measuring
from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.bin import any_model
from tfnas.bin import lut_lists
from tfnas.bin import options
from tfnas.cost.lut import MAX_ERROR
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.lowering import operator
from tfnas.lowering import rewritings

_FRESH_NETS = 12
_MODE = flags.DEFINE_enum(
    "mode", "build",
    [
        "build", "show", "diff", "merge", "check", "predict", "import",
        "export",
    ],
    "What to do with the table. import and export: from and to the lists "
    "that DenseNAS publishes.",
)
_LUT = flags.DEFINE_string(
    "lut", None, "The table; defaults to lut/table.json in the workdir."
)
_WORKDIR = options.define_workdir(required=False)
_SPACE = flags.DEFINE_string("space", None, "Search space to build or check.")
_SIZE = flags.DEFINE_list(
    "image_size", None,
    "Side of the space's images in pixels, or height,width; as data.image_size "
    "of the config. Defaults to the space's own.",
)
_CHANNELS = flags.DEFINE_enum(
    "channels", None, ["1", "3", "4"],
    "Channels of those images; as data.channels of the config.",
)
_CLASSES = flags.DEFINE_integer(
    "classes", None, "Classes of the networks. Defaults to the space's own.",
    lower_bound=2,
)
_DEVICE = flags.DEFINE_string(
    "device", "host",
    "Where to measure: host, adb:SERIAL, adb for the only phone, or the dotted "
    "path of your own device.",
)
_FIXED = flags.DEFINE_bool(
    "fixed_performance", False,
    "Hold the clocks of a phone at a level that it can keep up.",
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "int8", ["float32", "int8"], "Type of the measured models."
)
_RUNTIME = flags.DEFINE_enum(
    "runtime", "litert", interpreter.RUNTIMES,
    "TFLite runtime of this machine.",
)
_THREADS = flags.DEFINE_integer(
    "num_threads", 1, "Threads of the runtime.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 25, "Least number of rounds of each row.", lower_bound=2
)
_NETS = flags.DEFINE_integer(
    "nets", 5,
    "Whole networks to measure with the rows; 3 or more calibrate the table, "
    "5 or more with a bias.",
    lower_bound=0,
)
_STRICT = flags.DEFINE_bool(
    "strict", True,
    "Fail where the machine is too restless for believable rows.",
)
_ENTRIES = flags.DEFINE_enum(
    "entries", measuring.AUTO, [measuring.AUTO, *build.ENTRIES],
    "A row is one block alone; or, where it keeps its input's shape, a fifth "
    "of five in series; or one operator as the runtime runs it. auto: what "
    "the space asks for, and the next where that is off by --max_error.",
)
_LOWER = flags.DEFINE_enum(
    "lower", "xnnpack", rewritings.BACKENDS,
    "The delegate that the files are written for, as tfnas-export --lower.",
)
_MAX_ERROR = flags.DEFINE_float(
    "max_error", MAX_ERROR,
    "Percent by which predictions may be off without a warning.",
    lower_bound=0,
)
_FRESH = flags.DEFINE_integer(
    "fresh", None,
    "Networks of the space that check measures now, to hold the table "
    f"against; 0 for none. Defaults to {_FRESH_NETS} where the table is of "
    "--device.",
    lower_bound=0,
)
lut_lists.define_provenance()
_ARCH = flags.DEFINE_string("arch", None, "Network to predict, a JSON file.")
_MODEL = flags.DEFINE_string(
    "model", None,
    "Model of no space to predict, .tflite or .keras; the table must be one "
    "of operators.",
)
_MEASURE = flags.DEFINE_bool(
    "measure", True,
    "Measure the operators of --model that the table lacks and keep them in "
    "it; otherwise they are an error.",
)
_OTHER = flags.DEFINE_string("other", None, "Second table of diff and merge.")
_OUT = flags.DEFINE_string(
    "out", None, "File that merge, import and export write."
)
_DIFFERENCES_SHOWN = 10


def main(argv: list[str]) -> None:
    """Runs the mode that the flags name."""
    del argv
    modes = {
        "build": _build,
        "show": _show,
        "diff": _diff,
        "merge": _merge,
        "check": _check,
        "predict": _predict,
        "import": _import,
        "export": _export,
    }
    modes[_MODE.value]()


def _path() -> str:
    if _LUT.value:
        return _LUT.value
    workdir = _required(_WORKDIR, "--lut or --workdir")
    return os.path.join(workdir, "lut", "table.json")


def _required(flag: flags.FlagHolder, name: str | None = None) -> str:
    if not flag.value:
        raise app.UsageError(
            f"Expected {name or '--' + flag.name} with --mode={_MODE.value}."
        )
    return flag.value


def _space(name: str) -> spaces.Space:
    shape = spaces.get(name).input_shape
    size = _image_size() or shape[:2]
    shape = (*size, int(_CHANNELS.value or shape[2]))
    return spaces.get(name, _CLASSES.value, shape)


def _image_size() -> tuple[int, int] | None:
    sides = _SIZE.value
    if not sides:
        return None
    if len(sides) not in (1, 2) or not all(map(str.isdecimal, sides)):
        raise app.UsageError(
            "Expected --image_size=SIDE or --image_size=HEIGHT,WIDTH. "
            f"Received: --image_size={','.join(sides)}"
        )
    return int(sides[0]), int(sides[-1])


def _build() -> None:
    space, path = _space(_required(_SPACE)), _path()
    table = measuring.build_table(
        space, path, _device(path), _DTYPE.value, _ROUNDS.value, _NETS.value,
        _STRICT.value, _ENTRIES.value, lower=_LOWER.value,
        max_error=_MAX_ERROR.value,
    )
    print(f"{path}: {table.coverage(space)} of {space.name}")
    print(describe(table))


def _device(path: str) -> measuring.Device:
    return measuring.get_device(
        _DEVICE.value, _RUNTIME.value, _THREADS.value,
        phone_flags.BINARY.value, _FIXED.value, f"{path}.phone.jsonl",
        phone_flags.options_of(_THREADS.value),
    )


def describe(table: LatencyTable) -> str:
    """Returns what there is to know of a table, in a few lines."""
    head, runtime = table.header, table.header["runtime"]
    tflite = runtime["tflite"]
    spreads = [row.spread for row in table.rows.values()]
    lines = [
        f"device       {head['device']['name']}: {head['device']['cpu']}",
        f"runtime      {tflite['name']} {tflite['version']}, "
        f"{runtime['threads']} thread(s), delegate {runtime['delegate']}, "
        f"{runtime['dtype']}, files written for {table.lowering}",
        f"clock        {head['clock']}, {head['statistic']} over "
        f"{head['rounds']} rounds or more, {head['entries']} entries, "
        f"{head['date']}",
        f"rows         {len(table.rows)}; halves of the rounds differ by "
        f"{np.mean(spreads):.1%} in the mean, {max(spreads):.1%} at most",
    ]
    if table.networks:
        bias = table.uncalibrated().bias_percent()
        lines.append(
            f"bias         plain sums against {len(bias)} whole networks: "
            f"mean {np.mean(bias):+.1f} %, {min(bias):+.1f} % to "
            f"{max(bias):+.1f} %"
        )
    fit = table.calibration
    lines.append(
        f"calibration  sum x {fit.scale:.4f} {fit.bias_ms:+.4f} ms, residual "
        f"{fit.residual_percent:.1f} %, {fit.nets} networks of {fit.space}"
        if fit
        else "calibration  none: predictions read low"
    )
    lines.append(f"error        {measuring.error_line(table)}")
    return "\n".join(lines)


def _show() -> None:
    table = LatencyTable.load(_path())
    print(describe(table))
    for key, row in sorted(table.rows.items()):
        print(f"{row.latency_ms:10.4f} ms +-{row.spread:5.1%}  {key}")


def _check() -> None:
    table = LatencyTable.load(_path())
    for key in table.rows:
        if operator.is_operator_key(key):
            operator.parse(key)
        else:
            ops.parse_lut_key(key)
    print(describe(table))
    if not _SPACE.value:
        if _FRESH.value:
            raise app.UsageError(
                "Expected the --space whose networks are measured. "
                f"Received: --fresh={_FRESH.value}"
            )
        print("fresh        not measured: networks of which --space?")
        return
    space = _space(_SPACE.value)
    coverage = table.coverage(space)
    print(f"coverage     {coverage} of {space.name}")
    table.require_space(space)
    print(f"fresh        {_fresh(table, space)}")


def _fresh(table: LatencyTable, space: spaces.Space) -> str:
    """Holds a table against networks that are measured now."""
    number = _FRESH_NETS if _FRESH.value is None else _FRESH.value
    if not number:
        return "not measured: --fresh=0"
    if _FRESH.value is None and _DEVICE.value == "host":
        here = HostDevice(_RUNTIME.value, _THREADS.value).describe()
        try:
            table.require(device=here["device"], runtime=here["runtime"])
        except ArtifactError:
            return (
                f"not measured: the table is of "
                f"{table.header['device']['name']}, or of another runtime; "
                f"name it with --device and --fresh={number}"
            )
    found = measuring.measure_fresh(
        table, space, _device(_path()), number, _ROUNDS.value
    )
    if found.mape_percent > _MAX_ERROR.value:
        return f"{found}\nwarning: more than {_MAX_ERROR.value:g} %"
    return str(found)


def _predict() -> None:
    if _MODEL.value:
        _predict_model()
        return
    arch = Arch.load(_required(_ARCH, "--arch or --model"))
    print(LatencyTable.load(_path()).predict(arch))


def _predict_model() -> None:
    path = _path()
    table = LatencyTable.load(path)
    keys = any_model.read_keys(_MODEL.value, table, _image_size())
    if _MEASURE.value:
        missing = len(table.missing_keys(keys))
        with locks.file(path):
            table = any_model.complete(
                LatencyTable.load(path), keys, _device(path), path,
                _ROUNDS.value,
            )
        if missing:
            print(f"{path}: {missing} more rows")
    else:
        any_model.refuse_missing(table, keys)
    print(
        f"{_MODEL.value}: {table.predict_keys(keys)} on "
        f"{table.header['device']['name']}, {len(keys)} operators"
    )
    if fit := table.calibration:
        print(
            f"The interval is that of networks of {fit.space}, which the "
            "table was calibrated with; a model of another size may be off "
            "by more."
        )


def _diff() -> None:
    left = LatencyTable.load(_path())
    right = LatencyTable.load(_required(_OTHER))
    diff = left.diff(right)
    for field, (ours, theirs) in diff.header.items():
        print(f"{field}: {ours} against {theirs}")
    for source, keys in [
        (left.source, diff.only_left), (right.source, diff.only_right)
    ]:
        print(f"only in {source}: {len(keys)} row(s)")
        for key in keys[:_DIFFERENCES_SHOWN]:
            print(f"  {key}")
    if not diff.ratios:
        return
    ranked = sorted(diff.ratios.items(), key=lambda x: -abs(np.log(x[1])))
    mean = np.exp(np.mean(np.log(list(diff.ratios.values()))))
    print(f"{len(ranked)} shared rows, geometric mean ratio {mean:.4f}")
    for key, ratio in ranked[:_DIFFERENCES_SHOWN]:
        print(f"  x {ratio:.3f}  {key}")


def _merge() -> None:
    left = LatencyTable.load(_path())
    merged = left.merge(LatencyTable.load(_required(_OTHER)))
    path = _required(_OUT)
    merged.save(path)
    print(f"{path}: {len(merged.rows)} rows")


def _import() -> None:
    space, path = _space(_required(_SPACE)), _required(_OUT)
    source = _required(_LUT)
    table = lut_lists.import_list(space, source, path)
    print(f"{path}: {len(table.rows)} rows of {space.name} from {source}")


def _export() -> None:
    space, path = _space(_required(_SPACE)), _required(_OUT)
    lut_lists.export_list(space, _path(), path)
    print(f"{path}: the list of {space.name} from {_path()}")


def entry() -> None:
    """Console script."""
    cli.run(main)


if __name__ == "__main__":
    entry()
