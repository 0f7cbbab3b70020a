"""android-bench and tfnas-lut, as a user starts them."""

import json

import pytest

from android_bench import adb
from tests.android_bench.conftest import STUB
from tests.android_bench.test_campaign import stub
from tests.programs import run
from tflite_bench import writer
from tfnas.cost.lut import LatencyTable

SPACE = "densenas_resnet@32"


def bench(*args):
    return run("android_bench", f"--benchmark_binary={STUB}", *args)


def test_bench_prints_a_table_and_writes_json(phone, models, tmp_path):
    stub(phone, us=1500)
    out = tmp_path / "out.json"
    done = bench(
        *models[:2], "--rounds=3", f"--json={out}", "--enable_op_profiling",
        "--report_peak_memory_footprint", "--fixed_performance",
    )
    assert done.returncode == 0, done.stderr
    assert "tfnas Loopback 1 (Loopback1), LB1, Android 14" in done.stdout
    assert all(path in done.stdout for path in models[:2])
    assert "TfLiteXNNPackDelegate" in done.stdout
    value = json.loads(out.read_text())
    assert value["format"] == "android-bench/2"
    (result,) = value["phones"]
    assert result["runtime"]["delegate"] == "xnnpack"
    assert result["runtime"]["program"] == "TFLite's benchmark_model"
    assert len(result["runtime"]["tflite"]["sha256"]) == 64
    assert result["state"]["before"]["battery_percent"] == 85
    small, large = result["models"]
    assert small["latency_ms"] == large["latency_ms"] == 1.5
    assert small["median_ms"] == 1.5
    assert small["p95_ms"] >= small["p5_ms"]
    assert small["peak_mb"] == 12.8672
    assert small["proof"]["proven"]
    assert "replaces 4 of 4 operators" in small["proof"]["sentence"]
    assert len(small["rounds"]) == 3
    assert result["ratios"][0]["value"] == 1.0
    assert phone.left_behind == []
    assert phone.get("fixed_log") == "true\nfalse"


@pytest.mark.parametrize(
    "flags, delegate, on_phone",
    [
        (["--backend=gpu", "--fp16"], "gpu fp16", "--use_gpu=true"),
        (
            ["--backend=nnapi", "--nnapi_accelerator_name=edge tpu"],
            "nnapi", "--nnapi_accelerator_name=edge tpu",
        ),
        (["--backend=none"], "none", "--use_xnnpack=false"),
    ],
)
def test_backends_are_passed_on_and_what_ran_is_written_down(
    phone, models, tmp_path, flags, delegate, on_phone
):
    stub(phone, us=1500)
    out = tmp_path / "out.json"
    done = bench(models[0], "--rounds=2", f"--json={out}", *flags)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(out.read_text())["phones"]
    assert result["runtime"]["delegate"] == delegate
    assert any(on_phone in command for command in phone.commands)


@pytest.mark.parametrize(
    "wanted, message",
    [
        (
            {"says": "WARN: GPU acceleration is unsupported on this platform."},
            "it is not there",
        ),
        ({"takes": "nothing"}, "nothing ran there"),
        ({"takes": "part"}, "--allow_partial"),
    ],
)
def test_a_gpu_that_did_not_run_is_no_row(
    phone, models, tmp_path, wanted, message
):
    stub(phone, us=1500, **wanted)
    out = tmp_path / "out.json"
    done = bench(models[0], "--rounds=2", f"--json={out}", "--backend=gpu")
    assert done.returncode == 2
    assert "expected to run on gpu" in done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.exists()
    assert phone.left_behind == []


def test_what_nobody_tells_is_marked_in_every_row(phone, models, tmp_path):
    stub(phone, us=1500, takes="silent")
    out = tmp_path / "out.json"
    done = bench(models[0], "--rounds=2", f"--json={out}", "--backend=gpu")
    assert done.returncode == 0, done.stderr
    assert "ran on gpu (unproven)" in done.stdout
    (result,) = json.loads(out.read_text())["phones"]
    assert result["runtime"]["delegate"] == "gpu (unproven)"
    assert result["models"][0]["backend"] == "gpu (unproven)"


