"""Query searches: charged, resumable, limited, with random search beside."""

import json

import numpy as np
import pytest

from tests.search import tiny_queries
from tfnas import artifacts
from tfnas.cost.counting import count
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.search import SearchResult
from tfnas.search import query
from tfnas.search import run_search
from tfnas.search import runner
from tfnas.spaces.nasbench201 import NasBench201Space

ALGORITHMS = (
    "random", "evolution", "local_search", "uniform_subspace", "ase_nas",
)
SPACE = NasBench201Space()


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The folder of the made-up tables."""
    return tiny_queries.write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def finished(tables, tmp_path_factory):
    """Runs a search once for all tests that look at it."""
    done = {}

    def run(algorithm):
        if algorithm not in done:
            folder = tmp_path_factory.mktemp(algorithm)
            config = tiny_queries.make_config(tables, algorithm)
            run_search(config, folder, progress=False)
            done[algorithm] = folder
        return done[algorithm]

    return run


def signal(codes):
    """The accuracy that the table holds, in 0..1."""
    row = (tiny_queries.CELLS == codes).all(1).argmax()
    return float(tiny_queries.accuracies("val_acc_12ep")[row, 0]) / 100


def log(workdir, phase):
    records = artifacts.read_jsonl(workdir / "log.jsonl")
    return [r for r in records if r["phase"] == phase]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_result_is_the_best_of_exactly_the_charged_queries(
    finished, algorithm
):
    workdir = finished(algorithm)
    result = SearchResult.load(workdir / "result.json")
    assert len(result.history) == 20
    scores = [signal(r["codes"]) for r in result.history]
    for n, record in enumerate(result.history):
        assert record["accuracy"] == pytest.approx(scores[n])
        assert record["best"] == pytest.approx(max(scores[: n + 1]))
        arch = SPACE.from_codes(record["codes"])
        assert record["arch_id"] == arch.id
        assert record["cost"] == pytest.approx(count(arch).madds / 1e6)
    different = {r["arch_id"] for r in result.history}
    assert result.history[-1]["unique"] == len(different)
    assert result.archs[0].score == pytest.approx(max(scores))
    assert len({f.arch.id for f in result.archs}) == len(result.archs) >= 4
    scores = {r["arch_id"]: r["accuracy"] for r in result.history}
    best = sorted(scores.values())
    assert [f.score for f in result.archs[:4]] == best[:-5:-1]
    assert result.header["unit"] == "madds_m"


@pytest.mark.parametrize("algorithm", ["local_search", "ase_nas"])
def test_random_search_spends_as_many_queries(finished, algorithm):
    workdir = finished(algorithm)
    result = SearchResult.load(workdir / "result.json")
    spent = log(workdir, "random")
    assert len(log(workdir, "searched")) == len(spent) == 20
    assert {f.role for f in result.baseline} == {"random"}
    best = max(signal(record["codes"]) for record in spent)
    assert result.baseline[0].score == pytest.approx(best)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_killed_in_every_unit_ends_with_the_same_bytes(
    finished, algorithm, tables, tmp_path, monkeypatch
):
    run_unit = query.QuerySearch.run_unit
    config = tiny_queries.make_config(tables, algorithm)
    for last in (0, 4, 7):  # of 6 + 6 + 6 + 2 queries, twice

        def die(self, unit, last=last):
            if unit > last:
                self._accounts[0].advance()
                raise Killed
            return run_unit(self, unit)

        with monkeypatch.context() as patch:
            patch.setattr(query.QuerySearch, "run_unit", die)
            if last < 7:
                with pytest.raises(Killed):
                    run_search(config, tmp_path, progress=False)
            else:
                run_search(config, tmp_path, progress=False)
    assert (tmp_path / "result.json").read_bytes() == (
        finished(algorithm) / "result.json"
    ).read_bytes()


def test_units_do_not_change_what_is_found(finished, tables, tmp_path):
    config = tiny_queries.make_config(tables, unit_queries=20)
    result = run_search(config, tmp_path, progress=False)
    other = SearchResult.load(finished("local_search") / "result.json")
    assert result.archs == other.archs
    assert result.baseline == other.baseline


def test_an_architecture_is_scored_once_whoever_asks(tables, monkeypatch):
    config = tiny_queries.make_config(tables, "random", queries=300)
    search, _ = runner.make_search(config, progress=False)
    scored = []
    score = search.evaluator.score
    monkeypatch.setattr(
        search.evaluator, "score", lambda a: scored.append(a.id) or score(a)
    )
    for unit in range(search.units):
        search.run_unit(unit)
    assert len(scored) == len(set(scored)) < 600


# A policy draws in the subspaces that uniform choices are drawn in.
@pytest.mark.parametrize(
    "algorithm",
    [*ALGORITHMS[:-1], pytest.param("ase_nas", marks=pytest.mark.slow)],
)
def test_nothing_beyond_the_limit_is_found(tables, tmp_path, algorithm):
    config = tiny_queries.make_config(tables, algorithm)
    config.max_madds = 60e6
    result = run_search(config, tmp_path, progress=False)
    assert result.header["target"] == 60
    for found in result.archs + result.baseline:
        assert count(found.arch).madds <= 60e6
    fitting = [r["accuracy"] for r in result.history if r["cost"] <= 60]
    assert result.archs[0].score == max(fitting)


def test_result_has_the_pareto_front_of_all_queries(finished):
    result = SearchResult.load(finished("evolution") / "result.json")
    points = {
        (r["cost"], r["accuracy"], r["arch_id"]) for r in result.history
    }
    front = {
        name for cost, accuracy, name in points
        if not any(
            c <= cost and a >= accuracy and (c, a) != (cost, accuracy)
            for c, a, _ in points
        )
    }
    assert len(front) > 2
    assert front <= {found.arch.id for found in result.archs}


def test_target_stands_in_for_a_limit(tables, tmp_path):
    config = tiny_queries.make_config(tables)
    config.target_madds = 60e6
    result = run_search(config, tmp_path, progress=False)
    assert result.archs[0].cost <= 60


@pytest.mark.parametrize("device", tiny_queries.DEVICES)
def test_latency_of_a_device_is_the_cost(tables, tmp_path, device):
    config = tiny_queries.make_config(tables, device_table=device)
    config.max_latency_ms = 6.0
    result = run_search(config, tmp_path, progress=False)
    assert result.header["unit"] == "ms"
    column = tiny_queries.DEVICES.index(device)
    for found in result.archs:
        codes = SPACE.codes(found.arch)
        row = (tiny_queries.CELLS == codes).all(1).argmax()
        latency = tiny_queries.latencies()[row, column]
        assert found.cost == pytest.approx(latency, rel=1e-6)
        assert found.cost <= 6
    assert set(result.pareto) <= {
        found.arch.id for found in result.archs + result.baseline
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_limit_out_of_reach_names_the_range_and_leaves_no_trace(
    tables, tmp_path, algorithm
):
    config = tiny_queries.make_config(
        tables, algorithm, device_table="phone"
    )
    config.max_latency_ms = 0.01
    found = tiny_queries.latencies()[:, 0]
    message = f"{found.min():.4g}..{found.max():.4g} ms.*0.01 ms"
    with pytest.raises(InfeasibleBudget, match=message):
        run_search(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_opened_search_derives_within_a_cost(finished, tables):
    workdir = finished("evolution")
    config = tiny_queries.make_config(tables, "evolution")
    search = runner.open_search(config, workdir)
    result = SearchResult.load(workdir / "result.json")
    assert search.derive() == result.archs[0].arch
    records = result.history
    most = float(np.median([r["cost"] for r in records]))
    best = max(
        (r for r in records if r["cost"] <= most), key=lambda r: r["accuracy"]
    )
    assert search.derive(most).id == best["arch_id"]
    assert search.cost(search.derive(most)) == best["cost"]
    with pytest.raises(InfeasibleBudget, match=r"\d\.\.\d.*Received: 1"):
        search.derive(1.0)
    with pytest.raises(ConfigError, match="with a supernet"):
        search.weights_for(search.derive())


def test_another_table_in_the_same_place_is_refused(
    finished, tables, tmp_path
):
    workdir = finished("random")
    there = tiny_queries.write_tables(tmp_path)
    changed = artifacts.read_npz(there / "nasbench201.npz")
    changed["val_acc_12ep"][0] += 1
    artifacts.write_npz(there / "nasbench201.npz", **changed)
    config = tiny_queries.make_config(tables, "random")
    path = tables / "nasbench201.npz"
    content = path.read_bytes()
    path.write_bytes((there / "nasbench201.npz").read_bytes())
    try:
        with pytest.raises(ConfigError, match="table_sha256"):
            run_search(config, workdir, progress=False)
    finally:
        path.write_bytes(content)


def test_missing_table_is_named(tables, tmp_path):
    config = tiny_queries.make_config(tables, table="nowhere.npz")
    with pytest.raises(ArtifactError, match="nowhere.npz"):
        run_search(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_state_is_plain_json(tables):
    config = tiny_queries.make_config(tables)
    search, _ = runner.make_search(config, progress=False)
    search.run_unit(0)
    json.dumps(search.state(), allow_nan=False)


def test_progress_bar_moves_with_every_query(tables, monkeypatch):
    config = tiny_queries.make_config(tables)
    search, loop = runner.make_search(config, progress=False)
    steps = [search.unit_steps(unit) for unit in range(search.units)]
    assert steps == [6, 6, 6, 2] * 2
    loop.expect(sum(steps), 0, "search")
    search.run_unit(0)
    assert loop._bar.total == 40


@pytest.mark.parametrize(
    "space, search, message",
    [
        ("densenas_mbv2@32", {}, "scores the space `nasbench201`"),
        ("nasbench201", {"evaluator": "nonsense"}, "name='nonsense'"),
        ("nasbench201", {"signal": "val_acc"}, "signal='val_acc'"),
        ("nasbench201", {"signal": "test_acc_200ep"}, "test images"),
        ("nasbench201", {"table_dataset": "digits"}, "dataset='digits'"),
        ("nasbench201", {"table": ""}, "search.table"),
        ("nasbench201", {"device_table": "toaster"}, "device='toaster'"),
    ],
)
def test_wrong_settings_are_named(tables, tmp_path, space, search, message):
    config = tiny_queries.make_config(tables, **search)
    config.space = space
    with pytest.raises(ConfigError, match=message):
        run_search(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "device, limit",
    [(None, "max_latency_ms"), ("phone", "max_madds"),
     ("phone", "target_madds")],
)
def test_limit_in_another_unit_is_refused(tables, tmp_path, device, limit):
    config = tiny_queries.make_config(tables, device_table=device)
    config[limit] = 5.0
    with pytest.raises(ConfigError, match=f"Received: {limit}=5"):
        run_search(config, tmp_path / "run", progress=False)
