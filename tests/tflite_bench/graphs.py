"""Graphs of layers that no op has yet, each with its Keras model."""

from tfnas.ops import Graph

NORM = {"eps": 1e-3, "momentum": 0.9, "affine": True}


def squeeze_excite(keras):
    graph = Graph((8, 8, 16))
    x = graph.mean("input", "pool", keepdims=True)
    x = graph.act(graph.conv(x, "reduce", 4, bias=True), "reduce_act", "relu")
    x = graph.conv(x, "expand", 16, bias=True)
    x = graph.act(x, "gate", "sigmoid")
    graph.mul("input", x, "scale")

    layers = keras.layers
    image = keras.Input(batch_shape=(1, 8, 8, 16))
    x = layers.GlobalAveragePooling2D(keepdims=True)(image)
    x = layers.ReLU()(layers.Conv2D(4, 1)(x))
    x = layers.Activation("sigmoid")(layers.Conv2D(16, 1)(x))
    return graph, keras.Model(image, layers.Multiply()([image, x]))


def hard_swish(keras):
    graph = Graph((8, 8, 16))
    graph.act(graph.conv("input", "conv", 8, bias=True), "act", "hard_swish")

    layers = keras.layers
    image = keras.Input(batch_shape=(1, 8, 8, 16))
    x = layers.Conv2D(8, 1)(image)
    gate = layers.ReLU(max_value=6.0)(layers.Rescaling(1.0, 3.0)(x))
    gate = layers.Rescaling(1 / 6)(gate)
    return graph, keras.Model(image, layers.Multiply()([x, gate]))


def concat_and_pools(keras):
    graph = Graph((8, 8, 16))
    a = graph.conv("input", "a", 4, bias=True)
    b = graph.max_pool("input", "b", 3, 1, "same")
    x = graph.concat([a, b], "join")
    graph.avg_pool(x, "shrink", 2, 2, "valid")

    layers = keras.layers
    image = keras.Input(batch_shape=(1, 8, 8, 16))
    a = layers.Conv2D(4, 1)(image)
    b = layers.MaxPooling2D(3, 1, padding="same")(image)
    x = layers.Concatenate()([a, b])
    return graph, keras.Model(image, layers.AveragePooling2D(2, 2)(x))


def cell(keras):
    """An activation first, one tensor used twice: a cell of NAS-Bench-201."""
    graph = Graph((8, 8, 8))
    x = graph.act("input", "act", "relu")
    x = graph.norm(graph.conv(x, "conv", 8, 3), "bn", NORM)
    x = graph.add(x, "input", "sum")
    y = graph.act(x, "out_act", "relu")
    y = graph.norm(graph.conv(y, "out_conv", 8), "out_bn", NORM)
    graph.add(x, y, "out")

    layers = keras.layers
    image = keras.Input(batch_shape=(1, 8, 8, 8))
    x = layers.ReLU()(image)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.Add()([layers.BatchNormalization()(x), image])
    y = layers.Conv2D(8, 1, use_bias=False)(layers.ReLU()(x))
    y = layers.BatchNormalization()(y)
    return graph, keras.Model(image, layers.Add()([x, y]))


def grouped_and_dilated(keras):
    graph = Graph((8, 8, 16))
    x = graph.conv("input", "grouped", 16, groups=4, bias=True)
    x = graph.depthwise(x, "dilated", 3, dilation=2)
    graph.act(graph.norm(x, "bn", NORM), "act", "relu")

    layers = keras.layers
    image = keras.Input(batch_shape=(1, 8, 8, 16))
    x = layers.Conv2D(16, 1, groups=4)(image)
    x = layers.DepthwiseConv2D(
        3, padding="same", dilation_rate=2, use_bias=False
    )(x)
    return graph, keras.Model(
        image, layers.ReLU()(layers.BatchNormalization()(x))
    )


def squeeze_excite_hard(keras):
    graph = Graph((8, 8, 16))
    x = graph.conv("input", "conv", 16, bias=True)
    graph.squeeze_excite(graph.act(x, "act", "relu"), "se", 8)

    layers = keras.layers
    image = keras.Input(batch_shape=(1, 8, 8, 16))
    x = layers.ReLU()(layers.Conv2D(16, 1)(image))
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = layers.Conv2D(16, 1)(layers.ReLU()(layers.Conv2D(8, 1)(y)))
    y = layers.ReLU(max_value=6.0)(layers.Rescaling(1.0, 3.0)(y))
    y = layers.Rescaling(1 / 6)(y)
    return graph, keras.Model(image, layers.Multiply()([x, y]))


def swish(keras):
    graph = Graph((8, 8, 16))
    graph.act(graph.conv("input", "conv", 8, bias=True), "act", "swish")

    layers = keras.layers
    image = keras.Input(batch_shape=(1, 8, 8, 16))
    x = layers.Conv2D(8, 1)(image)
    return graph, keras.Model(image, layers.Activation("swish")(x))


ALL = (
    squeeze_excite, squeeze_excite_hard, hard_swish, swish, concat_and_pools,
    cell, grouped_and_dilated,
)