def test_the_second_program_of_the_same_name(
    phone, models, tmp_path, litert_stub
):
    stub(phone, us=1500)
    out = tmp_path / "out.json"
    args = [models[0], "--rounds=2", f"--json={out}"]
    done = run(
        "android_bench", f"--binary={litert_stub}", "--backend=npu",
        "--program_flag=--qualcomm_htp_performance_mode=burst",
        f"--program_file={models[1]}", "--report_peak_memory_footprint", *args,
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(out.read_text())["phones"]
    assert result["runtime"]["delegate"] == "npu"
    assert result["runtime"]["program"] == "LiteRT 2's benchmark_model"
    assert result["models"][0]["peak_mb"] == 12.87
    (command, *_) = [c for c in phone.commands if "--use_npu" in c]
    for word in (
        "--use_npu=true", "--use_cpu=false", "--require_full_delegation=true",
        "--qualcomm_htp_performance_mode=burst",
        "--dispatch_library_path=/data/local/tmp/tfnas-",
        "LD_LIBRARY_PATH=/data/local/tmp/tfnas-",
    ):
        assert word in command
    assert "--use_xnnpack" not in command
    assert phone.left_behind == []


def test_answers_are_compared(phone, native, models, tmp_path):
    phone.install(native)
    out = tmp_path / "out.json"
    done = bench(*models[:2], "--check", f"--json={out}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as on this machine (3 inputs") == 2
    (result,) = json.loads(out.read_text())["phones"]
    assert [m["error"] for m in result["models"]] == [0, 0]


@pytest.mark.parametrize(
    "answers, problem, far",
    [
        ("zeros", "output 0 is all zeros (3 inputs", "of the spread"),
        ("nan", "output 0 is not finite in 16 of 16 places", "without bound"),
    ],
)
def test_wrong_answers_are_named_once(
    phone, native, tmp_path, answers, problem, far
):
    phone.install(native)
    stub(phone, answers=answers)
    model, out = tmp_path / "m.tflite", tmp_path / "out.json"
    key = "conv|act=linear|k=1|pad=sym|s=1|2x2x8>2x2x4"
    model.write_bytes(writer.write_key(key, "float32"))
    done = bench(model, "--check", f"--json={out}")
    assert done.returncode == 1
    assert problem in done.stdout
    assert far in done.stdout
    (result,) = json.loads(out.read_text())["phones"]
    (found,) = result["models"]
    assert len(found["problems"]) == 1
    assert (found["error"] is None) == (answers == "nan")
    assert phone.left_behind == []


def test_one_run_without_warm_up(phone, models, tmp_path):
    stub(phone, us=3)
    out = tmp_path / "out.json"
    done = bench(
        models[0], "--rounds=2", "--num_runs=1", "--warmup_runs=0",
        f"--json={out}",
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(out.read_text())["phones"]
    assert result["models"][0]["min_ms"] == result["models"][0]["p95_ms"]
    assert result["models"][0]["min_ms"] == 0.003


def test_answers_that_cannot_be_compared_are_said_so(
    phone, models, litert_stub
):
    stub(phone, us=1500)
    done = run(
        "android_bench", f"--binary={litert_stub}", models[0], "--check"
    )
    assert done.returncode == 2
    assert "could not be checked" in done.stderr


def test_two_phones_are_measured_at_once(make_phone, models, tmp_path):
    phones = [make_phone(f"Loopback {i}") for i in (1, 2)]
    for number, phone in enumerate(phones, 1):
        adb.find(phone.serial)
        stub(phone, us=1000 * number, seconds=0.3)
    out = tmp_path / "out.json"
    serials = ",".join(phone.serial for phone in phones)
    done = bench(
        models[0], "--rounds=2", f"--serial={serials}", f"--json={out}"
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())["phones"]
    assert [r["device"]["serial"] for r in results] == [
        "Loopback1", "Loopback2",
    ]
    assert [r["models"][0]["latency_ms"] for r in results] == [1.0, 2.0]


def test_a_phone_that_dies_does_not_end_the_others(
    make_phone, models, tmp_path
):
    phones = [make_phone(f"Loopback {i}") for i in (1, 2)]
    for phone in phones:
        adb.find(phone.serial)
    stub(phones[0], us=1000, fault="exit")
    stub(phones[1], us=2000)
    out = tmp_path / "out.json"
    serials = ",".join(phone.serial for phone in phones)
    done = bench(
        models[0], "--rounds=2", f"--serial={serials}", f"--json={out}"
    )
    assert done.returncode == 1
    assert f"{phones[0].serial} failed: " in done.stderr
    value = json.loads(out.read_text())
    assert [p["device"]["serial"] for p in value["phones"]] == ["Loopback2"]
    assert list(value["failed"]) == [phones[0].serial]


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "Expected one .tflite file"),
        (["a.tflite", "--backend=gpu2"], "gpu2"),
        (["a.tflite", "--backend=npu", "--fp16"], "half precision"),
        (["a.tflite", "--program_flag=x"], "--name=value"),
        (["a.tflite", "--rounds=0"], "rounds"),
        (["a.tflite", "--benchmark_binary=none"], "none: No such file"),
        (["a.tflite", "--binary=/etc"], "/etc: Is a directory"),
        (["a.tflite", f"--binary={__file__}"], "expected a program"),
        (["a.tflite"], "a.tflite: No such file"),
        (["a.tflite", "--serial=R5CT"], "serial='R5CT'"),
        (["a.tflite", "--affinity=huge"], "affinity='huge'"),
    ],
)
def test_bench_refuses_bad_input_in_one_line(phone, args, message, models):
    if "huge" in str(args) or "R5CT" in str(args):
        args = [models[0], *args[1:]]
    done = bench(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert phone.left_behind == []


def test_lut_builds_a_table_on_a_phone(phone, tmp_path):
    stub(phone, us=1500)
    args = [
        f"--space={SPACE}", f"--workdir={tmp_path}", "--rounds=2", "--nets=0",
        "--nostrict", f"--device=adb:{phone.serial}",
        f"--benchmark_binary={STUB}",
    ]
    done = run("tfnas.bin.lut", *args)
    assert done.returncode == 0, done.stderr
    assert "tfnas Loopback 1: LB1" in done.stdout
    table = LatencyTable.load(tmp_path / "lut" / "table.json")
    assert len(table.rows) == 34
    assert table.header["runtime"]["tflite"]["name"] == "benchmark_model"
    assert phone.left_behind == []


@pytest.mark.parametrize(
    "device, message",
    [("adb", "--benchmark_binary"), ("phone", "`adb:SERIAL`")],
)
def test_lut_says_what_a_phone_needs(device, message):
    done = run(
        "tfnas.bin.lut", f"--space={SPACE}", "--lut=t.json",
        f"--device={device}",
    )
    assert done.returncode == 2
    assert message in done.stderr
