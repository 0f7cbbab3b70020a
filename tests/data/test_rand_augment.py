"""Each operation of RandAugment against Pillow's at magnitude 9 of 10."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL import ImageEnhance
from PIL import ImageOps

from tfnas.data import rand_augment

SIZE = 24


@pytest.fixture(scope="module")
def image():
    """Smooth, with dark and bright places, and no symmetry."""
    pixels = np.random.default_rng(3).integers(20, 230, (5, 5, 3), np.uint8)
    small = Image.fromarray(pixels)
    return small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def operation():
    made = rand_augment.make((SIZE, SIZE, 3))

    def run(image, name, sign=1.0):
        pixels = tf.constant(np.asarray(image, np.float32))
        number = tf.constant(rand_augment.NAMES.index(name))
        return made(pixels, number, tf.constant(sign)).numpy()

    return run


def _equalized(image):
    """Spreads values by their rank; Pillow's steps are whole numbers."""
    out = np.empty((SIZE, SIZE, 3))
    for channel, values in enumerate(np.moveaxis(np.asarray(image), -1, 0)):
        upto = np.searchsorted(np.sort(values.ravel()), values, side="right")
        out[..., channel] = 255 * (upto - upto.min()) / (SIZE**2 - upto.min())
    return out.round()


@pytest.mark.parametrize(
    "name, truth, tolerance",
    [
        ("identity", lambda image: image, 0),
        ("auto_contrast", ImageOps.autocontrast, 1.01),
        ("equalize", _equalized, 1),
        ("solarize", lambda image: ImageOps.solarize(image, 26), 0),
        ("posterize", lambda image: ImageOps.posterize(image, 4), 0),
    ],
)
def test_operation_without_direction_equals_its_definition(
    image, operation, name, truth, tolerance
):
    out = operation(image, name)
    assert np.abs(out - np.asarray(truth(image), float)).max() <= tolerance


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    "name, enhancer",
    [
        ("color", "Color"),
        ("contrast", "Contrast"),
        ("brightness", "Brightness"),
        ("sharpness", "Sharpness"),
    ],
)
def test_enhancement_equals_pillow(image, operation, name, enhancer, sign):
    out = operation(image, name, sign)
    enhanced = getattr(ImageEnhance, enhancer)(image).enhance(1 + 0.81 * sign)
    inner = slice(1, -1)  # Pillow does not sharpen the border
    difference = out - np.asarray(enhanced, float)
    assert np.abs(difference[inner, inner]).max() < 2.5


def _affine(image, matrix):
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix,
        resample=Image.Resampling.BILINEAR, fillcolor=(128, 128, 128),
    )


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    "name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"]
)
def test_movement_equals_pillow(image, operation, name, sign):
    middle, shear, shift = SIZE / 2, 0.27 * sign, 0.27 * sign * SIZE
    if name == "rotate":
        expected = image.rotate(
            27 * sign, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
        )
    else:
        expected = _affine(image, {
            "shear_x": (1, shear, -shear * middle, 0, 1, 0),
            "shear_y": (1, 0, 0, shear, 1, -shear * middle),
            "translate_x": (1, 0, shift, 0, 1, 0),
            "translate_y": (1, 0, 0, 0, 1, shift),
        }[name])
    out, expected = operation(image, name, sign), np.asarray(expected, float)
    differs = np.abs(out - expected).max(-1) > 3
    # Half a pixel along the border is filled otherwise.
    assert differs.mean() < 0.12
    assert not differs[8:-8, 8:-8].any()


def test_all_operations_and_both_directions_are_drawn():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32)
    row = np.zeros((1, rand_augment.DRAWS), np.float32)
    seen = set()
    for number in range(len(rand_augment.NAMES)):
        for direction in (0.0, 0.75):
            row[0, :2] = (number + 0.5) / len(rand_augment.NAMES), direction
            # The second operation, the first of all, changes nothing.
            out = rand_augment.apply(tf.constant(pixels), tf.constant(row))
            assert out.shape == pixels.shape
            assert 0 <= out.numpy().min() and out.numpy().max() <= 255
            seen.add(out.numpy().tobytes())
    # Five have no direction.
    assert len(seen) == 5 + 2 * 9
    assert pixels.tobytes() in seen


def test_two_operations_are_the_first_and_then_the_second(image, operation):
    row = np.zeros((1, rand_augment.DRAWS), np.float32)
    for step, name in enumerate(("solarize", "translate_x")):
        index = rand_augment.NAMES.index(name)
        row[0, 2 * step] = (index + 0.5) / len(rand_augment.NAMES)
    pixels = np.asarray(image, np.float32)[None]
    out = rand_augment.apply(tf.constant(pixels), tf.constant(row))
    expected = operation(operation(image, "solarize"), "translate_x", -1.0)
    assert np.array_equal(out[0], expected)
