"""Networks and images to export with: random, but far from degenerate."""

import keras
import numpy as np

from tfnas import derive
from tfnas import spaces

RNG = np.random.default_rng


def random_network(space, seed=0):
    """Returns a network of random weights that prefers no class.

    Its batch norms have scales, offsets and statistics of their own, as
    after training.
    """
    keras.utils.set_random_seed(seed)
    model = derive.build_model(spaces.get(space).sample(seed))
    rng = RNG(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.8, 1.6, shape))
            layer.beta.assign(rng.normal(0, 0.2, shape))
            layer.moving_mean.assign(rng.normal(0, 0.2, shape))
            layer.moving_variance.assign(rng.uniform(0.8, 1.6, shape))
    mean = np.mean(model(coloured_images(100, seed=1), training=False), axis=0)
    model.layers[-1].bias.assign_sub(mean)
    return model


def coloured_images(n, seed, size=32):
    """Returns images that differ in colour as well as in their noise."""
    colours = RNG(seed).normal(0, 1, (n, 1, 1, 3))
    noise = RNG([seed, 1]).normal(0, 0.5, (n, size, size, 3))
    return (colours + noise).astype(np.float32)
