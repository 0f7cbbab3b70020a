"""Cells are read in all their forms, vary by one field, and fuse once."""

import itertools

import numpy as np
import pytest

from tfnas.errors import ArtifactError
from tfnas.ops.cell import Cell
from tfnas.spaces import cells
from tfnas.spaces.autospace_files import read_space
from tfnas.spaces.autospace_specs import CHAINS

EXAMPLE = "[[0,0,0,1],[2,0,0,[0,1]],[5,5,0,0],[1,2,5,0]]"  # of the release
PARTS = {
    "e01": {2, 3, 5}, "e02": {1, 2, 3, 5}, "e12": {2, 3, 5}, "e03": {1},
    "e13": {1, 2, 3, 5}, "e23": {2, 3, 5}, "mix2": {0, 1}, "mix3": {0, 1},
    "dim": {0, 1, 2},
}


def released():
    spec, path = CHAINS[""]
    return [c for row in read_space(path, spec.places).positions for c in row]


def follows_the_rules(cell):
    """The validity rules of the release, for cells before fusion."""
    edges = [cell.e01, cell.e02, cell.e12, cell.e03, cell.e13, cell.e23]
    return all(getattr(cell, k) in v for k, v in PARTS.items()) and not (
        cell.dim == 2 and 3 in edges
    )


def all_cells():
    names = list(PARTS)
    for values in itertools.product(*PARTS.values()):
        cell = Cell(**dict(zip(names, values, strict=True)))
        if follows_the_rules(cell):
            yield cell


def test_the_published_example_reads_as_the_paper_says():
    cell = cells.decode(EXAMPLE)
    assert cell == Cell(
        dim=1, mix2=0, mix3=1, e01=2, e02=5, e12=5, e03=1, e13=2, e23=5
    )
    assert str(cell) == "1.0.1.2.5.5.1.2.5"


def test_every_released_cell_is_valid_and_reads_back_from_every_form():
    found = released()
    assert len(found) == 99
    for cell in found:
        assert follows_the_rules(cell) and cells.is_valid(cell)
        matrix = cells.to_matrix(cell)
        forms = (list(cell.codes), str(cell), matrix, str(matrix))
        assert {cells.decode(form) for form in forms} == {cell}


@pytest.mark.parametrize(
    "value, problem",
    [
        ([2, 0, 0, 5, 1, 5, 1, 1], "nine codes|9 codes"),
        ([3, 0, 0, 5, 1, 5, 1, 1, 5], "dim=3"),
        ([2, 2, 0, 5, 1, 5, 1, 1, 5], "mix2=2"),
        ([2, 0, 0, 1, 1, 5, 1, 1, 5], "e01=1"),
        ([2, 0, 0, 5, 4, 5, 1, 1, 5], "e02=4"),
        ([2, 0, 0, 5, 1, 5, 5, 1, 5], "e03=5"),
        ([2, 0, 0, 5, 1, 5, 1, 0, 5], "e13=0"),
        ([2, 0, 0, 5, 1, 5, 1, 1, True], "e23=True"),
        ("2.0.0.5.1.5.1.1.x", "e23='x'"),
        ("2.0.0.5.1.5.1.1.-5", "e23='-5'"),
        ("[[0,0,0,1]", "expected a matrix"),
        ("[[0,0,0,1],[2,0,0,0],[5,5,0,0],[1,2,5,0]]", "expected a matrix"),
        ("[[0,0,0,1],[2,0,9,[0,1]],[5,5,0,0],[1,2,5,0]]", "expected a matrix"),
        ([[0, 0, 0, 1], [4, 0, 0, [0, 1]], [5, 5, 0, 0], [1, 2, 5, 0]], "e01"),
        (None, "expected a list"),
    ],
)
def test_what_is_no_cell_is_refused_with_its_place(value, problem):
    with pytest.raises(ArtifactError, match=f"^somewhere: .*({problem})"):
        cells.decode(value, "somewhere")


