"""A teacher is fed as its own file says, and its classes are matched."""

import keras
import numpy as np
import pytest

from tfnas import data
from tfnas import model_files
from tfnas.errors import ConfigError
from tfnas.feed import Feed
from tfnas.train.distillation import Teacher

L = keras.layers
NAMES = tuple(str(i) for i in range(10))


@pytest.fixture(scope="module")
def digits():
    return data.load({"name": "digits", "image_size": 16, "limit_train": 20})


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.arrays()[0][:4]


def _pixels(digits, images):
    return images * np.array(digits.std, "f") + np.array(digits.mean, "f")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    return keras.Model(image, L.Dense(10)(L.GlobalAveragePooling2D()(image)))


def test_scale_and_order_are_those_of_the_teachers_file(
    digits, images, model, tmp_path
):
    order = np.random.default_rng(0).permutation(10)
    labels = tuple(NAMES[i] for i in order)
    feed = Feed(mean=(10.0,), std=(20.0, 30.0, 40.0), labels=labels)
    model_files.save_model(model, tmp_path / "t.keras", feed)
    answer = Teacher(tmp_path / "t.keras", digits)(images)
    scaled = (_pixels(digits, images) - 10) / np.array([20.0, 30.0, 40.0])
    theirs = model.predict(scaled, verbose=0)
    by_name = dict(zip(labels, theirs.T, strict=True))
    expected = np.stack([by_name[name] for name in NAMES], axis=-1)
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)
    # What is given by hand knows better.
    answer = Teacher(tmp_path / "t.keras", digits, 0.0, 255.0)(images)
    theirs = model.predict(_pixels(digits, images) / 255, verbose=0)
    np.testing.assert_allclose(
        np.sort(answer), np.sort(theirs), rtol=1e-4, atol=1e-4
    )


def test_a_silent_teacher_that_rescales_gets_pixels(
    digits, images, model, tmp_path
):
    image = keras.Input((16, 16, 3))
    whole = keras.Model(image, model(L.Rescaling(1 / 255)(image)))
    whole.save(tmp_path / "t.keras")
    answer = Teacher(tmp_path / "t.keras", digits)(images)
    expected = whole.predict(_pixels(digits, images), verbose=0)
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


def test_a_teacher_of_bytes_gets_bytes(digits, images, model, tmp_path):
    image = keras.Input((16, 16, 3), dtype="uint8")
    whole = keras.Model(image, model(L.Rescaling(1 / 255)(image)))
    whole.save(tmp_path / "t.keras")
    answer = Teacher(tmp_path / "t.keras", digits)(images)
    pixels = np.round(_pixels(digits, images)).astype(np.uint8)
    expected = whole.predict(pixels, verbose=0)
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


def test_a_teacher_of_other_classes_is_refused(digits, model, tmp_path):
    feed = Feed(labels=(*NAMES[:9], "ten"))
    model_files.save_model(model, tmp_path / "t.keras", feed)
    with pytest.raises(ConfigError, match=r"t\.keras.*lacks 9.*lack ten"):
        Teacher(tmp_path / "t.keras", digits)
