"""Measuring on a phone: nothing is lost, and nothing is left behind."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from android_bench import adb
from android_bench import device
from android_bench import workspace
from android_bench.adb import Adb
from android_bench.benchmark import Tool
from android_bench.campaign import Campaign
from android_bench.campaign import Settings
from android_bench.device import Gates
from android_bench.lock import lock
from android_bench.progress import Progress
from android_bench.progress import Run
from tests.adb_device.phone import THERMAL
from tests.android_bench.conftest import STUB
from tests.android_bench.test_adb import HOSTILE
from tflite_bench.journal import Journal
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def campaign(fast_adb, phone, tool, settings):
    """A campaign on a phone where each run takes 1 ms."""
    stub(phone, us=1000)
    yield Campaign(fast_adb, tool, settings)
    assert phone.left_behind == []
    assert phone.processes() == []
    assert phone.get("fixed") == "false"


def stub(phone, **wanted):
    """Tells the stand-in for `benchmark_model` what to do."""
    phone.set("benchmark.json", json.dumps(wanted))


def on_run(monkeypatch, action):
    """Calls `action(number, model)` before each run."""
    run, numbers = Tool.run, iter(range(10**6))

    def hooked(tool, space, model, *args, **kwargs):
        action(next(numbers), model)
        return run(tool, space, model, *args, **kwargs)

    monkeypatch.setattr(Tool, "run", hooked)


def runs_on(phone):
    """Returns how many runs were timed."""
    return sum("--result_file" in command for command in phone.commands)


def runs_of(models):
    return [model.runs for model in models]


def test_the_time_is_really_measured(campaign, phone, native, models):
    stub(phone)
    phone.install(native)
    first, second = campaign.measure(models[:2], rounds=3)
    small, large = first.runs, second.runs
    assert len(small) == len(large) == 3
    assert min(r.min_ms for r in large) > 3 * min(r.min_ms for r in small)
    assert first.proof.backend == "xnnpack"
    assert first.proof.pieces == 1


def test_runs_stay_on_the_big_cores(campaign, phone, models):
    campaign.measure(models[:1], rounds=2)
    assert set(phone.get("masks").split()) == {"30"}


def test_rounds_are_shuffled_and_go_through_all_models(campaign, phone, models):
    campaign.measure(models, rounds=4, seed=1)
    order = [
        word.rpartition("/")[-1][:16]
        for command in phone.commands
        for word in command.split()
        if word.startswith("--graph=") and "reference" not in word
        if "--num_runs=5" in command
    ]
    rounds = [tuple(order[i : i + 3]) for i in range(0, 12, 3)]
    assert len(order) == 12
    assert all(len(set(names)) == 3 for names in rounds)
    assert len(set(rounds)) > 1


def test_hostile_model_names_are_measured(campaign, models, tmp_path):
    path = tmp_path / f"{HOSTILE}.tflite"
    path.write_bytes(pathlib.Path(models[0]).read_bytes())
    (runs,) = runs_of(campaign.measure([str(path)], rounds=2))
    assert [run.min_ms for run in runs] == [1.0, 1.0]
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("style", ["new", "old", "exponent", "logcat"])
def test_every_form_of_output_gives_the_same_time(
    campaign, phone, models, style
):
    stub(phone, us=1234.5, style=style)
    (runs,) = runs_of(campaign.measure(models[:1], rounds=1))
    assert runs[0].avg_ms == pytest.approx(1.2345)


def test_terminal_line_ends_do_not_matter(campaign, phone, models):
    phone.crlf = True
    (runs,) = runs_of(campaign.measure(models[:1], rounds=1))
    assert runs[0].avg_ms == 1.0


def test_further_runs_give_profile_and_memory(campaign, models):
    (model,) = campaign.measure(
        models[:1], rounds=1, extra=["profile", "memory"]
    )
    reports = model.reports
    kinds = [op.kind for op in reports["profile"].ops]
    assert kinds == [
        "TfLiteXNNPackDelegate", "Convolution (NHWC, QC8) DWConv",
    ]
    assert reports["memory"].peak_mb == 12.8672


# Faults.


def test_a_drop_in_the_middle_of_a_push(campaign, phone, models):
    phone.drop_after_bytes = 2000
    (runs,) = runs_of(campaign.measure(models[1:2], rounds=1))
    assert runs[0].min_ms == 1.0
    assert phone.drop_after_bytes is None


def test_a_drop_in_the_middle_of_a_run(campaign, phone, models):
    stub(phone, us=1000, seconds=0.4)
    phone.drop_in = "--result_file"
    (runs,) = runs_of(campaign.measure(models[:1], rounds=1))
    assert len(runs) == 1
    assert runs_on(phone) == 4  # one of them twice


def test_a_phone_that_vanishes_for_five_seconds(
    campaign, phone, models, monkeypatch
):
    def vanish(number, model):
        if number == 2:
            phone.pull_the_cable(away_s=5)

    on_run(monkeypatch, vanish)
    start = time.monotonic()
    (runs,) = runs_of(campaign.measure(models[:1], rounds=4))
    assert len(runs) == 4
    assert time.monotonic() - start > 5


def test_a_hang_is_tried_once_more(campaign, phone, models, tool):
    campaign.tool = Tool(STUB, tool.options, timeout_s=1.5)
    stub(phone, us=1000, fault="hang", times=1)
    (runs,) = runs_of(campaign.measure(models[:1], rounds=1))
    assert runs[0].min_ms == 1.0
    stub(phone, fault="hang")
    with pytest.raises(DeviceError, match="took more than 1.5 s.*benchmark"):
        campaign.measure(models[:1], rounds=1)


@pytest.mark.parametrize(
    "fault, message",
    [
        ("exit", "ended with 3 .*Failed to load model"),
        ("truncate", "average inference time is missing"),
        ("delegate", "Failed to apply XNNPACK"),
    ],
)
def test_a_failing_run_names_the_model_and_says_why(
    campaign, phone, models, fault, message
):
    def fail(number, model):
        if number == 2:
            stub(phone, us=1000, fault=fault)

    with pytest.MonkeyPatch.context() as patch:
        on_run(patch, fail)
        with pytest.raises(DeviceError, match=f"(?s)small.tflite: .*{message}"):
            campaign.measure(models[:1], rounds=3)


def test_a_full_phone_is_an_error(campaign, phone, models):
    phone.free_bytes = 100
    with pytest.raises(DeviceError, match="No space left on device"):
        campaign.measure(models[:1], rounds=1)


def test_a_file_that_arrives_damaged_is_an_error(
    campaign, phone, models, monkeypatch
):
    monkeypatch.setattr(
        workspace.artifacts, "sha256", lambda path: "0" * 64
    )
    with pytest.raises(DeviceError, match="did not arrive as it is"):
        campaign.measure(models[:1], rounds=1)


def test_other_files_are_refused_before_the_phone_is_bothered(
    campaign, phone, tmp_path
):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\0" * 64)
    before = len(phone.commands)
    with pytest.raises(ArtifactError, match="model.tflite: expected a .tflite"):
        campaign.measure([str(path)], rounds=1)
    assert len(phone.commands) == before


# Heat.


def test_a_batch_that_slowed_down_is_run_again(
    campaign, phone, models, monkeypatch
):
    def throttle(number, model):
        # The first reference, then batches of two runs and a reference.
        stub(phone, us=1300 if number in (4, 5, 6) else 1000)

    on_run(monkeypatch, throttle)
    campaign.settings = Settings(batch=2)
    (runs,) = runs_of(campaign.measure(models[:1], rounds=6))
    assert [run.min_ms for run in runs] == [1.0] * 6
    assert runs_on(phone) == 1 + 3 * 4


def test_a_phone_that_stays_slow_is_an_error(
    campaign, phone, models, monkeypatch
):
    on_run(monkeypatch, lambda n, m: stub(phone, us=1300 if n else 1000))
    campaign.settings = Settings(batch=2)
    with pytest.raises(DeviceError, match="5 batches in a row.*30% slower"):
        campaign.measure(models[:1], rounds=2)


def test_a_batch_in_which_the_phone_got_hot_is_run_again_when_it_is_cool(
    campaign, phone, models, monkeypatch
):
    wait = device.wait_until_fit

    def heat(number, model):
        if number == 2:
            phone.set("thermal", THERMAL.format(status=2))
            stub(phone, us=1500)

    def cool(adb, gates, tell, before=None):
        if gates.objection(device.state(adb)):
            phone.set("thermal", THERMAL.format(status=0))
            stub(phone, us=1000)
        wait(adb, gates, tell, before)

    on_run(monkeypatch, heat)
    monkeypatch.setattr(device, "wait_until_fit", cool)
    (runs,) = runs_of(campaign.measure(models[:1], rounds=3))
    assert [run.min_ms for run in runs] == [1.0] * 3
    assert runs_on(phone) == 1 + 4 + 4


def test_a_batch_with_lowered_clocks_is_run_again_when_they_are_free(
    campaign, phone, models, monkeypatch
):
    limit = (
        phone.root / "sys/devices/system/cpu/cpu5/cpufreq/scaling_max_freq"
    )

    def throttle(number, model):
        if number == 2:
            limit.write_text("1100000\n")
        elif number == 3:  # the reading that finds it so
            threading.Timer(1.5, limit.write_text, ["2400000\n"]).start()

    on_run(monkeypatch, throttle)
    campaign.settings = Settings(Gates(wait_s=20, poll_s=0.1), batch=2)
    (runs,) = runs_of(campaign.measure(models[:1], rounds=2))
    assert [run.min_ms for run in runs] == [1.0] * 2
    assert runs_on(phone) == 1 + 3 + 3


def test_runs_wait_for_the_reading_after_them():
    progress = Progress(["a", "b"], rounds=2, seed=0)
    assert progress.settle(1.0, None) is None
    for place in progress.todo()[:2]:
        progress.add(place, Run(2.0, 2.5))
    assert "20% slower" in progress.settle(1.2, None)
    assert len(progress.todo()) == 4
    for place in progress.todo():
        progress.add(place, Run(2.0, 2.5))
    assert progress.settle(1.09, None) is None
    assert progress.todo() == []
    assert len(progress.runs(1)) == 2


# Fixed-performance mode, and leaving.


def test_the_clocks_are_fixed_while_measuring_only(
    campaign, phone, models, monkeypatch
):
    modes = []
    on_run(monkeypatch, lambda n, m: modes.append(phone.get("fixed")))
    campaign.settings = Settings(fixed_performance=True)
    campaign.measure(models[:1], rounds=2)
    assert set(modes) == {"true"}
    assert phone.get("fixed") == "false"


@pytest.mark.parametrize("error", [DeviceError("no"), KeyboardInterrupt()])
def test_the_clocks_are_freed_after_a_failure_too(
    campaign, phone, models, monkeypatch, error
):
    def fail(number, model):
        if number == 1:
            phone.pull_the_cable(away_s=0.5)
            raise error

    on_run(monkeypatch, fail)
    campaign.settings = Settings(fixed_performance=True)
    with pytest.raises(type(error)):
        campaign.measure(models[:1], rounds=2)
    assert phone.get("fixed_log") == "true\nfalse"


KILLED = """
import sys, time
from android_bench.adb import Adb
from android_bench.workspace import Workspace
mode = ["cmd", "power", "set-fixed-performance-mode-enabled"]
adb = Adb(sys.argv[1])
with Workspace(adb, 1, [*mode, "true"], [*mode, "false"]) as space:
    space.adb.shell(["touch", space.path("file")])
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_phone_that_is_left_alone_cleans_up_itself(phone):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, phone.serial],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )
    assert process.stdout.readline() == "ready\n"
    assert phone.get("fixed") == "true"
    assert phone.left_behind != []
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while phone.left_behind and time.monotonic() < deadline:
        time.sleep(0.1)
    assert phone.left_behind == []
    assert phone.get("fixed") == "false"


