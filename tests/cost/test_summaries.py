"""Networks, tables and results tell on a screen what their files hold."""

import dataclasses
import re

import pytest

from tests.cost.lut_tables import make_table
from tfnas import spaces
from tfnas.cost.counting import count
from tfnas.cost.lut import Calibration
from tfnas.results import Found
from tfnas.results import SearchResult

SPACE = "densenas_mbv2@32"


@pytest.fixture(scope="module")
def arch():
    return spaces.get(SPACE).sample(0)


def _text(call, *args):
    texts = []
    assert call(*args, print_fn=texts.append) is None
    lines = texts[0].split("\n")
    assert len(lines) <= 26 and max(map(len, lines)) <= 80
    return texts[0]


@pytest.mark.parametrize("name", spaces.names())
def test_every_network_fits_a_screen_and_adds_up(name):
    for seed in range(3):
        arch = spaces.get(name).sample(seed)
        text = _text(arch.summary)
        counts = count(arch)
        assert f"parameters {counts.params:,}, multiply-adds" in text
        rows = re.findall(r"^\d.*?([\d,]+)  +\S+(?: [kMG])?$", text, re.M)
        shown = [int(words.replace(",", "")) for words in rows]
        assert sum(shown) == sum(block.params for block in counts.blocks)
        assert arch.id in repr(arch) and len(repr(arch)) <= 100


def test_blocks_have_the_latencies_of_the_table(arch):
    table = make_table(
        spaces.get(SPACE).lut_keys(),
        calibration=Calibration(1.5, 0.25, 2.0, SPACE, 5),
    )
    text = _text(arch.summary, table)
    shown = [float(v) for v in re.findall(r" (\d+\.\d{3})$", text, re.M)]
    assert len(shown) == len(arch.blocks)
    total = table.latency_ms(arch)
    assert sum(shown) == pytest.approx(total - 0.25, abs=5e-3)
    assert f"{total:.3f} ms by table: int8 on test cpu" in text


def test_a_network_that_the_runtime_fuses_has_one_price(arch):
    space = spaces.get(SPACE)
    table = make_table(space.lut_keys())
    table = dataclasses.replace(
        table, header={**table.header, "entries": "operators"}
    )
    table = make_table(table.space_keys(space), header=table.header)
    text = _text(arch.summary, table)
    assert f"{table.latency_ms(arch):.3f} ms by" in text


def test_a_table_tells_its_origin_its_error_and_its_rows():
    table = make_table(
        spaces.get(SPACE).lut_keys(),
        calibration=Calibration(1.5, 0.25, 2.0, SPACE, 5, 3.25),
    )
    for text in (repr(table), _text(table.summary)):
        assert f"{len(table.rows)} blocks, 3.2 % off" in text
    kinds = {key.partition("|")[0] for key in table.rows}
    rows = re.findall(r"^(\w+) +(\d+) +[\d. ]+$", text, re.M)
    assert {kind for kind, _ in rows} == kinds
    assert sum(int(number) for _, number in rows) == len(table.rows)
    assert "1.500 x sum + 0.250 ms" in text


def test_a_result_tells_its_best_network_beside_random_ones(arch):
    other = spaces.get(SPACE).sample(1)
    header = {"algorithm": "densenas", "space": SPACE, "seed": 3,
              "unit": "ms", "target": 0.5}
    found = [Found(arch, 0.4875, 0.75, epoch=2), Found(other, 0.5)]
    result = SearchResult(
        header, found, [Found(other, 0.5123, 0.5, "random")] * 30, []
    )
    assert result.best is found[0] and result.best.arch == arch
    text = _text(result.summary)
    assert text.startswith(f"densenas in {SPACE}, seed 3, target 0.5 ms\n")
    first = next(line for line in text.split("\n") if arch.id in line)
    assert first.split()[:4] == ["searched", arch.id, "0.4875", "0.7500"]
    assert text.endswith("and 12 more")
    assert arch.id in repr(result) and len(repr(result)) < 120
