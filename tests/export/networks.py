"""Networks and images to export with: random, but far from degenerate."""

import keras
import numpy as np

from tfnas import data
from tfnas import derive
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block

RNG = np.random.default_rng


def random_network(space, seed=0):
    """Returns a network of random weights that prefers no class.

    Its batch norms have scales, offsets and statistics of their own, as
    after training.
    """
    return random_weights(spaces.get(space).sample(seed), seed)


def random_weights(arch, seed=0):
    """Returns such a network of any architecture for 32 px."""
    keras.utils.set_random_seed(seed)
    model = derive.build_model(arch)
    as_after_training(model, seed)
    size = model.input_shape[1]
    images = coloured_images(100, seed=1, size=size)
    mean = np.mean(model(images, training=False), axis=0)
    model.layers[-1].bias.assign_sub(mean)
    return model


def as_after_training(model, seed=0):
    """Gives batch norms scales, offsets and statistics of their own."""
    rng = RNG(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.8, 1.6, shape))
            layer.beta.assign(rng.normal(0, 0.2, shape))
            layer.moving_mean.assign(rng.normal(0, 0.2, shape))
            layer.moving_variance.assign(rng.uniform(0.8, 1.6, shape))


def with_rounded_kernels(model):
    """Returns a float model whose kernels have 255 levels a channel."""
    rounded = keras.models.clone_model(model)
    rounded.set_weights(model.get_weights())
    for layer in rounded.layers:
        if hasattr(layer, "kernel"):
            kernel = layer.kernel.numpy()
            axes = tuple(range(kernel.ndim - 1))
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                axes = (0, 1)
            scale = np.abs(kernel).max(axes, keepdims=True) / 127
            layer.kernel.assign(np.round(kernel / scale) * scale)
    return rounded


def coloured_images(n, seed, size=32):
    """Returns images that differ in colour as well as in their noise."""
    colours = RNG(seed).normal(0, 1, (n, 1, 1, 3))
    noise = RNG([seed, 1]).normal(0, 0.5, (n, size, size, 3))
    return (colours + noise).astype(np.float32)


def digits(size, n):
    """Returns so many images to train on, and 8 to compare on."""
    return data.load(
        {
            "name": "digits", "image_size": size, "limit_train": n,
            "limit_test": 8,
        }
    )


def _block(op, inputs, outputs, stride=1, **attrs):
    return Block(op, inputs, outputs, stride, attrs=attrs)


# Layers of all kinds that the four spaces of convolutional networks have.
ALL_KINDS = Arch(
    (
        _block("conv", 3, 8, 2, k=3, act="hard_swish"),
        _block("mbconv_se", 8, 8, k=3, e=2, act="hard_swish"),
        _block("mbconv", 8, 16, 2, k=3, e=2),
        _block("shrink_cell", 16, 16, graph="sep.sep.conv:0-1.0-2", f=8),
        _block("cell", 16, 16, 2, cell="1.1.1.5.2.3.1.1.5", e=2, act="swish"),
        _block("pooled_conv", 16, 32),
        _block("classifier", 32, 10),
    ),
    (16, 16, 3),
    10,
)
SMALL = Arch(
    (
        _block("conv", 3, 16, 2, k=3),
        _block("mbconv", 16, 16, k=3, e=1),
        _block("classifier", 16, 10),
    ),
    (16, 16, 3),
    10,
)
