"""ASE-NAS: what it asks, when centres move, what the policy is told."""

import functools
import json

import numpy as np
import pytest

from configs import ase_nas_nasbench201
from tests.search import toy_codes
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import InfeasibleBudget
from tfnas.results import SearchResult
from tfnas.search import ase_nas
from tfnas.search.ase_nas import ASENAS
from tfnas.search.ase_nas_options import Options
from tfnas.search.ase_nas_options import PolicyOptions
from tfnas.search.controller import Controller
from tfnas.search.limit import Limit
from tfnas.search.query import ask_and_tell
from tfnas.spaces.nasbench201 import NasBench201Space
from tfnas.train.checkpoint import Checkpoints

SPACE = toy_codes.plain()
RNG = np.random.default_rng(0)
TABLE = RNG.random((6, 5))
PAIRS = RNG.random((6, 5, 6, 5)) * 0.2


def score(codes):
    """An accuracy in 0..1 with effects of positions and of pairs."""
    rows = np.arange(6)
    pairs = PAIRS[rows, codes][:, rows, codes].sum()
    return float((TABLE[rows, codes].sum() + pairs) / 15)


def cost(codes):
    return float(sum(codes))


@functools.cache
def _traced(space, centres, policy, proposals):
    options = Options(centres=centres, policy=policy, proposals=proposals)
    return ase_nas.make_controller(space, options)


# Compiling an update takes seconds, so few policies learn, and small ones.
SMALL = PolicyOptions(edits=2, hidden=8, layers=1)


def make(seed=0, initial=(), max_cost=None, space=SPACE, **options):
    """A strategy; equal ones share a controller, so use one at a time."""
    o = Options(**{"policy": SMALL, **options})
    return ASENAS(
        space, Limit(space, cost, max_cost), seed, o, initial,
        _traced(space, o.centres, o.policy, o.proposals),
    )


def run(strategy, queries):
    return ask_and_tell(strategy, queries, score, cost)


class Watch:
    """Notes what the controller of a strategy is told."""

    def __init__(self, strategy, monkeypatch):
        self.rewards, self.entropy_weights, self.features = [], [], []
        self._update = strategy.controller.update
        monkeypatch.setattr(strategy.controller, "update", self._note)

    def _note(self, features, actions, reward, entropy_weight, step):
        assert step == len(self.rewards)
        self.features.append(features)
        self.rewards.append(reward)
        self.entropy_weights.append(entropy_weight)
        return self._update(features, actions, reward, entropy_weight, step)


def test_edits_leave_the_centre_alone_and_go_no_further_than_their_number():
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        codes = SPACE.sample_codes(rng)
        before = tuple(codes)
        edits = tuple(
            (int(rng.integers(6)), int(rng.integers(5))) for _ in range(4)
        )
        edited = SPACE.edited(codes, edits)
        assert codes == before
        assert sum(a != b for a, b in zip(codes, edited, strict=True)) <= 4
        assert all(edited[i] == o for i, o in dict(edits).items())


def test_initial_centres_are_queries_and_come_first():
    strategy = make()
    queries = run(strategy, 3)
    assert [q.codes for q in queries] == [q.codes for q in strategy.centres]
    assert strategy.updates == 0
    run(strategy, 7)
    assert strategy.updates == 7


def test_the_seed_decides_about_the_trajectory():
    first = run(make(seed=1), 30)
    assert run(make(seed=2), 30) != first
    # The controller, which has served another run, starts anew.
    strategy = make(seed=1)
    assert run(strategy, 30) == first
    assert strategy.controller.traces() == 2


def test_asking_again_changes_nothing():
    undisturbed = run(make(), 8)
    strategy = make()
    for query in undisturbed:
        assert [strategy.ask() for _ in range(3)] == [query.codes] * 3
        strategy.tell(*query)


def test_an_answer_to_another_question_is_refused():
    strategy = make()
    other = tuple((c + 1) % 5 for c in strategy.ask())
    with pytest.raises(ValueError, match="expected the score of"):
        strategy.tell(other, 0.5, 1.0)


def test_a_centre_moves_if_and_only_if_the_network_is_better():
    strategy = make()
    run(strategy, 3)
    best, moves = 0.0, 0
    for _ in range(60):
        before = strategy.centres
        strategy.ask()
        slot = strategy._pending.slot
        (query,) = run(strategy, 1)
        expected = list(before)
        if query.score > before[slot].score:
            expected[slot] = query
            moves += 1
        assert strategy.centres == tuple(expected)
        assert strategy.best()[1] >= best
        best = strategy.best()[1]
        assert best == max(c.score for c in strategy.centres)
    assert 0 < moves < 60


