"""Costs of a dense space, against published tables and plain path sums."""

import math

import numpy as np
import pytest

from tests import dense_nets
from tests.cost.lut_tables import make_table
from tfnas import spaces
from tfnas.cost import positional
from tfnas.cost.counting import count
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lattice import block_madds
from tfnas.cost.lut import Calibration
from tfnas.errors import ArtifactError
from tfnas.errors import LutMiss
from tfnas.spaces.dense_specs import SPECS
from tfnas.spaces.lattice import Lattice

# Obtained by running the authors' program (uniform alphas and betas).
UNIFORM = {
    "lat_list_densenas_mbv2_xp32": ("densenas_mbv2", 32.417944),
    "lat_list_resv2_32": ("densenas_resnet", 21.758962),
    "lat_list_resv2_32_reg10": ("densenas_resnet", 22.917937),
}
DENSENAS_A = """
[[16, 16], 'mbconv_k3_t1', [], 0, 1]|[[16, 24], 'mbconv_k3_t3', [], 0, 2]|
[[24, 48], 'mbconv_k7_t6', ['mbconv_k7_t3'], 1, 2]|
[[48, 72], 'mbconv_k5_t6', ['mbconv_k3_t3', 'mbconv_k5_t3'], 2, 2]|
[[72, 128], 'mbconv_k3_t3', ['mbconv_k3_t3'], 1, 1]|
[[128, 176], 'mbconv_k3_t3',
 ['mbconv_k3_t6', 'mbconv_k3_t3', 'mbconv_k3_t6'], 3, 2]|
[[176, 384], 'mbconv_k5_t6', [], 0, 1]|[[384, 1984], 'conv1_1']
"""


@pytest.fixture(scope="module")
def mbv2():
    return spaces.get("densenas_mbv2", classes=100)


@pytest.fixture(scope="module")
def resnet():
    return spaces.get("densenas_resnet", classes=100)


def uniform_chained_cost(space, costs):
    """The recurrence of the paper with all probabilities equal."""
    spec, costs = space.spec, dense_nets.tables(space, costs)
    rest = {spec.tail: 0.0}
    for b in reversed(range(spec.tail)):
        own = sum(np.mean(layer) for layer in costs.stacks[b])
        rest[b] = own + np.mean(
            [
                rest[to]
                + (
                    costs.tails[b]
                    if to == spec.tail
                    else np.mean(costs.heads[b, to])
                )
                for to in spec.outgoing(b)
            ]
        )
    return costs.input_cost + rest[0] + costs.fc


def path_cost(space, costs, arch, skips=True):
    """The sum along the one path of a network, skips filled in."""
    choice, spec = space.to_choice(arch), space.spec
    costs = dense_nets.tables(space, costs)
    total, source = costs.input_cost + costs.fc, 0
    for to, head, stack in zip(
        choice.path, choice.heads, choice.stacks, strict=True
    ):
        total += costs.heads[source, to][spec.head_ops.index(head)]
        skipped = spec.layers[to] - len(stack)
        names = (*stack, *("skip_connect",) * (skipped if skips else 0))
        for layer, name in zip(costs.stacks[to], names, strict=False):
            total += layer[spec.stack_ops.index(name)]
        source = to
    return total + costs.tails[source]


def supernet_madds(space):
    """Costs of the published supernet, whose ResNet tail networks lack."""
    lattice = Lattice(tuple(space.supernet_links()))
    costs = LatticeCosts.of(lattice, block_madds, "madds_m")
    return costs.with_skips_priced()


@pytest.mark.parametrize("name", sorted(UNIFORM))
def test_chained_cost_of_published_tables(name, shared_data):
    space_name, expected = UNIFORM[name]
    space = spaces.get(space_name)
    costs = positional.load(space, shared_data / "densenas_lut" / name)
    chained = uniform_chained_cost(space, costs)
    assert chained == pytest.approx(expected, rel=1e-6 / 20)


def test_path_cost_of_the_published_table(mbv2, shared_data):
    path = shared_data / "densenas_lut" / "lat_list_densenas_mbv2_xp32"
    costs = positional.load(mbv2, path)
    arch = mbv2.decode(DENSENAS_A)
    assert path_cost(mbv2, costs, arch) == pytest.approx(13.646211, abs=1e-6)
    published = path_cost(mbv2, costs, arch, skips=False)
    assert published == pytest.approx(13.611, abs=5e-4)


