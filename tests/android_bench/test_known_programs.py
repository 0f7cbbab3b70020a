"""Each program is told apart by its help, and gets only flags it knows."""

import pytest

from android_bench import programs
from android_bench.options import Options
from android_bench.programs import identify
from tests.android_bench import test_output
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

LINE = "\t--{}=50                \tint32\toptional\texpected number of runs"
SHARED = "num_runs min_secs max_secs num_threads warmup_runs warmup_min_secs"
TFLITE = SHARED + (
    " graph use_xnnpack xnnpack_force_fp16 use_gpu gpu_precision_loss_allowed "
    "use_nnapi nnapi_accelerator_name disable_nnapi_cpu output_filepath "
    "export_model_runtime_info model_runtime_info_output_file "
    "result_file_path input_layer input_layer_shape input_layer_value_files"
)
LITERT = SHARED + (
    " graph use_cpu use_gpu use_npu require_full_delegation gpu-precision "
    "use_profiler result_file_path model_runtime_info_output_file "
    "dispatch_library_path compiler_plugin_library_path"
)
VENDOR = (
    "    --qualcomm_htp_performance_mode (how hard it works); default: burst;"
)


def program(names, *more):
    lines = ["ERROR: usage: ./benchmark_model <flags>", "Flags:"]
    lines += [LINE.format(name) for name in names.split()]
    return identify("\n".join([*lines, *more]), "benchmark_model")


def test_they_are_told_apart():
    assert program(TFLITE).kind == programs.TFLITE
    assert program(LITERT, VENDOR).kind == programs.LITERT
    assert program("graph library output_filepath").kind == programs.RUNNER
    assert "qualcomm_htp_performance_mode" in program(LITERT, VENDOR).flags


@pytest.mark.parametrize(
    "text", ["", "usage: ls [OPTION]", "Segmentation fault\n", "\0\xff"]
)
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(DeviceError, match="^benchmark: expected TFLite's"):
        identify(text, "benchmark")


def test_a_release_that_knows_no_help_is_told_by_how_it_speaks():
    known = identify(test_output.NEW, "b")
    assert known.kind == programs.TFLITE
    assert "--use_gpu=true" in known.words(Options(delegate="gpu"))
    assert known.figures_to("f") == []
    assert identify(test_output.OLD, "b").kind == programs.TFLITE
    assert identify(test_output.LITERT, "b").kind == programs.LITERT
    assert known.guessed
    assert not program(TFLITE).guessed


def test_the_help_of_old_releases_does_not_say_what_must_be():
    lines = [
        f"\t--{name}=1   \tint32\thow many of these"
        for name in ("graph", "num_threads", "use_nnapi", "num_runs")
    ]
    known = identify("\n".join(["usage: b <flags>", *lines]), "b")
    assert known.kind == programs.TFLITE
    assert "num_runs" in known.flags


@pytest.mark.parametrize(
    "backend, on",
    [
        ("xnnpack", "use_xnnpack"), ("gpu", "use_gpu"), ("none", None),
        ("nnapi", "use_nnapi"),
    ],
)
def test_tflites_program_gets_one_delegate(backend, on):
    words = program(TFLITE).words(Options(3, backend))
    delegates = ("use_xnnpack", "use_gpu", "use_nnapi")
    for name in delegates:
        assert f"--{name}={str(name == on).lower()}" in words
    assert "--num_threads=3" in words
    assert all("=" in word for word in words)  # a bare flag would be lost


@pytest.mark.parametrize("backend", ["gpu", "npu"])
def test_litert_is_told_to_end_rather_than_fall_back(backend):
    words = program(LITERT).words(Options(delegate=backend))
    assert f"--use_{backend}=true" in words
    assert "--use_cpu=false" in words
    assert "--require_full_delegation=true" in words
    words = program(LITERT).words(Options(delegate=backend, allow_partial=True))
    assert "--use_cpu=true" in words
    assert "--require_full_delegation=false" in words


def test_no_program_gets_a_flag_that_it_does_not_know():
    for names in (TFLITE, LITERT):
        known = program(names)
        for backend in ("xnnpack", "gpu"):
            words = known.words(Options(delegate=backend))
            words += known.figures_to("f") + known.details_to("d")
            given = {word[2:].partition("=")[0] for word in words}
            assert given <= known.flags


def test_an_old_program_does_without_what_is_new():
    old = "num_runs num_threads warmup_runs graph use_nnapi"
    known = program(old)
    assert known.kind == programs.TFLITE
    words = known.words(Options(delegate="none"))
    assert {word.partition("=")[0][2:] for word in words} <= set(old.split())
    assert known.figures_to("f") == known.details_to("d") == []
    with pytest.raises(ConfigError, match="--use_xnnpack, for backend xnn"):
        known.words(Options(delegate="xnnpack"))
    with pytest.raises(ConfigError, match="--use_gpu, for backend gpu"):
        known.words(Options(delegate="gpu"))


@pytest.mark.parametrize(
    "names, backend",
    [
        (TFLITE, "npu"), (TFLITE, "ynnpack"), (LITERT, "none"),
        (LITERT, "nnapi"), ("graph library output_filepath", "gpu"),
    ],
)
def test_what_a_program_cannot_do_is_refused(names, backend):
    with pytest.raises(ConfigError, match="Received: "):
        program(names).words(Options(delegate=backend))


def test_half_precision_is_passed_on_where_it_exists():
    gpu, cpu = Options(delegate="gpu", fp16=True), Options(fp16=True)
    assert "--gpu_precision_loss_allowed=true" in program(TFLITE).words(gpu)
    assert "--gpu-precision=fp16" in program(LITERT).words(gpu)
    assert "--gpu-precision=fp32" in program(LITERT).words(
        Options(delegate="gpu")
    )
    assert "--xnnpack_force_fp16=true" in program(TFLITE).words(cpu)
    with pytest.raises(ConfigError, match="half precision"):
        program(LITERT).words(cpu)


def test_inputs_and_outputs():
    words = program(TFLITE).answering(["/a", "/b"], ["1,2", "1"], "/out")
    assert "--input_layer=input0,input1" in words
    assert "--input_layer_shape=1,2:1" in words
    assert "--input_layer_value_files=input0:/a,input1:/b" in words
    assert "--output_filepath=/out" in words
    with pytest.raises(ConfigError, match="could not be checked"):
        program(LITERT).answering(["/a"], ["1"], "/out")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"delegate": "tpu"}, "delegate='tpu'"),
        ({"threads": 0}, "threads=0"),
        ({"num_runs": 0}, "num_runs=0"),
        ({"delegate": "npu", "fp16": True}, "half precision"),
        ({"nnapi_accelerator": "edge"}, "delegate nnapi"),
        ({"flags": ("use_gpu",)}, "--name=value"),
        ({"flags": ("--use_gpu",)}, "--name=value"),
        ({"files": ("a/x.so", "b/x.so")}, "different names"),
    ],
)
def test_options_that_do_not_go_together(fields, message):
    with pytest.raises(ConfigError, match=message):
        Options(**fields)
