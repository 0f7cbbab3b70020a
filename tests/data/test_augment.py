"""Each augmentation against its definition."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL import ImageEnhance

from tfnas.data import augment
from tfnas.errors import ConfigError


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    return rng.random((500, augment.DRAWS), np.float32)


def _finish(images, draws, words):
    """Augments without normalising."""
    out = augment.finish(
        tf.constant(images),
        tf.constant(draws),
        augment.parse(words),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    return out.numpy()


def _random_images(count, size):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, size, size, 3), np.uint8)


def test_parse_knows_words_and_refuses_others():
    assert augment.parse("none") == frozenset()
    assert augment.parse("pad_crop+flip") == {"pad_crop", "flip"}
    for text in ("", "flipp", "flip,jitter", "pad_crop+resized_crop"):
        with pytest.raises(ConfigError, match="Received: augment="):
            augment.parse(text)


def test_flip_mirrors_half_of_the_images(draws):
    images = _random_images(500, 8)
    out = _finish(images, draws, "flip")
    mirrored = [
        np.array_equal(o, i[:, ::-1]) for o, i in zip(out, images, strict=True)
    ]
    same = [np.array_equal(o, i) for o, i in zip(out, images, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 200 < sum(mirrored) < 300


def test_pad_crop_shifts_by_up_to_an_eighth_and_fills_black(draws):
    images = _random_images(500, 16)
    out = _finish(images, draws, "pad_crop")
    seen = set()
    for image, cropped in zip(images, out, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        shifts = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(padded[top : top + 16, left : left + 16], cropped)
        ]
        assert len(shifts) == 1
        seen.update(shifts)
    assert len(seen) == 25


def test_jitter_equals_pillow_in_the_same_order(draws):
    small = Image.fromarray(_random_images(1, 4)[0])
    image = small.resize((32, 32), Image.Resampling.BILINEAR)
    out = _finish(np.array(image)[None], draws[:1], "jitter")[0]
    factors = 0.6 + 0.8 * draws[0, -3:].astype(float)
    kinds = ("Brightness", "Contrast", "Color")
    for kind, factor in zip(kinds, factors, strict=True):
        image = getattr(ImageEnhance, kind)(image).enhance(factor)
    # Pillow rounds down to whole numbers after each step.
    assert np.abs(out - np.asarray(image, float)).max() < 5


def _published_mean_area(height, width):
    """Draws area and ratio until the crop fits the image, many times."""
    rng = np.random.default_rng(5)
    area = rng.uniform(0.08, 1, 20_000) * height * width
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 20_000))
    fits = np.sqrt(area * ratio) <= width
    fits &= np.sqrt(area / ratio) <= height
    return area[fits].mean() / (height * width)


def test_resized_crop_covers_the_published_areas_and_ratios(draws):
    # Each pixel says where it is, so the crop can be told from its result.
    height, width, size = 200, 240, 32
    where = np.zeros((height, width, 3), np.uint8)
    where[..., 0] = np.arange(height)[:, None]
    where[..., 1] = np.arange(width)
    image = tf.constant(where)
    rows = tf.data.Dataset.from_tensor_slices(draws)
    crops = rows.map(lambda row: augment.resized_crop(image, row, size))
    out = np.stack(list(crops.as_numpy_iterator()))
    # The middles of two pixels that the borders cannot touch.
    steps = size - 9
    heights = (out[:, -5, 5, 0] - out[:, 4, 5, 0]) / steps * size
    widths = (out[:, 5, -5, 1] - out[:, 5, 4, 1]) / steps * size
    area = heights * widths / (height * width)
    ratio = widths / heights
    assert 0.07 < area.min() < 0.12 and 0.9 < area.max() < 1.02
    assert abs(area.mean() - _published_mean_area(height, width)) < 0.04
    assert 0.72 < ratio.min() < 0.78 and 1.28 < ratio.max() < 1.36
    # Crops lie inside the image and reach all of its sides.
    assert out[..., 0].min() < 5 and out[..., 0].max() > height - 6
    assert out[..., 1].min() < 5 and out[..., 1].max() > width - 6


def test_resized_crop_that_never_fits_takes_a_square():
    # A strip of 10 x 100 holds no crop of the full area.
    row = np.full(augment.DRAWS, 0.999999, np.float32)
    strip = np.zeros((10, 100, 3), np.uint8)
    strip[:, 90:] = 255
    out = augment.resized_crop(tf.constant(strip), tf.constant(row), 32)
    assert np.all(out.numpy() == 255)
