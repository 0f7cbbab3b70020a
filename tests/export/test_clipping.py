"""What a concatenation behind a pool clips is found, by what it loses."""

import keras
import numpy as np
import pytest

from tests.export import networks
from tfnas import export
from tfnas.export.clipping import clipped_tensors

IMAGES = networks.coloured_images(40, seed=2, size=16)


def pooled(size=4, act=None, gain=0.1, kind="AveragePooling2D"):
    """A wide convolution, averaged, beside one of another range."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="image")
    wide = layers.Conv2D(8, 3, padding="same", activation=act, name="wide")
    pool = getattr(layers, kind)(size, name="pool")
    other = layers.Conv2D(8, size, strides=size, name="other")
    x = layers.Concatenate(name="join")([pool(wide(image)), other(image)])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(image, layers.Dense(10, name="logits")(x))
    wide.kernel.assign(_checkered(wide.kernel.shape))
    other.kernel.assign(other.kernel * gain)
    return model


def _checkered(shape):
    """A kernel of differences: they are large, and small on average."""
    rows, columns = np.indices(shape[:2])
    signs = np.where((rows + columns) % 2, -1.0, 1.0)
    return np.random.default_rng(0).uniform(0.5, 1, shape) * (
        signs - signs.mean()
    )[..., None, None]


def found(model, quantize="int8", lower="none"):
    representative = IMAGES if "int" in quantize else None
    blob = export.to_tflite(model, quantize, representative, lower=lower)
    return blob, clipped_tensors(blob, IMAGES)


@pytest.mark.parametrize("act", [None, "relu"])
def test_what_is_clipped_is_named_with_what_does_it(act):
    model = pooled(act=act)
    blob, (only,) = found(model)
    assert only.tensor.startswith("wide") and only.mended
    assert only.pool.startswith("pool") and only.join.startswith("join")
    assert 0.02 < only.share < 1
    # It is this that hurts.
    errors = {e.layer: e for e in export.layer_errors(model, blob, IMAGES)}
    assert errors["wide"].relative_rmse > 0.1


def test_the_lowering_mends_it():
    model = pooled()
    blob, none = found(model, lower="xnnpack")
    assert not none
    errors = {e.layer: e for e in export.layer_errors(model, blob, IMAGES)}
    assert errors["wide"].relative_rmse < 0.05


@pytest.mark.parametrize(
    "settings, quantize",
    [
        ({"gain": 10}, "int8"),  # the join is as wide
        ({"kind": "MaxPooling2D"}, "int8"),  # what it drops is no loss
        ({"gain": 10, "act": "relu6"}, "int8"),  # zeros and sixes are none
        ({}, "none"),
    ],
)
def test_no_warning_where_nothing_is_lost(settings, quantize):
    assert not found(pooled(**settings), quantize)[1]


def test_what_the_lowering_cannot_mend_is_not_promised():
    (only,) = found(pooled(size=8), lower="xnnpack")[1]  # of 64 taps
    assert not only.mended


def test_the_report_warns_in_one_line_with_the_remedy():
    model = pooled()
    blob, _ = found(model)
    report = export.make_report(model, export.to_tflite(model), blob, IMAGES)
    assert len(report["clipped"]) == 1 and "clipped_missing" not in report
    lines = export.format_report(report).splitlines()
    (line,) = [line for line in lines if line.startswith("warning: ")]
    assert "of wide_1/" in line and "pool_1/AvgPool" in line
    assert "join_1/concat" in line
    assert line.endswith("--lower=xnnpack gives it one of its own")
    lowered = {"backend": "xnnpack", "applied": {}, "plain_because": None}
    text = export.format_report({**report, "lowering": lowered})
    assert "--lower" not in text and "a convolution between" in text
