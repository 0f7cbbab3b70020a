"""Limits of the cost: a most, or a band."""

import numpy as np
import pytest

from tests.search import toy_codes
from tfnas.errors import InfeasibleBudget
from tfnas.search.limit import Limit

SPACE = toy_codes.plain(8, 5)


def total(codes):
    return float(sum(codes))


def drawn(limit, number=200):
    rng = np.random.default_rng(0)
    return [limit.sample(rng) for _ in range(number)]


def test_draws_lie_in_the_band():
    limit = Limit(SPACE, total, 15, "ms", 14)
    costs = {total(codes) for codes in drawn(limit)}
    assert costs == {14, 15}


@pytest.mark.parametrize("low, high", [(0, 1), (31, 32)])
def test_a_band_that_is_rare_is_walked_to_from_both_sides(low, high):
    limit = Limit(SPACE, total, high, "ms", low)
    for codes in drawn(limit, 20):
        assert low <= total(codes) <= high


def test_a_band_fits_between_its_ends_only():
    limit = Limit(SPACE, total, 20, "ms", 12)
    for value, codes in (
        (11, (4, 4, 3, 0, 0, 0, 0, 0)), (12, (4, 4, 4, 0, 0, 0, 0, 0)),
        (20, (4, 4, 4, 4, 4, 0, 0, 0)), (21, (4, 4, 4, 4, 4, 1, 0, 0)),
    ):
        assert total(codes) == value
        assert limit.fits(codes) == (12 <= value <= 20)


@pytest.mark.parametrize("low, high", [(-5, -1), (40, 50)])
def test_a_band_out_of_reach_names_the_range(low, high):
    limit = Limit(SPACE, total, high, "ms", low)
    with pytest.raises(InfeasibleBudget) as error:
        limit.check()
    assert "0..32 ms" in str(error.value)
    assert f"Received: {low}..{high} ms" in str(error.value)


def test_a_band_that_no_walk_finds_is_found_in_a_small_space():
    space = toy_codes.plain(6, 4)
    lonely = {(3, 1, 0, 2, 2, 0), (0, 0, 3, 1, 3, 3)}

    def cost(codes):
        return 5.0 if codes in lonely else 9.0 + total(codes) % 2

    limit = Limit(space, cost, 6, "ms", 4)
    assert set(drawn(limit, 40)) == lonely


def test_a_band_between_two_costs_is_given_up():
    limit = Limit(SPACE, total, 14.7, "ms", 14.3)
    with pytest.raises(InfeasibleBudget, match=r"14\.3\.\.14\.7 ms"):
        limit.sample(np.random.default_rng(0))
