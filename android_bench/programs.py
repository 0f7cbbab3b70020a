"""The benchmark programs: told apart by their help, each in its own words.

Three programs are known. Two share the name `benchmark_model`: TFLite's, and
LiteRT 2's. An unknown flag is no error to either of them: they say so in one
line among many, and then run without it, on the CPU for instance. So each is
asked for its flags first, and is given no other.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from android_bench.options import Options
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

TFLITE = "tflite"
LITERT = "litert"
RUNNER = "runner"
HELP = "--help"
NAMES = {
    TFLITE: "TFLite's benchmark_model",
    LITERT: "LiteRT 2's benchmark_model",
    RUNNER: "our runner for Linux boards",
}
# A line of help: the name with its default, a type, and, in later releases,
# whether it must be.
_LISTED = re.compile(
    r"^\s*--([\w-]+)=\S*.*\b(?:optional|required|bool|u?int\d+|float|string)\b"
)
# Of the vendors, in LiteRT's program, which lists them in another form.
_VENDOR = re.compile(r"^\s*--(\w+) \(.*\); default: ")
# Who has all of these flags is the program; the first that fits.
_MARKS = (
    (RUNNER, {"library", "graph", "output_filepath"}),
    (LITERT, {"use_npu", "gpu-precision"}),
    (TFLITE, {"graph", "num_threads", "use_nnapi"}),
)
_SENTENCES = {
    LITERT: "= BENCHMARK RESULTS =", TFLITE: "nference timings in us: ",
}
_COMMON = frozenset(
    "graph num_threads num_runs warmup_runs min_secs max_secs "
    "warmup_min_secs".split()
)
_FLAGS = {
    TFLITE: frozenset(
        "use_xnnpack xnnpack_force_fp16 use_gpu gpu_precision_loss_allowed "
        "use_nnapi nnapi_accelerator_name disable_nnapi_cpu".split()
    ),
    LITERT: frozenset(
        "use_cpu use_gpu use_npu require_full_delegation gpu-precision "
        "dispatch_library_path compiler_plugin_library_path".split()
    ),
}
_SHOWN = 300
# What only makes a run shorter or a report longer; done without where a
# program is too old for it.
_OPTIONAL = {
    "min_secs", "max_secs", "warmup_min_secs", "xnnpack_force_fp16",
    "disable_nnapi_cpu", "use_xnnpack", "use_gpu", "use_nnapi", "use_npu",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A benchmark program, as its help describes it.

    Args:
        kind: `TFLITE`, `LITERT` or `RUNNER`.
        flags: Names of the flags that it knows.
        guessed: Whether it listed no flags, so that these are a guess.
    """

    kind: str
    flags: frozenset[str]
    guessed: bool = False

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return NAMES[self.kind]

    def words(self, options: Options) -> list[str]:
        """Returns the flags that make it do what is asked.

        Raises:
            ConfigError: when it cannot do it.
        """
        values = {
            "num_threads": options.threads,
            "num_runs": options.num_runs,
            "warmup_runs": options.warmup_runs,
            "min_secs": options.min_secs,
            "max_secs": options.max_secs,
            "warmup_min_secs": 0,
            **_BACKENDS[self.kind](options),
        }
        return self._spelled(values, options)

    def _spelled(self, values: dict[str, Any], options: Options) -> list[str]:
        """Returns values as flags; drops what it need not know."""
        words = []
        for name, value in values.items():
            if name in self.flags:
                text = str(value).lower() if isinstance(value, bool) else value
                words.append(f"--{name}={text}")
            elif value is True or name not in _OPTIONAL:
                raise ConfigError(
                    f"Expected a program with the flag --{name}, for backend "
                    f"{options.asked}. Received: {self.name}, which has none."
                )
        return words

    def profiling(self) -> list[str]:
        """Returns the flags that make it time the operators inside."""
        name = "use_profiler" if self.kind == LITERT else "enable_op_profiling"
        return [f"--{name}=true"]

    def details_to(self, path: str) -> list[str]:
        """Returns the flags that make it write which delegate has what.

        Args:
            path: The file on the phone; see `result_file.delegations`.

        Returns:
            No flags when the program has no such file.
        """
        if "model_runtime_info_output_file" not in self.flags:
            return []
        words = [f"--model_runtime_info_output_file={path}"]
        if "export_model_runtime_info" in self.flags:
            words.append("--export_model_runtime_info=true")
        return words

    def answering(
        self, inputs: Sequence[str], shapes: Sequence[str], output: str
    ) -> list[str]:
        """Returns the flags that make it read inputs and write outputs.

        Args:
            inputs: Files on the phone, one an input.
            shapes: The shape of each, as `"1,224,224,3"`.
            output: The file on the phone for all outputs, one after another.

        Raises:
            ConfigError: when it cannot.
        """
        flag = "output_filepath"
        if flag not in self.flags:
            raise ConfigError(
                f"Expected a program with the flag --{flag}, to compare its "
                f"answers. Received: {self.name}, which has none: the answers "
                "could not be checked."
            )
        names = [f"input{number}" for number in range(len(inputs))]
        files = map(":".join, zip(names, inputs, strict=True))
        words = [f"--input_layer_value_files={','.join(files)}"]
        if "input_layer" in self.flags:
            words += [
                f"--input_layer={','.join(names)}",
                f"--input_layer_shape={':'.join(shapes)}",
            ]
        return [*words, f"--{flag}={output}"]

    def figures_to(self, path: str) -> list[str]:
        """Returns the flags that make it write its figures to a file.

        Args:
            path: The file on the phone; see `result_file.figures`.

        Returns:
            No flags when the program has no such file.
        """
        known = "result_file_path" in self.flags
        return [f"--result_file_path={path}"] if known else []


