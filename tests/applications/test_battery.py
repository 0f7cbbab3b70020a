"""Every vision network passes every check of `tests/battery.py`.

By default the cheap checks run, on searched networks; all checks on all
networks are marked slow.
"""

import functools

import pytest

from tests import battery
from tfnas import applications
from tfnas import spaces

SIDE = 64  # of the images that published networks are tested with
SEARCHED = (
    "densenas_mbv2@32", "densenas_resnet@32", "autoshrink_cnn@32",
    "autospace@32", "autospace_proxyless@32", "mobilenetv3@32", "nasbench201",
)
# What the default run has time for: builds, and two conversions.
QUICK = {
    "densenas_mbv2@32": {
        "shapes", "endpoints", "save_load", "gradient", "float_parity",
    },
    "densenas_resnet@32": {"shapes"},
    "mobilenetv3@32": {"endpoints", "int8"},
    "autoshrink_cnn@32": {"gradient"},
    "autospace_proxyless@32": {"gradient"},
    "nasbench201": {"shapes"},
}


@functools.cache
def _subject(name):
    if name in SEARCHED:
        arch = spaces.get(name).sample(seed=0)
    else:
        entry = applications.APPLICATIONS.get(name)
        arch = entry.get_arch(input_shape=(SIDE, SIDE, 3))
    return battery.Subject(name, arch)


# Their operators are quantized after training only.
NOT_TUNED = ("densenas_resnet@32", "nasbench201")


def _cases():
    for name in (*SEARCHED, *applications.names()):
        for check in battery.CHECKS:
            if check == "qat" and name in NOT_TUNED:
                continue
            quick = check in QUICK.get(name, ())
            marks = () if quick else pytest.mark.slow
            yield pytest.param(name, check, id=f"{name}-{check}", marks=marks)


@pytest.mark.parametrize("name, check", _cases())
def test_network_passes(name, check, tmp_path):
    battery.CHECKS[check](_subject(name), tmp_path)
