"""Times that no phone can have shown are named, and not stored."""

import dataclasses
import pathlib

import numpy as np
import pytest

from android_bench import plausible
from android_bench.output import Report
from android_bench.output import Summary
from android_bench.plausible import Contents
from tests.android_bench.test_result_file import field
from tflite_bench.flatbuffer import ModelBuilder
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError

RUNS = Summary(20, 1000, 1050, max_us=1300, median_us=1040)


def check(model=None, elapsed_s=1.0, **changes):
    report = Report(dataclasses.replace(RUNS, **changes))
    plausible.check(report, "m.tflite", model)
    plausible.check_clock(report, "m.tflite", elapsed_s)


def test_usual_figures_pass():
    check(Contents(60, 3_500_000), elapsed_s=0.5)


def test_a_processor_that_nobody_waits_for():
    # 100 MB of weights in 0.274 ms, where 17 ms would be true.
    with pytest.raises(DeviceError, match="m.tflite: .*365 GB/s"):
        check(Contents(60, 100_000_000), min_us=274, avg_us=300)
    check(Contents(60, 100_000_000), min_us=17000, avg_us=17000,
          median_us=17000, max_us=18000)


def test_a_clock_that_stands_still():
    same = {"min_us": 1000, "avg_us": 1000, "max_us": 1000, "median_us": 1000}
    with pytest.raises(DeviceError, match="stands still"):
        check(**same)
    check(**same, count=2)  # two may agree
    small = dict.fromkeys(same, 12)
    check(**small)  # a clock of whole microseconds


def test_a_clock_that_jumped():
    with pytest.raises(DeviceError, match="a clock that jumped"):
        check(elapsed_s=0.01, count=1000)
    check(elapsed_s=1.1, count=1000)


def test_a_busy_phone_may_be_asked_again():
    with pytest.raises(plausible.Busy, match="busy phone"):
        check(avg_us=4160, max_us=50000)
    check(avg_us=2000, max_us=50000)


def test_weights_are_what_operators_must_read(models):
    data = pathlib.Path(models[1]).read_bytes()
    contents = plausible.contents(data, "m")
    # A 3x3 convolution 64 -> 64 in int8, and 64 biases of 4 bytes.
    assert contents.weight_bytes == 9 * 64 * 64 + 4 * 64
    assert contents.operators >= 1
    with pytest.raises(ArtifactError, match="m.tflite: expected a .tflite"):
        plausible.contents(field(1, b"\xff" * 40), "m.tflite")
    with pytest.raises(ArtifactError, match="m.tflite: expected a .tflite"):
        plausible.contents(data[: len(data) // 2], "m.tflite")


def test_a_table_that_is_looked_up_in_is_not_read_whole():
    def model(code, other, other_shape, dtype):
        builder = ModelBuilder()
        given = builder.tensor("x", other_shape, dtype)
        table = builder.constant(
            "t", [1000, 8], "float32",
            lambda: np.zeros(32000, np.uint8),
        )
        result = builder.tensor("y", other, "float32")
        builder.op(code, [table, given], [result], version=1)
        return plausible.contents(builder.finish([given], [result]), "m")

    rows = model("GATHER", [4, 8], [4], "int32")
    assert rows == Contents(1, 0)
    assert model("ADD", [1000, 8], [1000, 8], "float32").weight_bytes == 32000


@pytest.mark.parametrize(
    "code, shape, size_bytes", [("GATHER", [4], 0), ("ADD", [1000, 8], 16000)]
)
def test_weights_in_half_precision_are_what_reads_them(code, shape, size_bytes):
    builder = ModelBuilder()
    dtype = "int32" if code == "GATHER" else "float32"
    given = builder.tensor("x", shape, dtype)
    half = builder.constant(
        "t", [1000, 8], "float16", lambda: np.zeros(16000, np.uint8)
    )
    table = builder.tensor("f", [1000, 8], "float32")
    result = builder.tensor("y", [*shape, 8][:2], "float32")
    builder.op("DEQUANTIZE", [half], [table], version=3)
    builder.op(code, [table, given], [result], version=1)
    data = builder.finish([given], [result])
    assert plausible.contents(data, "m") == Contents(2, size_bytes)


def test_a_model_without_operators_or_inputs_of_them():
    builder = ModelBuilder()
    given = builder.tensor("x", [4], "float32")
    assert plausible.contents(builder.finish([given], [given]), "m") == (
        Contents(0, 0)
    )
    builder.op("VAR_HANDLE", [], [given], version=1)
    assert plausible.contents(builder.finish([given], [given]), "m") == (
        Contents(1, 0)
    )
