"""The derived Keras model is the network that the Arch describes."""

import keras
import numpy as np
import pytest
import tf_keras

import tfnas
from tests.published_nets import ELASTIC_NETS
from tests.published_nets import NETS
from tfnas import derive
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

PUBLISHED = {**NETS, **ELASTIC_NETS}
SMALL_SPACES = ["densenas_mbv2@32", "densenas_resnet@32", "mobilenetv3@32"]


def _params(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def _madds(model):
    """Multiply-adds from the kernels and the output sizes, bias excluded."""
    total = 0
    for layer in model.layers:
        if isinstance(
            layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D
        ):
            _, height, width, _ = layer.output.shape
            total += int(np.prod(layer.kernel.shape)) * height * width
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def _small_arch(seed=0, space="densenas_mbv2@32"):
    return spaces.get(space).sample(seed)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_nets_count_the_same_in_keras(name):
    net = PUBLISHED[name]
    model = tfnas.build_model(spaces.get(net.space).decode(net.text))
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 1000)
    assert _params(model) == net.params
    assert _madds(model) == net.madds


@pytest.mark.parametrize("space", SMALL_SPACES)
def test_sampled_nets_count_the_same_in_keras(space):
    arch = _small_arch(5, space)
    model, counts = tfnas.build_model(arch), tfnas.count(arch)
    assert (_params(model), _madds(model)) == (counts.params, counts.madds)


@pytest.mark.parametrize("space", SMALL_SPACES)
def test_equal_archs_have_equal_layer_names_and_stock_layers(space):
    arch = _small_arch(0, space)
    one, two = tfnas.build_model(arch), tfnas.build_model(arch)
    names = [layer.name for layer in one.layers]
    assert names == [layer.name for layer in two.layers]
    assert names[:3] == ["image", "b00_conv_conv", "b00_conv_conv_bn"]
    assert names[-1] == f"b{len(arch.blocks) - 1:02d}_classifier_dense"
    assert {type(x).__module__.split(".")[0] for x in one.layers} == {"keras"}


def test_logits_have_no_activation():
    model = tfnas.build_model(_small_arch())
    assert model.layers[-1].activation is keras.activations.linear


@pytest.mark.parametrize(
    "space, eps", zip(SMALL_SPACES, (1e-3, 1e-5, 1e-5), strict=True)
)
def test_norms_have_the_published_constants(space, eps):
    norms = [
        layer
        for layer in tfnas.build_model(_small_arch(0, space)).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {(x.epsilon, x.momentum) for x in norms} == {(eps, 0.9)}
    assert all(x.scale and x.center for x in norms)


@pytest.mark.parametrize("space", SMALL_SPACES)
def test_a_saved_model_loads_without_tfnas_layers(space, tmp_path):
    model = tfnas.build_model(_small_arch(0, space))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(model(x), again(x))


@pytest.mark.parametrize("space", SMALL_SPACES)
def test_the_legacy_keras_model_computes_the_same(space):
    arch = _small_arch(1, space)
    model, legacy = tfnas.build_model(arch), tfnas.build_model(arch, tf_keras)
    assert [x.name for x in model.layers] == [x.name for x in legacy.layers]
    for layer in model.layers:
        legacy.get_layer(layer.name).set_weights(layer.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    ours, theirs = np.array(model(x)), legacy(x).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(ours).max())


def _kernels(model, arch):
    """The kernels of each block, in the order of the layers."""
    return [
        [
            weight
            for layer in model.layers
            if layer.name.startswith(derive.layer_prefix(i, block.op))
            and not isinstance(layer, keras.layers.BatchNormalization)
            for weight in layer.get_weights()
        ]
        for i, block in enumerate(arch.blocks)
    ]


def test_kernels_and_biases_of_gates_come_into_the_model():
    arch = _small_arch(0, "mobilenetv3@32")
    one, two = tfnas.build_model(arch), tfnas.build_model(arch)
    for layer in one.layers:
        if getattr(layer, "use_bias", False):
            layer.bias.assign(keras.random.normal(layer.bias.shape))
    kernels = _kernels(one, arch)
    gated = [i for i, b in enumerate(arch.blocks) if b.op == "mbconv_se"]
    assert {len(kernels[i]) for i in gated} == {3 + 4}
    derive.load_weights(two, arch, kernels)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(one(x), two(x))
    first = gated[0]
    with pytest.raises(ValueError):
        derive.load_weights(two, arch, [[]] * first + [kernels[first][:-1]])


def test_kernels_of_a_supernet_come_into_the_model():
    arch = _small_arch(0, "densenas_resnet@32")
    one, two = tfnas.build_model(arch), tfnas.build_model(arch)
    kernels = _kernels(one, arch)
    derive.load_weights(two, arch, kernels)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(one(x), two(x))

    head, *rest = kernels[1]
    for wrong in ([head], [head, *rest, head], [head[:1], *rest]):
        with pytest.raises(ValueError):
            derive.load_weights(two, arch, [[], wrong])
    derive.load_weights(two, arch, [[] for _ in kernels])
    np.testing.assert_array_equal(one(x), two(x))


@pytest.mark.parametrize(
    "image_shape, classes", [((32, 32, 1), 10), ((33, 32, 3), 10), (None, 11)]
)
def test_data_that_the_network_was_not_made_for_are_refused(
    image_shape, classes
):
    arch = _small_arch()
    derive.require_fit(arch, [32, 32, 3], 10)
    with pytest.raises(ConfigError, match=f"{arch.id} takes images"):
        derive.require_fit(arch, image_shape or (32, 32, 3), classes)


def test_a_net_without_the_promised_logits_is_refused():
    blocks = (
        Block("conv", 3, 8, attrs={"k": 3}),
        Block("classifier", 8, 11),
    )
    for arch in (
        Arch(blocks, (8, 8, 3), 10),
        Arch(blocks[:1], (8, 8, 3), 8),
    ):
        with pytest.raises(ArtifactError, match="must give .* logits"):
            tfnas.build_model(arch)


def test_an_unknown_op_in_a_file_is_named_with_its_block(tmp_path):
    Arch(
        (
            Block("conv", 3, 8, attrs={"k": 3}),
            Block("teleport", 8, 8),
            Block("classifier", 8, 10),
        ),
        (8, 8, 3),
        10,
    ).save(tmp_path / "a.json")
    arch = Arch.load(tmp_path / "a.json")
    with pytest.raises(ArtifactError, match=r"blocks\[1\]: .*'teleport'"):
        tfnas.build_model(arch)


def test_with_classes_changes_the_classifier_alone():
    arch = spaces.get("densenas_mbv2@32").sample(0)
    wide = derive.with_classes(arch, 37)
    assert wide.blocks[:-1] == arch.blocks[:-1]
    added = 27 * (arch.blocks[-1].in_channels + 1)
    assert tfnas.count(wide).params == tfnas.count(arch).params + added
    assert wide.classes == 37


def test_normalisations_of_a_supernet_come_into_the_model_too():
    arch = _small_arch()
    one, two = tfnas.build_model(arch), tfnas.build_model(arch)
    rng = np.random.default_rng(0)
    for layer in one.layers:
        values = layer.get_weights()
        layer.set_weights([rng.random(v.shape, np.float32) for v in values])
    whole = [
        [
            weight
            for layer in one.layers
            if layer.name.startswith(derive.layer_prefix(i, block.op))
            for weight in layer.get_weights()
        ]
        for i, block in enumerate(arch.blocks)
    ]
    derive.load_weights(two, arch, whole)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError):
        derive.load_weights(two, arch, [row[:-1] for row in whole])