def test_rewards_are_what_is_better_than_the_centre_less_their_mean(
    monkeypatch,
):
    strategy = make()
    watch = Watch(strategy, monkeypatch)
    run(strategy, 3)
    expected, mean = [], None
    for _ in range(20):
        centres = strategy.centres
        strategy.ask()
        slot = strategy._pending.slot
        (query,) = run(strategy, 1)
        gain = 100 * query.score - 100 * centres[slot].score
        mean = gain if mean is None else 0.9 * mean + 0.1 * gain
        expected.append(gain - mean)
        seen = strategy.controller.features(
            [c.codes for c in centres], [100 * c.score for c in centres]
        )
        np.testing.assert_array_equal(watch.features[-1], seen)
    np.testing.assert_allclose(watch.rewards, expected, rtol=1e-6)
    assert watch.rewards[0] == 0.0
    assert set(watch.entropy_weights) == {5.049559768158195e-4}


def test_killed_at_any_query_it_ends_the_same():
    options = {"no_repeats": True, "proposals": 16}
    undisturbed = run(make(**options), 12)
    for kill in range(12):
        first = make(**options)
        begun = run(first, kill)
        state = json.loads(json.dumps(first.state()))
        saved = [v.numpy() for v in first.variables()["controller"]]
        again = make(**options)
        for variable, value in zip(
            again.variables()["controller"], saved, strict=True
        ):
            variable.assign(value)
        again.restore(state)
        assert begun + run(again, 12 - kill) == undisturbed
        assert again.updates == 9


def test_centres_can_be_given_and_are_an_own_copy():
    first = make(seed=1)
    run(first, 20)
    given, final = [list(q.codes) for q in first.centres], first.centres
    plus = make(seed=2, initial=given)
    queries = run(plus, 20)
    assert [q.codes for q in queries[:3]] == [tuple(codes) for codes in given]
    assert first.centres == final
    assert given == [list(q.codes) for q in final]


def test_random_centres_fill_up_the_given():
    given = (4, 4, 4, 4, 4, 4)
    centres = [run(make(s, initial=[given]), 3) for s in range(2)]
    assert centres[0][0].codes == centres[1][0].codes == given
    assert centres[0][1:] != centres[1][1:]
    with pytest.raises(ConfigError, match="3 centres.*Received: 4"):
        make(initial=[given] * 4)


def test_no_centre_moves_beyond_a_hard_limit():
    strategy = make(max_cost=9.0)
    queries = run(strategy, 80)
    assert all(q.cost <= 9 for q in queries[:3])
    assert any(q.cost > 9 for q in queries)
    assert all(q.cost <= 9 for q in strategy.centres)
    fitting = max((q for q in queries if q.cost <= 9), key=lambda q: q.score)
    assert strategy.best() == (fitting.codes, fitting.score)


def test_the_first_that_fits_takes_the_place_of_a_given_that_does_not():
    dear = (4, 4, 4, 4, 4, 4)
    strategy = make(initial=[dear] * 3, max_cost=16.0)
    answers = iter([0.9] * 3 + [0.5 - 0.01 * i for i in range(40)])
    moved = set()
    for _ in range(43):
        codes = strategy.ask()
        pending, before = strategy._pending, strategy.centres
        strategy.tell(codes, next(answers), cost(codes))
        if pending is not None and strategy.centres != before:
            assert before[pending.slot].codes == dear  # answers only fall
            assert cost(codes) <= 16
            moved.add(pending.slot)
    assert moved == {0, 1, 2}
    assert strategy.best()[1] <= 0.5


def test_a_limit_that_nothing_meets_is_refused():
    with pytest.raises(InfeasibleBudget, match=r"range 0\.\.24.*Received: -1"):
        make(max_cost=-1.0)


class Folded(toy_codes.ToyCodes):
    """Codes 3 and 4 compute the same."""

    def equivalence(self, codes):
        return tuple(min(c, 3) for c in codes)


def test_nothing_that_computes_the_same_is_asked_twice(monkeypatch):
    monkeypatch.setattr(Controller, "update", lambda *args: {})
    space = Folded(np.ones((6, 5)))
    strategy = make(space=space, no_repeats=True)
    keys = [space.equivalence(q.codes) for q in run(strategy, 100)]
    assert len(set(keys[3:])) == 97
    assert not set(keys[:3]) & set(keys[3:])
    plain = [q.codes for q in run(make(space=space), 200)]
    assert len(set(map(space.equivalence, plain))) < 200


def test_an_exhausted_space_does_not_stop_it(monkeypatch):
    monkeypatch.setattr(Controller, "update", lambda *args: {})
    space = toy_codes.plain(6, 1)
    strategy = make(space=space, no_repeats=True)
    assert len(ask_and_tell(strategy, 5, lambda codes: 0.5, cost)) == 5