def test_chained_madds_equal_the_reference(mbv2, resnet):
    costs = LatticeCosts.from_madds(mbv2)
    chained = uniform_chained_cost(mbv2, costs)
    assert chained == pytest.approx(476.677734, abs=1e-6)
    costs = supernet_madds(resnet)
    chained = uniform_chained_cost(resnet, costs)
    assert chained == pytest.approx(3289.847783, abs=1e-6)


def test_madds_of_all_candidates_equal_the_reference(mbv2, resnet):
    def total(costs):
        return math.fsum(c for row in costs.rows for c in row)

    # The reference's sum leaves out the fixed block after the stem.
    fixed = (9 * 16 + 16 * 16) * 112 * 112 / 1e6
    candidates = total(LatticeCosts.from_madds(mbv2)) - fixed
    assert candidates == pytest.approx(9305.618272, abs=1e-6)
    costs = supernet_madds(resnet)
    assert total(costs) == pytest.approx(22067.606528, abs=1e-6)


@pytest.mark.parametrize("name", SPECS)
def test_path_sum_of_madds_equals_the_count(name):
    space = spaces.get(name)
    costs = LatticeCosts.from_madds(space)
    for seed in range(3):
        arch = space.sample(seed)
        expected = count(arch).madds / 1e6
        assert path_cost(space, costs, arch) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_path_sum_of_latencies_equals_the_calibrated_table(name):
    space = spaces.get(name)
    table = make_table(
        space.lut_keys(), calibration=Calibration(1.2, 0.3, 1.0, name, 8)
    )
    costs = LatticeCosts.from_table(space, table)
    for seed in range(3):
        arch = space.sample(seed)
        expected = table.latency_ms(arch)
        assert path_cost(space, costs, arch) == pytest.approx(expected)


def test_skip_reg_prices_a_skip_at_a_tenth_of_the_first_op():
    space = spaces.get("densenas_mbv2@32")
    table = make_table(space.lut_keys())
    costs = LatticeCosts.from_table(space, table)
    free = costs.row("stack1_0")
    priced = costs.with_skips_priced().row("stack1_0")
    assert free[-1] == 0
    assert priced[:-1] == free[:-1]
    assert priced[-1] == pytest.approx(free[0] / 10)


def test_a_table_that_misses_rows_is_refused_with_all_keys():
    space = spaces.get("densenas_resnet@32")
    keys = space.lut_keys()
    with pytest.raises(LutMiss) as caught:
        LatticeCosts.from_table(space, make_table(keys[3:]))
    assert caught.value.keys == tuple(keys[:3])


def test_positional_form_is_the_same_both_ways(tmp_path):
    space = spaces.get("densenas_mbv2@32")
    costs = LatticeCosts.from_madds(space)
    positional.save(space, costs, tmp_path / "costs")
    again = positional.load(space, tmp_path / "costs")
    assert again.rows == costs.rows


@pytest.mark.parametrize(
    "change, place",
    [
        (lambda t: t[:-9], "nested list"),
        (lambda t: "__import__('os').getcwd()", "nested list"),
        (lambda t: f"['abc', {t[1:].split(',', 1)[1]}", "input"),
        (lambda t: "[1.0, [], [], 2.0]", "blocks"),
        (lambda t: "[1.0, 2, [], 2.0]", "blocks"),
        (lambda t: "[" + t[1:].split(",", 1)[1], "table"),
        (lambda t: f"[-1.0, {t[1:].split(',', 1)[1]}", "input"),
    ],
)
def test_a_damaged_positional_table_is_refused(change, place):
    space = spaces.get("densenas_mbv2@32")
    text = positional.dump(space, LatticeCosts.from_madds(space))
    with pytest.raises(ArtifactError, match=f"^costs.txt: .*{place}"):
        positional.parse(space, change(text), "costs.txt")


def test_a_positional_table_of_another_space_is_refused(mbv2):
    text = positional.dump(mbv2, LatticeCosts.from_madds(mbv2))
    with pytest.raises(ArtifactError, match="blocks: .* '16 items'"):
        positional.parse(spaces.get("densenas_mbv2@32"), text)
