"""android-bench and tfnas-lut, as a user starts them."""

import json

import pytest

from android_bench import adb
from tests.android_bench.conftest import STUB
from tests.android_bench.test_campaign import stub
from tests.programs import run
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
    assert value["format"] == "android-bench/1"
    (result,) = value["phones"]
    assert result["runtime"]["delegate"] == "xnnpack"
    assert len(result["runtime"]["tflite"]["sha256"]) == 64
    assert result["state"]["before"]["battery_percent"] == 85
    small, large = result["models"]
    assert small["latency_ms"] == large["latency_ms"] == 1.5
    assert small["peak_mb"] == 12.8672
    assert len(small["rounds"]) == 3
    assert result["ratios"][0]["value"] == 1.0
    assert phone.left_behind == []
    assert phone.get("fixed_log") == "true\nfalse"


@pytest.mark.parametrize(
    "flags, delegate, on_phone",
    [
        (["--use_gpu", "--fp16"], "gpu fp16", "--use_gpu=true"),
        (
            ["--use_nnapi", "--nnapi_accelerator_name=edge tpu"],
            "nnapi edge tpu", "--nnapi_accelerator_name=edge tpu",
        ),
        (["--nouse_xnnpack"], "none", "--use_xnnpack=false"),
    ],
)
def test_delegates_are_passed_on_and_written_down(
    phone, models, tmp_path, flags, delegate, on_phone
):
    stub(phone, us=1500)
    out = tmp_path / "out.json"
    done = bench(models[0], "--rounds=2", f"--json={out}", *flags)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(out.read_text())["phones"]
    assert result["runtime"]["delegate"] == delegate
    assert any(on_phone in command for command in phone.commands)


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


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "Expected one .tflite file"),
        (["a.tflite", "--use_gpu", "--use_nnapi"], "not both"),
        (["a.tflite", "--rounds=0"], "rounds"),
        (["a.tflite", "--benchmark_binary=none"], "none: No such file"),
        (["a.tflite"], "a.tflite: No such file"),
        (["a.tflite", "--serial=R5CT"], "serial='R5CT'"),
        (["a.tflite", "--affinity=huge"], "affinity='huge'"),
    ],
)
def test_bench_refuses_bad_input_in_one_line(phone, args, message, tmp_path):
    if "huge" in str(args):
        (tmp_path / "a.tflite").write_bytes(b"    TFL3")
        args = [str(tmp_path / "a.tflite"), *args[1:]]
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
