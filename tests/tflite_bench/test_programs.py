"""tflite-bench and tfnas-lut, as a user starts them."""

import json

import pytest

from tests.cost.lut_tables import HEADER
from tests.cost.lut_tables import make_table
from tests.programs import run
from tests.tflite_bench.test_interpreter import freed
from tflite_bench import writer
from tfnas import spaces
from tfnas.cost.lut import Calibration
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import MeasuredNet

SPACE = "densenas_resnet@32"


def lut(*args):
    return run("tfnas.bin.lut", *args)


@pytest.fixture(scope="module")
def space():
    return spaces.get(SPACE)


@pytest.fixture
def table_path(space, tmp_path):
    arch = space.sample(5)
    table = make_table(space.lut_keys())
    table = make_table(
        space.lut_keys(),
        networks=(MeasuredNet(arch, table.latency_ms(arch) / 0.9, 0.0, 25),),
        calibration=Calibration(1.1, 0.0, 2.0, SPACE, 5),
    )
    table.save(tmp_path / "lut" / "table.json")
    return tmp_path / "lut" / "table.json"


def test_bench_compares_models_in_one_run(tmp_path):
    paths = [tmp_path / "small.tflite", tmp_path / "large.tflite"]
    for path, width in zip(paths, (16, 128), strict=True):
        key = f"conv|act=relu6|k=3|pad=sym|s=1|16x16x{width}>16x16x{width}"
        path.write_bytes(writer.write_key(key, "float32"))
    out = tmp_path / "out.json"
    done = run("tflite_bench", *paths, "--rounds=10", f"--json={out}")
    assert done.returncode == 0, done.stderr
    assert all(str(path) in done.stdout for path in paths)
    result = json.loads(out.read_text())
    assert result["format"] == "tflite-bench/1"
    small, large = result["models"]
    assert large["latency_ms"] > 5 * small["latency_ms"]
    assert small["delegate_nodes"] == 1
    assert small["load_ms"] > 0
    (ratio,) = result["ratios"]
    expected = large["latency_ms"] / small["latency_ms"]
    assert ratio["value"] == pytest.approx(expected, rel=0.5)
    assert ratio["low"] <= ratio["value"] <= ratio["high"]


