"""Operators inside a model are timed, or the failure is said."""

import pytest

from tests.tflite_bench.test_interpreter import freed
from tflite_bench import interpreter
from tflite_bench import profile
from tflite_bench import writer
from tfnas.errors import DeviceError

SUMMARY = """Profiling Info for Benchmark:
============ Run Order ============
  [node type]    [start]    [first]   [avg ms]        [%]   [Name]
  Delegate/Convolution (NHWC, QC8) IGEMM   0.000   0.010   0.008   1.8%   x:0
  Delegate/Add (ND)   0.000   0.001   1.002   98.2%   x:1

============ Top by Computation Time ============
  [node type]    [start]    [first]   [avg ms]        [%]   [Name]
  Delegate/Add (ND)   0.000   0.001   1.002   98.2%   x:1

"""


def test_the_run_order_is_read_by_its_header():
    assert profile.parse(SUMMARY) == [
        profile.OpTime("Delegate/Convolution (NHWC, QC8) IGEMM", 0.008),
        profile.OpTime("Delegate/Add (ND)", 1.002),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        SUMMARY.replace("[avg ms]", "[avg us]"),
        SUMMARY.replace("1.002", "?"),
    ],
)
def test_an_unknown_summary_is_an_error_not_a_zero(text):
    with pytest.raises(DeviceError, match="avg ms"):
        profile.parse(text)


def test_the_operators_of_a_model_are_timed(tmp_path):
    path = tmp_path / "block.tflite"
    key = "mbconv|act=relu6|e=6|k=3|pad=sym|s=1|56x56x32>56x56x32"
    path.write_bytes(writer.write_key(key, "float32"))
    times = profile.profile(path, runs=5)
    assert sum(time.mean_ms for time in times) > 0
    assert len(times) == 4  # two 1x1 convolutions, depthwise, sum
    assert "DWConv" in times[1].kind


def test_a_model_that_cannot_be_profiled_is_named(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(DeviceError, match="broken.tflite"):
        profile.profile(path, runs=1)


def test_free_sizes_are_profiled_as_they_are_run(tmp_path):
    key = "conv|act=relu6|k=3|pad=sym|s=1|24x24x32>24x24x32"
    path = tmp_path / "conv.tflite"
    path.write_bytes(writer.write_key(key, "float32"))
    freed(path, [-1, 24, 24, 32])
    (tensor,) = interpreter.Model(path, free_sizes=()).inputs

    def total_ms(batch):
        shapes = {tensor["name"]: [batch, 24, 24, 32]}
        times = profile.profile(path, runs=20, shapes=shapes)
        return sum(time.mean_ms for time in times)

    assert total_ms(32) > 4 * total_ms(1)
