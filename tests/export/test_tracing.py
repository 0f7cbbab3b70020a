"""One owner of a model's image, of its float32 form and of its graph."""

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.export import strangers
from tfnas.errors import ExportError
from tfnas.export import tracing

L = keras.layers
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3))


def _network(dtype="float32", policy="float32", shared=True):
    """Returns a network of all that can have a type of its own."""
    with_policy = {"dtype": policy}
    image = keras.Input((16, 16, 3), dtype=dtype, name="pixels")
    x = L.Rescaling(1 / 127.5, -1, **with_policy)(image)
    inner = keras.Sequential(
        [
            keras.Input((16, 16, 3), dtype="float32"),
            L.Conv2D(8, 3, name="conv", **with_policy),
            L.BatchNormalization(**with_policy),
        ],
        name="inner",
    )
    conv = L.Conv2D(8, 3, padding="same", name="twice", **with_policy)
    x = conv(conv(inner(x)))
    x = keras.ops.cast(x, "float32") * 2.0
    x = L.Lambda(lambda t: t * 3, name="lambda", **with_policy)(x)
    x = L.TimeDistributed(L.Dense(4, **with_policy), name="each")(x)
    x = L.GlobalAveragePooling2D(**with_policy)(x)
    return keras.Model(image, L.Dense(10, dtype="float32", name="scores")(x))


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64",
        "float32",
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16", "int32"])
def test_float32_copy_is_the_float32_twin(dtype, policy):
    model, twin = _network(dtype, policy), _network()
    twin.set_weights([np.asarray(w).astype("float32") for w in model.weights])
    copy = tracing.float32_copy(model)
    np.testing.assert_array_equal(
        copy(PIXELS.astype("float32")), twin(PIXELS.astype("float32"))
    )
    assert {w.dtype for w in copy.weights} == {"float32"}
    assert tracing.image_input(copy).dtype == "float32"
    assert [x.name for x in copy.layers] == [x.name for x in model.layers]
    own = tf.cast(model(tf.constant(PIXELS, dtype)), tf.float32)
    assert np.abs(own - copy(PIXELS.astype("float32"))).max() < 0.1


def test_float32_model_is_its_own_copy():
    for make in strangers.ALL.values():
        model = make()
        assert tracing.float32_copy(model) is model


def test_model_that_computes_in_its_integers_is_refused():
    image = keras.Input((8, 8, 3), dtype="uint8")
    double = keras.ops.cast(image + image, "float32")  # 255 + 1 is 0
    with pytest.raises(ExportError, match="computes in the uint8"):
        tracing.float32_copy(keras.Model(image, L.Flatten()(double)))


def test_image_is_what_the_model_says():
    image = tracing.image_input(_network("uint8"))
    assert image == tracing.ImageInput(None, 16, 16, 3, "uint8", "pixels")
    image = tracing.image_input(strangers.batch_of_four())
    assert (image.batch, image.height, image.width) == (4, 16, 16)
    image = tracing.image_input(strangers.free_size())
    assert (image.batch, image.height, image.width) == (None, None, None)


def _of(*shapes, **arguments):
    inputs = [keras.Input(shape, **arguments) for shape in shapes]
    flat = [L.Flatten()(tensor) for tensor in inputs]
    return keras.Model(inputs, flat[0])


@pytest.mark.parametrize(
    "model, message",
    [
        (_of((3, 8, 8)), "channels first, shape=.None, 3, 8, 8"),
        (_of((8, 8)), r"shapes=\[\(None, 8, 8\)\]"),
        (_of((8, 8, 3), (8, 8, 3)), r"shapes=\[.*\), \(None, 8, 8, 3\)\]"),
        (_of((8, 8, 3), dtype="bool"), "dtype=bool"),
        (keras.Sequential([L.Dense(2)]), "Sequential without"),
    ],
    ids=["channels first", "rank", "two", "bool", "unbuilt"],
)
def test_other_inputs_are_refused(model, message):
    with pytest.raises(ExportError, match=f"a.keras: .*{message}"):
        tracing.image_input(model, "a.keras")


def test_size_is_needed_where_it_is_free_and_only_the_models_elsewhere():
    free, fixed = strangers.free_size(), strangers.oblong()
    with pytest.raises(ExportError, match="as the model takes any"):
        tracing.trace(free)
    with pytest.raises(ExportError, match=r"\(12, 20\).*\(20, 12\)"):
        tracing.trace(fixed, (20, 12))
    for model, size in ((free, (20, 30)), (fixed, None), (fixed, (12, 20))):
        (image,) = tracing.trace(model, size).inputs
        assert tuple(image.shape) == (1, *(size or (12, 20)), 3)


def _set(weight, value):
    values = np.array(weight)
    values.flat[3] = value
    weight.assign(values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weight_that_is_no_number_is_named(value):
    model = strangers.nested()
    _set(model.get_layer("backbone").get_layer("conv_1").kernel, value)
    with pytest.raises(ExportError, match=f"kernel={value} in .*conv_1"):
        tracing.require_finite(model)


def test_negative_variance_is_named():
    model = _network(policy="bfloat16")
    tracing.require_finite(model)
    norm = model.get_layer("inner").layers[1]
    assert norm.moving_variance.numpy().dtype == ml_dtypes.bfloat16
    _set(norm.moving_variance, -1)
    with pytest.raises(ExportError, match="moving_variance=-1.0 in .*inner"):
        tracing.require_finite(model)


def test_outputs_keep_their_names_and_one_is_called_logits():
    names = {
        name: tracing.output_names(make())
        for name, make in strangers.ALL.items()
    }
    assert names.pop("several_outputs") == ["boxes", "scores"]
    assert names.pop("list_of_outputs") == ["head", "flat", "head_1"]
    assert set(map(tuple, names.values())) == {("logits",)}


def test_tensor_that_is_no_weight_becomes_part_of_the_graph():
    image = keras.Input((8, 8, 3))
    scale = L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])
    model = keras.Model(image, L.Flatten()(scale(image)))
    traced = tracing.trace(model)
    assert len(traced.inputs) == 1 and not traced.graph.captures
    images = strangers.images(1, (8, 8, 3))
    by_hand = (images - [1, 2, 3]) / np.sqrt([4, 5, 6])
    np.testing.assert_allclose(
        traced(tf.constant(images))["logits"], by_hand.reshape(1, -1),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", strangers.ALL)
def test_traced_graph_gives_what_the_model_gives(name):
    model = strangers.ALL[name]()
    shape = strangers.image_shape(model)
    traced = tracing.trace(model, shape[:2])
    batch = tracing.image_input(model).batch or 1
    images = strangers.images(batch, shape)
    expected = keras.tree.flatten(model(images, training=False))
    received = traced(tf.constant(images))
    for want, output in zip(
        expected, tracing.output_names(model), strict=True
    ):
        np.testing.assert_allclose(received[output], want, atol=1e-5)
