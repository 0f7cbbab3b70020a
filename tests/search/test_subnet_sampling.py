"""The subnets of a step depend on the step, and are those of the phase."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from tfnas import spaces
from tfnas.errors import ConfigError
from tfnas.search.subnet_sampling import Choices
from tfnas.search.subnet_sampling import SubnetSampler

SPACE = spaces.get("mobilenetv3")
SIDES = spaces.get("mobilenetv3_resolution")
ALL = Choices((3, 5, 7), (3, 4, 6), (2, 3, 4))
SOME = Choices((5, 7), (6,), (3, 4))


def draw(space, choices, steps, subnets=1, sandwich=False, seed=0, salt=0):
    """Codes of all steps, `(steps, subnets, length)`, from one trace."""
    sampler = SubnetSampler(space, choices, subnets, sandwich, seed, salt)
    traced = tf.function(sampler)
    codes = [traced(tf.constant(s, tf.int64)).numpy() for s in range(steps)]
    assert traced.experimental_get_tracing_count() == 1
    return np.array(codes)


@pytest.mark.parametrize("space", [SPACE, SIDES])
def test_subnets_are_canonical_codes_of_the_space(space):
    for codes in draw(space, ALL, 50, 2).reshape(100, -1):
        codes = space.check_codes(codes.tolist())
        assert space.canonical(codes) == codes


def test_every_choice_is_as_likely():
    codes = draw(SPACE, ALL, 600)[:, 0].reshape(-1, 5, 4)
    first = collections.Counter(codes[:, :, :2].reshape(-1).tolist())
    assert sorted(first) == list(range(1, 10))
    assert max(first.values()) < 1.15 * min(first.values())
    depths = collections.Counter((codes > 0).sum(2).reshape(-1).tolist())
    assert sorted(depths) == [2, 3, 4]
    assert max(depths.values()) < 1.15 * min(depths.values())
    sides = collections.Counter(draw(SIDES, ALL, 300)[:, 0, 0].tolist())
    assert sorted(sides) == [0, 1, 2, 3, 4]


def test_only_the_choices_of_the_phase_are_drawn():
    codes = draw(SPACE, SOME, 100)[:, 0].reshape(-1, 5, 4)
    assert set(codes[:, :, :3].reshape(-1).tolist()) == {6, 9}
    assert set(codes[:, :, 3].reshape(-1).tolist()) == {0, 6, 9}


def test_step_seed_and_salt_decide():
    one = draw(SPACE, ALL, 5)
    np.testing.assert_array_equal(draw(SPACE, ALL, 5), one)
    for other in (draw(SPACE, ALL, 5, seed=1), draw(SPACE, ALL, 5, salt=1)):
        assert (other != one).any(2).all()
    assert len({tuple(codes) for codes in one[:, 0].tolist()}) == 5


def test_a_sandwich_has_the_largest_and_the_smallest_first():
    codes = draw(SPACE, SOME, 3, subnets=2, sandwich=True)
    assert codes.shape == (3, 4, 20)
    for largest, smallest in codes[:, :2].tolist():
        assert largest == [9] * 20
        assert smallest == [6, 6, 6, 0] * 5
    ends = draw(SIDES, ALL, 1, subnets=0, sandwich=True)[0].tolist()
    assert ends == [[4] + [9] * 20, [0] + [1, 1, 0, 0] * 5]


@pytest.mark.parametrize(
    "field, value", [("kernels", (3, 9)), ("expansions", ()), ("depths", (1,))]
)
def test_choices_that_the_space_has_not_are_named(field, value):
    fields = {**vars(ALL), field: value}
    with pytest.raises(ConfigError, match=rf"`x\.{field}` must be some of"):
        Choices(**fields).check(SPACE, "x")
