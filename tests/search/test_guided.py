"""Guided search: few queries, inside a band, the same after a kill."""

import functools
import json
import math

import numpy as np
import pytest
from ml_collections import config_dict
from tfnas.configs import ase_nas_mobilenetv3
from tfnas.configs import guided as guided_config

from tests.search import tiny_supernets
from tests.search import tiny_tables
from tests.search import toy_codes
from tfnas import artifacts
from tfnas import spaces
from tfnas.cost.counting import count
from tfnas.cost.predictor import AccuracyPredictor
from tfnas.cost.predictor import Quality
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.errors import InfeasibleBudget
from tfnas.search import SearchResult
from tfnas.search import guided
from tfnas.search import query
from tfnas.search import run_search
from tfnas.search import runner
from tfnas.search.baselines import RandomSearch
from tfnas.search.evaluate import Evaluator
from tfnas.search.guided import Guided
from tfnas.search.guided import Options
from tfnas.search.limit import Limit
from tfnas.search.query import ask_and_tell
from tfnas.spaces.pool import Pool

SMALL, LARGE = toy_codes.plain(5, 4), toy_codes.plain(9, 4)
SUPERNET_SPACE = "tiny_guided@32"


class Killed(BaseException):
    """Stands for a SIGKILL."""


@functools.cache
def terms(length):
    rng = np.random.default_rng(length)
    single = rng.normal(size=(length, 4))
    return single, 0.2 * rng.normal(size=(length, 4, length, 4))


def score(codes):
    """Most of it is a sum over positions, the rest over pairs of them."""
    single, pairs = terms(len(codes))
    rows = np.arange(len(codes))
    both = pairs[rows, codes][:, rows, codes].sum()
    return float(single[rows, codes].sum() + both) / 20


def cost(codes):
    return float(sum(codes))


def make(space=SMALL, seed=0, low=None, high=None, **options):
    limit = Limit(space, cost, high, "ms", low)
    return Guided(space, limit, seed, Options(**options))


def run(strategy, number, rate=score):
    return ask_and_tell(strategy, number, rate, cost)


@pytest.mark.parametrize("space", [SMALL, LARGE])
def test_it_finds_more_than_four_times_as_many_random_draws(space):
    gains = []
    for seed in range(8):
        strategy = make(space, seed, 10, 12, candidates=64)
        found = max(query.score for query in run(strategy, 24))
        limit = Limit(space, cost, 12, "ms", 10)
        drawn = run(RandomSearch(space, limit, seed), 96)
        gains.append(found - max(query.score for query in drawn))
    assert np.mean(gains) > 0.01
    assert sum(gain >= -1e-12 for gain in gains) >= 6


@pytest.mark.parametrize("space", [SMALL, LARGE])
def test_nothing_outside_the_band_is_asked_for(space):
    costs = {q.cost for q in run(make(space, 1, 9, 10), 30)}
    assert costs == {9, 10}


def test_first_come_random_networks_that_are_different():
    queries = run(make(initial=10), 10)
    assert len({query.codes for query in queries}) == 10
    others = run(make(initial=10), 10, lambda codes: 0.5)
    assert [q.codes for q in others] == [q.codes for q in queries]


@pytest.mark.parametrize("space", [SMALL, LARGE])
def test_nothing_is_asked_for_twice(space):
    queries = run(make(space, 2, candidates=32), 40)
    assert len({query.codes for query in queries}) == 40


def test_an_exhausted_band_is_no_trap():
    space = toy_codes.plain(2, 2)
    queries = run(make(space), 10)
    assert {query.codes for query in queries} == set(space.members())


@pytest.mark.parametrize("space", [SMALL, LARGE])
@pytest.mark.parametrize("told", [0, 4, 15])
def test_restored_strategy_goes_on_as_if_undisturbed(space, told):
    strategy = make(space, 5, 9, 12, candidates=32)
    run(strategy, told)
    state = json.loads(json.dumps(strategy.state()))
    undisturbed = run(strategy, 12)
    restored = make(space, 5, 9, 12, candidates=32)
    restored.restore(state)
    assert restored.ask() == restored.ask()
    assert run(restored, 12) == undisturbed
    assert restored.best() == strategy.best()
    other = run(make(space, 6, 9, 12, candidates=32), told + 12)
    assert other[told:] != undisturbed


def test_equal_scores_are_no_trap():
    assert len(run(make(), 12, lambda codes: 0.5)) == 12


