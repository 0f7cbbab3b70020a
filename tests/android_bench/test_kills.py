"""A whole `tfnas-run` on a phone, killed on either side, loses no row.

Slow: each loop takes minutes.
"""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.adb_device.daemon import DaemonPhone
from tests.android_bench.conftest import STUB
from tests.android_bench.test_campaign import stub
from tests.android_bench.test_phone import RUN
from tests.tiny_runs import ROOT
from tests.tiny_runs import make_flags
from tests.tiny_runs import space
from tfnas.cost.lut import LatencyTable

pytestmark = pytest.mark.slow
WAIT_S = 300


def records(folder):
    """Returns the runs that were written down, of all journals."""
    return [
        (path.parent.name, record["campaign"], *record["place"])
        for path in sorted(folder.rglob("runs.jsonl"))
        for record in map(json.loads, path.read_text().splitlines()[1:])
        if "run" in record
    ]


def wait_for(process, folder, count):
    """Waits until there are so many runs; fails when the process ends."""
    deadline = time.monotonic() + WAIT_S
    while len(records(folder)) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def start(any_phone, tmp_path):
    """Starts the run; the same command goes on with it."""
    stub(any_phone, us=1000)
    fields = {
        "lut__rounds": 2, "lut__nets": 3, "run__bench_rounds": 2,
        "lut__max_table_error": 1e9,
    }
    command = [
        sys.executable, "-c", RUN, *make_flags(**fields),
        f"--device=adb:{any_phone.serial}", f"--benchmark_binary={STUB}",
        f"--workdir={tmp_path}/run",
    ]

    def start():
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )

    return start


def test_no_row_is_lost_or_doubled(any_phone, start, tmp_path):
    folder = tmp_path / "run"
    for count in (3, 30):  # our side, in the table's first and later runs
        process = start()
        wait_for(process, folder, count)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start()
    for count in (40, 50, 55):  # the phone's
        wait_for(process, folder, count)
        if isinstance(any_phone, DaemonPhone):
            any_phone.die()
            time.sleep(1)
            any_phone.revive()
        else:
            any_phone.pull_the_cable(away_s=1)
    table = folder / "lut" / "table.json"
    deadline = time.monotonic() + WAIT_S
    while not (folder / "search").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)  # ours once more, in the search
    process.communicate()
    process = start()
    _, log = process.communicate()
    assert process.returncode == 0, log
    rows = LatencyTable.load(table).rows
    assert sorted(rows) == space().lut_keys()
    # To the stand-in every file takes 1 ms; a row's has some copies in it.
    assert len({row.latency_ms for row in rows.values()}) == 1
    places = records(folder)
    assert len(places) == len(set(places))
    bench = json.loads((folder / "bench/bench.json").read_text())
    assert {m["measured_ms"] for m in bench["models"]} == {1.0}
