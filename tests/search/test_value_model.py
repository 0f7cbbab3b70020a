"""The value model: what it knows, how sure it is, what it generalises."""

import numpy as np
import pytest

from tests.search import toy_codes
from tfnas.search.value_model import ValueModel

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
