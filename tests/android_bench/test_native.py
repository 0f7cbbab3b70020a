"""Our own runner for Linux boards: built, run, and crossed to aarch64."""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from android_bench import output
from android_bench.benchmark import Tool
from android_bench.campaign import Campaign
from android_bench.options import Options
from tests.android_bench.conftest import build_runner
from tflite_bench import interpreter
from tflite_bench import profile

CROSS = "aarch64-linux-gnu-gcc"
QEMU = "qemu-aarch64-static"
FLAGS = ("--num_runs=3", "--warmup_runs=1", "--min_secs=0")


def run(folder, model, *flags, command=()):
    words = [
        *command, folder / "litert_runner",
        f"--library={folder}/libLiteRt.so", f"--graph={model}", *FLAGS, *flags,
    ]
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True
    )


def test_figures_come_out_as_json(native, models):
    done = run(native, models[0], "--report_peak_memory_footprint=true")
    assert done.returncode == 0, done.stderr
    report = output.parse(done.stdout, "model")
    assert report.inference.count == 3
    assert report.warm_up.count == 1
    assert 0 < report.inference.min_us <= report.inference.avg_us
    assert report.init_us > 0
    assert report.peak_mb > 1


def test_the_output_is_the_same_each_time(native, models):
    sums = [
        json.loads(run(native, model).stdout)["output_checksum"]
        for model in (models[0], models[0], models[1])
    ]
    assert sums[0] == sums[1] != sums[2]


def test_the_profile_agrees_with_the_python_one(native, models):
    done = run(native, models[2], "--enable_op_profiling=true")
    ops = output.parse(done.stdout, "model").ops
    expected = profile.profile(models[2], 3)
    assert [op.kind for op in ops] == [op.kind for op in expected]
    assert len(ops) == 4


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--use_gpu=true"], "unknown flag --use_gpu=true"),
        (["--num_threads=2"], "one thread"),
        (["--num_runs=x"], "expected a number. Received: --num_runs=x"),
        (["--no_such_flag=1"], "unknown flag"),
        (["word"], "expected --flag=value"),
        (["--library=missing.so"], "missing.so"),
    ],
)
def test_bad_usage_is_refused_in_one_line(native, models, flags, message):
    done = run(native, models[0], *flags)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_a_file_that_is_no_model_is_an_error(native, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"no model at all")
    done = run(native, path)
    assert done.returncode == 1
    assert "LiteRtCreateModelFromFile failed with status" in done.stderr
    assert done.stdout == ""


def test_a_board_is_measured_with_it(
    fast_adb, phone, native, models, settings
):
    tool = Tool(native / "litert_runner", Options(num_runs=3), timeout_s=20)
    assert tool.library == native / "libLiteRt.so"
    assert "library_sha256" in tool.describe()
    campaign = Campaign(fast_adb, tool, settings)
    small, large = campaign.measure(models[:2], rounds=2, extra=["profile"])
    assert large.runs[0].min_ms > small.runs[0].min_ms
    assert large.runs[0].median_ms >= large.runs[0].min_ms
    assert large.reports["profile"].ops
    for model in (small, large):  # who runs it is told by a profile
        proof = model.proof
        assert (proof.proven, proof.backend) == (True, "xnnpack")
        assert 0 < proof.nodes == proof.of_nodes
        assert proof.pieces == 1
    assert phone.left_behind == []


def test_a_board_answers_as_this_machine_does(
    fast_adb, phone, native, models, settings
):
    tool = Tool(native / "litert_runner", Options(), timeout_s=20)
    for answers in Campaign(fast_adb, tool, settings).check(models):
        assert answers.problems == ()
        assert answers.error == 0.0
    assert phone.left_behind == []


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--input_layer_value_files=x:missing.bin"], "cannot read missing"),
        (["--input_layer_value_files=missing.bin"], "expected name:path"),
        (["--output_filepath=no/folder/out.bin"], "cannot write"),
    ],
)
def test_files_that_cannot_be_are_named(native, models, flags, message):
    done = run(native, models[0], *flags)
    assert done.returncode == 2
    assert message in done.stderr