def test_one_phone_is_measured_by_one_program(campaign, phone, models):
    with lock(phone.serial):
        with pytest.raises(DeviceError, match="another program measures"):
            campaign.measure(models[:1], rounds=1)


# Journal.


def test_unplugged_for_good_and_resumed_loses_no_run(
    campaign, phone, models, monkeypatch, tmp_path
):
    def unplug(number, model):
        if number == 6:
            phone.pull_the_cable(away_s=600)

    monkeypatch.setattr(adb, "_CONNECT_S", 0.5)
    path = tmp_path / "journal.jsonl"
    campaign.settings = Settings(Gates(), batch=2)
    whole = runs_of(campaign.measure(models, rounds=3))
    before = runs_on(phone)
    campaign.adb = Adb(phone.serial, patience_s=0.5)
    with pytest.MonkeyPatch.context() as patch:
        on_run(patch, unplug)
        with pytest.raises(DeviceError, match="did not come back"):
            campaign.measure(models, 3, journal=Journal(path, {}))
    lost = runs_on(phone) - before
    assert lost == 6
    lines = path.read_text().splitlines()
    phone.put_back_the_cable()
    Adb(phone.serial, patience_s=20).wait()
    for left in phone.left_behind:  # a lease of minutes, in real life
        subprocess.run(["rm", "-r", phone.tmp / left], check=True)
    for pid in phone.processes():
        os.kill(pid, signal.SIGKILL)
    resumed = runs_of(
        campaign.measure(models, 3, journal=Journal(path, {}))
    )
    assert resumed == whole
    assert path.read_text().splitlines()[: len(lines)] == lines
    places = [
        tuple(record["place"])
        for record in map(json.loads, path.read_text().splitlines()[1:])
        if "run" in record
    ]
    assert len(places) == len(set(places)) == 9
    again = runs_on(phone)
    campaign.measure(models, 3, journal=Journal(path, {}))
    assert runs_on(phone) == again