def test_ten_thousand_mutations_change_one_field_and_stay_valid():
    rng = np.random.default_rng(0)
    sites, cell = {}, cells.REFERENCES["ref7"]
    for _ in range(10_000):
        child = cells.mutate(cell, rng)
        assert follows_the_rules(child)
        changed = [k for k in PARTS if getattr(child, k) != getattr(cell, k)]
        assert len(changed) == 1
        sites[changed[0]] = sites.get(changed[0], 0) + 1
        if changed == ["dim"]:
            assert abs(child.dim - cell.dim) == 1
        cell = child
    assert set(sites) == set(PARTS) - {"e03"}
    # The walk is free to go anywhere, so no site is rare.
    assert min(sites.values()) > 500


def test_random_cells_reach_the_whole_space():
    everything = set(all_cells())
    assert len(everything) == 3744
    rng = np.random.default_rng(0)
    drawn = [cells.random_cell(rng) for _ in range(4000)]
    assert set(drawn) <= everything
    assert len(set(drawn)) > 2000


def test_crossover_takes_every_field_from_a_parent():
    rng = np.random.default_rng(0)
    for _ in range(500):
        a, b = cells.random_cell(rng), cells.random_cell(rng)
        child = cells.crossover(a, b, rng)
        assert follows_the_rules(child)
        for name in PARTS:
            parents = {getattr(a, name), getattr(b, name)}
            repaired = child.dim == 2 and getattr(child, name) == 5
            assert getattr(child, name) in parents or repaired


@pytest.mark.parametrize(
    "before, after",
    [
        ("2.0.0.5.1.5.1.1.5", "2.0.0.9.1.2.1.1.2"),  # a chain of three
        ("2.0.0.5.1.5.1.1.2", "2.0.0.7.1.2.1.1.2"),
        ("2.0.0.5.1.2.1.1.2", "2.0.0.5.1.2.1.1.2"),
        ("2.0.0.5.5.5.1.2.5", "2.0.0.7.5.2.1.2.5"),  # released block 13
        ("2.0.0.5.5.5.1.5.2", "2.0.0.7.5.2.1.5.2"),  # released block 17
        ("1.0.0.2.5.5.1.2.5", "1.0.0.2.5.5.1.2.5"),  # released block 10
        ("2.0.0.5.1.5.1.2.5", "2.0.0.7.1.2.1.2.5"),  # no chain: 7, not 9
    ],
)
def test_stacked_depthwise_convolutions_fuse_as_in_the_release(before, after):
    assert str(cells.fuse(Cell.parse(before))) == after


def test_fusion_is_done_after_once_and_can_be_undone():
    for cell in all_cells():
        fused = cells.fuse(cell)
        assert cells.fuse(fused) == fused
        assert cells.unfuse(fused) == cell


def test_a_fused_cell_of_another_origin_stays_as_it_is():
    for text in ("2.0.0.7.1.5.1.1.2", "2.0.0.9.5.2.1.1.2"):
        assert cells.unfuse(Cell.parse(text)) == Cell.parse(text)


def test_keys_forget_what_computes_nothing():
    def key(text):
        return cells.canonical(Cell.parse(text))

    # One input is passed on, whatever the merge.
    assert key("0.1.0.5.1.2.1.5.2") == key("0.0.0.5.1.2.1.5.2")
    assert key("0.0.1.5.5.2.1.1.2") == key("0.0.0.5.5.2.1.1.2")
    assert key("0.1.0.5.5.2.1.1.2") != key("0.0.0.5.5.2.1.1.2")
    assert key("2.0.0.5.1.5.1.1.5") == key("2.0.0.9.1.2.1.1.2")
    # 432 ways of the edges twice and 72 once, each with the merges that
    # count: 1 where a node has one input (a quarter of the codes), else 2.
    ways = [9 * 3, 9 * 3, 8]
    expected = sum(
        w * (1 + 2 * (n - 1)) ** 2
        for w, n in zip(ways, (4, 4, 3), strict=True)
    )
    assert len({cells.canonical(c) for c in all_cells()}) == expected
