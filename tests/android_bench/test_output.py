"""Figures are found in the output of old and new releases, or it is an error.

The texts are in the form of the official program's releases since 2018.
"""

import json

import pytest

from android_bench.output import complete
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
INFO: Overall peak memory footprint (MB) via periodic monitoring: 12.8672
"""
LITERT = """\
INFO: STARTING!
INFO: [environment.cc:36] Creating LiteRT environment with options
INFO: Initialized session in 4.65ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds
INFO: count=3 first=430 curr=270 min=260 max=430 avg=320 std=77

INFO: Running benchmark for at least 5 iterations and at least 0 seconds
INFO: count=5 first=244 curr=236 min=223 max=318 avg=243.4 std=37 p5=223 \
median=236 p95=318

INFO: [benchmark_litert_model.h:88]
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:93] Model initialization: 4.65 ms
INFO: [benchmark_litert_model.h:94] Warmup (first):       0.43 ms
INFO: [benchmark_litert_model.h:96] Warmup (avg):         0.32 ms (3 runs)
INFO: [benchmark_litert_model.h:98] Inference (avg):      0.24 ms (5 runs)
INFO: [benchmark_litert_model.h:102] Inference (min):      0.22 ms
INFO: [benchmark_litert_model.h:104] Inference (max):      0.32 ms
INFO: [benchmark_litert_model.h:106] Inference (std):      0.04
INFO: [benchmark_litert_model.h:122] Overall footprint:    3.50 MB
INFO: [benchmark_litert_model.h:127] Peak memory:          9.25 MB
INFO: [benchmark_litert_model.h:134] ======================================
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
    assert report.inference.median_us == 54900
    assert (report.inference.p5_us, report.inference.p95_us) == (53100, 60000)
    assert report.peak_mb == 12.8672


def test_the_older_line_about_memory():
    line = "INFO: Peak memory footprint (MB): init=0 overall=11.5\n"
    text = NEW.replace("Overall peak memory", "Overall memory") + line
    assert parse(text, "m").peak_mb == 11.5


def test_the_second_program_of_the_same_name():
    report = parse(LITERT, "m")
    assert report.inference.min_us == 223  # not the rounded one at the end
    assert report.inference.median_us == 236
    assert report.warm_up.count == 3
    assert report.init_us == pytest.approx(4650)
    assert report.peak_mb == 9.25


def test_it_does_not_matter_which_stream_a_line_comes_on():
    lines = LITERT.splitlines()
    out = "\n".join(x for x in lines if "[benchmark" not in x)
    log = "\n".join(x for x in lines if "[benchmark" in x)
    both = parse(out, "m", log)
    assert both.inference == parse(LITERT, "m").inference
    assert both.peak_mb == 9.25


def test_old_releases():
    report = parse(OLD, "m")
    assert report.inference.min_us == 66699
    assert report.inference.std_us == 39
    assert report.init_us == pytest.approx(9933)
    assert report.inference.median_us is None
    renamed = OLD.replace("no stats", "Inference")
    assert parse(renamed, "m").inference == report.inference


@pytest.mark.parametrize("text", [NEW, LITERT])
@pytest.mark.parametrize("ends", ["", " p5={0} median={0} p95={0}"])
def test_one_run_without_warm_up_is_printed_in_short(text, ends):
    lines = text.splitlines()
    warm_up, runs = (i for i, x in enumerate(lines) if "count=" in x)
    lines[warm_up] = "INFO: count=0" + ends.format(0)
    us = {NEW: 55043, LITERT: 243}[text]
    lines[runs] = f"INFO: count=1 curr={us}" + ends.format(us)
    report = parse("\n".join(lines), "m")
    assert report.warm_up is None
    assert report.inference.count == 1
    assert report.inference.min_us == report.inference.avg_us == us
    assert report.inference.median_us == (us if ends else None)


def test_runs_that_took_equally_long_are_printed_in_short():
    text = OLD.replace(
        "count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 "
        "std=39", "count=15 curr=3(all same)",
    ).replace("no stats: 66767.6", "no stats: 3")
    runs = parse(text, "m").inference
    assert (runs.count, runs.min_us, runs.max_us, runs.std_us) == (15, 3, 3, 0)


@pytest.mark.parametrize(
    "runs, message",
    [
        ("count=0 p5=0 median=0 p95=0", "impossible figures: count=0"),
        ("count=5 curr=0(all same)", "impossible figures: min_us=0"),
        ("count=5 curr=55043.2", "'min'"),
    ],
)
def test_too_little_in_short_is_an_error(runs, message):
    first = NEW.index("count=50")
    text = NEW[:first] + runs + NEW[NEW.index("\n", first) :]
    with pytest.raises(DeviceError, match=message):
        parse(text, "m")


def test_oldest_one_line_form():
    line = (
        "Timings (microseconds): count=222 first=3897 curr=3924 min=3858 "
        "max=4031 avg=3925.67 std=29\n"
    )
    assert parse(line, "m").inference.avg_us == 3925.67


