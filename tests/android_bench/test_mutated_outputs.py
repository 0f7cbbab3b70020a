"""10,000 damaged outputs for each parser: our own errors, or true figures."""

import json
import math
import random

import pytest

from android_bench import output
from android_bench import programs
from android_bench import result_file
from android_bench import verdict
from android_bench.options import Options
from android_bench.progress import Progress
from android_bench.progress import Run
from tests.android_bench import test_known_programs
from tests.android_bench import test_output
from tests.android_bench import test_result_file as files
from tests.android_bench.test_mutated_phones import TIMES
from tests.android_bench.test_mutated_phones import mutate
from tflite_bench.journal import Journal
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError


def damaged(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if data and rng.random() < 0.8:
            data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            start = rng.randrange(len(data) + 1)
            del data[start : start + rng.randint(1, 20)]
    return bytes(data)


def check_report(report):
    for runs in filter(None, (report.inference, report.warm_up)):
        assert isinstance(runs.count, int) and runs.count >= 1
        for name, value in vars(runs).items():
            if value is not None:
                assert math.isfinite(value) and value >= 0
                assert value > 0 or name == "std_us"
    for value in (report.init_us, report.peak_mb):
        assert value is None or (math.isfinite(value) and value >= 0)
    for op in report.ops:
        assert math.isfinite(op.mean_ms) and op.mean_ms >= 0


SERIES = {
    f"{name}_us": us
    for name, us in {
        "first": 9.0, "curr": 8.0, "min": 7.5, "max": 9.5, "avg": 8.0,
        "std": 1.0, "median": 8.0, "p5": 7.6, "p95": 9.0, "min_cpu": 7.0,
    }.items()
}
OWN = json.dumps({
    "format": "tfnas-runner/1", "init_us": 1500.0, "peak_mb": 9.5,
    "warm_up": {"count": 2, **SERIES}, "inference": {"count": 3, **SERIES},
    "profile": test_output.PROFILE.format(head=test_output.HEAD),
})
FORMS = {
    "tflite": test_output.NEW, "litert": test_output.LITERT,
    "old": test_output.OLD, "own": OWN,
    "profile": test_output.NEW
    + test_output.PROFILE.format(head=test_output.HEAD),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs(form):
    rng, passed = random.Random(form), 0
    for _ in range(TIMES):
        text = mutate(FORMS[form], rng)
        try:
            report = output.parse(text, "m", "INFO: log")
        except DeviceError:
            continue
        check_report(report)
        passed += 1
        try:
            proof = verdict.judge(report.lines, Options(), "m")
        except DeviceError:
            continue
        assert proof.ran in ("xnnpack", "unknown")
    assert passed  # or the test would test nothing


@pytest.mark.parametrize("read", [result_file.figures, result_file.delegations])
def test_result_files(read):
    rng, passed = random.Random(0), 0
    latency = b"".join(files.field(i, 1.5) for i in range(1, 11))
    nodes = files.node(0, "ADD") + files.node(1, "x", "XNNPack", [0])
    data = files.field(2, latency) + files.field(4, files.field(2, 20))
    if read is result_file.delegations:
        data = files.field(2, nodes)
    report = output.parse(test_output.OLD, "m")
    for _ in range(TIMES):
        try:
            found = read(damaged(data, rng), "m")
            if isinstance(found, dict):
                check_report(output.complete(report, found, "m"))
            else:
                assert 0 < found.nodes < 10
                assert sum(found.taken.values()) <= found.nodes
        except DeviceError:
            continue
        passed += read is result_file.delegations
    assert passed or read is result_file.figures


def test_helps():
    rng = random.Random(0)
    lines = [
        test_known_programs.LINE.format(name)
        for name in test_known_programs.TFLITE.split()
    ]
    for _ in range(TIMES):
        try:
            found = programs.identify(mutate("\n".join(lines), rng), "b")
        except DeviceError:
            continue
        assert found.kind in programs.NAMES


def test_journals(tmp_path):
    path = tmp_path / "journal.jsonl"
    progress = Progress(["a", "b"], 2, 0, Journal(path, {}))
    progress.prove(0, verdict.Proof("gpu", "gpu", True, "said", 1, 1, 1))
    for place in progress.todo()[:3]:
        progress.add(place, Run(1.0, 1.5, 1.2, 1.0, 2.0))
    progress.settle(1.0, None)
    text, rng = path.read_text(), random.Random(0)
    records = [json.loads(line) for line in text.splitlines()[1:]]
    kept = type("Kept", (), {"path": path, "records": records})
    for _ in range(TIMES):
        changed = mutate(json.dumps(rng.choice(records)), rng)
        try:
            kept.records = [*records, json.loads(changed)]
        except ValueError:
            continue
        try:
            progress = Progress(["a", "b"], 2, 0, kept)
        except ArtifactError:
            continue
        for run in progress._kept.values():
            for ms in vars(run).values():
                assert ms is None or 0 < ms < math.inf
