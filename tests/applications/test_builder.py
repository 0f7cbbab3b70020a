"""Networks under the contract of Keras applications."""

import keras
import numpy as np
import pytest

import tfnas
from tfnas import applications
from tfnas import spaces
from tfnas.applications import weights as weight_files
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

PUBLISHED = {  # parameters, with 1000 classes unless the authors had more
    "densenas_a": 4_767_920,
    "densenas_b": 5_584_080,
    "densenas_c": 6_134_144,
    "ase_nas": 8_939_576,
    "ase_nas_plus": 8_996_552,
    "autospace_340m": 4_507_920,
    "shrink_cnn_a": 3_636_301,
    "shrink_cnn_b": 3_636_301,
}


@pytest.fixture(scope="module")
def small():
    """A searched network that builds in a second."""
    return spaces.get("densenas_mbv2@32").sample(0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_application_has_the_published_parameters(name):
    arch = applications.APPLICATIONS.get(name).get_arch()
    assert tfnas.count(arch).params == PUBLISHED[name]
    assert arch.input_shape == (224, 224, 3)


def test_an_application_takes_other_classes_and_images():
    net = applications.DenseNASA(classes=7, input_shape=(64, 64, 3))
    assert net.input_shape == (None, 64, 64, 3)
    assert net.output_shape == (None, 7)
    assert net.name == "densenas_a"
    probabilities = net(np.zeros((2, 64, 64, 3), "float32"))
    np.testing.assert_allclose(np.sum(probabilities, -1), 1, rtol=1e-5)


def test_without_top_it_gives_features(small):
    body = applications.from_arch(small, include_top=False)
    assert len(body.output_shape) == 4
    pooled = applications.from_arch(small, include_top=False, pooling="avg")
    assert pooled.output_shape == (None, body.output_shape[-1])


def test_with_the_same_weights_the_top_follows_the_features(small, tmp_path):
    net = applications.from_arch(small, classifier_activation=None)
    weight_files.save(tmp_path / "w.npz", net, small)
    body = applications.from_arch(
        small, include_top=False, weights=tmp_path / "w.npz", pooling="avg"
    )
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    kernel, bias = (np.asarray(v) for v in net.layers[-1].weights)
    np.testing.assert_allclose(
        np.asarray(body(image)) @ kernel + bias, net(image), atol=1e-5
    )


def test_a_tensor_may_be_the_input(small):
    image = keras.Input((16, 16, 3))
    larger = keras.layers.UpSampling2D(2)(image)
    net = applications.from_arch(small, input_tensor=larger)
    assert net.input_shape == (None, 16, 16, 3)
    with pytest.raises(ConfigError, match="must be that of `input_tensor`"):
        applications.from_arch(
            small, input_tensor=larger, input_shape=(8, 8, 3)
        )


def test_endpoints_name_the_last_layer_of_each_resolution(small):
    net = applications.from_arch(small)
    found = applications.endpoints(small)
    for name, layer in found.items():
        stride = int(name.removeprefix("stride_"))
        assert net.get_layer(layer).output.shape[1] == 32 // stride
    assert len(found) > 1


def test_a_model_file_needs_no_code_of_ours(small, tmp_path):
    net = applications.from_arch(small)
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    np.testing.assert_array_equal(net(image), again(image))


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ({"weights": "imagenet"}, "(there are: none) or a file"),
        ({"pooling": "sum", "include_top": False}, "must be one of"),
        ({"pooling": "avg"}, "for networks without top"),
        ({"classes": 0}, "at least 1"),
    ],
)
def test_contradicting_arguments_are_refused(small, arguments, problem):
    with pytest.raises(ConfigError) as error:
        applications.from_arch(small, **arguments)
    assert problem in str(error.value)


def test_weights_of_another_network_are_refused_whole(small, tmp_path):
    path = tmp_path / "w.npz"
    weight_files.save(path, applications.from_arch(small), small)
    other = applications.from_arch(small, classes=3)
    before = [np.asarray(v) for v in other.weights]
    with pytest.raises(ArtifactError, match="10 classes; .* expected"):
        weight_files.load(path, other)
    for old, new in zip(before, other.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    stranger = spaces.get("densenas_mbv2@32").sample(3)
    stranger = applications.from_arch(stranger)
    with pytest.raises(ArtifactError, match=f"of network {small.id}"):
        weight_files.load(path, stranger)


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_truncated_weight_file_is_refused(small, tmp_path, keep):
    path = tmp_path / "w.npz"
    net = applications.from_arch(small)
    weight_files.save(path, net, small)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="w.npz"):
        weight_files.load(path, net)


def test_a_pickle_is_refused_unread(small, tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code of the file ran",))

    path = tmp_path / "w.npz"
    np.savez(path, format=np.array(Trap(), dtype=object))
    with pytest.raises(ArtifactError, match="not a readable .npz"):
        weight_files.load(path, applications.from_arch(small))


def test_a_searched_network_gets_a_name_of_its_own(small, tmp_path):
    path = tmp_path / "w.npz"
    net = applications.from_arch(small)
    weight_files.save(path, net, small)
    applications.register("my_net", small, weights=path)
    again = applications.get("my_net", weights="default")
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    np.testing.assert_array_equal(net(image), again(image))
    assert "my_net" in applications.names()


def test_predictions_are_named_most_probable_first():
    values = np.array([[0.1, 0.7, 0.2]])
    found = applications.decode_predictions(values, 2, ["a", "b", "c"])
    assert found == [[("1", "b", 0.7), ("2", "c", 0.2)]]
    with pytest.raises(ConfigError, match="must name 3 classes"):
        applications.decode_predictions(values, labels=["a", "b"])


def test_images_are_scaled_by_the_mean_of_the_application():
    image = np.full((1, 2, 2, 3), (123.675, 116.28, 103.53))
    scaled = applications.preprocess_input(image, "densenas_a")
    np.testing.assert_allclose(scaled, 0, atol=1e-6)
