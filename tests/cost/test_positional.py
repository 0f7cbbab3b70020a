"""Published lists become latency tables and come back as they were."""

import ast
import dataclasses

import numpy as np
import pytest

from tests.cost.lut_tables import HEADER
from tests.cost.lut_tables import make_table
from tests.cost.test_lattice import DENSENAS_A
from tests.cost.test_lattice import path_cost
from tfnas import spaces
from tfnas.cost import positional
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lut import Calibration
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import LutRow
from tfnas.errors import ArtifactError

LISTS = {
    "lat_list_densenas_mbv2_xp32": "densenas_mbv2",
    "lat_list_resv2_32": "densenas_resnet",
    "lat_list_resv2_32_reg10": "densenas_resnet",
}
SMALL = spaces.get("densenas_mbv2@32")


def to_list(space, seed=0):
    """A made-up list of a space, with noise at each place."""
    costs = LatticeCosts.from_madds(space)
    rng = np.random.default_rng(seed)

    def noisy(value):
        if isinstance(value, float):
            return value * rng.uniform(0.95, 1.05) + 1e-3
        return [noisy(v) for v in value]

    return repr(noisy(ast.literal_eval(positional.dump(space, costs))))


@pytest.mark.parametrize("name", sorted(LISTS))
def test_a_published_list_comes_back_to_the_digit(
    name, shared_data, tmp_path
):
    space = spaces.get(LISTS[name])
    text = (shared_data / "densenas_lut" / name).read_text()
    positional.to_table(space, text, HEADER).save(tmp_path / "t.json")
    table = LatencyTable.load(tmp_path / "t.json")
    assert positional.from_table(space, table) == text.strip()
    assert table.coverage(space).missing == ()


def test_a_published_list_prices_networks_as_published(shared_data):
    space = spaces.get("densenas_mbv2", classes=1000)
    path = shared_data / "densenas_lut" / "lat_list_densenas_mbv2_xp32"
    table = positional.to_table(space, path.read_text(), HEADER)
    arch = space.decode(DENSENAS_A)
    assert table.latency_ms(arch) == pytest.approx(13.611, rel=2e-3)


def test_rows_are_the_means_of_what_was_measured():
    text = to_list(SMALL)
    table = positional.to_table(SMALL, text, HEADER)
    costs = positional.parse(SMALL, text)
    block, to = SMALL.stack(1, "mbconv_k3_t3"), 1
    key = next(
        k for k in table.rows
        if k in make_table(SMALL.lut_keys()).block_keys(block, SMALL.shape(to))
    )
    first = SMALL.spec.stack_ops.index("mbconv_k3_t3")
    readings = [costs.row("stack1_0")[first]]
    row = table.rows[key]
    assert row.latency_ms == pytest.approx(np.mean(readings))
    assert row.n == len(readings)
    for seed in range(3):
        arch = SMALL.sample(seed)
        assert table.latency_ms(arch) == pytest.approx(
            path_cost(SMALL, costs, arch, skips=False), rel=0.05
        )


def test_a_measured_table_becomes_a_list_of_its_calibrated_costs():
    fit = Calibration(1.2, 0.5, 1.0, SMALL.name, 8)
    table = make_table(SMALL.lut_keys(), calibration=fit)
    text = positional.from_table(SMALL, table)
    costs = positional.parse(SMALL, text)
    ours = LatticeCosts.from_table(SMALL, table)
    # The list has no place for what a network costs beside its operators.
    (stem, *rest), (first, *others) = costs.rows, ours.rows
    assert rest == others and stem == (first[0] + ours.base,)
    again = positional.to_table(SMALL, text, HEADER)
    assert positional.from_table(SMALL, again) == text
    for seed in range(3):
        arch = SMALL.sample(seed)
        assert again.latency_ms(arch) == pytest.approx(table.latency_ms(arch))


def test_a_table_that_was_changed_gives_its_rows_not_the_old_list():
    table = positional.to_table(SMALL, to_list(SMALL), HEADER)
    key = next(iter(table.rows))
    rows = {**table.rows, key: LutRow(99.0, 0.0, 25)}
    changed = dataclasses.replace(table, rows=rows)
    found = positional.parse(SMALL, positional.from_table(SMALL, changed))
    assert found.rows == LatticeCosts.from_table(SMALL, changed).rows


@pytest.mark.parametrize(
    "text, place",
    [
        ("<html>" * 2000, "nested list"),
        ("[1.0, [], [], 2.0, 3.0]", "table: expected a list of 4"),
        (lambda: to_list(spaces.get("densenas_resnet@32")), "block"),
        (lambda: "[0.0," + to_list(SMALL).split(",", 1)[1], "stem"),
        (lambda: to_list(SMALL).replace("]]],", "]],", 1), ""),
    ],
)
def test_a_wrong_list_is_refused_in_one_short_line(text, place):
    text = text if isinstance(text, str) else text()
    with pytest.raises(ArtifactError) as caught:
        positional.to_table(SMALL, text, HEADER, "list.txt")
    message = str(caught.value)
    assert message.startswith("list.txt: ") and place in message
    assert "\n" not in message and len(message) < 300


def test_a_table_of_another_space_gives_no_list():
    table = make_table(SMALL.lut_keys(), source="t.json")
    with pytest.raises(ArtifactError) as caught:
        positional.from_table(spaces.get("densenas_resnet@32"), table)
    message = str(caught.value)
    assert message.startswith("t.json: rows: ")
    assert "--space" in message
    assert "\n" not in message and len(message) < 400