@pytest.mark.parametrize(
    "prefix",
    [
        "", "I tflite  : ", "I/tflite  (12345): ", "I/lite-rt.x ( 7): ",
        "I litert  : [a/b-c.cc:12] ",
        "01-31 12:00:00.123  1234  1234 I tflite  : ",
    ],
)
def test_log_prefixes_do_not_matter(prefix):
    plain = NEW.replace("INFO: ", "")
    lines = [prefix + line for line in plain.splitlines()]
    assert parse("\n".join(lines) + "\n", "m") == parse(NEW, "m")


def test_terminal_line_ends_do_not_matter():
    assert parse(NEW.replace("\n", "\r\n"), "m") == parse(NEW, "m")


def test_errors_are_told_from_other_lines():
    text = NEW + "ERROR: one\nE/tflite  (12345): two\nINFO: three\n"
    report = parse(text, "m", "ERROR: [delegate.cc:7] four")
    assert report.errors == ("four", "one", "two")
    assert "three" in report.lines


def test_numbers_in_exponent_form():
    text = NEW.replace("avg=55043.2", "avg=1.2e+06").replace(
        "(avg): 55043.2", "(avg): 1.2e+06"
    ).replace("max=60727", "max=2e+06")
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


@pytest.mark.parametrize(
    "name", ["init_us", "peak_mb", "min_us", "avg_us", "median_us", "count"]
)
@pytest.mark.parametrize(
    "bad", ["7.5", True, [], float("nan"), float("inf"), -7.5, 10**400]
)
def test_our_own_runner_prints_figures_only(name, bad):
    series = {"count": 3, "min_us": 7.5, "avg_us": 8}
    value = {"format": "tfnas-runner/1", "init_us": 1500, "warm_up": None}
    (value if name in ("init_us", "peak_mb") else series)[name] = bad
    with pytest.raises(DeviceError, match="did not print"):
        parse(json.dumps(value | {"inference": series}), "m")


@pytest.mark.parametrize("text", [NEW, OLD, LITERT])
def test_output_cut_anywhere_before_the_result_is_an_error(text):
    lines = text.splitlines()
    ends = ("nference timings", "Inference (avg): ")
    end = next(i for i, x in enumerate(lines) if any(e in x for e in ends))
    for cut in range(end + 1):
        with pytest.raises(DeviceError, match="m.tflite: .*did not print"):
            parse("\n".join(lines[:cut]), "m.tflite")


@pytest.mark.parametrize(
    "change, message",
    [
        (("INFO: STARTING!", "Benchmarking failed."), "Benchmarking failed"),
        (
            ("INFO: STARTING!", "INFO: Failed to apply XNNPACK delegate."),
            "Failed to apply",
        ),
        (("min=53077", "min=0"), "impossible figures"),
        (("min=53077", "least=1"), "min"),
        (("min=53077", "min=nan"), "impossible figures"),
        (("min=53077", "min=-1000"), "impossible figures"),
        (("min=53077", "min=99999"), "impossible figures"),
        (("avg=55043.2", "avg=inf"), "impossible figures"),
        (("max=60727", "max=54000"), "impossible figures"),
        (("median=54900", "median=1"), "impossible figures"),
        (("std=1562", "std=-1"), "impossible figures"),
        (("min=53077", "min=5_3077"), "no figure"),
        (("count=50", "count=nan"), "impossible figures"),
        (("18.777ms", "-18.777ms"), "impossible figures"),
        (("monitoring: 12.8672", "monitoring: inf"), "impossible figures"),
        (("count=50", "count=0"), "impossible figures"),
        (("count=50", "count=2.5"), "impossible figures"),
        (("(avg): 55043.2", "(avg): 99"), "55043.2 us beside one of 99"),
    ],
)
def test_failures_and_impossible_figures_are_errors(change, message):
    with pytest.raises(DeviceError, match=message):
        parse(NEW.replace(*change), "m")


def test_a_file_adds_what_the_text_does_not_say():
    report = parse(OLD, "m")
    figures = {"min_us": 66699.4, "count": 15, "median_us": 66760.0}
    added = complete(report, figures | {"peak_mb": 7.5}, "m")
    assert added.inference.median_us == 66760
    assert added.inference.min_us == 66699
    assert added.peak_mb == 7.5


@pytest.mark.parametrize(
    "figures, message",
    [
        ({"min_us": 60000.0}, "same figures .* min_us=66699 there, 60000"),
        ({"count": 14}, "same figures"),
        ({"avg_us": float("nan")}, "same figures"),
        ({"median_us": float("inf")}, "what cannot be"),
        ({"peak_mb": -1.0}, "what cannot be"),
    ],
)
def test_a_file_that_contradicts_the_text_is_an_error(figures, message):
    report = parse(OLD, "m")
    with pytest.raises(DeviceError, match=message):
        complete(report, figures, "m.tflite")


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "{", '{"format": "other/1"}', "Segmentation fault",
        "{" * 100_000, "INFO: [a.cc:1] count=1 min=1 avg=1",
    ],
)
def test_anything_else_is_an_error(text):
    with pytest.raises(DeviceError, match="did not print"):
        parse(text, "m")
