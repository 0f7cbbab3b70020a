"""A search as a stage: resumable, bound to its config and its table."""

import dataclasses
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import tiny_runs
from tfnas import artifacts
from tfnas import spaces
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.errors import LutMiss
from tfnas.search import SearchResult
from tfnas.search import densenas
from tfnas.search import run_search
from tfnas.search import runner

UNITS = 4  # three epochs, and the scoring at the end


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.fixture(scope="module")
def lut(tmp_path_factory):
    """A table of the tiny space."""
    path = tmp_path_factory.mktemp("lut") / "table.json"
    return tiny_runs.write_table(path, tiny_runs.space())


@pytest.fixture(scope="module")
def config(lut):
    """A search under that table, at the latency of a random network."""
    arch = tiny_runs.space().sample(3)
    return tiny_runs.make_config(
        lut__path=lut, target_ms=LatencyTable.load(lut).latency_ms(arch)
    )


def records(workdir):
    """Returns the log without its times."""
    log = artifacts.read_jsonl(workdir / "log.jsonl")
    return [{k: v for k, v in r.items() if k != "time_s"} for r in log]


def files(workdir):
    return {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}


def variables(search):
    """Returns the values of all that a search saves."""
    groups = search.variables().values()
    return [v.numpy() for group in groups for v in group]


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    """The workdir of a search, the search itself and its result."""
    workdir, made = tmp_path_factory.mktemp("undisturbed"), []
    with pytest.MonkeyPatch.context() as patch:
        make = runner.make_search
        patch.setattr(
            runner, "make_search", lambda *a: made.append(make(*a)) or made[0]
        )
        result = run_search(config, workdir, progress=False)
    return workdir, made[0][0], result


def test_result_holds_what_the_search_promises(undisturbed, config):
    workdir, search, result = undisturbed
    value = artifacts.read_json(workdir / "result.json", "tfnas-result/1")
    assert value["unit"] == "ms" and value["target"] == config.target_ms
    assert value["seed"] == 0 and value["versions"]["tensorflow"]
    space = tiny_runs.space()
    table = LatencyTable.load(config.lut.path)
    for found in result.archs + result.baseline:
        assert space.contains(found.arch)
        assert found.cost == pytest.approx(table.latency_ms(found.arch))
        assert 0 <= found.score <= 1
    best = result.archs[0]
    assert abs(best.cost / config.target_ms - 1) < 0.1
    width = config.search.random_tolerance
    for found in result.baseline:
        assert abs(found.cost / best.cost - 1) <= width
    assert [record["epoch"] for record in result.history] == [0, 1, 2]
    assert set(value["pareto"]) <= {
        found["id"] for found in value["archs"] + value["baseline"]
    }
    assert SearchResult.load(workdir / "result.json") == result


def test_each_phase_was_traced_once(undisturbed):
    # 50 and 20 images in batches of 16: all passes have a smaller last one.
    _, search, _ = undisturbed
    assert search.loop.steps["weights"] == 12
    assert search.loop.steps["arch"] == 4
    for phase in ("weights", "arch", "valid", "score"):
        assert search.loop.traces(phase) == 1


def test_log_has_a_record_of_every_phase(undisturbed):
    epochs = [(r["epoch"], r["phase"]) for r in records(undisturbed[0])]
    assert epochs == [
        *[(0, "weights"), (0, "derive")],
        *[(1, "arch"), (1, "weights"), (1, "derive")],
        *[(2, "arch"), (2, "weights"), (2, "valid"), (2, "derive")],
        *[(3, "score")] * 4,
    ]


