"""Spaces of integer codes: legal, canonical, one edit apart, strictly read."""

import numpy as np
import pytest

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.spaces.coded import CodedSpace


class Necklace(CodedSpace):
    """A width, then three beads; turned necklaces are the same."""

    alphabets = (2, 4)
    alphabet_of = np.array([0, 1, 1, 1])
    legal = np.array(
        [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], bool
    )

    def __init__(self):
        super().__init__("necklace", (4, 4, 3), 2)

    def canonical(self, codes):
        first, *beads = codes
        turns = [beads[i:] + beads[:i] for i in range(3)]
        return (first, *min(turns))

    def from_codes(self, codes):
        codes = self.canonical(self.check_codes(codes))
        blocks = [Block("conv", 3, code + 1, attrs={"k": 1}) for code in codes]
        return Arch(tuple(blocks), self.input_shape, 2, self.name)

    def codes(self, arch):
        codes = [block.out_channels - 1 for block in arch.blocks]
        return self.canonical(self.check_codes(codes))

    def blocks(self):
        return iter(())


class Forbidden(Necklace):
    """Beads that cannot be turned, without the bead 0 at the front."""

    legal = Necklace.legal.copy()
    legal[1, 0] = False

    def canonical(self, codes):
        return tuple(codes)


@pytest.fixture
def space():
    return Necklace()


def test_an_architecture_and_its_codes_say_the_same(space):
    arch = space.from_codes([1, 3, 0, 2])
    assert space.codes(arch) == (1, 0, 2, 3)
    assert space.encode(arch) == "1,0,2,3"
    assert space.decode(" 1, 3,0, 2\n") == arch
    assert space.contains(arch)
    assert space.length == 4


def test_equivalent_codes_have_one_key(space):
    assert space.equivalence([0, 1, 2, 3]) == space.equivalence((0, 3, 1, 2))
    assert space.equivalence([0, 1, 2, 3]) != space.equivalence([0, 3, 2, 1])


def test_codes_may_come_from_numpy(space):
    checked = space.check_codes(np.array([1, 0, 2, 3], np.int8))
    assert checked == (1, 0, 2, 3)
    assert {type(code) for code in checked} == {int}


def test_samples_are_repeatable_canonical_and_cover_the_space(space):
    rng = np.random.default_rng(0)
    drawn = {space.sample_codes(rng) for _ in range(3000)}
    assert all(codes == space.canonical(codes) for codes in drawn)
    # 4 necklaces of one colour, and a third of the 60 others; two widths.
    assert len(drawn) == 2 * (4 + 20)
    assert space.sample(3) == space.sample(3)
    assert len({space.sample(seed).id for seed in range(40)}) > 20


def test_illegal_codes_are_never_drawn():
    rng = np.random.default_rng(0)
    space = Forbidden()
    assert all(space.sample_codes(rng)[1] != 0 for _ in range(200))
    assert all(codes[1] != 0 for codes in space.neighbors((0, 1, 0, 0)))


def test_neighbors_are_all_that_one_edit_makes(space):
    near = space.neighbors((0, 0, 0, 1))
    # The other width; one of three beads in one of three other colours.
    by_hand = {(1, 0, 0, 1)} | {
        space.canonical(codes)
        for color in range(4)
        for codes in [(0, color, 0, 1), (0, 0, color, 1), (0, 0, 0, color)]
    }
    assert near == sorted(by_hand - {(0, 0, 0, 1)})


def test_a_random_neighbor_is_any_of_the_neighbors(space):
    arch = space.from_codes([0, 0, 0, 1])
    drawn = {space.random_neighbor(arch, seed).id for seed in range(200)}
    expected = space.neighbors(space.codes(arch))
    assert drawn == {space.from_codes(codes).id for codes in expected}
    assert space.random_neighbor(arch, 7) == space.random_neighbor(arch, 7)


@pytest.mark.parametrize(
    "codes, problem",
    [
        ([0, 0, 0], "has 4 codes. Received: 3 codes"),
        ([0] * 5, "Received: 5 codes"),
        ([2, 0, 0, 0], r"position 0 must be one of \[0, 1\]. Received: 2"),
        ([0, 0, 0, 4], r"position 3 must be one of \[0, 1, 2, 3\]"),
        ([0, -1, 0, 0], "position 1 .* Received: -1"),
        ([0, 1.0, 0, 0], "position 1 .* Received: 1.0"),
        ([True, 0, 0, 0], "position 0 .* Received: True"),
        (["0", 0, 0, 0], "position 0 .* Received: '0'"),
        ([None, 0, 0, 0], "position 0 .* Received: None"),
    ],
)
def test_illegal_codes_are_refused_with_their_position(space, codes, problem):
    with pytest.raises(ArtifactError, match=f"`necklace`.*{problem}"):
        space.from_codes(codes)


def test_codes_forbidden_at_a_position_are_refused():
    with pytest.raises(ArtifactError, match=r"one of \[1, 2, 3\]"):
        Forbidden().check_codes([0, 0, 1, 1])


@pytest.mark.parametrize(
    "text",
    ["", ",", "0,0,0,", "0 0 0 0", "0;0;0;0", "0,0,0,x", "0,0,-1,0", "0,0,²,0",
     "[0,0,0,0]", "0,0,0,0:0", "0,0,0,0000", "1e0,0,0,0", ",".join("0" * 9999)],
)
def test_text_of_another_form_is_refused(space, text):
    with pytest.raises(ArtifactError, match="4 integers joined by commas"):
        space.decode(text)


def test_a_number_of_codes_too_few_is_counted(space):
    with pytest.raises(ArtifactError, match="has 4 codes. Received: 2 codes"):
        space.decode("0,1")


def test_foreign_networks_are_not_contained(space):
    foreign = [
        Arch((Block("classifier", 3, 2),), (4, 4, 3), 2),
        Arch(space.sample(0).blocks, (5, 4, 3), 2),
        Arch(space.sample(0).blocks, (4, 4, 3), 3),
    ]
    for arch in foreign:
        assert not space.contains(arch)
        with pytest.raises(ArtifactError, match="does not contain"):
            space.require(arch)
