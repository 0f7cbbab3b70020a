"""What a split hands to training: order, images, labels."""

import io
import os
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data import record_files
from tfnas import artifacts
from tfnas import data
from tfnas.data import records
from tfnas.data.sources import CIFAR_STATISTICS
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.train import run_state

STRONG = "resized_crop+flip+jitter"
STRONGEST = "large_crop+flip+randaugment+jitter+hue+erase"


@pytest.fixture(scope="module")
def digits():
    return data.load({"name": "digits", "limit_train": 50})


def _run(split, batch_size=8, seed=0, epoch=0, **options):
    """All images and labels of an epoch."""
    batches = split.batches(batch_size, seed=seed, epoch=epoch, **options)
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize(
    "augment", ["none", "pad_crop+flip", STRONG, STRONGEST]
)
def test_resumed_epoch_equals_the_undisturbed_one(digits, augment):
    images, labels = _run(digits.train, augment=augment)
    rest, rest_labels = _run(digits.train, augment=augment, start=3)
    assert np.array_equal(images[3 * 8 :], rest)
    assert np.array_equal(labels[3 * 8 :], rest_labels)


@pytest.mark.parametrize("augment", ["pad_crop+flip", STRONG, STRONGEST])
def test_an_image_looks_the_same_in_any_batch(digits, augment):
    images, labels = _run(digits.train, batch_size=8, augment=augment)
    others, other_labels = _run(digits.train, batch_size=50, augment=augment)
    assert np.array_equal(images, others)
    assert np.array_equal(labels, other_labels)


def test_order_depends_on_seed_and_epoch_only(digits):
    first, _ = _run(digits.train)
    again, _ = _run(digits.train)
    other_seed, _ = _run(digits.train, seed=1)
    other_epoch, _ = _run(digits.train, epoch=1)
    assert np.array_equal(first, again)
    for other in (other_seed, other_epoch):
        assert not np.array_equal(first, other)
        # Only the order differs.
        assert np.array_equal(
            np.sort(first.sum((1, 2, 3))), np.sort(other.sum((1, 2, 3)))
        )


def test_epochs_augment_an_image_in_different_ways(digits):
    first, _ = _run(digits.train, augment="pad_crop", shuffle=False)
    other, _ = _run(digits.train, augment="pad_crop", shuffle=False, epoch=1)
    assert not np.array_equal(first, other)


def test_batch_size_is_static_unless_the_last_batch_is_smaller(digits):
    def static(batch_size, drop_remainder=False):
        batches = digits.train.batches(
            batch_size, seed=0, epoch=0, drop_remainder=drop_remainder
        )
        images, labels = batches.element_spec
        assert images.shape[1:] == (32, 32, 3)
        assert (images.dtype, labels.dtype) == (tf.float32, tf.int32)
        count = digits.train.num_batches(batch_size, drop_remainder)
        assert int(batches.cardinality()) == count
        return images.shape[0]

    assert static(10) == 10
    assert static(8) is None
    assert static(8, drop_remainder=True) == 8


def test_arrays_are_the_pixels_in_order_and_normalised(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3))
    pixels, labels = pixels.astype(np.uint8), np.array([0, 1, 2] * 2)
    path = tmp_path / "a.npz"
    artifacts.write_npz(
        path, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels
    )
    mean, std = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    config = {"name": f"npz:{path}", "mean": mean, "std": std}
    x, y = data.load(config).train.arrays()
    np.testing.assert_allclose(x, (pixels - mean) / std, rtol=1e-6)
    assert y.tolist() == labels.tolist()


def test_grey_images_become_rgb(digits):
    images, _ = digits.train.arrays()
    assert np.array_equal(images[..., 0], images[..., 2])
    assert images.min() == -1.0 and images.max() == 1.0


def test_representative_draws_that_many_by_seed(digits):
    first, again, other = (
        digits.train.representative(7, seed) for seed in (0, 0, 1)
    )
    assert first.shape == (7, 32, 32, 3) and first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(digits.train.representative(99, 0)) == 50


def test_two_replicas_share_each_batch(digits):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    batches = digits.train.batches(8, seed=0, epoch=0)
    whole = [labels for _, labels in batches.as_numpy_iterator()]
    shared = strategy.experimental_distribute_dataset(batches)
    for (_, labels), expected in zip(shared, whole, strict=True):
        parts = strategy.experimental_local_results(labels)
        assert len(parts) == 2
        assert np.array_equal(tf.concat(parts, 0), expected)


def test_hosts_share_each_batch_too(digits):
    options = digits.train.batches(8, seed=0, epoch=0).options()
    policy = options.experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.DATA


def test_unknown_augmentation_is_refused(digits):
    with pytest.raises(ConfigError, match="augment='cutout'"):
        digits.train.batches(8, seed=0, epoch=0, augment="cutout")


