"""Each augmentation against its definition."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL import ImageEnhance

from tfnas.data import augment
from tfnas.data import augment_words
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
        augment_words.parse(words),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    return out.numpy()


def _random_images(count, size):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, size, size, 3), np.uint8)


def test_parse_knows_words_and_refuses_others():
    assert augment_words.parse("none") == frozenset()
    assert {*augment._BOXES, "pad_crop"} == set(augment_words.CROPS)
    assert augment_words.parse("pad_crop+flip") == {"pad_crop", "flip"}
    wrong = ("", "flipp", "flip,jitter", "pad_crop+resized_crop")
    for text in (*wrong, "large_crop+random_crop"):
        with pytest.raises(ConfigError, match="Received: augment="):
            augment_words.parse(text)


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
    factors = 0.6 + 0.8 * draws[0, 13:16].astype(float)
    kinds = ("Brightness", "Contrast", "Color")
    for kind, factor in zip(kinds, factors, strict=True):
        image = getattr(ImageEnhance, kind)(image).enhance(factor)
    # Pillow rounds down to whole numbers after each step.
    assert np.abs(out - np.asarray(image, float)).max() < 5


def _published_mean_area(height, width, least):
    """Draws area and ratio until the crop fits the image, many times."""
    rng = np.random.default_rng(5)
    area = rng.uniform(least, 1, 20_000) * height * width
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 20_000))
    fits = np.sqrt(area * ratio) <= width
    fits &= np.sqrt(area / ratio) <= height
    return area[fits].mean() / (height * width)


def _crops_of_places(draws, word, height, width, size):
    """Crops of an image whose pixels say where they are, and their sides."""
    where = np.zeros((height, width, 3), np.uint8)
    where[..., 0] = np.arange(height)[:, None]
    where[..., 1] = np.arange(width)
    words, image = augment_words.parse(word), tf.constant(where)
    rows = tf.data.Dataset.from_tensor_slices(draws)
    crops = rows.map(lambda row: augment.cut(image, row, words, (size,) * 2))
    out = np.stack(list(crops.as_numpy_iterator()))
    # The middles of two pixels that the borders cannot touch.
    steps = size - 9
    heights = (out[:, -5, 5, 0] - out[:, 4, 5, 0]) / steps * size
    widths = (out[:, 5, -5, 1] - out[:, 5, 4, 1]) / steps * size
    return out, heights, widths


@pytest.mark.parametrize(
    "word, least", [("resized_crop", 0.08), ("large_crop", 0.75)]
)
def test_crops_cover_the_published_areas_and_ratios(draws, word, least):
    height, width = 200, 240
    out, heights, widths = _crops_of_places(draws, word, height, width, 32)
    area = heights * widths / (height * width)
    ratio = widths / heights
    assert least - 0.02 < area.min() < least + 0.04
    assert 0.9 < area.max() < 1.02
    published = _published_mean_area(height, width, least)
    assert abs(area.mean() - published) < 0.04
    # Taller crops of that area would be taller than the image.
    narrowest = max(3 / 4, least * width / height)
    assert ratio.min() == pytest.approx(narrowest, abs=0.03)
    assert ratio.max() == pytest.approx(4 / 3, abs=0.04)
    # Crops lie inside the image and reach all of its sides.
    assert out[..., 0].min() < 5 and out[..., 0].max() > height - 6
    assert out[..., 1].min() < 5 and out[..., 1].max() > width - 6


def test_scaled_crops_are_the_squares_of_the_published_scales(draws):
    # Of 224 from a shorter side of 256 to 480, here 200.
    _, heights, widths = _crops_of_places(draws, "scale_crop", 200, 240, 32)
    assert np.abs(heights - widths).max() < 3
    assert heights.min() == pytest.approx(200 * 224 / 480, abs=2)
    assert heights.max() == pytest.approx(200 * 224 / 256, abs=2)
    # Uniform in the scale, not in the side.
    assert np.mean(200 * 224 / heights) == pytest.approx(368, abs=8)


def test_random_crops_are_squares_of_seven_eighths_of_the_shorter_side(draws):
    out, heights, widths = _crops_of_places(draws, "random_crop", 200, 240, 32)
    assert heights == pytest.approx(np.full(500, 175), abs=2)
    assert widths == pytest.approx(np.full(500, 175), abs=2)
    assert out[..., 0].min() < 5 and out[..., 0].max() > 200 - 6
    assert out[..., 1].min() < 5 and out[..., 1].max() > 240 - 6


def test_resized_crop_that_never_fits_takes_a_square():
    # A strip of 10 x 100 holds no crop of the full area.
    row = np.full(augment.DRAWS, 0.999999, np.float32)
    strip = np.zeros((10, 100, 3), np.uint8)
    strip[:, 90:] = 255
    words = augment_words.parse("resized_crop")
    out = augment.cut(tf.constant(strip), tf.constant(row), words, (32, 32))
    assert np.all(out.numpy() == 255)


@pytest.mark.parametrize("side", [20, 32, 50, 100])
def test_resizing_equals_pillow(side):
    small = Image.fromarray(_random_images(1, 10)[0])
    image = small.resize((side, side), Image.Resampling.BICUBIC)
    out = augment.resize(tf.constant(np.asarray(image)), (32, 32))
    expected = image.resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(out - np.asarray(expected, float)).max() < 1.01


def test_hue_moves_by_a_tenth_of_the_circle_and_no_more(draws):
    image = np.zeros((500, 4, 4, 3), np.uint8)
    image[...] = (200, 50, 50)
    out = _finish(image, draws, "hue")[:, 0, 0]
    found = [colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in out]
    hues = np.array([(hue + 0.5) % 1 - 0.5 for hue, _, _ in found])
    assert -0.1001 < hues.min() < -0.09 and 0.09 < hues.max() < 0.1001
    assert abs(hues.mean()) < 0.01
    for _, saturation, value in found:
        assert saturation == pytest.approx(0.75, abs=1e-4)
        assert value == pytest.approx(200 / 255, abs=1e-4)


def test_erasing_puts_noise_into_a_rectangle_of_half_of_the_images(draws):
    size = 64
    images = np.full((500, size, size, 3), 300.0, np.float32)  # no noise is
    out = _finish(images, draws, "erase")
    erased = out[..., 0] != 300
    touched = erased.any((1, 2))
    assert 200 < touched.sum() < 300
    areas, ratios = [], []
    for mask in erased[touched]:
        rows, columns = mask.any(1), mask.any(0)
        assert np.array_equal(mask, rows[:, None] & columns)
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()
        areas.append(mask.mean())
        ratios.append(rows.sum() / columns.sum())
    assert 0.015 < min(areas) and max(areas) < 0.42
    assert 0.25 < min(ratios) < 0.5 and 2 < max(ratios) < 4
    noise = out[erased]
    assert 0 <= noise.min() < 1 and 254 < noise.max() <= 255
    assert noise.mean() == pytest.approx(127.5, abs=1)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.02


def test_later_words_leave_what_the_others_do_as_it_was():
    seeds = ([1, 2, 1], [1, 2, 2])
    base = augment.draw(9, augment_words.parse("resized_crop+flip"), seeds)
    more = augment.draw(9, augment_words.parse("resized_crop+flip+hue"), seeds)
    assert np.array_equal(base, more[:, : base.shape[1]])
    assert base.shape[1] < more.shape[1] == augment.DRAWS
    assert augment.draw(9, augment_words.parse("none"), seeds).shape == (9, 0)
