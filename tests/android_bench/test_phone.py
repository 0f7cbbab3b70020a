"""A table is built on a phone, searched with, and the result is timed there."""

import json
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

from android_bench import adb
from android_bench import programs
from android_bench.adb import Adb
from android_bench.benchmark import Tool
from android_bench.options import Options
from android_bench.phone import AdbDevice
from android_bench.workspace import Workspace
from tests.adb_device.daemon import DaemonPhone
from tests.adb_device.phone import LoopbackPhone
from tests.android_bench import test_output
from tests.android_bench.conftest import STUB
from tests.android_bench.test_campaign import on_run
from tests.android_bench.test_campaign import runs_on
from tests.android_bench.test_campaign import stub
from tests.tiny_runs import ROOT
from tests.tiny_runs import make_config
from tests.tiny_runs import make_flags
from tests.tiny_runs import space
from tflite_bench import build
from tflite_bench import writer
from tfnas import measuring
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError


@pytest.fixture
def make_device(tool, settings):
    """Makes a device of a phone that is attached already."""

    def make(phone, **kwargs):
        fast = Adb(adb.find(phone.serial), timeout_s=20, patience_s=20)
        reference = writer.write_key(build.REFERENCE, "int8")
        return AdbDevice(
            phone.serial, kwargs.pop("tool", tool), reference, settings,
            adb=fast, **kwargs,
        )

    return make


class FewOperators:
    """A space that is measured within a second or two."""

    name = "few"
    entries = "isolated"

    def lut_keys(self):
        return space().lut_keys()[:5]


def make_table(path, device, of=None, nets=0, rounds=2):
    return measuring.build_table(
        of or FewOperators(), path, device, rounds=rounds, nets=nets,
        strict=False,
        progress=False, entries="isolated",
    )


@pytest.mark.slow
def test_the_loop_closes_on_a_phone(
    make_phone, make_device, native, tmp_path, monkeypatch
):
    from tfnas.search import run_search

    monkeypatch.setattr(build, "_MAX_EXTENSION", 1)
    phone = make_phone(path=[native])
    device = make_device(phone, journal=tmp_path / "runs.jsonl")
    table = make_table(tmp_path / "table.json", device, space(), nets=3)
    assert sorted(table.rows) == space().lut_keys()
    assert len(table.rows) >= 20
    assert table.calibration.nets == 3
    assert table.header["device"]["fingerprint"].startswith("tfnas/loopback")
    tflite = table.header["runtime"]["tflite"]
    assert tflite["sha256"] == Tool(STUB).sha256
    assert table.header["clock"] == "wall"

    config = make_config(
        lut__path=str(tmp_path / "table.json"), target_ms=None,
        # Two rounds on a busy machine: however far off.
        lut__max_table_error=1e9,
    )
    best = run_search(config, tmp_path / "search").archs[0]
    model = tmp_path / f"{best.arch.id}.tflite"
    model.write_bytes(writer.write_arch(best.arch, "int8"))
    (measured,) = device.measure([str(model)], rounds=3)
    assert measured.delegate_nodes == 1
    # A machine as busy as this one gives no better bound.
    ratio = measured.latency_ms / table.latency_ms(best.arch)
    assert 0.1 < ratio < 10
    assert phone.left_behind == []
    assert phone.processes() == []


RUN = """
from tests import tiny_runs
from tfnas.bin import run

tiny_runs.space()
run.entry()
"""


