"""Networks under the contract of Keras applications."""

import dataclasses
import inspect
import json

import keras
import numpy as np
import pytest

import tfnas
from tfnas import applications
from tfnas import derive
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


def test_features_come_in_one_call(small, tmp_path):
    net = applications.from_arch(small)
    weight_files.save(tmp_path / "w.npz", net, small)
    model = applications.feature_extractor(
        small, ("stride_2", "stride_8"), weights=tmp_path / "w.npz"
    )
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    maps = model(image)
    assert list(maps) == ["stride_2", "stride_8"]
    layer = net.get_layer(applications.endpoints(small)["stride_8"])
    expected = keras.Model(net.input, layer.output)(image)
    np.testing.assert_array_equal(maps["stride_8"], expected)
    first = applications.feature_extractor(small, ("stride_2",))
    assert first.count_params() < model.count_params()
    model.save(tmp_path / "maps.keras")
    again = keras.models.load_model(tmp_path / "maps.keras")
    np.testing.assert_array_equal(again(image)["stride_8"], expected)
    with pytest.raises(ConfigError, match="must be some of .*'stride_8'"):
        applications.feature_extractor(small, ("stride_7",))


@pytest.mark.parametrize("space", ["densenas_mbv2", "mobilenetv3"])
def test_small_images_keep_the_whole_body(space):
    arch = spaces.get(space).sample(0)
    small = dataclasses.replace(arch, input_shape=(32, 32, 3))  # map of 1 x 1
    length = applications.builder.body_length(arch)
    assert applications.builder.body_length(small) == length
    tail = [block.op for block in arch.blocks[length:]]
    assert tail in (["classifier"], ["pooled_conv", "classifier"])
    assert applications.endpoints(arch) == applications.endpoints(small)


def test_images_may_be_of_any_size(small, tmp_path):
    net = applications.from_arch(small)
    weight_files.save(tmp_path / "w.npz", net, small)
    body = applications.from_arch(
        small, include_top=False, weights=tmp_path / "w.npz",
        input_shape=(None, None, 3), pooling="avg",
    )
    assert body.input_shape == (None, None, None, 3)
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    features = keras.Model(net.input, net.layers[-3].output)
    np.testing.assert_allclose(body(image), features(image), atol=1e-5)
    assert body(np.zeros((1, 48, 64, 3))).shape == features(image).shape


def test_weights_decide_classes_and_size_where_nothing_else_does(
    small, tmp_path
):
    seven = derive.with_classes(small, 7)
    path = tmp_path / "w.npz"
    weight_files.save(path, tfnas.build_model(seven), seven)
    net = applications.from_arch(small, weights=path)
    assert net.output_shape == (None, 7)
    assert net.input_shape == (None, 32, 32, 3)
    larger = applications.from_arch(
        small, weights=path, input_shape=(64, 64, 3)
    )
    assert larger.output_shape == (None, 7)


def test_classes_that_contradict_the_weights_are_refused(small, tmp_path):
    path = tmp_path / "w.npz"
    weight_files.save(path, applications.from_arch(small), small)
    with pytest.raises(ConfigError, match="must be 10.*classes=3"):
        applications.from_arch(small, weights=path, classes=3)
    body = applications.from_arch(
        small, weights=path, classes=3, include_top=False
    )
    assert len(body.output_shape) == 4


def test_new_head_stands_on_a_trained_body(small, tmp_path):
    path = tmp_path / "w.npz"
    net = applications.from_arch(small)
    weight_files.save(path, net, small)
    tuned = applications.with_new_head(small, 3, path, freeze=True)
    assert tuned.output_shape == (None, 3)
    old = {v.path: np.asarray(v) for v in net.weights}
    *body, kernel, bias = tuned.weights
    for variable in body:
        np.testing.assert_array_equal(variable, old[variable.path])
    assert [v.path for v in tuned.trainable_variables] == [
        kernel.path, bias.path
    ]
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3))
    tuned.compile("sgd", "sparse_categorical_crossentropy")
    tuned.fit(images, np.arange(8) % 3, verbose=0)
    for variable in body:
        np.testing.assert_array_equal(variable, old[variable.path])
    # The same layers as a network of three classes has.
    three = tfnas.build_model(derive.with_classes(small, 3))
    assert [v.path for v in three.weights] == [v.path for v in tuned.weights]
    assert applications.with_new_head(small, 3, path).trainable_variables[1:]


