"""Which images go where."""

import numpy as np
import pytest

from tfnas import data
from tfnas.data import split
from tfnas.errors import ConfigError


def test_search_splits_share_no_image_and_take_80_percent_of_every_class():
    digits = data.load({"name": "digits"})
    weights, arch = digits.search_splits(fraction=0.8, seed=3)
    together = np.concatenate([weights.indices, arch.indices])
    assert sorted(together) == list(range(len(digits.train)))
    for label in range(10):
        total = np.sum(digits.train.labels == label)
        part = np.sum(weights.labels[weights.indices] == label)
        assert part == total * 8 // 10


def test_search_splits_depend_on_the_seed_only():
    digits = data.load({"name": "digits"})
    first, again, other = (
        digits.search_splits(0.8, seed)[0].indices for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_split_that_would_lose_a_class_is_refused():
    with pytest.raises(ConfigError, match=r"label 1 has 1 image\(s\)"):
        split.split_by_class(np.array([0, 0, 0, 0, 1]), 0.8, seed=0)


def test_limit_takes_equally_many_of_every_class_even_from_sorted_labels():
    labels = np.repeat([0, 1, 2], 10)
    picks = split.select(labels, np.arange(3), 7)
    assert picks.tolist() == [0, 1, 2, 10, 11, 20, 21]


def test_limit_beyond_the_set_takes_all_of_it():
    labels = np.array([0, 1, 1])
    assert split.select(labels, np.arange(2), 99).tolist() == [0, 1, 2]


def test_classes_are_the_first_ones_or_a_seeded_choice():
    assert split.choose_classes(5, 3, None).tolist() == [0, 1, 2]
    drawn = split.choose_classes(100, 10, class_seed=0)
    assert len(set(drawn)) == 10 and sorted(drawn) == drawn.tolist()
    assert not np.array_equal(drawn, split.choose_classes(100, 10, 1))


@pytest.mark.parametrize("classes", [1, 6])
def test_impossible_number_of_classes_is_refused(classes):
    with pytest.raises(ConfigError, match=f"between 2 and 5.*={classes}"):
        split.choose_classes(5, classes, None)
