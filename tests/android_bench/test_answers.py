"""Wrong answers of a phone are named: zeros, not finite, far off."""

import numpy as np
import pytest

from android_bench.answers import compare


@pytest.fixture
def here():
    return np.random.default_rng(0).standard_normal((1, 40)).astype("float32")


def test_the_same_is_right(here):
    assert compare([here], [here.copy()]) == (0.0, [])
    zeros = np.zeros_like(here)
    assert compare([zeros], [zeros]) == (0.0, [])


def test_rounding_is_right(here):
    error, problems = compare([here], [here * (1 + 1e-3)])
    assert problems == []
    assert 0 < error < 2e-3
    steps = np.arange(40, dtype=np.int8)[None]
    assert compare([steps], [steps + 1]) == (0.0, [])


def test_zeros_are_named(here):
    _, problems = compare([here], [np.zeros_like(here)])
    assert problems == ["output 0 is all zeros"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(here, value):
    there = here.copy()
    there[0, 3] = value
    error, problems = compare([here, here], [here, there])
    assert error == np.inf
    assert problems == ["output 1 is not finite in 1 of 40 places"]


def test_other_answers_are_named(here):
    error, problems = compare([here], [here[:, ::-1]])
    assert error > 0.5
    assert problems == ["output 0 is off by more than 10% of its spread"]


def test_the_error_is_that_of_the_formula(here):
    noise = np.random.default_rng(1).standard_normal(here.shape) * 0.5
    error, problems = compare([here], [here + noise])
    expected = np.sqrt(np.mean(noise**2)) / np.std(here.astype(float))
    assert error == pytest.approx(expected, rel=1e-5)
    assert problems


def test_nothing_can_be_said_where_this_machine_has_no_figures(here):
    nan = np.full_like(here, np.nan)
    _, problems = compare([nan], [here])
    assert problems == ["output 0 is not finite on this machine"]