def test_the_best_is_that_of_which_most_is_expected():
    strategy = make(seed=1)
    noise = np.random.default_rng(0).normal(0, 0.1, 40)
    noisy = {}
    queries = run(
        strategy, 40,
        lambda c: score(c) + noisy.setdefault(c, noise[len(noisy)]),
    )
    codes = [query.codes for query in queries]
    expected = strategy.expected(codes)
    best, told = strategy.best()
    assert best == codes[int(np.argmax(expected))]
    assert told == dict((q.codes, q.score) for q in queries)[best]
    ranked = strategy.ranked(codes)
    assert ranked[0] == best and sorted(ranked) == sorted(codes)
    # It knows more of the order than one noisy answer does.
    truth = [score(c) for c in codes]

    def agreement(values):
        ranks = [np.argsort(np.argsort(v)) for v in (values, truth)]
        return np.corrcoef(*ranks)[0, 1]

    assert agreement(expected) > agreement([q.score for q in queries])


def test_what_is_expected_ranks_networks_that_were_not_asked_for():
    strategy = make(seed=3, initial=40)
    known = {query.codes for query in run(strategy, 40)}
    others = [c for c in SMALL.members() if c not in known]
    ranks = np.argsort(np.argsort(strategy.expected(others)))
    truth = np.argsort(np.argsort([score(c) for c in others]))
    assert np.corrcoef(ranks, truth)[0, 1] > 0.7


def test_a_feature_that_tells_the_score_helps():
    def best(extras):
        limit = Limit(SMALL, cost)
        return np.mean([
            max(q.score for q in run(
                Guided(SMALL, limit, seed, Options(), extras), 9
            ))
            for seed in range(6)
        ])

    assert best(lambda codes: (score(codes),)) > best(None)


