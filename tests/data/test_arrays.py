"""Images that a program holds are a set like those with names."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from tfnas import artifacts
from tfnas import data
from tfnas.data import arrays
from tfnas.errors import ConfigError


def _pair(count=12, shape=(8, 8, 3), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape)).astype(np.uint8)
    return images, np.arange(count) % 3


def _config(**section):
    return ConfigDict({"data": {"name": "digits", "image_size": 8, **section}})


def _name(given, **section):
    with arrays.held(_config(**section), given) as config:
        return config.data.name


def test_they_are_the_set_that_a_file_of_them_is(tmp_path):
    train, test = _pair(), _pair(6, seed=1)
    artifacts.write_npz(
        tmp_path / "a.npz", x_train=train[0], y_train=train[1],
        x_test=test[0], y_test=test[1],
    )
    of_file = data.load({"name": f"npz:{tmp_path}/a.npz", "image_size": 8})
    with arrays.held(_config(), (train, test)) as config:
        held = data.load(config.data)
    assert held.class_names == of_file.class_names
    for half in ("train", "test"):
        ours, theirs = (getattr(s, half).arrays() for s in (held, of_file))
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    weights, _ = held.search_splits(0.5, seed=1)
    np.testing.assert_array_equal(
        weights.indices, of_file.search_splits(0.5, seed=1)[0].indices
    )


def test_fields_of_the_section_choose_among_them():
    with arrays.held(_config(classes=2, limit_train=4), _pair()) as config:
        held = data.load(config.data)
    assert held.train.labels[held.train.indices].tolist() == [0, 1, 0, 1]
    assert len(held.test) == 0


def test_the_name_is_that_of_the_content_however_it_is_held():
    images, labels = _pair()
    name = _name((images, labels))
    for same in (
        (images.copy(), labels.astype(np.int32)[:, None]),
        (images / 255, labels),
        (images.astype(np.float32) / np.float32(255), labels),
        (images.astype(np.float64), labels),
        (images.astype(np.int64), labels.tolist()),
        ((images, labels),),
    ):
        assert _name(same) == name
    with arrays.held(_config(), (images.astype(int), labels)) as config:
        kept = data.load(config.data).train.images.array
    np.testing.assert_array_equal(kept, images)
    other = images.copy()
    other[3, 2, 1, 0] ^= 1
    for another in (
        (other, labels), (images, labels[::-1]), (images[::-1], labels[::-1]),
        (images.reshape(12, 4, 16, 3), labels),
        ((images, labels), (images, labels)),
        ((images[:6], labels[:6]), (images[6:], labels[6:])),
    ):
        assert _name(another) != name


def test_a_dataset_is_read_in_order_whole_or_in_batches():
    import tensorflow as tf

    for shape in ((8, 8, 3), (8, 8)):
        images, labels = _pair(shape=shape)
        name = _name((images, labels))
        dataset = tf.data.Dataset.from_tensor_slices((images, labels))
        assert _name(dataset) == name
        assert _name(dataset.batch(5)) == name
        assert _name(dataset.map(lambda x, y: (x, y[None])).batch(5)) == name
        halves = _name(((images, labels), (images[:3], labels[:3])))
        assert _name((dataset, dataset.take(3))) == halves


def test_what_cannot_be_held_of_a_dataset_is_refused(monkeypatch):
    import tensorflow as tf

    images, labels = _pair()
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    sizes = tf.data.Dataset.from_generator(
        lambda: ((np.zeros((8, n, 3), np.uint8), 0) for n in (8, 9)),
        output_signature=(
            tf.TensorSpec((8, None, 3), tf.uint8), tf.TensorSpec((), tf.int32)
        ),
    )
    monkeypatch.setattr(arrays, "MAX_BYTES", images.nbytes - 1)
    for wrong, message in (
        (dataset.repeat(), "without `repeat`"),
        (dataset, f"up to {images.nbytes - 1} bytes"),
        (sizes, "of one size"),
        (dataset.take(0), "one without images"),
        (dataset.map(lambda x, y: {"x": x, "y": y}), "Received: a set of {"),
        (dataset.map(lambda x, y: (x, y, y)), r"Received: a set of \("),
        (dataset.map(lambda x, y: ("x", y)), r"Received: a set of \("),
        (dataset.map(lambda x, y: (x, tf.one_hot(y, 3))).take(2), "one-hot"),
    ):
        with pytest.raises(ConfigError, match=message):
            _name(wrong)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y: x, "must be `.images, labels.`.*Received: ndarray"),
        (lambda x, y: (x, y, y), "Received: tuple"),
        (lambda x, y: (), "Received: tuple"),
        (lambda x, y: ((x, y),) * 3, "Received: 3 of them"),
        (lambda x, y: ([[1], [1, 2]], y), "must be `.images, labels.`"),
        (lambda x, y: (x[..., :2], y), r"uint8 \(12, 8, 8, 2\)"),
        (lambda x, y: (x > 3, y), "Received: bool"),
        (lambda x, y: (x / 127.5 - 1, y), "Received: -1 to"),
        (lambda x, y: (x.astype(int) + 1, y), "Received: .* to 256"),
        (lambda x, y: (np.where(x > 3, np.nan, x), y), "Received: nan"),
        (lambda x, y: (x, y[1:]), r"12 integers.*int64 \(11,\)"),
        (lambda x, y: (x, y / 2), "Received: float64"),
        (lambda x, y: (x, np.eye(3)[y].astype(int)), "one-hot"),
        (lambda x, y: (x[:, :0], y), r"uint8 \(12, 0, 8, 3\)"),
        (lambda x, y: (x, y + 10**12), "label=1000000000002 of 12 images"),
        (
            lambda x, y: ((x / 1.0, y), (x / 255.0, y)),
            "on alike. Received: up to 25. and ",
        ),
    ],
)
def test_wrong_images_are_refused_in_a_line(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        _name(change(*_pair()))
    assert "\n" not in str(caught.value)


def test_they_are_not_there_after_the_call_or_for_others():
    name = _name(_pair())
    with pytest.raises(ConfigError, match="npz:FILE is there for all"):
        data.load({"name": name})
    with pytest.raises(ConfigError, match=f"Received: name={name}"):
        data.check({"name": name})
    with arrays.held(_config(), _pair()) as config:
        with arrays.held(_config(), _pair()):
            pass
        data.check(config.data)  # the inner call took nothing away


def test_images_to_test_on_are_asked_for_where_they_are_needed():
    with pytest.raises(ConfigError, match="must have images to test on"):
        with arrays.held(_config(), _pair(), tested=True):
            pass


@pytest.mark.parametrize("name", ["none", "ptb:folder"])
def test_a_search_without_images_takes_none(name):
    with pytest.raises(ConfigError, match=f"Received: data.name={name}"):
        with arrays.held(_config(name=name), _pair()):
            pass


def test_no_data_is_the_set_of_the_config():
    config = _config()
    with arrays.held(config, None) as same:
        assert same is config
