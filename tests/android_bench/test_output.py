"""Figures are found in the output of old and new releases, or it is an error.

The texts are in the form of the official program's releases since 2018.
"""

import json

import pytest

from android_bench.output import parse
from tfnas.errors import DeviceError

NEW = """\
INFO: STARTING!
INFO: Graph: [/data/local/tmp/m.tflite]
INFO: Explicitly applied XNNPACK delegate, and the model graph will be \
partially executed by the delegate w/ 2 delegate kernels.
INFO: Initialized session in 18.777ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds
INFO: count=9 first=64791 curr=57000 min=56900 max=64791 avg=57758.2 std=2000

INFO: Running benchmark for at least 50 iterations and at least 1 seconds
INFO: count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 \
std=1562 p5=53100 median=54900 p95=60000

INFO: Inference timings in us: Init: 18777, First inference: 64791, \
Warmup (avg): 57758.2, Inference (avg): 55043.2
INFO: Memory footprint delta from the start of the tool (MB): init=8.97656 \
overall=18.7227
INFO: Peak memory footprint (MB): init=0 overall=12.8672
"""
OLD = """\
STARTING!
Min num runs: [10]
nnapi error: unable to open library libneuralnetworks.so
Loaded model /data/local/tmp/mobilenet.tflite
resolved reporter
Initialized session in 9.933ms
Running benchmark for at least 4 iterations and at least 0.5 seconds
count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944

Running benchmark for at least 10 iterations and at least 1 seconds
count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39

Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6
"""
HEAD = "[node type]\t[start]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]"
PROFILE = """
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t{head}\t[times called]\t[Name]
\t AllocateTensors\t 0.0\t 0.1\t 9.9\t 100%\t 100%\t 0.0\t 1\tAllocate/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t{head}\t[times called]\t[Name]
\t CONV_2D\t 0.0\t 4.2\t 4.26\t 60%\t 60%\t 0.0\t 1\t[stem]:0
\t TfLiteXNNPackDelegate\t 4.2\t 0.1\t 0.25\t 40%\t 100%\t 0.0\t 1\t[out]:9

============================== Top by Computation Time ====================
\t{head}\t[times called]\t[Name]
\t CONV_2D\t 0.0\t 4.2\t 4.26\t 60%\t 60%\t 0.0\t 1\t[stem]:0

Delegate internal:
============================== Run Order ==============================
\t{head}\t[times called]\t[Name]
\t Add (ND)\t 0.0\t 0.1\t 0.2\t 100%\t 100%\t 0.0\t 1\tDelegate/Add (ND):0
"""


def test_new_releases():
    report = parse(NEW, "m")
    assert report.inference.min_us == 53077
    assert report.inference.avg_us == 55043.2
    assert report.inference.count == 50
    assert report.warm_up.avg_us == 57758.2
    assert report.init_us == pytest.approx(18777)
    assert report.peak_mb == 12.8672
    assert report.delegate_nodes == 2


def test_old_releases():
    report = parse(OLD, "m")
    assert report.inference.min_us == 66699
    assert report.inference.std_us == 39
    assert report.init_us == pytest.approx(9933)
    assert report.delegate_nodes is None
    renamed = OLD.replace("no stats", "Inference")
    assert parse(renamed, "m") == report


def test_oldest_one_line_form():
    line = (
        "Timings (microseconds): count=222 first=3897 curr=3924 min=3858 "
        "max=4031 avg=3925.67 std=29\n"
    )
    assert parse(line, "m").inference.avg_us == 3925.67


@pytest.mark.parametrize(
    "prefix",
    [
        "", "I tflite  : ", "I/tflite  (12345): ",
        "01-31 12:00:00.123  1234  1234 I tflite  : ",
    ],
)
def test_log_prefixes_do_not_matter(prefix):
    plain = NEW.replace("INFO: ", "")
    lines = [prefix + line for line in plain.splitlines()]
    assert parse("\n".join(lines), "m") == parse(NEW, "m")


def test_terminal_line_ends_do_not_matter():
    assert parse(NEW.replace("\n", "\r\n"), "m") == parse(NEW, "m")


def test_numbers_in_exponent_form():
    text = NEW.replace("avg=55043.2", "avg=1.2e+06").replace(
        "(avg): 55043.2", "(avg): 1.2e+06"
    )
    assert parse(text, "m").inference.avg_us == 1.2e6


def test_columns_of_a_profile_are_found_by_their_headings():
    for head in (HEAD, HEAD.replace("[start]\t", "")):
        profile = PROFILE.format(head=head)
        if "[start]" not in head:
            for start in (" 0.0\t 4.2", " 4.2\t 0.1", " 0.0\t 0.1"):
                profile = profile.replace(start, start.split("\t")[1])
        ops = parse(NEW + profile, "m").ops
        assert [(o.kind, o.mean_ms, o.delegated) for o in ops] == [
            ("CONV_2D", 4.26, False),
            ("TfLiteXNNPackDelegate", 0.25, False),
            ("Add (ND)", 0.2, True),
        ]
        assert ops[0].name == "[stem]:0"


def test_output_of_our_own_runner():
    series = {"count": 3, "first_us": 9, "curr_us": 8, "min_us": 7.5}
    series |= {"max_us": 9, "avg_us": 8, "std_us": 1, "min_cpu_us": 7}
    value = {"format": "tfnas-runner/1", "init_us": 1500, "warm_up": None}
    report = parse(json.dumps(value | {"inference": series}), "m")
    assert report.inference.min_us == 7.5
    assert report.warm_up is None


@pytest.mark.parametrize("text", [NEW, OLD])
def test_output_cut_anywhere_before_the_result_is_an_error(text):
    lines = text.splitlines()
    end = next(i for i, x in enumerate(lines) if "nference timings" in x)
    for cut in range(end + 1):
        with pytest.raises(DeviceError, match="m.tflite: .*did not print"):
            parse("\n".join(lines[:cut]), "m.tflite")


@pytest.mark.parametrize(
    "change, message",
    [
        (("INFO: STARTING!", "ERROR: no such file"), "no such file"),
        (("INFO: STARTING!", "Benchmarking failed."), "Benchmarking failed"),
        (
            ("INFO: STARTING!", "INFO: Failed to apply XNNPACK delegate."),
            "Failed to apply",
        ),
        (("min=53077", "min=0"), "impossible figures"),
        (("min=53077", "least=1"), "min"),
        (("min=53077", "min=nan"), "impossible figures"),
        (("count=50", "count=0"), "impossible figures"),
        (("(avg): 55043.2", "(avg): 99"), "55043.2 us beside one of 99"),
    ],
)
def test_failures_and_impossible_figures_are_errors(change, message):
    with pytest.raises(DeviceError, match=message):
        parse(NEW.replace(*change), "m")


def test_a_delegate_that_takes_a_part_is_no_failure():
    line = "ERROR: Following operations are not supported by GPU delegate:\n"
    assert parse(line + NEW, "m") == parse(NEW, "m")


@pytest.mark.parametrize(
    "text", ["", "\n", "{", '{"format": "other/1"}', "Segmentation fault"]
)
def test_anything_else_is_an_error(text):
    with pytest.raises(DeviceError, match="did not print"):
        parse(text, "m")
