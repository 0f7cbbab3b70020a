"""Keras models and `.tflite` files are measured alike, from good files only."""

import keras
import numpy as np
import pytest

from tfnas import data
from tfnas import export
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import ExportError


@pytest.fixture(scope="module")
def digits():
    return data.load({"name": "digits", "limit_test": 50})


@pytest.fixture(scope="module")
def model():
    image = keras.Input((32, 32, 3))
    x = keras.layers.AveragePooling2D(8)(image)
    x = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    return keras.Model(image, x)


@pytest.fixture(scope="module")
def blob(model):
    return export.to_tflite(model)


class Constant(export.Classifier):
    """Puts every image into one class."""

    input_shape = (32, 32, 3)
    classes = 10

    def _logits(self, images):
        return np.tile(np.eye(10)[3], (len(images), 1))


def test_accuracy_is_the_share_of_right_answers(digits, model, blob):
    _, labels = digits.test.arrays()
    assert export.accuracy(Constant(), digits.test) == np.mean(labels == 3)

    images, labels = digits.test.arrays()
    by_hand = np.mean(model.predict(images, verbose=0).argmax(-1) == labels)
    for network in (model, blob):
        for batch_size in (7, 256):
            share = export.accuracy(network, digits.test, batch_size)
            assert share == pytest.approx(by_hand)


def test_images_of_another_shape_are_refused(model, blob):
    for network in (model, blob):
        classifier = export.as_classifier(network)
        with pytest.raises(ConfigError, match=r"shape=\(16, 32, 3\)"):
            classifier.predict(np.zeros((1, 16, 32, 3)))
    with pytest.raises(ConfigError, match="images to compare on"):
        export.parity(model, blob, np.zeros((0, 32, 32, 3)))


def test_int8_ends_saturate_instead_of_wrapping(model):
    calibration = np.random.default_rng(0).uniform(-1, 1, (20, 32, 32, 3))
    network = export.TFLiteClassifier(
        export.to_tflite(model, "int8", calibration)
    )
    edge, beyond = np.ones((2, 1, 32, 32, 3)) * [[[[[1]]]], [[[[100]]]]]
    np.testing.assert_array_equal(
        network.predict(edge), network.predict(beyond)
    )


def test_files_load_as_what_was_saved(tmp_path, model, blob):
    model.save(tmp_path / "a.keras")
    (tmp_path / "a.tflite").write_bytes(blob)
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3))
    expected = model.predict(images, verbose=0)
    for name in ("a.keras", "a.tflite"):
        network = export.load_classifier(tmp_path / name)
        assert network.input_shape == (32, 32, 3)
        assert network.classes == 10
        np.testing.assert_allclose(
            network.predict(images), expected, atol=1e-5
        )


def test_truncated_file_is_refused_by_name(tmp_path, model, blob):
    model.save(tmp_path / "a.keras")
    (tmp_path / "a.tflite").write_bytes(blob)
    for name in ("a.keras", "a.tflite"):
        path = tmp_path / name
        content = path.read_bytes()
        for size_bytes in (0, 100, len(content) // 2):
            path.write_bytes(content[:size_bytes])
            with pytest.raises(ArtifactError, match=name):
                export.load_classifier(path)


def test_missing_or_unknown_file_is_refused_by_name(tmp_path):
    for name in ("absent.keras", "absent.tflite"):
        with pytest.raises(ArtifactError, match=rf"{name}: .*[Nn]o such file"):
            export.load_classifier(tmp_path / name)
    (tmp_path / "a.h5").touch()
    with pytest.raises(ArtifactError, match=r"a\.h5: expected a file that"):
        export.load_classifier(tmp_path / "a.h5")


def test_file_with_code_in_it_is_refused(tmp_path):
    path = tmp_path / "lambda.keras"
    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image)).save(path)
    with pytest.raises(ArtifactError, match=r"lambda\.keras.*Lambda"):
        export.load_keras(path)


def test_file_of_another_kind_of_network_is_named(tmp_path):
    path = tmp_path / "vector.keras"
    vector = keras.Input((5,))
    keras.Model(vector, keras.layers.Dense(2)(vector)).save(path)
    with pytest.raises(ExportError, match=r"vector\.keras: expected one image"):
        export.load_classifier(path)
