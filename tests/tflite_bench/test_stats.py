"""The statistic ignores disturbed rounds and knows its own error."""

import numpy as np
import pytest

from tflite_bench import stats


def test_the_statistic_is_the_tenth_percentile():
    assert stats.latency_ms(range(1, 12)) == 2
    assert stats.latency_ms([5.0]) == 5.0


def test_disturbed_rounds_do_not_move_the_statistic():
    rng = np.random.default_rng(0)
    calm = rng.normal(1.0, 0.005, 40)
    busy = np.where(np.arange(40) % 2, calm, calm * rng.uniform(2, 9, 40))
    assert stats.latency_ms(busy) == pytest.approx(
        stats.latency_ms(calm), rel=0.01
    )


def test_repeatability_compares_even_with_odd_rounds():
    assert stats.repeatability([2.0, 2.0, 2.0, 2.0]) == 0
    assert stats.repeatability([1.0, 1.1] * 10) == pytest.approx(0.1)


def test_a_ratio_holds_while_the_machine_changes_speed():
    rng = np.random.default_rng(1)
    speed = rng.uniform(1, 3, 50)
    first = 2.0 * speed
    second = 3.0 * speed * rng.normal(1, 0.01, 50)
    found = stats.ratio(first, second)
    assert found.low < 1.5 < found.high
    assert found.high - found.low < 0.02
    assert found.value == pytest.approx(1.5, rel=0.01)