def test_a_tick_of_the_clock_is_no_slowdown():
    progress = Progress(["a"], rounds=1, seed=0)
    progress.add((0, 0), Run(0.004, 0.005))
    assert progress.settle(0.003, None) is None
    assert progress.settle(0.004, None) is None  # 33 %, and the next figure
    assert "slower" in progress.settle(0.006, None)


def test_a_damaged_journal_is_refused_by_name(models, tmp_path):
    path = tmp_path / "journal.jsonl"
    progress = Progress(["a"], 1, 0, Journal(path, {}))
    record = {"campaign": progress._name, "place": [0, 0]}
    Journal(path, {}).append({**record, "run": {"fastest": 1.0}})
    with pytest.raises(ArtifactError, match="journal.jsonl: expected a run"):
        Progress(["a"], 1, 0, Journal(path, {}))


@pytest.mark.parametrize(
    "bad", [None, "5", True, 0, -1.0, float("inf"), float("nan"), 10**400]
)
def test_times_of_a_journal_are_figures(bad):
    with pytest.raises((TypeError, ValueError)):
        Run(bad, 1.0)
    with pytest.raises((TypeError, ValueError)):
        Run(1.0, bad)
    if bad is not None:
        with pytest.raises((TypeError, ValueError)):
            Run(1.0, 1.0, bad)