def test_a_value_model_finds_good_networks_sooner():
    best = {}
    for proposals in (1, 16):
        best[proposals] = []
        for seed in range(4):
            strategy = make(seed, no_repeats=True, proposals=proposals)
            run(strategy, 40)
            best[proposals].append(strategy.best()[1])
    assert np.mean(best[16]) > np.mean(best[1]) + 0.01


def test_spaces_with_masks_and_two_alphabets_are_searched_legally(
    monkeypatch,
):
    monkeypatch.setattr(Controller, "update", lambda *args: {})
    space = toy_codes.mixed()
    strategy = make(space=space)
    for query in ask_and_tell(strategy, 40, lambda codes: 0.1 * codes[0], cost):
        assert all(space.legal[np.arange(5), query.codes])
    assert strategy.best()[1] == pytest.approx(0.2)


def test_a_wrong_option_is_named():
    with pytest.raises(ConfigError, match="`proposals`.*proposals=0"):
        Options(proposals=0)


def test_variables_hold_all_that_an_update_changes():
    strategy = make()
    run(strategy, 3)
    before = [v.numpy() for v in strategy.variables()["controller"]]
    run(strategy, 2)
    after = [v.numpy() for v in strategy.variables()["controller"]]
    assert len(after) == 3
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_every_so_often_the_policy_has_its_own_way():
    strategy = make(no_repeats=True, proposals=16, policy_every=3)
    run(strategy, 20)
    own = []
    for _ in range(12):
        strategy.ask()
        proposal, features = strategy._pending, strategy._pending.features
        drawn = strategy.controller.sample(
            features, strategy.seed, strategy.updates * ase_nas._ATTEMPTS
        )
        new = [
            actions for actions in drawn
            if not strategy._is_repeat(strategy._edit(features, actions).codes)
        ]
        own.append(np.array_equal(proposal.actions, new[0]))
        run(strategy, 1)
    assert all(own[1::3])  # updates 18, 21, ...
    assert not all(own)


def write_run(folder, algorithm="ase_nas", space="toy", done=True):
    """Writes what a search leaves: a result and two checkpoints."""
    header = {"algorithm": algorithm, "space": space}
    if done:
        SearchResult(header, [], [], []).save(folder / "result.json")
    for unit in (9, 10):
        centres = [[[unit % 5] * 6, 0.5, 1.0], [[3] * 6, 0.6, 2.0]]
        state = {"work": {"searched": {"strategy": {"centres": centres}}}}
        Checkpoints(folder / "checkpoints", {}).save(unit, state)


def test_final_centres_of_a_run_are_read(tmp_path):
    write_run(tmp_path)
    centres = ase_nas.final_centres(tmp_path, SPACE)
    assert centres == [(0,) * 6, (3,) * 6]


def test_only_a_finished_run_in_the_same_space_hands_centres_on(tmp_path):
    write_run(tmp_path / "a", space="other")
    write_run(tmp_path / "b", algorithm="evolution")
    write_run(tmp_path / "c", done=False)
    for name, message in (("a", "of other"), ("b", "by evolution")):
        with pytest.raises(ConfigError, match=f"{name}: .*{message}"):
            ase_nas.final_centres(tmp_path / name, SPACE)
    with pytest.raises(ArtifactError, match=r"result\.json"):
        ase_nas.final_centres(tmp_path / "c", SPACE)


def test_the_published_config_is_the_default():
    search = ase_nas_nasbench201.get_config().search
    published = Options(policy=PolicyOptions(one_hot_width=6))
    assert published.centres == 3 and published.policy.edits == 4
    assert ase_nas.read_options(search) == published
    assert search.queries == published.centres + 200


def test_a_config_can_give_the_centres(tmp_path):
    space, search = NasBench201Space(), ase_nas_nasbench201.get_config().search
    write_run(tmp_path, space="nasbench201")
    search.initial = ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",)
    search.transfer = str(tmp_path)
    strategy = ase_nas.make(space, Limit(space, cost), search, seed=0)
    queries = run(strategy, 3)
    assert [q.codes for q in queries] == [(0,) * 6, (0,) * 6, (3,) * 6]


def test_the_value_model_passes_over_what_is_beyond_the_limit():
    strategy = make(proposals=16, policy_every=3, max_cost=9.0)
    queries = run(strategy, 63)[3:]
    own = [q.cost > 9 for q in queries[::3]]
    chosen = [q.cost > 9 for i, q in enumerate(queries) if i % 3]
    assert any(own) and not any(chosen)
