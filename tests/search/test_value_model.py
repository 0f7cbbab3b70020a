"""The value model: what it knows, how sure it is, what it generalises."""

import numpy as np
import pytest

from tests.search import toy_codes
from tfnas.search.value_model import ValueModel
from tfnas.search.value_model import WeakPredictor

SPACE = toy_codes.plain()
RNG = np.random.default_rng(5)
TABLE, PAIRS = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 5, 6, 5)) * 0.3
ROWS = np.arange(6)


def score(codes):
    pairs = PAIRS[ROWS, codes][:, ROWS, codes].sum()
    return float(TABLE[ROWS, codes].sum() + pairs)


def draw(number, seed):
    rng = np.random.default_rng(seed)
    return [SPACE.sample_codes(rng) for _ in range(number)]


def ranks(values):
    return np.argsort(np.argsort(values))


def rank_correlation(a, b):
    return np.corrcoef(ranks(a), ranks(b))[0, 1]


def test_it_generalises_from_few_networks():
    known, unknown = draw(150, 0), draw(500, 1)
    model = ValueModel(SPACE, known, [score(c) for c in known])
    mean, _ = model.forecast(unknown)
    assert rank_correlation(mean, [score(c) for c in unknown]) > 0.85


def test_it_is_surer_of_what_is_near_to_what_it_has_seen():
    known = [(0,) * 6, (1,) * 6, (0, 0, 0, 1, 1, 1), (2, 1, 0, 0, 1, 2)]
    model = ValueModel(SPACE, known, [0.1, 0.9, 0.5, 0.3])
    _, deviation = model.forecast(
        [(0,) * 6, (0, 0, 0, 0, 0, 3), (0, 0, 0, 3, 3, 3), (3,) * 6]
    )
    assert (np.diff(deviation) > 0).all()
    assert deviation[0] < 0.4 and deviation[-1] <= 1


def test_only_the_order_of_scores_counts():
    known, unknown = draw(40, 0), draw(20, 1)
    scores = np.array([score(c) for c in known])
    plain = ValueModel(SPACE, known, scores).forecast(unknown)
    bent = ValueModel(SPACE, known, np.exp(3 * scores)).forecast(unknown)
    np.testing.assert_array_equal(plain, bent)


def test_the_order_of_networks_does_not_count():
    known, unknown = draw(40, 0), draw(20, 1)
    scores = [score(c) for c in known]
    plain = ValueModel(SPACE, known, scores).forecast(unknown)
    turned = ValueModel(SPACE, known[::-1], scores[::-1]).forecast(unknown)
    np.testing.assert_allclose(plain, turned, atol=1e-8)


@pytest.mark.parametrize("number", [1, 3])
def test_equal_scores_forecast_nothing(number):
    model = ValueModel(SPACE, draw(number, 0), [0.5] * number)
    mean, deviation = model.forecast(draw(5, 1))
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    assert np.isfinite(deviation).all()


def test_a_network_may_be_told_twice():
    model = ValueModel(SPACE, [(0,) * 6, (0,) * 6, (1,) * 6], [0.2, 0.2, 0.8])
    mean, _ = model.forecast([(0,) * 6, (1,) * 6])
    assert mean[0] < 0 < mean[1]


def test_weak_predictors_rank_candidates_in_any_order():
    known, others = draw(40, 0), draw(200, 1)
    model = WeakPredictor(SPACE)
    scores = [score(c) for c in known]
    found = model.forecast(known, scores, others)
    assert rank_correlation(found.mean, [score(c) for c in others]) > 0.6
    turned = model.forecast(known[::-1], scores[::-1], others[::-1])
    np.testing.assert_allclose(turned.mean[::-1], found.mean, atol=1e-6)
    np.testing.assert_allclose(
        turned.deviation[::-1], found.deviation, atol=1e-6
    )


def test_weak_predictors_are_surer_of_what_they_have_seen():
    known, others = draw(30, 0), draw(100, 1)
    scores = [score(c) for c in known]
    found = WeakPredictor(SPACE).forecast(known, scores, [*known, *others])
    np.testing.assert_allclose(found.mean[:30], found.known, atol=1e-8)
    assert found.deviation[:30].max() < np.median(found.deviation[30:])


def test_weak_predictors_take_part_of_a_score_for_noise():
    known = draw(60, 0)
    noise = np.random.default_rng(0).normal(0, 2.0, len(known))
    true = np.array([score(c) for c in known])
    found = WeakPredictor(SPACE).forecast(known, true + noise, known[:1])
    assert rank_correlation(found.known, true) > rank_correlation(
        true + noise, true
    )


def test_a_feature_that_says_nothing_changes_nothing():
    known, others = draw(20, 0), draw(30, 1)
    scores = [score(c) for c in known]
    plain = WeakPredictor(SPACE).forecast(known, scores, others)
    constant = WeakPredictor(SPACE, lambda codes: (3.0,))
    found = constant.forecast(known, scores, others)
    np.testing.assert_allclose(found.mean, plain.mean)