@pytest.mark.parametrize(
    "options, message",
    [({"initial": 1}, "`guided.initial` must be at least 2"),
     ({"candidates": 0}, "`guided.candidates` must be at least 1")],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Options(**options)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return tiny_tables.write_macro(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    """The workdir of a finished search in the table."""
    folder = tmp_path_factory.mktemp("finished")
    run_search(tiny_tables.make_config(table), folder, progress=False)
    return folder


def test_a_search_in_a_table_stays_in_the_band_of_its_target(finished):
    result = SearchResult.load(finished / "result.json")
    assert len(result.history) == 14
    for found in result.archs + result.baseline:
        assert 58.5 <= count(found.arch).madds / 1e6 <= 61.5
    space = spaces.get("nasbench_macro")
    means = dict(
        zip(
            map(tuple, tiny_tables.MACRO.tolist()),
            tiny_tables.macro_mean() / 100, strict=True,
        )
    )
    for record in result.history:
        mean = means[space.canonical(record["codes"])]
        # One of three trainings, 0.1 points apart.
        assert abs(record["accuracy"] - mean) < 0.0011
    assert result.archs[0].role == "searched"
    assert {found.role for found in result.baseline} == {"random"}


def test_killed_in_every_unit_ends_with_the_same_bytes(
    finished, table, tmp_path, monkeypatch
):
    run_unit = query.QuerySearch.run_unit
    config = tiny_tables.make_config(table)
    for last in (0, 1, 3, 5):  # of 5 + 5 + 4 queries, twice

        def die(self, unit, last=last):
            if unit > last:
                self._accounts[0].advance()
                raise Killed
            return run_unit(self, unit)

        with monkeypatch.context() as patch:
            patch.setattr(query.QuerySearch, "run_unit", die)
            if last < 5:
                with pytest.raises(Killed):
                    run_search(config, tmp_path, progress=False)
            else:
                run_search(config, tmp_path, progress=False)
    assert (tmp_path / "result.json").read_bytes() == (
        finished / "result.json"
    ).read_bytes()


@pytest.mark.parametrize("algorithm", ["evolution", "local_search"])
def test_baselines_choose_in_the_same_pool(table, tmp_path, algorithm):
    config = tiny_tables.make_config(table, algorithm)
    result = run_search(config, tmp_path, progress=False)
    for found in result.archs:
        assert 58.5 <= found.cost <= 61.5


def refusal(config, tmp_path):
    """The one line that a search is refused with."""
    with pytest.raises((ConfigError, InfeasibleBudget)) as error:
        run_search(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("target, received", [(1e6, "0.975"), (900e6, "922")])
def test_a_target_outside_the_table_names_its_range(
    table, tmp_path, target, received
):
    config = tiny_tables.make_config(table)
    config.target_madds = target
    said = refusal(config, tmp_path)
    assert str(table) in said and "7.713..105.7 madds_m" in said
    assert "search.tolerance" in said and received in said


def test_a_band_with_fewer_networks_than_queries_is_refused(table, tmp_path):
    config = tiny_tables.make_config(table, queries=400)
    said = refusal(config, tmp_path)
    assert str(table) in said and "it has 313 networks that fit" in said
    assert "Received: search.queries=400" in said


@pytest.mark.parametrize("tolerance", [0.0, -0.1, 1.0, math.nan])
def test_a_tolerance_that_is_no_share_is_refused(table, tmp_path, tolerance):
    config = tiny_tables.make_config(table, tolerance=tolerance)
    assert "`search.tolerance` must be a share" in refusal(config, tmp_path)


def test_without_a_file_the_field_is_named(tmp_path):
    config = tiny_tables.make_config("table.npz", table=None)
    assert "`search.table`" in refusal(config, tmp_path)


class Broken(Evaluator):
    """Answers what it is told to."""

    def __init__(self, answer):
        self.answer = answer

    def score(self, arch):
        return self.answer


@pytest.mark.parametrize("answer", [math.nan, math.inf])
def test_a_score_that_is_no_number_ends_the_search(table, answer):
    config = tiny_tables.make_config(table)
    search, _ = runner.make_search(config, progress=False)
    for account in search._accounts:
        account.ledger.evaluator = Broken(answer)
    with pytest.raises(Diverged) as error:
        search.run_unit(0)
    said = str(error.value)
    assert f"Received: {answer} for arch=" in said and "Broken" in said
    assert "\n" not in said


def test_a_training_that_diverged_is_the_worst_of_all(table):
    config = tiny_tables.make_config(table)
    search, _ = runner.make_search(config, progress=False)
    search._accounts[0].ledger.evaluator = Broken(-math.inf)
    assert [record["accuracy"] for record in search.run_unit(0)] == [0.0] * 5


@pytest.mark.slow
def test_short_trainings_can_be_guided(tmp_path):
    config = guided_config.get_config("local")
    config.data.limit_train, config.data.limit_test = 60, 20
    config.search.update({"queries": 3, "top_archs": 2})
    config.search.guided.update({"initial": 2, "candidates": 8})
    config.search.training.epochs = 1
    result = run_search(config, tmp_path, progress=False)
    assert len(result.history) == 3
    for found in result.archs + result.baseline:
        assert 9.75 <= count(found.arch).madds / 1e6 <= 10.25


@functools.cache
def register():
    """Makes the tiny space known by name; other tests go through all."""
    space = tiny_supernets.SPACE
    spaces.base.register(
        SUPERNET_SPACE,
        lambda classes=None, input_shape=None: type(space)(
            SUPERNET_SPACE, tiny_supernets.SPEC, classes, input_shape
        ),
    )


def supernet_config(evaluator):
    register()
    config = ase_nas_mobilenetv3.get_config("local")
    config.algorithm, config.space = "guided", SUPERNET_SPACE
    config.data.update({"image_size": 32, "limit_train": 80})
    config.max_madds = config_dict.placeholder(float)
    config.search.supernet = tiny_supernets.make_config(
        {"all": tiny_supernets.phase()}, distill="none"
    )
    config.search.evaluator = evaluator
    config.search.update({"queries": 8, "unit_queries": 4, "top_archs": 2})
    return config


@pytest.mark.slow  # a supernet is traced; the predictor's test is its sibling
def test_a_supernet_can_be_guided(tmp_path):
    config = supernet_config("supernet")
    result = run_search(config, tmp_path, progress=False)
    assert len(result.history) == 8
    log = artifacts.read_jsonl(tmp_path / "log.jsonl")
    assert [r["phase"] for r in log[:3]] == ["weights", "valid", "valid"]


def make_predictor():
    space = spaces.get(SUPERNET_SPACE, 10, (32, 32, 3))
    rng = np.random.default_rng(0)
    width = [sum(space.alphabets[i] for i in space.alphabet_of), 4, 4, 1]
    weights = []
    for before, after in zip(width, width[1:], strict=False):
        weights += [rng.normal(size=(before, after)), np.zeros(after)]
    sizes = [space.alphabets[i] for i in space.alphabet_of]
    quality = Quality(10, 10, 1.0, 0.9)
    return AccuracyPredictor(space.name, sizes, weights, quality)


def test_a_predictor_can_be_guided_and_can_guide(tmp_path):
    config = supernet_config("predictor")
    path = tmp_path / "predictor.json"
    make_predictor().save(path)
    config.search.predictor.path = str(path)
    run_search(config, tmp_path / "plain", progress=False)
    config.search.guided = config_dict.ConfigDict(
        {"initial": 3, "candidates": 8, "predictor": str(path)}
    )
    result = run_search(config, tmp_path / "guided", progress=False)
    assert len(result.history) == 8


def test_a_predictor_of_another_space_is_refused(table, tmp_path):
    register()
    make_predictor().save(tmp_path / "predictor.json")
    config = tiny_tables.make_config(table)
    config.search.guided.predictor = str(tmp_path / "predictor.json")
    assert SUPERNET_SPACE in refusal(config, tmp_path)


def test_parameters_are_a_feature():
    space = spaces.get("nasbench_macro")
    codes = (1, 0, 0, 2, 0, 0, 1, 0)
    feature = guided.parameters(Pool(space, [codes]))
    params = count(space.from_codes(codes)).params
    assert feature(codes) == (math.log(params),)
