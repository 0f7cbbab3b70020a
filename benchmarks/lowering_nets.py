"""What `lowering.py` measures: single operators, and a network with many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfnas.errors import ConfigError

SHAPE = (28, 28, 96)
WHOLE = (7, 7, 960)  # a map that one window covers


def patterns() -> dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]]:
    """Returns one operator for each rewriting: its input and what it does."""
    import keras
    from keras import layers
    from keras import ops

    return {
        "depthwise_rows": (SHAPE, layers.DepthwiseConv2D(7, padding="same")),
        "hard_swish": (SHAPE, layers.Activation("hard_silu")),
        "lone_relu": (SHAPE, layers.ReLU()),
        "average_pool": (SHAPE, layers.AveragePooling2D(3, 1, "same")),
        "halving_pool": (SHAPE, layers.AveragePooling2D(2)),
        "grouped": (
            SHAPE, layers.Conv2D(96, 7, padding="same", groups=96)
        ),
        "pixel_pool": (SHAPE, layers.AveragePooling2D(1, 2)),
        "depthwise_map": (WHOLE, layers.DepthwiseConv2D(7)),
        "depth_multiplier": (
            SHAPE,
            keras.Sequential(
                [
                    layers.DepthwiseConv2D(
                        3, padding="same", depth_multiplier=2
                    ),
                    layers.Conv2D(96, 1),
                ]
            ),
        ),
        "layer_norm": (SHAPE, layers.LayerNormalization()),
        "prelu": (
            SHAPE,
            layers.PReLU(
                shared_axes=[1, 2],
                alpha_initializer=keras.initializers.Constant(0.25),
            ),
        ),
        "abs": (SHAPE, ops.abs),
        "strided_slice": (SHAPE, lambda x: x[:, ::2, ::2]),
        "patches": (
            SHAPE,
            lambda x: ops.concatenate(
                [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1
            ),
        ),
        "reflect_pad": (
            SHAPE,
            lambda x: ops.pad(
                x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect"
            ),
        ),
        "large_max_pool": (SHAPE, layers.MaxPooling2D(13, 1, "same")),
        "transposed": (SHAPE, layers.Conv2DTranspose(96, 2, 2)),
    }


def single(name: str) -> Any:
    """Returns the model of one operator, of batch 1, with random weights.

    Raises:
        ConfigError: when there is none for a rewriting.
    """
    import keras

    keras.utils.set_random_seed(0)
    known = patterns()
    if name not in known:
        raise ConfigError(
            f"Expected an operator for each rewriting. Received: {name}"
        )
    shape, layer = known[name]
    image = keras.Input(shape, batch_size=1)
    return keras.Model(image, layer(image))


def many_patterns(classes: int) -> Any:
    """Returns a network of 32 px with many rewritings in it.

    A 7x7 depthwise convolution, average pools of 3x3 and 2x2, a ReLU that
    nothing takes in, GELU, PReLU, a hard swish, a layer normalisation and a
    depth multiplier of 2.
    """
    import keras
    from keras import layers

    def conv(x: Any, channels: int, size: int = 1, stride: int = 1) -> Any:
        x = layers.Conv2D(
            channels, size, stride, "same", use_bias=False
        )(x)
        return layers.BatchNormalization()(x)

    image = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU(6.0)(conv(image, 24, 3, 2))
    large = layers.DepthwiseConv2D(7, padding="same", use_bias=False)(x)
    large = conv(layers.BatchNormalization()(large), 48)
    large = layers.Activation("gelu")(large)
    pooled = conv(layers.AveragePooling2D(3, 1, "same")(x), 32)
    x = layers.ReLU()(layers.Concatenate()([conv(large, 32), pooled]))
    x = layers.AveragePooling2D(2)(x)
    wide = layers.LayerNormalization()(conv(x, 64))
    wide = layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=2, use_bias=False
    )(wide)
    wide = layers.BatchNormalization()(wide)
    wide = layers.PReLU(
        shared_axes=[1, 2],
        alpha_initializer=keras.initializers.Constant(0.25),
    )(wide)
    x = layers.Add()([x, conv(wide, 64)])
    x = layers.Activation("hard_silu")(conv(x, 128, 3, 2))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes)(x))
