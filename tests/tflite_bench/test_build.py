"""Tables are complete, resumable and honest about a restless machine."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.tflite_bench.fake_device import FakeDevice
from tests.tflite_bench.fake_device import call_ms
from tflite_bench import build
from tflite_bench import writer
from tflite_bench.interpreter import Model
from tfnas import measuring
from tfnas import spaces
from tfnas.cost.counting import count
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

SPACE = "densenas_resnet@32"


@pytest.fixture(scope="module")
def space():
    made = spaces.get(SPACE)
    made.entries = "isolated"  # whatever it asks for itself
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lut" / "table.json"


def make(space, path, device, **settings):
    settings = {"nets": 3, "progress": False, **settings}
    return measuring.build_table(space, path, device, **settings)


def shape_keeping_key(space):
    """A key of the space whose input and output have one shape."""
    shapes = {key: key.split("|")[-1].split(">") for key in space.lut_keys()}
    return next(key for key, (a, b) in shapes.items() if a == b)


def journal_of(path):
    lines = open(f"{path}.journal.jsonl").read().splitlines()
    return [json.loads(line) for line in lines[1:]]


def test_every_operator_has_one_row_with_its_own_time(space, path):
    table = make(space, path, FakeDevice())
    assert sorted(table.rows) == space.lut_keys()
    assert LatencyTable.load(path) == table
    overhead_ms = call_ms(path.parent)
    for key in space.lut_keys()[::9]:
        size_bytes = len(writer.write_key(key, "int8"))
        row = table.rows[key]
        expected_ms = 0.1 + size_bytes / 1e6 - overhead_ms
        assert row.latency_ms == pytest.approx(expected_ms, rel=0.02)
        assert row.n == 25
        assert row.spread < 0.03


def test_networks_measured_with_the_rows_calibrate_the_table(space, path):
    table = make(space, path, FakeDevice(), nets=8)
    assert len({net.arch.id for net in table.networks}) == 8
    assert table.calibration.nets == 8
    assert table.calibration.space == SPACE
    assert max(map(abs, table.bias_percent())) < 3
    uncalibrated = make(space, f"{path}2", FakeDevice(), nets=2)
    assert uncalibrated.calibration is None
    assert len(uncalibrated.bias_percent()) == 2


def test_chain_entries_are_a_fifth_of_five_in_series(space, path):
    table = make(space, path, FakeDevice(), entries="chain")
    key = shape_keeping_key(space)
    size_bytes = len(writer.write_key(key, "int8", copies=5))
    expected_ms = (0.1 + size_bytes / 1e6 - call_ms(path.parent)) / 5
    assert table.rows[key].latency_ms == pytest.approx(expected_ms, rel=0.02)
    assert table.header["entries"] == "chain"


def test_rows_of_operators_are_one_of_some_in_series(path):
    space = spaces.get("nasbench201")
    table = make(space, path, FakeDevice(), rounds=2)
    assert table.header["entries"] == "operators"
    assert table.coverage(space).missing == ()
    assert len(table.rows) < 100  # of 46,000 blocks
    key = next(key for key in table.rows if "(64x3x3x64)" in key)
    size_bytes = len(writer.write_key(key, "int8", copies=15))
    expected_ms = (0.1 + size_bytes / 1e6 - call_ms(path.parent)) / 15
    assert table.rows[key].latency_ms == pytest.approx(expected_ms, rel=0.05)


def test_only_operators_that_stay_what_they_are_stand_in_series():
    job = build.Job((), entries="operators")
    conv = "CONV_2D|padding=same|stride=1x1|{0};(8x3x3x8);(8)>{0}"
    assert job.copies(conv.format("1x32x32x8")) == 15
    assert job.copies(conv.format("1x224x224x8")) == 5
    assert job.copies("RELU|1x32x32x8>1x32x32x8") == 1  # two are one
    assert job.copies("MEAN|1x8x8x64;int32:[2:1 2]>1x64") == 1


def test_a_table_says_what_its_files_are_written_for(space, path):
    table = make(space, path, FakeDevice(), rounds=2, lower="none")
    assert table.lowering == "none"
    lowered = make(space, f"{path}2", FakeDevice(), rounds=2)
    assert lowered.lowering == "xnnpack"
    with pytest.raises(ConfigError, match="runtime: .*'none'.*xnnpack"):
        make(space, path, FakeDevice(), rounds=2)


class TwoFaced(FakeDevice):
    """Times whole networks by another rule than operators.

    Args:
        factors: Of the times of the networks, in turn, in each table.
    """

    def __init__(self, *factors):
        super().__init__()
        self.tables = list(factors)

    def measure(self, paths, rounds, seed=0):
        found = super().measure(paths, rounds, seed)
        off = self.tables.pop(0)
        # The call, the reference, then the networks.
        return [
            dataclasses.replace(
                m, samples_ms=tuple(ms * off[i - 2] for ms in m.samples_ms)
            )
            if 2 <= i < 2 + len(off) else m
            for i, m in enumerate(found)
        ]


WIDE, NEAR, EXACT = (1.0, 2.0, 1.0), (1.0, 1.3, 1.0), (1.0, 1.0, 1.0)


def test_other_entries_are_tried_where_the_first_are_off(space, path, capsys):
    device = TwoFaced(WIDE, EXACT)
    table = make(space, path, device, rounds=2, strict=False)
    assert table.header["entries"] == "chain"
    assert LatencyTable.load(path) == table
    assert not device.tables
    said = capsys.readouterr().out
    assert "isolated entries: off by" in said
    assert "kept: chain entries, off by" in said
    assert "warning" not in said
    again = make(space, path, FakeDevice(die_at=0), rounds=2, strict=False)
    assert again == table


def test_the_best_entries_are_kept_with_a_warning(space, path, capsys):
    device = TwoFaced(WIDE, NEAR, WIDE)
    table = make(space, path, device, rounds=2, strict=False)
    assert table.header["entries"] == "chain"
    said = capsys.readouterr().out
    for entries in build.ENTRIES:
        assert f"{entries} entries: off by" in said
    assert f"warning: predictions of {path} are off by" in said
    with pytest.raises(ArtifactError, match="--max_table_error"):
        table.require_error(5.0)


def test_entries_that_were_asked_for_are_kept(space, path, capsys):
    table = make(
        space, path, TwoFaced(WIDE), rounds=2, strict=False,
        entries="isolated",
    )
    assert table.header["entries"] == "isolated"
    assert "warning: " in capsys.readouterr().out
    bound = table.error_percent + 1
    make(
        space, path, FakeDevice(die_at=0), rounds=2, strict=False,
        entries="isolated", max_error=bound,
    )
    assert "warning: " not in capsys.readouterr().out


def test_a_killed_build_goes_on_and_measures_nothing_twice(space, path):
    device = FakeDevice()
    whole = make(space, f"{path}.whole", device)
    rounds = 0
    for _ in range(4):
        killed = FakeDevice(die_at=1)
        with pytest.raises(KeyboardInterrupt):
            make(space, path, killed)
        rounds += killed.rounds
    last = FakeDevice()
    table = make(space, path, last)
    assert rounds + last.rounds == device.rounds
    assert table.rows == whole.rows
    finished = FakeDevice()
    assert make(space, path, finished).rows == table.rows
    assert finished.visits == 0


def test_a_finished_build_writes_the_same_file_whenever(
    space, path, monkeypatch
):
    make(space, path, FakeDevice(), rounds=2)
    before = path.read_bytes()  # searches know a table by its hash
    monkeypatch.setattr(build, "datetime", None)
    make(space, path, FakeDevice(), rounds=2)
    assert path.read_bytes() == before


def test_more_rounds_go_on_from_the_journal(space, path):
    make(space, path, FakeDevice(), rounds=10)
    more = FakeDevice()
    table = make(space, path, more, rounds=20)
    assert {row.n for row in table.rows.values()} == {20}
    assert more.visits == 2


@pytest.mark.slow
def test_five_real_kills_leave_every_row_once(space, path):
    journal = f"{path}.journal.jsonl"
    command = [
        sys.executable, "-m", "tfnas.bin.lut", f"--space={SPACE}",
        f"--lut={path}", "--rounds=50", "--nets=0", "--nostrict",
    ]
    lines: list[str] = []
    for _ in range(5):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if os.path.exists(journal):
                with open(journal, encoding="utf-8") as file:
                    found = file.read().splitlines()
                if len(found) > max(len(lines), 1):
                    break
            time.sleep(0.002)
        assert process.poll() is None, "ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        with open(journal, encoding="utf-8") as file:
            now = file.read().splitlines()
        assert now[: len(lines)] == lines
        lines = [*now[:-1], *(x for x in now[-1:] if x.endswith("}"))]
    subprocess.run(command, check=True, capture_output=True)
    table = LatencyTable.load(path)
    assert sorted(table.rows) == space.lut_keys()
    readings = [record["readings"] for record in journal_of(path)]
    for key, row in table.rows.items():
        rounds = sum(len(r[key]["ms"]) for r in readings if key in r)
        assert rounds >= 50 and 25 <= row.n <= rounds
    assert not os.path.exists(f"{path}.models")


def test_a_slow_phase_is_measured_again(space, path):
    keys = space.lut_keys()
    calm = make(space, f"{path}.calm", FakeDevice(), nets=0)
    slow = FakeDevice(slow={0: 1.7})
    table = make(space, path, slow, nets=0)
    for key in keys:
        assert table.rows[key].latency_ms == pytest.approx(
            calm.rows[key].latency_ms, rel=0.02
        )


def test_a_drifting_reference_block_is_refused_by_row(
    space, path, monkeypatch
):
    monkeypatch.setattr(build, "_CHUNK", 20)
    settings = {"nets": 0, "rounds": 10}
    with pytest.raises(DeviceError, match="journal.jsonl: row `.*reference"):
        make(space, path, FakeDevice(slow_with="0007.tflite"), **settings)
    assert not path.exists()
    # The journal stays valid: without the demand it becomes a table.
    table = make(space, path, FakeDevice(), strict=False, **settings)
    assert table.header["conditions"]["reference_drift"] > 0.1


def test_rounds_that_do_not_repeat_are_extended_then_refused(space, path):
    with pytest.raises(DeviceError, match="halves of the rounds differ"):
        make(space, path, FakeDevice(noise=0.4), nets=0, rounds=5)
    rounds = [
        sum(len(r["readings"].get(key, {"ms": []})["ms"]) for r in visits)
        for visits in [journal_of(path)]
        for key in space.lut_keys()
    ]
    assert 5 <= min(rounds) < max(rounds) == 20


@pytest.mark.parametrize(
    "device, settings, field",
    [
        (FakeDevice(name="other"), {}, "device"),
        (FakeDevice(), {"dtype": "float32"}, "runtime"),
        (FakeDevice(), {"entries": "chain"}, "entries"),
    ],
)
def test_a_journal_of_other_numbers_is_not_continued(
    space, path, device, settings, field
):
    make(space, path, FakeDevice(), rounds=2)
    before = open(f"{path}.journal.jsonl").read()
    with pytest.raises(ConfigError, match=f"(?s)journal.jsonl with\n  {field}"):
        make(space, path, device, rounds=2, **settings)
    assert open(f"{path}.journal.jsonl").read() == before


def test_a_damaged_journal_is_refused_with_its_name(space, path):
    make(space, path, FakeDevice(), rounds=2)
    with open(f"{path}.journal.jsonl", "a") as file:
        file.write('{"readings": 3}\n')
    with pytest.raises(ArtifactError, match="journal.jsonl"):
        make(space, path, FakeDevice(), rounds=4)
    with open(f"{path}.journal.jsonl", "w") as file:
        file.write('{"format": "other"}\n')
    with pytest.raises(ArtifactError, match="journal.jsonl: field `format`"):
        make(space, path, FakeDevice())


def test_too_few_rounds_are_refused(space, path):
    with pytest.raises(ConfigError, match="rounds=1"):
        make(space, path, FakeDevice(), rounds=1)
    assert not path.parent.exists()


def test_operators_without_direct_form_go_through_the_converter(
    space, path, monkeypatch, capsys
):
    key = shape_keeping_key(space)
    write = writer.write_key

    def refuse(given, dtype, copies=1, lower="xnnpack"):
        if given == key:
            raise writer.UnsupportedNode("no direct form")
        return write(given, dtype, copies, lower)

    asked = {}

    def convert(jobs, dtype):
        asked.update(jobs)
        for target in jobs:
            with open(target, "wb") as file:
                file.write(write(key, dtype))

    monkeypatch.setattr(build.writer, "write_key", refuse)
    monkeypatch.setattr(build.convert, "convert", convert)
    table = make(space, path, FakeDevice(), rounds=2, nets=0)
    assert list(asked.values()) == [(key,)]
    assert key in table.rows
    assert key in capsys.readouterr().out


def test_the_converter_process_makes_models_that_run(space, tmp_path):
    key, arch = "classifier|s=1|4x4x8>10", space.sample(0)
    jobs = {tmp_path / "key.tflite": (key,), tmp_path / "net.tflite": arch}
    build.convert.convert({str(k): v for k, v in jobs.items()}, "int8")
    for path in jobs:
        assert Model(path).delegate_nodes == 1


def test_a_failing_converter_process_says_why(tmp_path):
    jobs = {str(tmp_path / "a.tflite"): ("no_such_op|1>1",)}
    with pytest.raises(DeviceError, match="no_such_op"):
        build.convert.convert(jobs, "int8")


def test_spanning_nets_are_the_same_again_and_span_the_costs(space):
    nets = measuring.spanning_nets(space, 5)
    assert [n.id for n in nets] == [
        n.id for n in measuring.spanning_nets(space, 5)
    ]
    costs = [count(net).madds for net in nets]
    assert costs == sorted(set(costs))
    assert costs[-1] > 1.5 * costs[0]
    others = {n.id for n in measuring.spanning_nets(space, 5, seed=1)}
    assert not others & {n.id for n in nets}


def test_rounds_beside_a_busy_neighbour_do_not_count(space, tmp_path):
    still = make(space, tmp_path / "still.json", FakeDevice(), rounds=10)
    busy = FakeDevice(slow=dict.fromkeys(range(1, 4), 1.6))
    table = make(space, tmp_path / "busy.json", busy, rounds=10)
    assert busy.visits == 5  # two of them quiet
    for key, row in still.rows.items():
        assert table.rows[key].latency_ms == pytest.approx(
            row.latency_ms, rel=0.01
        )
        assert table.rows[key].n == 10
    conditions = table.header["conditions"]
    assert conditions["reference_ms"] == pytest.approx(
        still.header["conditions"]["reference_ms"], rel=0.01
    )
    assert conditions["reference_drift"] < 0.01
