"""Rows of runtime operators add up to networks, in every space."""

import numpy as np
import pytest

from tests import chain_nets
from tests.cost.lut_tables import HEADER
from tests.cost.lut_tables import make_table
from tests.cost.test_lattice import path_cost
from tfnas import ops
from tfnas import spaces
from tfnas.cost import cell_costs
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lut import Calibration
from tfnas.errors import LutMiss
from tfnas.lowering import networks
from tfnas.lowering.operator import is_operator_key

FIT = Calibration(1.1, 0.3, 1.0, "x", 8)
SPACES = [
    "densenas_mbv2@32", "densenas_resnet@32", "mobilenetv3@32",
    "autospace_proxyless@32", "proxyless_mbconv@32", "autoshrink_cnn@32",
]


def operator_table(space, dtype="int8", lowering="xnnpack", **changes):
    """A made-up table of all runtime operators of a space."""
    header = {
        **HEADER, "entries": "operators",
        "runtime": {
            **HEADER["runtime"], "dtype": dtype, "lowering": lowering
        },
    }
    keys = networks.space_operator_keys(space, dtype, lowering)
    return make_table(keys, header=header, calibration=FIT, **changes)


def block_table(space):
    return make_table(space.lut_keys(), calibration=FIT)


BORDER = ("mobilenetv3@32", operator_table)


@pytest.mark.parametrize("make", [block_table, operator_table])
@pytest.mark.parametrize("name", SPACES)
def test_prices_of_blocks_add_up_to_the_networks(name, make):
    space = spaces.get(name)
    table = make(space)
    # The factor of a hard swish at the end of a block goes into the next.
    near = {"rel": 0.02} if (name, make) == BORDER else {}
    for seed in range(3):
        arch = space.sample(seed)
        prices = [
            table.block_ms(block, shape)
            for block, shape in zip(
                arch.blocks, ops.shapes(arch), strict=False
            )
        ]
        assert sum(prices) + table.bias_ms == pytest.approx(
            table.latency_ms(arch), **near
        )


@pytest.mark.parametrize("lowering", ["xnnpack", "none"])
def test_networks_that_fuse_their_blocks_are_sums_of_operators(lowering):
    space = spaces.get("nasbench201")
    assert space.entries == "operators"
    table = operator_table(space, "int8", lowering)
    table.require_space(space)
    assert table.coverage(space).missing == ()
    for seed in range(5):
        arch = space.sample(seed)
        keys = networks.operator_keys(arch, "int8", lowering)
        assert all(map(is_operator_key, keys))
        assert table.keys_of(arch) == keys
        expected = sum(table.rows[key].latency_ms for key in keys)
        assert table.latency_ms(arch) == pytest.approx(1.1 * expected + 0.3)


def test_costs_of_a_dense_space_are_linear_in_the_choices():
    space = spaces.get("densenas_mbv2@32")
    table = operator_table(space)
    costs = LatticeCosts.from_table(space, table)
    for seed in range(3):
        arch = space.sample(seed)
        assert path_cost(space, costs, arch) == pytest.approx(
            table.latency_ms(arch)
        )


def test_costs_of_a_chain_are_linear_in_the_choices():
    space = chain_nets.candidate_space()
    table = operator_table(space)
    costs = LatticeCosts.from_table(space, table)
    for seed in range(5):
        arch = space.sample(seed)
        assert costs.cost(space.route(arch)) == pytest.approx(
            table.latency_ms(arch)
        )


def test_cells_are_priced_by_their_own_operators():
    space = chain_nets.cell_space()
    table = operator_table(space)
    costs = cell_costs.from_table(space, table)
    known = 0
    for seed in range(20):
        arch = space.sample(seed)
        if not table.missing(arch):
            known += 1
            assert costs.total(space.to_cells(arch)) == pytest.approx(
                table.latency_ms(arch)
            )
    assert known > 5


def test_a_network_whose_operators_are_missing_is_refused_with_all():
    space = spaces.get("nasbench201")
    whole = operator_table(space)
    arch = space.sample(0)
    keys = list(dict.fromkeys(whole.keys_of(arch)))
    gone = keys[:2]
    rows = {k: row for k, row in whole.rows.items() if k not in gone}
    table = make_table([], header=whole.header, rows=rows)
    with pytest.raises(LutMiss) as caught:
        table.latency_ms(arch)
    assert sorted(caught.value.keys) == sorted(gone)
    assert np.isin(gone, table.coverage(space).missing).all()
