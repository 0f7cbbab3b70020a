"""Cells too many to measure each are priced by their parts."""

import dataclasses

import pytest

from tests.cost.lut_tables import make_table
from tfnas import ops
from tfnas import spaces
from tfnas.cost.lut import LutRow
from tfnas.cost.models import TableCost
from tfnas.errors import LutMiss

SPACE = spaces.get("autoshrink_cnn@32").drawn(4, 0)


@pytest.fixture(scope="module")
def table():
    """A made-up table of the parts of the space's cells."""
    return make_table(SPACE.lut_keys())


def test_a_network_costs_the_sum_of_its_parts(table):
    arch = SPACE.sample(1)
    parts = [
        part
        for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False)
        for part in ops.parts(block, shape)
    ]
    assert len(parts) > len(arch.blocks)
    expected = sum(table.rows[ops.lut_key(*p)].latency_ms for p in parts)
    assert TableCost(table).cost(arch) == pytest.approx(expected)
    assert table.missing(arch) == []


def test_a_measured_cell_needs_no_parts(table):
    arch = SPACE.sample(1)
    shapes = ops.shapes(arch)
    block, shape = arch.blocks[1], shapes[1]
    key = ops.lut_key(block, shape)
    rows = {**table.rows, key: LutRow(123.0, 0.01, 25)}
    measured = dataclasses.replace(table, rows=rows)
    parts = sum(
        table.rows[ops.lut_key(*p)].latency_ms
        for p in ops.parts(block, shape)
    )
    assert measured.latency_ms(arch) == pytest.approx(
        table.latency_ms(arch) - parts + 123.0
    )


def test_a_missing_part_is_named_not_the_cell(table):
    arch = SPACE.sample(1)
    rows = dict(table.rows)
    gone = next(key for key in table.keys_of(arch) if ":0-1|" in key)
    del rows[gone]
    with pytest.raises(LutMiss) as error:
        dataclasses.replace(table, rows=rows).latency_ms(arch)
    assert error.value.keys == (gone,)


def test_other_operators_are_their_only_part():
    for name in ("densenas_mbv2@32", "densenas_resnet@32"):
        for block, shape in spaces.get(name).blocks():
            assert ops.parts(block, shape) == [(block, shape)]