def test_weights_of_a_twin_with_another_activation_are_refused(tmp_path):
    relu, swish = (
        applications.APPLICATIONS.get(name).get_arch(
            input_shape=(32, 32, 3)
        )
        for name in ("shrink_cnn_a", "shrink_cnn_b")
    )
    shapes = weight_files.variables(relu)
    assert shapes == weight_files.variables(swish)
    path = tmp_path / "w.npz"
    weight_files.write(
        path, swish, {k: np.zeros(v, "float32") for k, v in shapes.items()}
    )
    read = weight_files.read(path)
    with pytest.raises(ArtifactError, match="block 0: .*'relu'.*'swish'"):
        applications.builder.require_same(read, relu, len(relu.blocks))


def test_weights_of_another_network_are_named_as_such(small, tmp_path):
    path = tmp_path / "w.npz"
    weight_files.save(path, applications.from_arch(small), small)
    other = spaces.get("densenas_mbv2@32").sample(3)
    for include_top in (True, False):
        with pytest.raises(ArtifactError, match="weights of another network"):
            applications.from_arch(
                other, weights=path, include_top=include_top
            )
    with pytest.raises(ArtifactError, match="weights of another network"):
        applications.with_new_head(other, 3, path)


def test_functions_state_the_whole_contract():
    for name in applications.names():
        entry = applications.APPLICATIONS.get(name)
        if not entry.function:
            continue
        function = getattr(applications, entry.function)
        assert function.__name__ == entry.function
        assert [*inspect.signature(function).parameters] == [
            "include_top", "weights", "input_tensor", "input_shape",
            "pooling", "classes", "classifier_activation", "name",
        ]
        assert "Args:" in function.__doc__


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
        ({"input_shape": (32, 32)}, "(height, width, channels)"),
        ({"input_shape": (32, 0, 3)}, "(height, width, channels)"),
        ({"classifier_activation": "sharpmax"}, "activation of Keras"),
        ({"weights": "gone.npz"}, "or a file. Received: 'gone.npz'"),
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


def test_labels_may_be_lines_of_a_file(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    values = np.array([[0.1, 0.7, 0.2]])
    found = applications.decode_predictions(values, 1, tmp_path / "labels.txt")
    assert found == [[("1", "b", 0.7)]]
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ConfigError, match="must name 3 classes"):
        applications.decode_predictions(
            values, 1, tmp_path / "labels.txt"
        )
    with pytest.raises(ConfigError, match="only those of ImageNet"):
        applications.decode_predictions(values)


def test_imagenet_has_a_background_class_where_there_are_1001(
    shared_data, monkeypatch
):
    text = (shared_data / "imagenet_class_index.json").read_text()
    monkeypatch.setattr(  # what Keras keeps once it has fetched the file
        "keras.src.applications.imagenet_utils.CLASS_INDEX", json.loads(text)
    )
    for classes, first in ((1000, 5), (1001, 6)):
        found = applications.autoshrink.decode_predictions(
            np.eye(classes)[first : first + 1], top=1
        )
        assert found == [[("n01496331", "electric_ray", 1.0)]]
    zero = applications.decode_predictions(np.eye(1001)[:1], top=1)
    assert zero == [[("background", "background", 1.0)]]


def test_images_are_scaled_inside_a_data_set_too():
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 3), np.uint8)
    rows = tf.data.Dataset.from_tensor_slices(images).map(
        applications.densenas.preprocess_input
    )
    expected = applications.densenas.preprocess_input(images)
    assert expected.dtype == np.float32
    np.testing.assert_allclose([*rows.as_numpy_iterator()], expected)
    half = applications.autoshrink.preprocess_input(np.array([[[[0, 255, 0]]]]))
    np.testing.assert_array_equal(half, [[[[-1, 1, -1]]]])


def test_images_are_scaled_by_the_mean_of_the_application():
    image = np.full((1, 2, 2, 3), (123.675, 116.28, 103.53))
    scaled = applications.preprocess_input(image, "densenas_a")
    np.testing.assert_allclose(scaled, 0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_than_the_network_takes_are_told_by_its_name(channels):
    shape = (32, 32, channels)
    with pytest.raises(ConfigError) as caught:
        applications.get("tfnas_small", input_shape=shape)
    assert str(caught.value) == (
        f"tfnas_small takes 3 channels. Received: input_shape={shape}"
    )
    with pytest.raises(ConfigError, match="tfnas_small takes 3 channels"):
        applications.get("tfnas_small", input_tensor=keras.Input(shape))
    # The space of a published network makes its first layer anew.
    net = applications.DenseNASA(input_shape=shape, classes=2)
    assert net.input_shape == (None, *shape)
