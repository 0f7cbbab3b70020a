"""Costs of candidates and of cells add up to those of networks."""

import numpy as np
import pytest

from tests import chain_nets
from tests.cost.lut_tables import make_table
from tfnas import ops
from tfnas.cost import cell_costs
from tfnas.cost.counting import count
from tfnas.cost.expected import ExpectedCost
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lut import Calibration
from tfnas.cost.lut import LutRow
from tfnas.errors import LutMiss
from tfnas.ops.cell import Cell
from tfnas.spaces import cells

FIT = Calibration(1.1, 0.3, 1.0, "candidates", 5)


def test_multiply_adds_of_candidates_add_up():
    space = chain_nets.candidate_space()
    costs = LatticeCosts.from_madds(space)
    for seed in range(10):
        arch = space.sample(seed)
        expected = count(arch).madds / 1e6
        assert costs.cost(space.route(arch)) == pytest.approx(expected)


def test_latencies_of_candidates_add_up_to_the_tables():
    space = chain_nets.candidate_space()
    table = make_table(space.lut_keys(), calibration=FIT)
    costs = LatticeCosts.from_table(space, table)
    for seed in range(10):
        arch = space.sample(seed)
        expected = table.latency_ms(arch)
        assert costs.cost(space.route(arch)) == pytest.approx(expected)
    assert costs.unit == "ms"


def test_reachable_costs_are_those_of_all_networks():
    space = chain_nets.candidate_space()
    costs = LatticeCosts.from_madds(space)
    every = [
        costs.cost(tuple(enumerate((0, *codes, 0))))
        for codes in np.ndindex(*[row.sum() for row in space.legal])
    ]
    assert costs.reachable() == pytest.approx((min(every), max(every)))
    (table,) = ExpectedCost(costs, [range(1, len(space.legal) + 1)]).tables
    assert table.shape == space.legal.shape
    assert (table[~space.legal] == 0).all()


def test_a_table_that_misses_keys_is_refused_with_all_of_them():
    for space, make in (
        (chain_nets.candidate_space(), LatticeCosts.from_table),
        (chain_nets.cell_space(), cell_costs.from_table),
    ):
        keys = space.lut_keys()
        with pytest.raises(LutMiss) as caught:
            make(space, make_table(keys[2:-1]))
        assert caught.value.keys == (*keys[:2], keys[-1])


@pytest.mark.parametrize("fused", [True, False])
def test_counts_of_cells_add_up(fused):
    space = chain_nets.cell_space()
    madds, params = (
        make(space, fused)
        for make in (cell_costs.from_madds, cell_costs.from_params)
    )
    for seed in range(5):
        arch = space.sample(seed)
        chosen = space.to_cells(arch)
        if not fused:
            arch = space.whole(
                [space.block(p, chosen[p.position]) for p in space.spec.places],
                None,
            )
        counts = count(arch)
        assert madds.total(chosen) == pytest.approx(counts.madds / 1e6)
        assert params.total(chosen) == pytest.approx(counts.params / 1e6)


def additive_table(space):
    """A table in which every part of a cell takes its own time."""
    rows = {}
    for block, shape in space.blocks():
        key, ms = ops.lut_key(block, shape), 0.05
        if block.op == "cell":
            ms = latency_of_parts(block, shape)
        rows[key] = LutRow(ms, 0.01, 25)
    return make_table([], rows=rows, calibration=FIT)


def latency_of_parts(block, shape):
    """What the parts of a fused cell take, whatever their company."""
    cell = Cell.parse(block.attrs["cell"])
    side = shape[0] / 8 * block.attrs["e"]
    ms = 0.10
    if block.stride > 1 and 2 in (cell.e01, cell.e02):
        ms += 0.004  # one pool serves both edges
    for node in (1, 2, 3):
        for source, code in cell.inputs(node):
            strided = block.stride > 1 and source == 0
            ms += {2: 0.0, 3: 0.03, 5: 0.02, 7: 0.04, 9: 0.07}[code] * (
                0.6 if strided else 1.0
            )
        joined = len(cell.inputs(node)) - 1
        ms += joined * (0.009 if cell.mix(node) else 0.005)
    return ms * side


def test_latencies_of_all_cells_follow_from_the_basis():
    space = chain_nets.cell_space()
    costs = cell_costs.from_table(space, additive_table(space))
    rng = np.random.default_rng(0)
    for _ in range(200):
        cell = cells.random_cell(rng)
        for position in range(2):
            expected = sum(
                latency_of_parts(space.derived(place, cell), shape)
                for place, shape in zip(
                    space.spec.places, space.shapes, strict=False
                )
                if place.position == position
            )
            found = costs.cost(position, cell)
            assert found == pytest.approx(FIT.scale * expected, rel=1e-6)
    fixed = costs.of([[cell], [cell]]).fixed
    assert fixed == pytest.approx(FIT.bias_ms + 4 * FIT.scale * 0.05)
    assert costs.unit == "ms"
