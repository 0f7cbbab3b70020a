"""From sums of table rows to what whole networks take.

An operator measured alone finds its weights and its input in the cache, in a
network it does not: plain sums read 6-19 % low. The factor is nearly the same
for all networks of a space, so a few measured ones repair it. How well they
do is found by leaving each of them out in turn: it is predicted by a fit to
the others, as a network of a search is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut_fields import LEAST_NETS
from tfnas.cost.lut_fields import LEAST_NETS_AFFINE
from tfnas.cost.lut_fields import Calibration
from tfnas.cost.lut_fields import MeasuredNet
from tfnas.errors import ConfigError


def calibrate(
    table: LatencyTable,
    networks: Sequence[MeasuredNet] | None = None,
    affine: bool | None = None,
) -> LatencyTable:
    """Fits a table to measured networks.

    Relative errors are made small: a network of 3 ms counts as much as one
    of 30 ms.

    Args:
        table: The table; its old calibration does not matter.
        networks: Networks measured on the table's device. Defaults to those
            measured with the table.
        affine: Whether to fit a bias beside the scale. Defaults to doing so
            from 5 networks on.

    Returns:
        The table with those networks and the calibration, whose
        `held_out_percent` is of networks left out of the fit, one by one.

    Raises:
        ConfigError: with fewer than 3 networks, or 5 for an affine fit.
        LutMiss: when the table misses operators of the networks.
    """
    nets = tuple(table.networks if networks is None else networks)
    if affine is None:
        affine = len(nets) >= LEAST_NETS_AFFINE
    least = LEAST_NETS_AFFINE if affine else LEAST_NETS
    if len(nets) < least:
        raise ConfigError(
            f"Expected at least {least} measured networks"
            f"{' for an affine fit' if affine else ''}. "
            f"Received: {len(nets)}"
        )
    measured_ms = np.array([net.latency_ms for net in nets])
    sums_ms = np.array([table.raw_ms(net.arch) for net in nets])
    columns = [sums_ms, np.ones_like(sums_ms)][: 1 + affine]
    shares = np.stack(columns, axis=1) / measured_ms[:, None]
    solution = _fit(shares)
    residuals = shares @ solution - 1
    left_out = [
        100 * abs(float(row @ _fit(np.delete(shares, i, axis=0))) - 1)
        for i, row in enumerate(shares)
    ]
    freedom = len(nets) - len(solution)
    spaces = {net.arch.space or "none" for net in nets}
    fit = Calibration(
        scale=float(solution[0]),
        bias_ms=float(solution[1]) if affine else 0.0,
        residual_percent=100 * float(np.sqrt(residuals @ residuals / freedom)),
        space=", ".join(sorted(spaces)),
        nets=len(nets),
        held_out_percent=float(np.mean(left_out)),
        held_out_max_percent=max(left_out),
    )
    return dataclasses.replace(table, calibration=fit, networks=nets)


def _fit(shares: np.ndarray) -> np.ndarray:
    """Returns what makes the shares of each network sum to about 1."""
    return np.linalg.lstsq(shares, np.ones(len(shares)), rcond=None)[0]