def test_bench_says_what_it_ran_free_sizes_as(tmp_path):
    fixed, batch, size = (
        tmp_path / f"{name}.tflite" for name in ("fixed", "batch", "size")
    )
    key = "conv|act=relu6|k=3|pad=sym|s=1|16x16x8>16x16x8"
    for path in (fixed, batch, size):
        path.write_bytes(writer.write_key(key, "float32"))
    freed(batch, [-1, 16, 16, 8])
    freed(size, [-1, -1, -1, 8])
    out = tmp_path / "out.json"
    done = run(
        "tflite_bench", fixed, batch, size, "--rounds=3", f"--json={out}",
        "--input_shape=1x64x48x8", "--profile",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    runs = [model["free_dims_run_as"] for model in result["models"]]
    assert runs[0] is None
    assert list(runs[1].values()) == [[1, 16, 16, 8]]
    assert list(runs[2].values()) == [[1, 64, 48, 8]]
    assert f"free sizes run as 1x16x16x8: {batch}" in done.stdout
    assert f"free sizes run as 1x64x48x8: {size}" in done.stdout
    assert f"as 1x16x16x8: {fixed}" not in done.stdout
    same, larger = (ratio["value"] for ratio in result["ratios"])
    assert same == pytest.approx(1, rel=0.5) and larger > 4
    refused = run("tflite_bench", size)
    assert refused.returncode == 2
    assert f"{size}: expected sizes for what the file" in refused.stderr
    unused = run("tflite_bench", fixed, "--input_shape=1x16x16x8")
    assert unused.returncode == 2
    assert "which no file takes" in unused.stderr


def test_bench_says_when_a_run_is_a_batch(tmp_path):
    path = tmp_path / "batch.tflite"
    key = "conv|act=relu6|k=3|pad=sym|s=1|8x8x8>8x8x8"
    path.write_bytes(writer.write_key(key, "float32"))
    freed(path, [-1, 8, 8, 8])
    out = tmp_path / "out.json"
    done = run(
        "tflite_bench", path, "--rounds=2", f"--json={out}",
        "--input_shape=4x8x8x8",
    )
    assert done.returncode == 0, done.stderr
    assert f"a run is a batch of 4: {path}" in done.stdout
    result = json.loads(out.read_text())
    assert result["batch"] == result["models"][0]["batch"] == 4


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "Expected one .tflite file"),
        (["missing.tflite"], "missing.tflite: No such file"),
        ([__file__], "expected a .tflite file"),
        ([__file__, "--num_threads=4096"], "threads=4096"),
        ([__file__, "--rounds=0"], "rounds"),
        ([__file__, "--runtime=onnx"], "runtime"),
        ([__file__, "--input_shape=1x0x8"], "--input_shape=1x0x8"),
        ([__file__, "--input_shape=a"], "--input_shape=a"),
    ],
)
def test_bench_refuses_bad_input_in_one_line(args, message):
    done = run("tflite_bench", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_lut_builds_a_calibrated_table_on_this_host(space, tmp_path):
    done = lut(
        f"--space={SPACE}", f"--workdir={tmp_path}", "--dtype=float32",
        "--rounds=5", "--nets=3", "--nostrict",
    )
    assert done.returncode == 0, done.stderr
    table = LatencyTable.load(tmp_path / "lut" / "table.json")
    assert table.dtype == "float32"
    assert table.header["clock"] == "thread_cpu"
    assert table.calibration.nets == 3
    rows = len(space.lut_keys())
    assert f"{rows} of {rows} operators (100 %)" in done.stdout
    assert "bias         plain sums against 3 whole networks" in done.stdout


def test_lut_shows_and_checks_a_table(space, table_path, tmp_path):
    workdir = f"--workdir={tmp_path}"
    shown = lut("--mode=show", workdir)
    assert shown.returncode == 0, shown.stderr
    assert "mean -10.0 %" in shown.stdout
    assert all(key in shown.stdout for key in space.lut_keys())
    checked = lut("--mode=check", workdir, f"--space={SPACE}")
    assert checked.returncode == 0, checked.stderr
    rows = len(space.lut_keys())
    assert f"{rows} of {rows}" in checked.stdout
    missing = lut("--mode=check", workdir, "--space=densenas_mbv2@32")
    assert missing.returncode == 2
    keys = spaces.get("densenas_mbv2@32").lut_keys()
    assert all(key in missing.stderr for key in keys)


def test_lut_predicts_with_an_interval(space, table_path, tmp_path):
    arch = space.sample(0)
    arch.save(tmp_path / "a.json")
    done = lut(
        "--mode=predict", f"--lut={table_path}", f"--arch={tmp_path}/a.json"
    )
    assert done.returncode == 0, done.stderr
    expected_ms = LatencyTable.load(table_path).latency_ms(arch)
    assert float(done.stdout.split()[0]) == pytest.approx(expected_ms, 1e-3)
    assert " to " in done.stdout


def test_lut_merges_like_and_refuses_unlike_tables(
    space, table_path, tmp_path
):
    def other(name, key, **header):
        path = tmp_path / name
        make_table([key], header={**HEADER, **header}).save(path)
        return path

    more = other("more.json", "classifier|s=1|4x4x8>10")
    out = tmp_path / "out.json"
    args = ["--mode=merge", f"--lut={table_path}", f"--out={out}"]
    done = lut(*args, f"--other={more}")
    assert done.returncode == 0, done.stderr
    rows = LatencyTable.load(out).rows
    assert len(rows) == len(space.lut_keys()) + 1
    unlike = other("unlike.json", "classifier|s=1|4x4x8>10", clock="wall")
    done = lut(*args, f"--other={unlike}")
    assert done.returncode == 2
    assert "clock: thread_cpu there, wall here" in done.stderr
    done = lut("--mode=diff", f"--lut={table_path}", f"--other={unlike}")
    assert done.returncode == 0, done.stderr
    assert "clock: thread_cpu against wall" in done.stdout


@pytest.mark.parametrize(
    "args, message",
    [
        (["--mode=build", "--lut=t.json"], "--space"),
        (["--mode=show"], "--lut or --workdir"),
        (["--mode=show", "--lut=missing.json"], "missing.json"),
        (["--mode=predict", "--lut=t.json"], "--arch"),
        (["--space=none", "--lut=t.json"], "densenas_mbv2"),
        (["--space=densenas_mbv2", "--lut=t.json", "--device=x"], "device"),
    ],
)
def test_lut_refuses_bad_input_in_one_line(args, message):
    done = lut(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
