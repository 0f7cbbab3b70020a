"""A calibration finds the scale and the bias that were put in."""

import dataclasses

import numpy as np
import pytest

from tests.cost.lut_tables import make_table
from tfnas import spaces
from tfnas.cost.calibration import calibrate
from tfnas.cost.lut import MeasuredNet
from tfnas.errors import ConfigError
from tfnas.errors import LutMiss

SPACE = "densenas_resnet@32"


@pytest.fixture(scope="module")
def space():
    return spaces.get(SPACE)


@pytest.fixture(scope="module")
def table(space):
    return make_table(space.lut_keys())


def measured(table, space, number, scale, bias_ms=0.0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    nets = []
    for i in range(number):
        arch = space.sample(1000 * seed + i)
        ms = scale * table.raw_ms(arch) + bias_ms
        ms *= np.exp(rng.normal(0, noise))
        nets.append(MeasuredNet(arch, float(ms), 0.0, 25))
    return nets


def test_a_scale_is_found_from_three_networks(table, space):
    fitted = calibrate(table, measured(table, space, 3, 1.17))
    fit = fitted.calibration
    assert fit.scale == pytest.approx(1.17)
    assert (fit.bias_ms, fit.nets, fit.space) == (0, 3, SPACE)
    assert fit.residual_percent == pytest.approx(0, abs=1e-9)
    assert fitted.rows == table.rows


def test_scale_and_bias_are_found_from_eight_networks(table, space):
    fit = calibrate(table, measured(table, space, 8, 1.1, 0.2)).calibration
    assert fit.scale == pytest.approx(1.1)
    assert fit.bias_ms == pytest.approx(0.2)


def test_an_old_calibration_does_not_matter(table, space):
    nets = measured(table, space, 5, 1.3)
    once = calibrate(table, nets)
    assert calibrate(once, nets).calibration.scale == pytest.approx(1.3)
    assert once.networks == tuple(nets)
    again = calibrate(dataclasses.replace(once, calibration=None))
    assert again.calibration == once.calibration


def test_the_interval_covers_unseen_networks(table, space):
    """95 % of networks, whose noise is that of the calibration's."""
    inside = []
    for seed in range(1, 21):
        fitted = calibrate(table, measured(table, space, 5, 1.2, 0, 0.03, seed))
        for net in measured(table, space, 10, 1.2, 0, 0.03, seed + 100):
            found = fitted.predict(net.arch)
            inside.append(found.low_ms <= net.latency_ms <= found.high_ms)
    assert 0.9 < np.mean(inside) < 0.995


@pytest.mark.parametrize("number, affine", [(2, None), (4, True)])
def test_too_few_networks_are_refused(table, space, number, affine):
    nets = measured(table, space, number, 1.1)
    with pytest.raises(ConfigError, match=f"Received: {number}"):
        calibrate(table, nets, affine)


def test_networks_that_the_table_misses_are_refused(table, space):
    nets = measured(table, space, 3, 1.1)
    with pytest.raises(LutMiss):
        calibrate(make_table(space.lut_keys()[::2]), nets)
