"""Loading sets, and what bad ones are told. Needs no TensorFlow."""

import sys

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from tfnas import artifacts
from tfnas import data
from tfnas.data.sources import CIFAR_STATISTICS
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError


def test_digits_are_the_1797_images_of_the_original():
    digits = data.load({"name": "digits"})
    train, test = digits.train, digits.test
    assert (len(train), len(test)) == (1442, 355)
    counts = np.bincount(train.labels) + np.bincount(test.labels)
    # As scikit-learn's documentation of the set has them.
    expected = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert counts.tolist() == expected
    assert np.bincount(test.labels).min() >= 34
    # The first image, a zero, of the original file; 16 has become 255.
    assert train.images.array[0, 0, :, 0].tolist() == [
        round(value * 255 / 16) for value in (0, 0, 5, 13, 9, 1, 0, 0)
    ]


def test_config_may_be_a_configdict():
    config = ConfigDict({"name": "digits", "limit_train": 20, "classes": None})
    digits = data.load(config)
    assert len(digits.train) == 20
    assert digits.classes == 10
    assert digits.image_shape == (32, 32, 3)


def test_fewer_classes_are_numbered_anew():
    digits = data.load({"name": "digits", "classes": 3, "class_seed": 1})
    assert digits.classes == len(digits.class_names) == 3
    assert set(digits.train.labels) == set(digits.test.labels) == {0, 1, 2}


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="digits, cifar10.*webp:.*=mnist"):
        data.load({"name": "mnist"})


def test_network_input_below_8_is_refused():
    with pytest.raises(ConfigError, match="at least 8. .*=7"):
        data.load({"name": "digits", "image_size": 7})


def test_mean_and_std_may_be_set():
    config = {"name": "digits", "mean": 0, "std": (255, 255, 128)}
    digits = data.load(config)
    assert digits.mean == digits.train.mean == (0.0, 0.0, 0.0)
    assert digits.std == digits.test.std == (255.0, 255.0, 128.0)


@pytest.mark.parametrize("field, value", [("std", 0), ("mean", (1, 2))])
def test_wrong_mean_and_std_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"Received: {field}="):
        data.load({"name": "digits", field: value})


def test_missing_tfds_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError, match=r"pip install tfnas\[tfds\]"):
        data.load({"name": "tfds:flowers"})


def _arrays(**changes):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    labels = np.array([0, 1, 0, 1])
    arrays = {
        "x_train": images,
        "y_train": labels,
        "x_test": images,
        "y_test": labels,
    }
    return {k: v for k, v in (arrays | changes).items() if v is not None}


def test_npz_gives_its_arrays(tmp_path):
    path = tmp_path / "a.npz"
    names = np.array(["cat", "dog"])
    artifacts.write_npz(path, **_arrays(class_names=names))
    loaded = data.load({"name": f"npz:{path}"})
    assert loaded.class_names == ("cat", "dog")
    assert loaded.train.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x_test": None}, 'field "x_test"'),
        ({"x_train": np.zeros((4, 8, 8, 3), np.float32)}, "expected uint8"),
        ({"x_train": np.zeros((4, 8), np.uint8)}, r"uint8 \(4, 8\)"),
        ({"x_train": np.zeros((4, 8, 8, 2), np.uint8)}, "expected uint8"),
        ({"y_train": np.array([0, 1])}, '"y_train": expected 4 integers'),
        ({"y_train": np.zeros(4)}, '"y_train": expected 4 integers'),
        ({"y_test": np.array([0, 1, 2, 0])}, "from 0 to 1. Received: label=2"),
        ({"y_train": np.array([0, 2, 0, 2])}, "none of 1"),
        ({"y_train": np.zeros(4, int)}, "at least 2 classes"),
    ],
)
def test_wrong_npz_is_refused(tmp_path, changes, message):
    path = tmp_path / "a.npz"
    artifacts.write_npz(path, **_arrays(**changes))
    with pytest.raises(ArtifactError, match=message):
        data.load({"name": f"npz:{path}"})


def _strips(folder, height=8):
    for half in ("train", "test"):
        for number in range(2):
            # Images of 4x4; all pixels of an image hold its own number.
            rows = np.arange(height)[:, None, None] // 4 + 2 * number
            strip = np.broadcast_to(rows, (height, 4, 3)).astype(np.uint8)
            path = folder / f"{half}_{number:03}.webp"
            Image.fromarray(strip).save(path, lossless=True)


def _strip_labels(folder, count=4):
    labels = np.arange(count) % 2
    artifacts.write_npz(folder / "labels.npz", y_train=labels, y_test=labels)


def test_webp_strips_are_cut_into_images(tmp_path):
    _strips(tmp_path)
    _strip_labels(tmp_path)
    loaded = data.load({"name": f"webp:{tmp_path}"})
    assert loaded.train.images.array.shape == (4, 4, 4, 3)
    assert loaded.train.images.array[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert loaded.train.labels.tolist() == [0, 1, 0, 1]


def test_webp_limit_takes_equally_many_of_every_class(tmp_path):
    _strips(tmp_path)
    _strip_labels(tmp_path)
    limited = data.load({"name": f"webp:{tmp_path}", "limit_train": 2})
    assert limited.train.images.array[:, 0, 0, 0].tolist() == [0, 1]
    assert limited.train.labels.tolist() == [0, 1]
    assert len(limited.test) == 4


def test_truncated_webp_strip_is_named(tmp_path):
    _strips(tmp_path)
    _strip_labels(tmp_path)
    path = tmp_path / "train_001.webp"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="train_001.webp: not a readable"):
        data.load({"name": f"webp:{tmp_path}"})


def test_webp_strip_of_wrong_height_is_named(tmp_path):
    _strips(tmp_path, height=10)
    _strip_labels(tmp_path)
    with pytest.raises(ArtifactError, match="train_000.webp.*height=10"):
        data.load({"name": f"webp:{tmp_path}"})


def test_webp_with_too_few_labels_is_refused(tmp_path):
    _strips(tmp_path)
    _strip_labels(tmp_path, count=3)
    with pytest.raises(ArtifactError, match='"y_train": expected 4 integers'):
        data.load({"name": f"webp:{tmp_path}"})


@pytest.mark.slow
def test_cifar10_has_its_published_statistics(shared_data):
    strips = data.load({"name": f"webp:{shared_data / 'cifar10'}"})
    pixels = strips.train.images.array.reshape(-1, 3)
    assert (len(strips.train), len(strips.test)) == (50_000, 8_000)
    mean = pixels.mean(0, dtype=np.float64)
    square = np.zeros(3)
    for chunk in np.array_split(pixels, 50):
        square += np.square(chunk, dtype=np.float64).sum(0)
    std = np.sqrt(square / len(pixels) - mean**2)
    published_mean, published_std = CIFAR_STATISTICS["cifar10"]
    assert mean / 255 == pytest.approx(published_mean, abs=1e-7)
    assert std / 255 == pytest.approx(published_std, abs=1e-7)
