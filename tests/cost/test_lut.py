"""Latency tables: sums, misses, checks on reading, merging, intervals."""

import json

import numpy as np
import pytest

from tests.cost.lut_tables import HEADER
from tests.cost.lut_tables import make_table
from tfnas import spaces
from tfnas.cost.lut import Calibration
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import LutRow
from tfnas.cost.lut import MeasuredNet
from tfnas.errors import ArtifactError
from tfnas.errors import LutMiss

KEY = "conv|act=relu6|k=3|pad=sym|s=1|8x8x3>8x8x8"
FIT = Calibration(1.2, 0.5, 2.0, "densenas_resnet@32", 10)


@pytest.fixture(scope="module")
def space():
    return spaces.get("densenas_resnet@32")


@pytest.fixture(scope="module")
def table(space):
    return make_table(space.lut_keys())


def saved(table, tmp_path):
    path = tmp_path / "table.json"
    table.save(path)
    return path


def test_latency_is_the_sum_of_the_rows(space, table):
    arch = space.sample(0)
    keys = table.keys_of(arch)
    assert len(keys) == sum(block.op != "skip" for block in arch.blocks)
    expected = sum(table.rows[key].latency_ms for key in keys)
    assert table.latency_ms(arch) == pytest.approx(expected)


def test_calibrated_latency_is_linear_in_the_rows(space, table):
    arch = space.sample(1)
    fitted = make_table(space.lut_keys(), calibration=FIT)
    shares = sum(fitted[key] for key in fitted.keys_of(arch))
    assert fitted.latency_ms(arch) == pytest.approx(shares + 0.5)
    assert fitted.latency_ms(arch) == pytest.approx(
        1.2 * table.latency_ms(arch) + 0.5
    )
    assert fitted.uncalibrated() == table


def test_a_miss_lists_every_key_once(space):
    arch = space.sample(0)
    keys = list(dict.fromkeys(make_table([]).keys_of(arch)))
    table = make_table(keys[2:])
    with pytest.raises(LutMiss) as caught:
        table.latency_ms(arch)
    assert list(caught.value.keys) == keys[:2] == table.missing(arch)
    with pytest.raises(LutMiss):
        table[keys[0]]


def test_coverage_counts_the_operators_of_a_space(space):
    keys = space.lut_keys()
    coverage = make_table(keys[1:]).coverage(space)
    assert coverage.missing == (keys[0],)
    assert coverage.present == coverage.total - 1 == len(keys) - 1
    assert str(coverage).startswith(f"{len(keys) - 1} of {len(keys)}")


def test_a_table_comes_back_from_its_file(space, table, tmp_path):
    net = MeasuredNet(space.sample(0), 3.0, 0.02, 25)
    table = make_table(table.rows, calibration=FIT, networks=(net,))
    loaded = LatencyTable.load(saved(table, tmp_path))
    assert loaded.rows == table.rows
    assert loaded.header == table.header
    assert (loaded.calibration, loaded.networks) == (FIT, (net,))


def test_interval_covers_what_the_fit_left_over(space):
    arch = space.sample(0)
    table = make_table(space.lut_keys())
    assert table.predict(arch).low_ms is None
    assert "not calibrated" in str(table.predict(arch))
    fitted = make_table(space.lut_keys(), calibration=FIT)
    found = fitted.predict(arch)
    # 8 degrees of freedom, and a new network beside the ten.
    margin = 0.02 * 2.31 * np.sqrt(1.1)
    assert found.low_ms == pytest.approx(found.latency_ms * (1 - margin))
    assert found.high_ms == pytest.approx(found.latency_ms * (1 + margin))


def test_bias_is_prediction_over_measurement(space, table):
    arch = space.sample(0)
    net = MeasuredNet(arch, table.latency_ms(arch) / 0.9, 0.0, 25)
    assert table.bias_percent([net]) == [pytest.approx(-10)]


def test_merge_joins_rows_and_keeps_the_row_of_more_rounds():
    left = make_table(["a", "b"])
    more = {"b": LutRow(9.0, 0.0, 50), "c": LutRow(5.0, 0.0, 25)}
    merged = left.merge(make_table([], rows=more))
    assert merged.rows == {"a": left.rows["a"], **more}