def test_inputs_and_outputs_are_those_of_the_files(native, models, tmp_path):
    model = interpreter.Model(models[0])
    (given,), (expected,) = model.draw(), model.answer()
    (tmp_path / "in.bin").write_bytes(given.tobytes())
    done = run(
        native, models[0], f"--output_filepath={tmp_path}/out.bin",
        f"--input_layer_value_files=x:{tmp_path}/in.bin",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.bin").read_bytes() == expected.tobytes()


def test_percentiles_are_numpys(native, models):
    """Of three runs the median is the middle one, p5 near the least."""
    done = run(native, models[0])
    runs = output.parse(done.stdout, "model").inference
    third = 3 * runs.avg_us - runs.min_us - runs.max_us
    samples = [runs.min_us, third, runs.max_us]
    assert runs.median_us == pytest.approx(np.median(samples), abs=0.01)
    for share, us in ((5, runs.p5_us), (95, runs.p95_us)):
        assert us == pytest.approx(np.percentile(samples, share), abs=0.01)


CPUINFO = """\
processor\t: {core}
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp \
cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""


def make_sysroot(folder):
    """Makes the files of an ARM system that XNNPACK wants to read."""
    os.makedirs(folder / "proc")
    (folder / "proc" / "cpuinfo").write_text(
        "".join(CPUINFO.format(core=core) for core in range(2))
    )
    cpus = folder / "sys" / "devices" / "system" / "cpu"
    for core in range(2):
        files = {
            "topology/core_id": core, "topology/physical_package_id": 0,
            "topology/core_siblings_list": "0-1",
            "topology/thread_siblings_list": core,
            "topology/core_cpus_list": core,
            "topology/package_cpus_list": "0-1",
            "topology/cluster_cpus_list": "0-1",
            "cpufreq/cpuinfo_min_freq": 600000,
            "cpufreq/cpuinfo_max_freq": 2400000,
        }
        for name, value in files.items():
            path = cpus / f"cpu{core}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
    for name, value in [
        ("possible", "0-1"), ("present", "0-1"), ("online", "0-1"),
        ("kernel_max", "255"),
    ]:
        (cpus / name).write_text(f"{value}\n")
    os.symlink("/usr/aarch64-linux-gnu/lib", folder / "lib")


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The runner for aarch64 with that machine's library."""
    missing = [x for x in (CROSS, QEMU, "cmake") if not shutil.which(x)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    wheels = tmp_path_factory.mktemp("wheels")
    version = importlib.metadata.version("ai-edge-litert")
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
            "--only-binary=:all:", "--platform=manylinux_2_27_aarch64",
            f"--dest={wheels}", f"ai-edge-litert=={version}",
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"needs the aarch64 wheel of LiteRT: {done.stderr[-200:]}")
    (wheel,) = pathlib.Path(wheels).glob("*.whl")
    library = wheels / "libLiteRt.so"
    with zipfile.ZipFile(wheel) as archive:
        library.write_bytes(archive.read("ai_edge_litert/libLiteRt.so"))
    folder = build_runner(
        tmp_path_factory.mktemp("arm"), f"-DCMAKE_C_COMPILER={CROSS}",
        "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        library=library,
    )
    make_sysroot(folder / "sysroot")
    return folder


@pytest.mark.slow
def test_an_emulated_arm_computes_the_same(arm, native, models):
    emulator = (QEMU, "-cpu", "neoverse-n1", "-L", arm / "sysroot")
    for model in models:
        there = run(arm, model, command=emulator)
        assert there.returncode == 0, there.stderr
        here = run(native, model)
        first, second = (
            json.loads(done.stdout)["output_checksum"] for done in (there, here)
        )
        assert first == second
    assert np.isfinite(output.parse(there.stdout, "model").inference.avg_us)