def test_cifar_comes_from_keras_with_its_statistics(monkeypatch):
    pixels = np.zeros((20, 32, 32, 3), np.uint8)
    labels = np.arange(20)[:, None] % 10
    half = (pixels, labels)
    monkeypatch.setattr(
        keras.datasets.cifar10, "load_data", lambda: (half, half)
    )
    cifar = data.load({"name": "cifar10"})
    mean, std = CIFAR_STATISTICS["cifar10"]
    assert cifar.mean == pytest.approx(255 * np.array(mean))
    assert cifar.std == pytest.approx(255 * np.array(std))
    assert cifar.class_names[9] == "truck"
    x, y = cifar.test.arrays()
    np.testing.assert_allclose(x[0, 0, 0], -np.array(mean) / std, rtol=1e-5)
    assert y.tolist() == labels.ravel().tolist()


def _noise(mode, size):
    """An image of coarse noise: every crop of it looks different."""
    shape = (8, 8, 3) if mode == "RGB" else (8, 8)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def test_folder_images_are_resized_from_their_middle(tmp_path):
    images = {"a": _noise("RGB", (120, 80)), "b": _noise("L", (80, 100))}
    for half in ("train", "val"):
        for name, image in images.items():
            (tmp_path / half / name).mkdir(parents=True)
            image.save(tmp_path / half / name / "0.png")
    config = {"name": f"folder:{tmp_path}", "mean": 0, "std": 1}
    x, y = data.load(config).test.arrays()
    assert y.tolist() == [0, 1]
    # The middle 70 of 80 pixels, as 224 of 256.
    boxes = {"a": (25, 5, 95, 75), "b": (5, 15, 75, 85)}
    for index, (name, image) in enumerate(images.items()):
        middle = image.convert("RGB").crop(boxes[name])
        expected = middle.resize((32, 32), Image.Resampling.BILINEAR)
        assert np.abs(x[index] - np.asarray(expected, float)).max() < 3


def _write_records(path, images, labels):
    files = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files.append(buffer.getvalue())
    record_files.write(path, files, labels)


def test_tfrecords_are_read_by_index_with_labels_from_0(tmp_path):
    greys = [10, 200, 30, 90]
    images = [Image.new("L", (40 + g, 50), g) for g in greys]
    _write_records(tmp_path / "train-0", images[:2], [1, 5])
    _write_records(tmp_path / "train-1", images[2:], [5, 1])
    _write_records(tmp_path / "validation-0", images[1:3], [5, 5])
    config = {"name": f"tfrecord:{tmp_path}/*-*", "mean": 0, "std": 1}
    found = data.load(config)
    assert found.class_names == ("1", "5")
    x, y = found.train.arrays()
    assert x[:, 16, 16, 1].round().tolist() == greys
    assert y.tolist() == [0, 1, 1, 0]
    x, y = _run(found.train, seed=2, augment=STRONG.removesuffix("+jitter"))
    value_of = dict(zip(greys, [0, 1, 1, 0], strict=True))
    assert [value_of[round(v)] for v in x[:, 0, 0, 0]] == y.tolist()
    assert found.test.arrays()[1].tolist() == [1, 1]


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores")
def test_records_are_read_side_by_side(tmp_path, monkeypatch):
    images = [Image.new("L", (40, 50), grey) for grey in range(0, 240, 30)]
    _write_records(tmp_path / "train-0", images, [0, 1] * 4)
    _write_records(tmp_path / "test-0", images[:2], [0, 1])
    two, read = threading.Barrier(2), records._Records.read

    def read_with_another(self, index):
        two.wait(timeout=20)  # breaks where one is read after the other
        return read(self, index)

    monkeypatch.setattr(records._Records, "read", read_with_another)
    run_state.start(0)  # as in training: with op determinism
    x, _ = data.load(
        {"name": f"tfrecord:{tmp_path}/*-0", "check_images": False,
         "mean": 0, "std": 1}
    ).train.arrays()
    assert x[:, 0, 0, 0].round().tolist() == list(range(0, 240, 30))


def test_damaged_tfrecord_is_named(tmp_path):
    image = Image.new("L", (40, 40))
    for half in ("train", "test"):
        _write_records(tmp_path / f"{half}-0", [image] * 2, [0, 1])
    path = tmp_path / "test-0"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="test-0: damaged"):
        data.load({"name": f"tfrecord:{tmp_path}/*-0"})


def test_tfrecord_without_labels_is_refused(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "train-0")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(ArtifactError, match=r'class/label".*Received: \[\]'):
        data.load({"name": f"tfrecord:{tmp_path}/*"})


def test_tfrecord_glob_without_training_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="start with train.*=tfrecord:"):
        data.load({"name": f"tfrecord:{tmp_path}/*"})
