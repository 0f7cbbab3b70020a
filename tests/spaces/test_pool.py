"""A pool answers for what it holds, and knows what is near."""

import numpy as np
import pytest

from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces.pool import Pool

SPACE = spaces.get("nasbench_macro")
RNG = np.random.default_rng(0)
MEMBERS = sorted({SPACE.sample_codes(RNG) for _ in range(60)})


@pytest.fixture(scope="module")
def pool():
    return Pool(SPACE, MEMBERS[::-1])


def distance(a, b):
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_members_are_what_it_was_made_of(pool):
    assert pool.members() == MEMBERS
    assert pool.name == SPACE.name


def test_draws_are_members_all_equally_likely(pool):
    rng = np.random.default_rng(1)
    drawn = [pool.sample_codes(rng) for _ in range(6000)]
    counts = [drawn.count(codes) for codes in MEMBERS]
    assert sum(counts) == 6000
    assert min(counts) > 50 and max(counts) < 160


def test_any_codes_stand_for_the_nearest_member(pool):
    for seed in range(50):
        codes = SPACE.sample_codes(np.random.default_rng([9, seed]))
        found = pool.canonical(codes)
        nearest = min(distance(codes, member) for member in MEMBERS)
        assert distance(codes, found) == nearest
    assert [pool.canonical(codes) for codes in MEMBERS] == MEMBERS


def test_neighbours_are_the_nearest_others(pool):
    for codes in MEMBERS:
        near = pool.neighbors(codes)
        others = sorted(distance(codes, m) for m in MEMBERS if m != codes)
        assert codes not in near and len(near) >= 8
        last = max(distance(codes, member) for member in near)
        assert last == others[7]
        assert len(near) == sum(d <= last for d in others)


def test_edits_lead_to_another_member(pool):
    codes = MEMBERS[10]
    assert pool.edited(codes, []) in pool.neighbors(codes)
    other = MEMBERS[40]
    assert pool.edited(codes, list(enumerate(other))) == other


def test_only_members_are_contained(pool):
    outside = next(c for c in SPACE.members() if c not in set(MEMBERS))
    assert pool.contains(SPACE.from_codes(MEMBERS[3]))
    assert not pool.contains(SPACE.from_codes(outside))
    with pytest.raises(ArtifactError, match="holds 6. networks|holds 5. netw"):
        pool.from_codes(outside)


def test_a_pool_of_one_is_no_trap():
    pool = Pool(SPACE, MEMBERS[:1])
    assert pool.neighbors(MEMBERS[0]) == []
    assert pool.edited(MEMBERS[0], [(0, 1)]) == MEMBERS[0]


def test_a_pool_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least one network"):
        Pool(SPACE, [])


def test_its_latency_keys_are_those_of_the_space(pool):
    assert pool.lut_keys() == SPACE.lut_keys()
