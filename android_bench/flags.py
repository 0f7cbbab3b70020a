"""The flags that say which program runs on a phone, and on what.

`android-bench`, `tfnas-lut` and `tfnas-run` share them.
"""

from __future__ import annotations

from absl import flags

from android_bench import options
from android_bench.options import Options

BINARY = flags.DEFINE_string(
    "benchmark_binary", None,
    "Program that runs on the phone: TFLite's or LiteRT 2's benchmark_model, "
    "or our own runner.",
)
flags.DEFINE_alias("binary", "benchmark_binary")
BACKEND = flags.DEFINE_enum(
    "backend", None, options.DELEGATES,
    "What is to run the models; xnnpack when it is not given. none are the "
    "CPU's plain kernels. Something else that ran is an error, or marked.",
)
FP16 = flags.DEFINE_bool(
    "fp16", False, "Let XNNPACK or the GPU compute in half precision."
)
ACCELERATOR = flags.DEFINE_string(
    "nnapi_accelerator_name", None, "Which accelerator NNAPI takes."
)
PARTIAL = flags.DEFINE_bool(
    "allow_partial", False,
    "Let a GPU, NPU or NNAPI leave a part of a model to the CPU.",
)
FLAGS = flags.DEFINE_multi_string(
    "program_flag", [],
    "A further --name=value for the program, as an NPU's vendor has them; "
    "{folder} in it is the folder on the phone. May be given again.",
)
FILES = flags.DEFINE_multi_string(
    "program_file", [],
    "A file to put beside the program: a library of the NPU's vendor. May be "
    "given again.",
)


def options_of(threads: int, **further: int) -> Options:
    """Returns the options that the flags say.

    Args:
        threads: Threads of the CPU kernels.
        **further: Other fields of `Options`.

    Raises:
        ConfigError: when they do not go together.
    """
    return Options(
        threads, BACKEND.value or "xnnpack", FP16.value, ACCELERATOR.value,
        allow_partial=PARTIAL.value, flags=tuple(FLAGS.value),
        files=tuple(FILES.value), **further,
    )
