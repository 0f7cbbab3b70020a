"""Grey, RGB and opacity, in oblong images as in square ones."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data import pictures
from tfnas import artifacts
from tfnas import data
from tfnas.data import augment
from tfnas.data import augment_words
from tfnas.data import channels as channel_forms
from tfnas.data import rand_augment

STRONG = "large_crop+flip+jitter+hue"
SHAPE = (24, 32)


def _npz(folder, images):
    path = folder / f"{images.shape[-1]}.npz"
    labels = np.arange(len(images)) % 2
    artifacts.write_npz(
        path, x_train=images, y_train=labels, x_test=images, y_test=labels
    )
    return f"npz:{path}"


def _images(channels, count=4, shape=SHAPE):
    rng = np.random.default_rng(channels)
    return rng.integers(0, 256, (count, *shape, channels), np.uint8)


def _pillow(image, mode):
    held = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if mode == "L":
        held = held.convert("RGB")
    pixels = np.asarray(held.convert(mode), float)
    return pixels[..., None] if mode == "L" else pixels


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("held", [1, 3, 4])
def test_arrays_of_any_channels_become_those_of_pillow(
    tmp_path, held, channels, mode
):
    images = _images(held)
    config = {
        "name": _npz(tmp_path, images), "channels": channels,
        "image_size": SHAPE, "mean": 0, "std": 1,
    }
    loaded = data.load(config)
    assert loaded.image_shape == (*SHAPE, channels)
    assert loaded.train.size == SHAPE and loaded.train.channels == channels
    seen, _ = loaded.train.arrays()
    expected = np.stack([_pillow(image, mode) for image in images])
    assert np.array_equal(seen, expected)


def test_brightness_is_that_of_pillow_for_every_colour():
    steps = np.arange(0, 256, 5, np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    ours = channel_forms.of_array(colours[None], 1)[0, ..., 0]
    assert np.array_equal(ours, expected)
    ours = channel_forms.of_tensor(tf.constant(colours), 1)
    assert np.array_equal(ours[..., 0], expected)


def test_usual_values_of_grey_and_of_opacity(tmp_path):
    root = pictures.write(
        tmp_path, {"0.png": pictures.encode(pictures.noise(), "PNG")}
    )
    name = f"folder:{root}"
    grey, colour, clear = (
        data.load({"name": name, "channels": count}) for count in (1, 3, 4)
    )
    weights = (0.299, 0.587, 0.114)
    assert grey.mean == pytest.approx((np.dot(weights, colour.mean),))
    assert grey.std == pytest.approx((np.dot(weights, colour.std),))
    assert clear.mean == (*colour.mean, 127.5)
    assert clear.std == (*colour.std, 127.5)
    assert data.load({"name": "digits", "channels": 1}).mean == (127.5,)


def test_one_number_each_or_one_for_all():
    config = {"name": "digits", "channels": 1, "mean": (3,), "std": 2}
    assert data.load(config).mean == (3.0,)
    config = {"name": "digits", "channels": 4, "mean": (1, 2, 3, 4), "std": 2}
    loaded = data.load(config)
    assert loaded.mean == (1, 2, 3, 4) and loaded.std == (2,) * 4


@pytest.mark.parametrize(
    "picture, target, box",
    [
        # (width, height), (height, width), left, top, right, bottom.
        ((64, 48), (42, 56), (4, 3, 60, 45)),
        ((80, 48), (42, 56), (12, 3, 68, 45)),  # too wide
        ((64, 96), (42, 56), (4, 27, 60, 69)),  # too tall
        ((96, 64), (56, 14), (41, 4, 55, 60)),
        ((64, 64), (56, 56), (4, 4, 60, 60)),
    ],
)
def test_the_middle_of_an_oblong_network_is_as_large_as_can_be(
    tmp_path, picture, target, box
):
    content = pictures.encode(pictures.noise(size=picture), "PNG")
    root = pictures.write(tmp_path, {"0.png": content})
    config = {
        "name": f"folder:{root}", "image_size": target, "mean": 0, "std": 1
    }
    seen = data.load(config).test.arrays()[0][0]
    assert np.array_equal(seen, pictures.truth(content, box=box))


@pytest.mark.parametrize("word", ["resized_crop", "scale_crop", "large_crop"])
def test_random_parts_have_the_ratio_of_the_network(word):
    words, size = augment_words.parse(word), (32, 64)
    rows = augment.draw(300, words, ([0], [1]))
    boxes = np.array([
        [int(side) for side in augment.box(
            tf.constant(400), tf.constant(400), tf.constant(row), words, size
        )]
        for row in rows
    ])
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 400).all() and (left + width <= 400).all()
    ratio = width / height / 2
    if word == "scale_crop":
        assert np.abs(ratio - 1).max() < 0.02
        # 224 of 256 to 480, of a height of 200.
        assert 92 <= height.min() and height.max() <= 176
    else:
        assert 0.73 < ratio.min() and ratio.max() < 1.36
        assert np.exp(np.log(ratio).mean()) == pytest.approx(1, abs=0.05)


def _finish(images, words, channels):
    words = augment_words.parse(words)
    rows = augment.draw(len(images), words, ([0], [1]))
    if words & {"large_crop"}:
        images = augment.frame(tf.constant(images), rows, words, SHAPE)
    return augment.finish(
        tf.constant(images), tf.constant(rows), words,
        (0.0,) * channels, (1.0,) * channels,
    ).numpy()


@pytest.mark.parametrize(
    "words", ["none", "pad_crop+flip", STRONG, "randaugment+flip"]
)
def test_grey_images_become_what_they_would_as_rgb(words):
    rand_augment.layers()
    images = _images(1, count=40)
    grey, colour = (_finish(images, words, count) for count in (1, 3))
    assert grey.shape == (40, *SHAPE, 1)
    assert np.abs(grey - colour).max() < 1e-3
    if words == STRONG:
        assert np.abs(grey - _finish(images, "large_crop+flip", 1)).max() > 20


@pytest.mark.parametrize("words", ["pad_crop+flip", "randaugment", STRONG])
def test_opacity_goes_where_the_pixels_go(words):
    rand_augment.layers()
    images = _images(4, count=40)
    seen = _finish(images, words, 4)
    assert seen.shape == (40, *SHAPE, 4)
    colours = _finish(images[..., :3], words, 3)
    assert np.abs(seen[..., :3] - colours).max() < 1e-3
    if words != "randaugment":
        moves = {"large_crop", "pad_crop", "flip"} & {*words.split("+")}
        opacity = _finish(images[..., 3:], "+".join(moves), 1)
        assert np.abs(seen[..., 3:] - opacity).max() < 1e-3


def test_erase_takes_a_part_of_oblong_images_and_no_opacity():
    images = np.full((300, *SHAPE, 4), 300.0, np.float32)  # no noise is
    seen = _finish(images, "erase", 4)
    assert np.all(seen[..., 3] == 300)
    hit = seen[..., 0] < 300
    share = hit.mean((1, 2))
    assert 0.35 < (share > 0).mean() < 0.65
    assert share.max() < 0.45
    rows, columns = hit.any(2).sum(1), hit.any(1).sum(1)
    assert np.array_equal(rows * columns, hit.sum((1, 2)))
    assert rows.max() <= 24 and 24 < columns.max() <= 32
    grey = _finish(images[..., :1], "erase", 1)
    assert np.array_equal(grey[..., 0] < 300, hit)


def test_pad_crop_goes_by_an_eighth_of_each_side():
    images = np.zeros((400, *SHAPE, 1), np.uint8)
    images[:, 12, 16] = 200
    seen = _finish(images, "pad_crop", 1)[..., 0]
    rows, columns = (np.unique(np.nonzero(seen)[axis]) for axis in (1, 2))
    assert rows.tolist() == list(range(12 - 3, 12 + 4))
    assert columns.tolist() == list(range(16 - 4, 16 + 5))


def test_shifts_go_by_a_share_of_each_side():
    make = rand_augment.make((24, 40, 1))
    image = np.full((24, 40, 1), 128.0, np.float32)  # as from outside
    image[12, 20] = 228
    for name, axis, side in (("translate_x", 1, 40), ("translate_y", 0, 24)):
        number = tf.constant(rand_augment.NAMES.index(name))
        moved = make(tf.constant(image), number, tf.constant(1.0)).numpy()
        weights = (moved - 128).sum((1 - axis, 2))
        place = (weights * np.arange(len(weights))).sum() / weights.sum()
        assert place == pytest.approx(image.shape[axis] / 2 - 0.27 * side)


def test_resumed_epoch_of_grey_oblong_images_is_the_same(tmp_path):
    config = {"name": "digits", "channels": 1, "image_size": SHAPE}
    split = data.load({**config, "limit_train": 40}).train
    words = f"{STRONG}+randaugment+erase"
    whole, rest = (
        [images for images, _ in split.batches(
            8, seed=1, epoch=2, augment=words, start=start
        ).as_numpy_iterator()]
        for start in (0, 3)
    )
    assert whole[0].shape == (8, *SHAPE, 1)
    assert np.array_equal(np.concatenate(whole[3:]), np.concatenate(rest))
