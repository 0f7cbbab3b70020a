"""tfnas-lut: lists of DenseNAS, tables held against fresh networks."""

import dataclasses
import re

import pytest

from tests import tiny_runs
from tests.cost.lut_tables import HEADER
from tests.cost.lut_tables import make_table
from tests.cost.test_positional import to_list
from tflite_bench.device import HostDevice
from tfnas import spaces
from tfnas.cost.lut import Calibration
from tfnas.cost.lut import LatencyTable

SPACE = "densenas_mbv2@32"
OTHER = "densenas_resnet@32"


@pytest.fixture
def listed(tmp_path):
    """A list in a folder of its own."""
    text = to_list(spaces.get(SPACE))
    (tmp_path / "list.txt").write_text(text)
    return tmp_path, text


def convert(program, folder, mode, source, target, *flags, space=SPACE):
    return program(
        "lut", f"--mode={mode}", f"--space={space}", f"--lut={source}",
        f"--out={target}", *flags, folder=folder,
    )


def test_a_list_becomes_a_table_and_comes_back(program, listed):
    folder, text = listed
    done = convert(program, folder, "import", "list.txt", "table.json")
    assert done.code == 0, done.errors
    table = LatencyTable.load(folder / "table.json")
    assert f"{len(table.rows)} rows of {SPACE}" in done.output
    assert table.coverage(spaces.get(SPACE)).missing == ()
    assert table.dtype == "float32" and table.lowering == "none"
    assert table.header["device"]["name"] == "as published"
    assert table.header["batch"] == 32
    done = convert(program, folder, "export", "table.json", "again.txt")
    assert done.code == 0, done.errors
    assert (folder / "again.txt").read_text() == text


def test_what_is_known_of_a_list_is_stated_by_flags(program, listed):
    folder, _ = listed
    done = convert(
        program, folder, "import", "list.txt", "table.json",
        "--published_device=TITAN Xp", "--published_runtime=cudnn",
        "--published_batch=8", "--dtype=int8",
    )
    assert done.code == 0, done.errors
    header = LatencyTable.load(folder / "table.json").header
    assert header["device"]["name"] == "TITAN Xp"
    assert header["runtime"]["tflite"]["name"] == "cudnn"
    assert header["runtime"]["dtype"] == "int8"
    assert header["batch"] == 8