def identify(text: str, source: str) -> Program:
    """Returns which program printed a text.

    Args:
        text: What it printed on both streams when it was asked for help. A
            release that knows no help runs instead; it is told by how it
            speaks of a run, and taken to know the flags of all releases.
        source: What ran, for messages.

    Raises:
        DeviceError: when it is none that we know.
    """
    flags = set()
    for line in text.splitlines():
        if found := _LISTED.match(line) or _VENDOR.match(line):
            flags.add(found[1])
    for kind, marks in _MARKS:
        if marks <= flags:
            return Program(kind, frozenset(flags))
    for kind, sentence in _SENTENCES.items():
        if not flags and sentence in text:
            return Program(kind, _COMMON | _FLAGS[kind], guessed=True)
    raise DeviceError(
        f"{source}: expected {NAMES[TFLITE]}, {NAMES[LITERT]} or "
        f"{NAMES[RUNNER]}, told by the flags that {HELP} lists. Received: "
        f"{text.strip()[:_SHOWN]!r}"
    )


def _tflite(options: Options) -> dict[str, Any]:
    """Returns what makes TFLite's program use a backend."""
    backend = options.delegate
    if backend in ("npu", "ynnpack"):
        raise ConfigError(
            f"Expected {NAMES[LITERT]} for backend {backend}. Received: "
            f"{NAMES[TFLITE]}, which has no such backend."
        )
    values: dict[str, Any] = {
        "use_xnnpack": backend == "xnnpack",
        "xnnpack_force_fp16": backend == "xnnpack" and options.fp16,
        "use_gpu": backend == "gpu",
        "use_nnapi": backend == "nnapi",
    }
    if backend == "gpu":
        values["gpu_precision_loss_allowed"] = options.fp16
    if backend == "nnapi":
        values["disable_nnapi_cpu"] = True
        if options.nnapi_accelerator:
            values["nnapi_accelerator_name"] = options.nnapi_accelerator
    return values


def _litert(options: Options) -> dict[str, Any]:
    """Returns what makes LiteRT 2's program use a backend."""
    backend = options.delegate
    if backend in ("none", "nnapi"):
        raise ConfigError(
            f"Expected {NAMES[TFLITE]} for backend {backend}. Received: "
            f"{NAMES[LITERT]}, which has no such backend."
        )
    if options.fp16 and backend != "gpu":
        raise ConfigError(
            f"Expected backend gpu for half precision with {NAMES[LITERT]}. "
            f"Received: backend={backend!r}"
        )
    whole = not options.on_cpu and not options.allow_partial
    values: dict[str, Any] = {
        # Both at once end the program: the CPU takes what others leave.
        "use_cpu": not whole,
        "use_gpu": backend == "gpu",
        "use_npu": backend == "npu",
        "require_full_delegation": whole,
    }
    if backend == "gpu":
        values["gpu-precision"] = "fp16" if options.fp16 else "fp32"
    if backend == "npu":
        values["dispatch_library_path"] = "{folder}"
        values["compiler_plugin_library_path"] = "{folder}"
    return values


def _runner(options: Options) -> dict[str, Any]:
    """Returns what makes our runner use a backend."""
    if options.delegate != "xnnpack" or options.fp16:
        raise ConfigError(
            "Expected backend xnnpack without half precision, which is all "
            f"that {NAMES[RUNNER]} knows. Received: {options.asked}"
        )
    return {}


_BACKENDS = {TFLITE: _tflite, LITERT: _litert, RUNNER: _runner}
