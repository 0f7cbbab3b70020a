"""A model that scales its own pixels says which ones it takes."""

import keras
import numpy as np
import pytest

from tfnas import leading_scale
from tfnas.feed import Feed
from tfnas.leading_scale import Statistics

L = keras.layers
SHAPE = (32, 32, 3)
BYTES, UNIT, SYMMETRIC = (0, 1), (0, 255), (127.5, 127.5)
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
APPLICATIONS = keras.applications


def _model(scale, dtype="float32", shape=SHAPE):
    image = keras.Input(shape, dtype=dtype)
    x = L.Conv2D(4, 3, padding="same")(scale(image))
    return keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


SCALES = {
    "Rescaling(1/255)": (lambda x: L.Rescaling(1 / 255)(x), BYTES),
    "Rescaling(1/127.5, -1)": (lambda x: L.Rescaling(1 / 127.5, -1)(x), BYTES),
    "Rescaling(2, -1)": (lambda x: L.Rescaling(2.0, -1)(x), UNIT),
    "Rescaling(0.5, 0.5)": (lambda x: L.Rescaling(0.5, 0.5)(x), SYMMETRIC),
    "x / 255": (lambda x: x / 255.0, BYTES),
    "1 - x / 255": (lambda x: 1 - x / 255.0, BYTES),
    "BGR": (lambda x: x[..., ::-1] / 255.0, BYTES),
    "preprocess_input, -1 to 1": (
        APPLICATIONS.mobilenet_v2.preprocess_input, BYTES
    ),
    "preprocess_input, BGR less the mean": (
        APPLICATIONS.resnet50.preprocess_input, BYTES
    ),
    "preprocess_input, mean and variance": (
        APPLICATIONS.densenet.preprocess_input, BYTES
    ),
    "Normalization, 0 to 255": (
        lambda x: L.Normalization(
            mean=(123, 116, 103), variance=(58**2, 57**2, 57**2)
        )(x), BYTES,
    ),
    "Normalization, 0 to 1": (
        lambda x: L.Normalization(
            mean=(0.485, 0.456, 0.406), variance=(0.052, 0.05, 0.05)
        )(x), UNIT,
    ),
    "after augmentation and resizing": (
        lambda x: L.Rescaling(1 / 255)(
            L.Resizing(24, 24)(L.RandomRotation(0.1)(L.RandomFlip()(x)))
        ), BYTES,
    ),
    "before a border": (
        lambda x: L.ZeroPadding2D(2)(L.Rescaling(1 / 255)(x)), BYTES
    ),
}


@pytest.mark.parametrize("name", SCALES)
def test_first_operations_say_the_range_of_the_pixels(name):
    scale, (mean, std) = SCALES[name]
    found = leading_scale.of_keras(_model(scale), SHAPE)
    assert (found.mean, found.std) == ((mean,), (std,))
    assert "first operations" in found.said_by["mean"]


def test_nested_and_sequential_models_are_looked_into():
    inner = _model(lambda x: x / 255.0)
    outer = keras.Sequential([keras.Input(SHAPE), L.RandomFlip(), inner])
    assert leading_scale.of_keras(outer, SHAPE).std == (1.0,)
    large = keras.applications.MobileNetV3Small(
        input_shape=SHAPE, weights=None, classes=10
    )
    assert leading_scale.of_keras(large, SHAPE).std == (1.0,)


@pytest.mark.parametrize(
    "scale",
    [lambda x: x, lambda x: L.BatchNormalization()(x), lambda x: x * x,
     lambda x: L.Activation("relu")(x)],
)
def test_a_model_that_does_not_scale_says_nothing(scale):
    assert leading_scale.of_keras(_model(scale), SHAPE).mean is None


# Pixels of some data, and the scales that a network may be trained in.
PIXELS = Statistics((90.0, 100.0, 110.0), (50.0, 60.0, 70.0), 5.0, 250.0)
TRAINED = {
    "0 to 255": ((0.0,), (1.0,)), "0 to 1": ((0.0,), (255.0,)),
    "-1 to 1": ((127.5,), (127.5,)), "ImageNet": IMAGENET,
    "own": ((33.0,), (78.0,)),
}


@pytest.mark.parametrize("own", TRAINED)
@pytest.mark.parametrize("trained", TRAINED)
def test_a_trained_normalisation_says_the_scale_it_was_trained_in(
    trained, own
):
    """After it, the images of its training have mean 0 and deviation 1."""
    mean, std = (np.array(v) for v in TRAINED[trained])
    factor = std / np.array(PIXELS.std)
    offset = -factor * (np.array(PIXELS.mean) - mean) / std
    found = leading_scale.of_affine(
        factor, offset, Feed(*TRAINED[own]), PIXELS
    )
    if own == trained:  # the data's own scale stays
        assert found.mean is None
    elif trained != "own":
        assert (found.mean, found.std) == TRAINED[trained]


@pytest.mark.parametrize(
    "factor, offset, own, expected",
    [
        (1 / 255, 0.0, SYMMETRIC, BYTES),
        (1 / 127.5, -1.0, SYMMETRIC, BYTES),
        (1 / 127.5, -1.0, BYTES, None),
        (2.0, -1.0, SYMMETRIC, UNIT),
        (2.0, -1.0, UNIT, None),
        (0.5, 0.5, UNIT, SYMMETRIC),
        # Nothing is exact: what is plausible stays.
        (0.7, 0.1, SYMMETRIC, None),
        (1.0, -110.0, SYMMETRIC, BYTES),
        (0.0, 1.0, SYMMETRIC, None),
    ],
)
def test_scale_of_a_known_affine_map(factor, offset, own, expected):
    mean, std = own
    found = leading_scale.of_affine(
        np.full(3, factor), np.full(3, offset), Feed((mean,), (std,)), PIXELS
    )
    if expected is None:
        assert found.mean is None
    else:
        assert (found.mean[0], found.std[0]) == expected