@pytest.mark.parametrize(
    "mode, source, space, message",
    [
        ("import", "list.txt", OTHER, "list.txt: block.*--space"),
        ("import", "short.txt", SPACE, "short.txt: table: expected a list"),
        ("import", "page.html", SPACE, "page.html: expected a nested list"),
        ("import", "missing.txt", SPACE, "missing.txt"),
        ("import", "list.txt", "nasbench201", "spaces of DenseNAS"),
        ("export", "list.txt", SPACE, "list.txt: .*--mode=import"),
        ("export", "table.json", OTHER, "table.json: rows: .*--space"),
    ],
)
def test_a_wrong_list_is_one_short_line(
    program, listed, mode, source, space, message
):
    folder, text = listed
    (folder / "short.txt").write_text("[1.0, [], 2.0]")
    (folder / "page.html").write_text("<html>\n" * 5000)
    make_table(spaces.get(SPACE).lut_keys()).save(folder / "table.json")
    done = convert(program, folder, mode, source, "out", space=space)
    assert done.code == 2
    lines = [x for x in done.errors.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1 and len(lines[0]) < 500
    assert re.search(message, lines[0])
    assert not (folder / "out").exists()


@pytest.fixture(scope="module")
def measured(program, tmp_path_factory):
    """A table of this machine, roughly."""
    folder = tmp_path_factory.mktemp("lut")
    done = program(
        "lut", f"--space={OTHER}", "--lut=table.json", "--rounds=3",
        "--nets=3", "--nostrict", "--max_error=100", folder=folder,
    )
    assert done.code == 0, done.errors
    return folder, done


def test_a_build_says_how_far_its_table_is_off(measured):
    folder, done = measured
    table = LatencyTable.load(folder / "table.json")
    assert table.lowering == "xnnpack" and table.entries == "chain"
    assert (
        f"error        off by {table.error_percent:.1f} % "
        f"({table.calibration})" in done.output
    )
    assert "files written for xnnpack" in done.output


def test_check_holds_a_table_against_fresh_networks(program, measured):
    folder, _ = measured
    done = program(
        "lut", "--mode=check", "--lut=table.json", f"--space={OTHER}",
        "--fresh=4", "--rounds=3", "--max_error=100", folder=folder,
    )
    assert done.code == 0, done.errors
    assert re.search(
        r"fresh        4 networks measured now: off by \d+\.\d % in the "
        r"mean, \d+\.\d % at most; rank correlation -?[01]\.\d{3}",
        done.output,
    )
    none = program(
        "lut", "--mode=check", "--lut=table.json", f"--space={OTHER}",
        "--fresh=0", folder=folder,
    )
    assert none.code == 0, none.errors
    assert "fresh        not measured: --fresh=0" in none.output


def test_check_says_why_it_measures_nothing(program, tmp_path):
    make_table(spaces.get(OTHER).lut_keys()).save(tmp_path / "table.json")

    def check(*flags):
        return program(
            "lut", "--mode=check", "--lut=table.json", *flags,
            folder=tmp_path,
        )

    alone = check()
    assert alone.code == 0, alone.errors
    assert "not measured: networks of which --space?" in alone.output
    elsewhere = check(f"--space={OTHER}")
    assert elsewhere.code == 0, elsewhere.errors
    assert "the table is of bench" in elsewhere.output
    asked = check(f"--space={OTHER}", "--fresh=2")
    assert asked.code == 2
    assert "table.json: field `device` must be" in asked.errors
    assert check("--fresh=2").code != 0
    less = check(f"--space={SPACE}")
    assert less.code == 2 and "no row for" in less.errors


@pytest.mark.parametrize(
    "runtime, fit, flags, message",
    [
        ({"lowering": "none"}, None, (), "field `runtime.lowering`.*--lower"),
        ({"dtype": "float32"}, None, (), "field `runtime.dtype`"),
        ({}, 7.5, (), "--max_table_error=8. Received: 7.5 %"),
        ({}, 7.5, ("--max_table_error=7",), "--max_table_error=8"),
    ],
)
def test_a_search_refuses_such_a_table_in_one_line(
    program, tmp_path, runtime, fit, flags, message
):
    space = tiny_runs.space()
    header = {
        **HEADER, "runtime": {**HEADER["runtime"], **runtime},
        "device": HostDevice().describe()["device"],
    }
    make_table(
        space.lut_keys(), header=header,
        calibration=fit and Calibration(1.0, 0.0, fit, space.name, 5),
    ).save(tmp_path / "lut.json")
    done = program(
        "search", *tiny_runs.make_flags(), "--lut=lut.json",
        "--target_ms=0.4", "--workdir=search", *flags, folder=tmp_path,
    )
    assert done.code == 2
    lines = [x for x in done.errors.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1 and "lut.json: " in lines[0]
    assert re.search(message, lines[0])
    assert not (tmp_path / "search" / "config.json").exists()


def test_a_search_takes_a_table_that_it_was_told_to_take(tmp_path):
    from tfnas.search.runner import make_search

    space = tiny_runs.space()
    table = make_table(space.lut_keys())
    fit = Calibration(1.0, 0.0, 7.5, space.name, 5)
    path = tmp_path / "lut.json"
    dataclasses.replace(table, calibration=fit).save(path)
    middle = table.latency_ms(space.sample(0))
    config = tiny_runs.make_config(
        lut__path=str(path), target_ms=middle, lut__max_table_error=8.0
    )
    search, _ = make_search(config, progress=False)
    assert search.cost_unit == "ms"