@pytest.mark.parametrize(
    "field, value",
    [
        ("device", {"name": "other", "cpu": "test cpu"}),
        ("runtime", {**HEADER["runtime"], "dtype": "float32"}),
        ("runtime", {**HEADER["runtime"], "threads": 2}),
        ("clock", "wall"),
        ("statistic", "median"),
        ("entries", "chain"),
        ("tool", {"name": "tflite_bench", "sha256": "1" * 64}),
    ],
)
def test_rows_of_unlike_provenance_do_not_mix(field, value):
    other = make_table(["b"], header={**HEADER, field: value})
    with pytest.raises(ArtifactError, match=f"(?s)unlike.*\n  {field}: "):
        make_table(["a"]).merge(other)
    assert list(make_table(["a"]).diff(other).header) == [field]


def test_diff_says_what_changed():
    rows = {"b": LutRow(0.04, 0.0, 25), "c": LutRow(1.0, 0.0, 25)}
    diff = make_table(["a", "b"]).diff(make_table([], rows=rows))
    assert (diff.only_left, diff.only_right) == (("a",), ("c",))
    assert diff.ratios == {"b": pytest.approx(2.0)}


def test_a_table_for_another_use_is_refused():
    table = make_table(["a"])
    table.require(dtype="int8", device=HEADER["device"])
    with pytest.raises(ArtifactError, match="runtime.dtype.*'float32'"):
        table.require(dtype="float32")
    with pytest.raises(ArtifactError, match="field `device`"):
        table.require(device={"name": "phone", "cpu": "x"})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.update(format="tfnas-lut/9"), "field `format`"),
        (lambda v: v.pop("device"), "field `device`"),
        (lambda v: v["device"].pop("cpu"), "field `device.cpu`"),
        (lambda v: v["runtime"].pop("tflite"), "field `runtime.tflite`"),
        (lambda v: v["runtime"].update(dtype="int4"), "field `runtime.dtype`"),
        (lambda v: v["runtime"].update(threads=0), "field `runtime.threads`"),
        (lambda v: v.update(unit="us"), "field `unit`"),
        (lambda v: v.update(rounds=0), "field `rounds`"),
        (lambda v: v.update(clock=None), "field `clock`"),
        (lambda v: v.update(rows={}), "field `rows`"),
        (lambda v: v.update(rows=[]), "field `rows`"),
        (lambda v: v["rows"].update({KEY: 3}), "row `conv"),
        (lambda v: v["rows"][KEY].update(latency_ms=-1), "`latency_ms`"),
        (lambda v: v["rows"][KEY].update(latency_ms=0), "`latency_ms`"),
        (lambda v: v["rows"][KEY].update(latency_ms="1"), "`latency_ms`"),
        (lambda v: v["rows"][KEY].update(latency_ms=True), "`latency_ms`"),
        (lambda v: v["rows"][KEY].pop("spread"), "field `spread`"),
        (lambda v: v["rows"][KEY].update(n=0), "field `n`"),
        (lambda v: v["calibration"].update(nets=1), "`calibration.nets`"),
        (lambda v: v["calibration"].update(scale=None), "`calibration.scale`"),
        (lambda v: v["calibration"].pop("space"), "`calibration.space`"),
        (lambda v: v.update(networks=[3]), r"networks\[0\]"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(change, message, tmp_path):
    path = saved(make_table([KEY], calibration=FIT), tmp_path)
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=f"table.json: .*{message}"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"latency_ms": 0.01', '"latency_ms": NaN', "row `conv.*latency_ms"),
        ('"latency_ms": 0.01', '"latency_ms": 1e999', "row `conv.*latency_ms"),
        ('"latency_ms": 0.01', '"n": 3', "there once.*'n'"),
        ("}", "", "damaged or truncated"),
    ],
)
def test_damaged_text_is_refused(old, new, message, tmp_path):
    path = saved(make_table([KEY]), tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ArtifactError, match=f"table.json: .*{message}"):
        LatencyTable.load(path)


def test_a_key_given_twice_is_refused(tmp_path):
    path = saved(make_table([KEY]), tmp_path)
    text = path.read_text()
    row = f'"{KEY}": {{"latency_ms": 1, "spread": 0, "n": 9}}, "{KEY}"'
    path.write_text(text.replace(f'"{KEY}"', row))
    with pytest.raises(ArtifactError, match="there once.*conv"):
        LatencyTable.load(path)


def test_a_missing_file_and_a_bad_row_leave_nothing_behind(tmp_path):
    with pytest.raises(ArtifactError, match="table.json"):
        LatencyTable.load(tmp_path / "table.json")
    broken = make_table([], rows={KEY: LutRow(float("nan"), 0.0, 25)})
    with pytest.raises(ArtifactError, match="latency_ms"):
        broken.save(tmp_path / "table.json")
    assert not list(tmp_path.iterdir())
