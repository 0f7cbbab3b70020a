"""Tensors of an int8 file have the ranges that they have in the network."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.export.test_layer_error import strangers
from tfnas import export
from tfnas.export.file_tensors import FileTensors
from tfnas.export.layer_error import compare_layers

L = keras.layers
IMAGES = np.random.default_rng(0).random((16, 12, 12, 3), np.float32)


def block(join, factor, image=(12, 12, 3)):
    """Two branches, joined: the second is larger by a factor."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(image)
    first = L.Conv2D(8, 3, padding="same", name="first")(inputs)
    second = L.Conv2D(8, 1, name="second")(inputs)
    joined = join()([first, second])
    model = keras.Model(inputs, L.Conv2D(4, 3, name="after")(joined))
    layer = model.get_layer("second")
    layer.set_weights([value * factor for value in layer.get_weights()])
    return model


def scales(blob):
    """Returns the scale of what each operator computes, by its layer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob))
    graph = model.subgraphs[0]
    found = {}
    for op in graph.operators:
        tensor = graph.tensors[op.outputs[0]]
        name = tensor.name.decode().partition("/")[0].rpartition("_")[0]
        found[name] = float(tensor.quantization.scale[0])
    return found


def true_scale(model, layer):
    values = keras.Model(model.input, model.get_layer(layer).output)(IMAGES)
    low, high = float(np.min(values)), float(np.max(values))
    return (max(high, 0) - min(low, 0)) / 255


@pytest.mark.parametrize("join", [L.Add, L.Multiply, L.Subtract])
@pytest.mark.parametrize("factor", [1, 30, 300])
@pytest.mark.parametrize("lower", ["none", "xnnpack"])
def test_branches_are_rounded_in_their_own_steps(join, factor, lower):
    model = block(join, factor)
    found = scales(export.to_tflite(model, "int8", IMAGES, lower=lower))
    for layer in ("first", "second"):
        expected = true_scale(model, layer)
        assert found[layer] == pytest.approx(expected, rel=1e-3), layer


def test_a_branch_is_as_exact_as_one_that_is_not_joined():
    """Of a network whose branches differ thirtyfold."""
    errors = compare_layers(
        block(L.Add, 30), export.to_tflite(block(L.Add, 30), "int8", IMAGES),
        IMAGES,
    ).errors
    found = {error.layer: error.relative_rmse for error in errors}
    assert found["first"] < 0.02  # 0.2 in the steps of the sum


@pytest.mark.parametrize("name", list(strangers.ALL)[:3])
def test_each_scale_holds_what_its_tensor_does(name):
    """The ranges that are corrected cut nothing off."""
    model = strangers.ALL[name]()
    images = strangers.images(20, strangers.image_shape(model))
    blob = export.to_tflite(
        model, "int8", images, image_size=images.shape[1:3]
    )
    file = FileTensors(blob)
    assert file.computed
    errors = compare_layers(model, blob, images).errors
    assert max(error.relative_rmse for error in errors) < 0.1
