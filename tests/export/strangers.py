"""Small Keras models such as people bring: of every form, random weights."""

import keras
import numpy as np

L = keras.layers


def images(n, shape, seed=0):
    """Returns images of any shape that differ in colour and in noise."""
    rng = np.random.default_rng([seed, n])
    colours = rng.normal(0, 1, (n, 1, 1, shape[-1]))
    return (colours + rng.normal(0, 0.5, (n, *shape))).astype(np.float32)


def sequential():
    """Returns a Sequential model with augmentation and dropout in it."""
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            L.RandomFlip("horizontal"),
            L.Conv2D(8, 3, strides=2, name="conv"),
            L.BatchNormalization(),
            L.ReLU(),
            L.GlobalAveragePooling2D(),
            L.Dropout(0.5),
            L.Dense(10, name="scores"),
        ]
    )


def backbone():
    """Returns a model without a head, to be nested."""
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, padding="same", name="conv_1")(image)
    x = L.BatchNormalization(name="norm_1")(x)
    x = L.ReLU(name="relu_1")(x)
    x = L.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    return keras.Model(image, x, name="backbone")


def nested():
    """Returns transfer learning: scaling, a nested model, a head."""
    image = keras.Input((16, 16, 3))
    x = L.Rescaling(0.5, 0.1)(image)
    x = L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 1.1, 1.2])(x)
    x = backbone()(x, training=False)
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(image, L.Dense(10, name="scores")(x))


def shared():
    """Returns a model that uses a convolution and a pooling twice.

    Some names look like what TensorFlow makes of the others.
    """
    image = keras.Input((16, 16, 8))
    conv = L.Conv2D(8, 3, padding="same", activation="relu", name="conv")
    pool = L.MaxPooling2D(name="pool")
    x = pool(conv(image))
    x = L.Conv2D(8, 3, padding="same", name="conv_1")(x)
    x = pool(conv(x))
    x = L.Conv2D(8, 1, name="conv_2")(x)
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(image, L.Dense(10, name="scores")(x))


def several_outputs():
    """Returns a model of a dict of outputs, of two parts of a split."""
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, activation="relu", name="conv")(image)
    left, right = keras.ops.split(x, 2, axis=-1)
    scores = L.Dense(10, name="dense")(L.GlobalAveragePooling2D()(left))
    boxes = L.Conv2D(4, 1, name="boxes")(right)
    # Neither by name nor by age in the order of the alphabet.
    return keras.Model(image, {"scores": scores, "boxes": boxes})


def list_of_outputs():
    """Returns a model of three outputs, two of them of one layer."""
    image = keras.Input((16, 16, 3))
    head = L.Conv2D(2, 1, name="head")
    x = L.Conv2D(3, 3, name="conv")(image)
    flat = L.Flatten(name="flat")(x)
    return keras.Model(image, [head(image), flat, head(x)])


def grey():
    """Returns a model of grey images."""
    return _plain((16, 16, 1))


def four_channels():
    """Returns a model of images with a fourth channel."""
    return _plain((16, 16, 4))


def oblong():
    """Returns a model of images that are wider than high."""
    return _plain((12, 20, 3))


def batch_of_four():
    """Returns a model that takes four images at once."""
    return _plain((16, 16, 3), batch_size=4)


def free_size():
    """Returns a model of images of any size."""
    return _plain((None, None, 3))


def _plain(shape, **arguments):
    image = keras.Input(shape, **arguments)
    x = L.Conv2D(8, 3, strides=2, name="conv")(image)
    x = keras.ops.relu(x) * 2.0
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(image, L.Dense(10, name="scores")(x))


ALL = {
    model.__name__: model
    for model in (
        sequential, nested, shared, several_outputs, list_of_outputs, grey,
        four_channels, oblong, batch_of_four, free_size,
    )
}


def image_shape(model):
    """Returns a shape that a model takes; 16 where it takes any."""
    return tuple(n or 16 for n in model.inputs[0].shape[1:])