@pytest.mark.slow
def test_tfnas_run_closes_the_loop_on_a_phone(phone, tmp_path):
    stub(phone, us=1000)
    fields = {
        "lut__rounds": 2, "lut__nets": 3, "run__bench_rounds": 2,
        # To the stub all files are alike.
        "lut__max_table_error": 1e9,
    }
    command = [
        sys.executable, "-c", RUN, *make_flags(**fields),
        f"--device=adb:{phone.serial}", f"--benchmark_binary={STUB}",
        f"--workdir={tmp_path}/run",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    bench = json.loads((tmp_path / "run/bench/bench.json").read_text())
    assert bench["device"]["serial"] == "Loopback1"
    assert {m["measured_ms"] for m in bench["models"]} == {1.0}
    assert (tmp_path / "run" / "report.html").exists()
    assert phone.left_behind == []
    before = runs_on(phone)
    subprocess.run(command, cwd=ROOT, check=True)
    assert runs_on(phone) == before


def test_a_table_goes_on_after_the_cable_was_pulled(
    phone, make_device, tmp_path, monkeypatch
):
    def unplug(number, model):
        if number == 10:
            raise DeviceError("the cable is out")

    stub(phone, us=1000)
    journal = tmp_path / "runs.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        on_run(patch, unplug)
        with pytest.raises(DeviceError, match="cable"):
            make_table(tmp_path / "t.json", make_device(phone, journal=journal))
    assert not (tmp_path / "t.json").exists()
    device = make_device(phone, journal=journal)
    make_table(tmp_path / "t.json", device)
    runs = [
        (record["campaign"], *record["place"])
        for record in map(json.loads, journal.read_text().splitlines()[1:])
        if "run" in record
    ]
    assert len(runs) == len(set(runs))
    before = runs_on(phone)
    make_table(tmp_path / "t.json", device)
    assert runs_on(phone) == before


def test_two_phones_at_once_give_two_tables(
    make_phone, make_device, tmp_path
):
    phones = [make_phone(f"Loopback {i}") for i in (1, 2)]
    paths = [tmp_path / f"{i}.json" for i in (1, 2)]
    workers = []
    for number, (phone, path) in enumerate(zip(phones, paths, strict=True), 1):
        stub(phone, us=1000 * number)
        job = (path, make_device(phone))
        workers.append(threading.Thread(target=make_table, args=job))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    first, second = map(LatencyTable.load, paths)
    assert first.header["device"]["serial"] == "Loopback1"
    assert second.header["device"]["serial"] == "Loopback2"
    for number, table in enumerate((first, second), 1):
        assert table.header["conditions"]["reference_ms"] == number
    with pytest.raises(ArtifactError, match="device"):
        first.merge(second)


@pytest.mark.slow
def test_a_real_daemon_gives_the_rows_of_the_stand_in(
    make_phone, make_device, native, tmp_path
):
    tables = []
    for kind in (LoopbackPhone, DaemonPhone):
        phone = make_phone(path=[native], kind=kind)
        path = tmp_path / f"{kind.__name__}.json"
        tables.append(make_table(path, make_device(phone), rounds=8))
        assert phone.left_behind == []
    first, second = (table.rows for table in tables)
    assert sorted(first) == sorted(second)
    ratios = [first[k].latency_ms / second[k].latency_ms for k in first]
    # It is the same machine, however restless.
    assert 0.67 < np.median(ratios) < 1.5


def test_more_threads_than_the_phone_has_cores_are_refused(
    phone, make_device
):
    device = make_device(phone, tool=Tool(STUB, Options(threads=7)))
    with pytest.raises(ConfigError, match="1 to 6 threads"):
        device.describe()


def test_other_programs_and_settings_are_other_provenances(
    phone, make_device, tool, tmp_path
):
    stub(phone, us=1000)
    ours = make_device(phone).describe()
    other = tmp_path / "benchmark_model"
    other.write_bytes(pathlib.Path(STUB).read_bytes() + b"\n# newer\n")
    theirs = make_device(phone, tool=Tool(other, tool.options))
    assert theirs.describe()["device"] == ours["device"]
    assert theirs.describe()["runtime"] != ours["runtime"]


def test_a_script_that_starts_another_program_is_asked_again(
    phone, fast_adb, tmp_path
):
    script = tmp_path / "benchmark_model"
    script.write_text('#!/bin/sh\ncat "$TFNAS_PHONE/state/says"\n')
    tool = Tool(script)
    with Workspace(fast_adb, 60) as workspace:
        tool.install(workspace)
        for text, kind in (
            (test_output.NEW, programs.TFLITE),
            (test_output.LITERT, programs.LITERT),
        ):
            phone.set("says", text)
            assert tool.program(workspace).kind == kind
            assert tool.kind == kind