@pytest.mark.slow
def test_killed_in_every_unit_ends_with_the_same_bits(
    undisturbed, config, tmp_path, monkeypatch
):
    run_unit = densenas.DenseNAS.run_unit
    for last in range(UNITS):

        def die(self, unit, last=last):
            if unit > last:
                self.loop.run(self.phases["weights"], unit)
                raise Killed
            return run_unit(self, unit)

        with monkeypatch.context() as patch:
            patch.setattr(densenas.DenseNAS, "run_unit", die)
            if last + 1 < UNITS:
                with pytest.raises(Killed):
                    run_search(config, tmp_path, progress=False)
                # What a kill between log and checkpoint leaves.
                artifacts.append_jsonl(
                    tmp_path / "log.jsonl", {"phase": "weights"}
                )
            else:
                run_search(config, tmp_path, progress=False)
    workdir, search, _ = undisturbed
    assert (tmp_path / "result.json").read_bytes() == (
        workdir / "result.json"
    ).read_bytes()
    assert records(tmp_path) == records(workdir)
    resumed = runner.open_search(config, tmp_path)
    for ours, theirs in zip(
        variables(resumed), variables(search), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_finished_search_is_read_not_run_again(
    undisturbed, config, monkeypatch
):
    workdir, _, result = undisturbed
    monkeypatch.setattr(runner, "make_search", None)
    before = files(workdir)
    assert run_search(config, workdir) == result
    assert files(workdir) == before


def test_opened_search_is_the_one_that_ran(undisturbed, config, monkeypatch):
    workdir, search, _ = undisturbed
    # A search of several machines is opened on one.
    other = config.copy_and_resolve_references()
    other.strategy = "multiworker"
    before = files(workdir)
    opened = runner.open_search(other, workdir)
    assert opened.derive(config.target_ms) == search.derive(config.target_ms)
    assert opened.derive() == search.derive()
    assert files(workdir) == before


def test_search_without_a_checkpoint_cannot_be_opened(config, tmp_path):
    with pytest.raises(ArtifactError, match="after its first epoch"):
        runner.open_search(config, tmp_path)
    assert not files(tmp_path)


def test_workdir_of_another_config_is_refused(undisturbed, config):
    workdir = undisturbed[0]
    other = config.copy_and_resolve_references()
    other.seed, other.search.weights.lr = 7, 0.5
    before = files(workdir)
    with pytest.raises(ConfigError) as error:
        run_search(other, workdir)
    assert "search.weights.lr: 0.1 there, 0.5 here" in str(error.value)
    assert "seed: 0 there, 7 here" in str(error.value)
    assert files(workdir) == before


@pytest.fixture
def other_table(lut):
    """Puts another table in the place of the one that was searched under."""
    path, table = pathlib.Path(lut), LatencyTable.load(lut)
    content = path.read_bytes()
    slower = {
        key: dataclasses.replace(row, latency_ms=1.01 * row.latency_ms)
        for key, row in table.rows.items()
    }
    dataclasses.replace(table, rows=slower).save(path)
    yield
    path.write_bytes(content)


@pytest.mark.parametrize("finished", [True, False])
def test_another_table_in_the_same_place_is_refused(
    undisturbed, config, tmp_path, other_table, finished
):
    folder = shutil.copytree(undisturbed[0], tmp_path / "run")
    if not finished:
        (folder / "result.json").unlink()
    before = files(folder)
    with pytest.raises(ConfigError, match="lut_sha256.*lut_sha256"):
        run_search(config, folder, progress=False)
    assert files(folder) == before


def test_table_that_misses_rows_lists_them_all(lut, tmp_path):
    table = LatencyTable.load(lut)
    missing = sorted(table.rows)[::5]
    kept = {k: row for k, row in table.rows.items() if k not in missing}
    dataclasses.replace(table, rows=kept).save(tmp_path / "table.json")
    config = tiny_runs.make_config(lut__path=str(tmp_path / "table.json"))
    with pytest.raises(LutMiss) as error:
        run_search(config, tmp_path / "run", progress=False)
    assert sorted(error.value.keys) == missing
    assert not (tmp_path / "run").exists()


def test_target_out_of_reach_leaves_no_trace(lut, tmp_path):
    config = tiny_runs.make_config(lut__path=lut, target_ms=1e6)
    with pytest.raises(InfeasibleBudget, match=r"range \S+\.\.\S+ ms"):
        run_search(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "target, received", [("target_ms", "1.0 ms"), ("target_madds", "1, lut")]
)
def test_target_must_be_in_the_unit_of_the_search(
    lut, tmp_path, target, received
):
    fields = {"target_ms": {}, "target_madds": {"lut__path": lut}}[target]
    config = tiny_runs.make_config(**{target: 1.0}, **fields)
    with pytest.raises(ConfigError, match=f"`{target}`.*Received: {received}"):
        run_search(config, tmp_path / "run", progress=False)


def test_damaged_result_names_file_and_field(undisturbed, tmp_path):
    path = tmp_path / "result.json"
    value = artifacts.read_json(undisturbed[0] / "result.json")
    del value["archs"][0]["cost"]
    artifacts.write_json(path, value)
    with pytest.raises(ArtifactError, match=f"{path}: .*cost`"):
        SearchResult.load(path)


def run_program(workdir, lut):
    """Starts tfnas-search on a given table; returns the process."""
    words = tiny_runs.make_flags(space="densenas_mbv2@32")
    return subprocess.Popen(
        [sys.executable, "-m", "tfnas.bin.search", *words, f"--lut={lut}",
         f"--workdir={workdir}"],
        cwd=tiny_runs.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_kill_9_three_times_gives_the_same_result_file(tmp_path):
    lut = tiny_runs.write_table(
        tmp_path / "table.json", spaces.get("densenas_mbv2@32")
    )
    start = time.monotonic()
    assert run_program(tmp_path / "undisturbed", lut).wait() == 0
    seconds = time.monotonic() - start
    seed = int.from_bytes(os.urandom(2), "big")
    draw, workdir = random.Random(seed), tmp_path / "killed"
    for _ in range(3):
        process = run_program(workdir, lut)
        time.sleep(draw.uniform(0.2, 0.9) * seconds)
        process.kill()
        process.wait()
    assert run_program(workdir, lut).wait() == 0
    for name in ("result.json", "config.json"):
        assert (workdir / name).read_bytes() == (
            tmp_path / "undisturbed" / name
        ).read_bytes(), f"{seed=}"
    assert records(workdir) == records(tmp_path / "undisturbed"), f"{seed=}"
