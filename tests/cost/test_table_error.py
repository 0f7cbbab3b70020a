"""A table knows how far it is off, and says so."""

import dataclasses
import json

import numpy as np
import pytest

from tests.cost.lut_tables import make_table
from tfnas import spaces
from tfnas.cost.calibration import calibrate
from tfnas.cost.lut import Calibration
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import MeasuredNet
from tfnas.errors import ArtifactError

SPACE = spaces.get("densenas_resnet@32")
TABLE = make_table(SPACE.lut_keys())
FACTORS = (1.3, 1.1, 1.2, 1.0, 1.25)


def measured(factors):
    """Networks that take so many times the sum of their rows."""
    archs = map(SPACE.sample, range(len(factors)))
    return [
        MeasuredNet(arch, factor * TABLE.raw_ms(arch), 0.0, 25)
        for factor, arch in zip(factors, archs, strict=True)
    ]


def test_each_network_is_predicted_by_a_fit_to_the_others():
    fit = calibrate(TABLE, measured(FACTORS), affine=False).calibration
    errors = []
    for i, factor in enumerate(FACTORS):
        shares = 1 / np.delete(FACTORS, i)  # of the sum, by what was measured
        scale = shares.sum() / (shares**2).sum()
        errors.append(100 * abs(scale / factor - 1))
    assert fit.held_out_percent == pytest.approx(np.mean(errors))
    assert fit.held_out_max_percent == pytest.approx(max(errors))
    assert fit.error_percent == max(
        fit.residual_percent, fit.held_out_percent
    )


def test_a_table_that_fits_has_no_error_and_one_without_networks_none():
    fitted = calibrate(TABLE, measured([1.2] * 8))
    assert fitted.error_percent == pytest.approx(0, abs=1e-9)
    assert TABLE.error_percent is None


def test_the_error_is_kept_in_the_file(tmp_path):
    path = tmp_path / "table.json"
    fitted = calibrate(TABLE, measured(FACTORS))
    fitted.save(path)
    assert LatencyTable.load(path).calibration == fitted.calibration


def test_a_file_that_does_not_say_it_is_read_and_its_residual_counts(
    tmp_path,
):
    path = tmp_path / "table.json"
    calibrate(TABLE, measured(FACTORS)).save(path)
    value = json.loads(path.read_text())
    del value["content_sha256"]  # nor do older files vouch for themselves
    for name in ("held_out_percent", "held_out_max_percent"):
        del value["calibration"][name]
    path.write_text(json.dumps(value))
    table = LatencyTable.load(path)
    assert table.calibration.held_out_percent is None
    assert table.error_percent == table.calibration.residual_percent


def test_a_wrong_error_is_named_with_its_file(tmp_path):
    path = tmp_path / "table.json"
    calibrate(TABLE, measured(FACTORS)).save(path)
    value = json.loads(path.read_text())
    value["calibration"]["held_out_percent"] = "small"
    path.write_text(json.dumps(value))
    wrong = "table.json: .*calibration.held_out_percent.*'small'"
    with pytest.raises(ArtifactError, match=wrong):
        LatencyTable.load(path)


def test_a_table_above_the_bound_is_refused_in_one_line():
    table = dataclasses.replace(
        TABLE, source="lut/t.json",
        calibration=Calibration(1.0, 0.0, 4.0, SPACE.name, 5, 12.34, 30.0),
    )
    table.require_error(12.4)
    with pytest.raises(ArtifactError) as caught:
        table.require_error(5.0)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "lut/t.json", "12.3 %", "30.0 % at most", "--max_table_error=13",
        "--entries=operators",
    ):
        assert part in message
    TABLE.require_error(0.0)  # nobody knows its error
