"""Spaces say what they hold, in figures and on one screen."""

import itertools
import math
import re

import numpy as np
import pytest

from tests import elastic_nets
from tests.cost.lut_tables import make_table
from tfnas import spaces
from tfnas.cost.counting import count
from tfnas.ops.cell import NONE
from tfnas.ops.cell import Cell
from tfnas.ops.masked_dag import MaskedDag
from tfnas.spaces.cells import is_valid
from tfnas.spaces.dag import ShrinkSpace
from tfnas.spaces.dag_specs import SPECS

SAMPLES = 4


def _text(call, *args, **kwargs):
    texts = []
    assert call(*args, print_fn=texts.append, **kwargs) is None
    assert max(map(len, texts[0].split("\n"))) <= 80
    return texts[0]


def test_all_spaces_fit_a_screen_and_each_has_its_own_line():
    text = _text(spaces.summary, samples=SAMPLES)
    assert len(text.split("\n")) <= len(spaces.names()) + 4 <= 30
    for name in spaces.names():
        space = spaces.get(name)
        counts = [count(space.sample(seed)) for seed in range(SAMPLES)]
        line = re.search(rf"^{re.escape(name)} .*$", text, re.MULTILINE)[0]
        words = line.split()
        assert words[1] == "x".join(map(str, space.input_shape))
        shown = list(map(float, words[-6:]))
        for field, three in (("madds", shown[:3]), ("params", shown[3:])):
            values = [getattr(one, field) / 1e6 for one in counts]
            expected = [min(values), np.median(values), max(values)]
            np.testing.assert_allclose(three, expected, rtol=0.01, atol=5e-3)


def test_latencies_are_those_of_the_table_where_it_prices_the_space():
    space = spaces.get("mobilenetv3@32")
    table = make_table(space.lut_keys())
    ms = [table.latency_ms(space.sample(seed)) for seed in range(SAMPLES)]
    three = [f"{v:.3f}" for v in (min(ms), np.median(ms), max(ms))]
    text = _text(spaces.summary, table, samples=SAMPLES)
    _, _, priced = text.partition("most, ms")
    line = re.search(r"^mobilenetv3@32 +(.*)$", priced, re.MULTILINE)[1]
    assert line.split() == three
    assert "densenas" not in priced
    alone = _text(space.summary, table, samples=SAMPLES)
    assert re.search(r"latency, ms +(.*)", alone)[1].split() == three
    other = _text(spaces.get("densenas_mbv2@32").summary, table, samples=2)
    assert "latency, ms" not in other and "it has 0 of 74" in other


@pytest.mark.parametrize("name", spaces.names())
def test_a_space_in_a_line(name):
    space = spaces.get(name)
    assert len(repr(space)) <= 100
    assert name in repr(space) and f"{space.classes} classes" in repr(space)


def test_choices_are_as_many_as_are_published():
    # Dong and Yang 2020; Su et al. 2021.
    assert spaces.get("nasbench201").num_choices == 15_625
    assert spaces.get("nasbench_macro").num_choices == 3_969
    # Cai et al. 2020: about 2 * 10^19, with units of 2 to 4 layers of 9.
    published = spaces.get("mobilenetv3").num_choices
    assert published == (9**2 + 9**3 + 9**4) ** 5
    assert round(math.log10(published)) == 19
    # Cai et al. 2019: six inverted residuals, and a skip where it is legal.
    by_hand = spaces.get("proxyless_mbconv")
    rows = [len(row) for row in by_hand.candidates]
    assert by_hand.num_choices == math.prod(rows) == 6**6 * 7**15


@pytest.mark.parametrize("spec", [elastic_nets.SPEC, elastic_nets.SIDES])
def test_elastic_choices_are_those_that_can_be_listed(spec):
    space = elastic_nets.space(spec)
    assert space.num_choices == len(space.members())


def test_graphs_are_counted_by_their_edges():
    space = ShrinkSpace("tiny", SPECS["autoshrink_cnn@32"]).drawn(4)
    pairs = list(itertools.combinations(range(4), 2))
    graphs = {
        MaskedDag(space.node_ops, edges)
        for n in range(len(pairs) + 1)
        for edges in itertools.combinations(pairs, n)
    }
    assert space.num_choices == len(graphs) == 64


def test_routes_are_counted_over_all_paths():
    space = spaces.get("densenas_mbv2@32")
    spec = space.spec

    def below(block):
        """Number of choices from a block on, its stack layers included."""
        if block == spec.tail:
            return 1
        own = len(spec.stack_ops) ** spec.layers[block] if block else 1
        return own * sum(
            below(to) * (1 if to == spec.tail else len(spec.head_ops))
            for to in spec.outgoing(block)
        )

    assert space.num_choices == below(0)


def test_valid_cells_are_counted():
    codes = itertools.product(range(3), *[range(10)] * 5)
    valid = 4 * sum(  # with two merges that may be either
        is_valid(Cell(dim, 0, 0, a, b, c, NONE, d, e))
        for dim, a, b, c, d, e in codes
    )
    space = spaces.get("autospace@32")
    assert space.num_choices == valid ** len(space.spec.positions)
