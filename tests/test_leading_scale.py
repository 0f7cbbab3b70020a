"""A model that scales its own pixels says which ones it takes."""

import keras
import numpy as np
import pytest

from tfnas import leading_scale

L = keras.layers
SHAPE = (32, 32, 3)
BYTES, UNIT, SYMMETRIC = (0, 1), (0, 255), (127.5, 127.5)
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


def test_scale_of_a_known_affine_map():
    found = leading_scale.of_affine(np.full(3, 1 / 58.0), np.full(3, -2.0))
    assert found.std == (1.0,)
    assert leading_scale.of_affine(np.zeros(1), np.ones(1)).mean is None
