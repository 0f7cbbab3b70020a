"""Each place that must know a kind of primitive layer knows every one."""

import inspect

import keras
import numpy as np
import pytest

from tfnas.lowering import emitter
from tfnas.lowering.networks import graph_operators
from tfnas.ops import Graph
from tfnas.ops import primitives
from tfnas.supernets import primitives as supernets

NORM = {"eps": 1e-3, "momentum": 0.9, "affine": True}
X = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")


# What the methods of `Graph` are told, by the names of their parameters.
TOLD = {
    "filters": 6, "size": 3, "stride": 2, "padding": "same", "norm": NORM,
    "fn": "relu6", "rows": 7, "units": 4, "a": "input", "b": "input",
    "x": "input", "inputs": ["input", "input"], "name": "x",
}
SHAPES = {"dense": (4,), "flatten": (1, 1, 4), "embed": ()}


def one(kind):
    """Returns a graph of one layer of a kind on a map, a vector or a word."""
    g = Graph(SHAPES.get(kind, (8, 8, 4)))
    if kind == "pad":  # only a convolution adds it
        g.conv("input", "x", 6, 3, 2)
        g.nodes, g.output = g.nodes[:1], "x_pad"
        return g
    add = getattr(g, kind)
    add(**{
        name: TOLD[name]
        for name, parameter in inspect.signature(add).parameters.items()
        if parameter.default is inspect.Parameter.empty
    })
    return g


def place_names(kind):
    """Returns the places that do not know a kind."""
    methods = dict(inspect.getmembers(emitter.Emitter))
    places = {
        "tfnas/ops/primitives.py": kind in primitives.KINDS,
        "tfnas/ops/graph.py": hasattr(Graph, kind) or kind == "pad",
        "tfnas/supernets/primitives.py":
            kind in supernets.KINDS or kind == "state",
        "tfnas/lowering/emitter.py":
            f"_{kind}" in methods or kind in emitter.CONVERTER_ONLY,
    }
    return [place for place, knows in places.items() if not knows]


@pytest.mark.parametrize("kind", primitives.KINDS)
def test_every_place_knows_every_kind(kind):
    assert not place_names(kind)


def test_the_runtime_gives_the_shape_of_the_table():
    silent = {*emitter.CONVERTER_ONLY, "flatten", "state"}
    for kind in {*primitives.KINDS} - silent:
        graph = one(kind)
        *_, last = graph_operators([graph], "int8", "none")
        assert last.outputs[0].shape == (1, *graph.output_shape), kind


def test_a_kind_that_nobody_knows_is_missed_in_every_place():
    assert len(place_names("brand_new")) == 4


@pytest.mark.parametrize("fn", primitives.ACTIVATIONS)
def test_every_activation_is_known_to_supernets_and_the_writer(fn):
    graph = Graph((8, 8, 4))
    graph.act("input", "x", fn)
    assert fn in supernets.ACTIVATIONS
    for dtype in ("float32", "int8"):
        assert graph_operators([graph], dtype, "none")


@pytest.mark.parametrize("kind", sorted({*primitives.KINDS} - {"state"}))
def test_keras_and_supernets_agree_with_the_table(kind):
    graph = one(kind)
    (node,) = graph.nodes
    words = np.array([[3]])
    x = {(): words, (4,): X[:, 0, 0], (1, 1, 4): X[:, :1, :1]}.get(
        graph.input_shape, X
    )
    layer = node.primitive.layer(
        keras, node.attrs, graph.width(node), "layer"
    )
    given = [x] * len(node.inputs)
    y = np.array(layer(given if len(given) > 1 else given[0], training=True))
    made = graph.variables(node)
    assert [(v.name, v.shape) for v in made] == [
        (v.name, tuple(v.shape)) for v in getattr(layer, "weights", [])
    ]
    if kind == "embed":
        y = y[:, 0]
        given = [words[:, 0]]
    assert y.shape[1:] == graph.output_shape
    if kind == "pad":  # the convolution pads
        return
    weights = [
        np.array(value)
        for value, variable in zip(layer.weights, made, strict=True)
        if variable.trainable
    ]
    run = supernets.run_node(node, given, weights, supernets.batch_norm)
    np.testing.assert_allclose(run, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fn", primitives.ACTIVATIONS)
def test_an_activation_is_one_function_in_keras_and_in_supernets(fn):
    act = primitives.KINDS["act"]
    layer = act.layer(keras, {"fn": fn}, 4, "layer")
    np.testing.assert_allclose(
        layer(4 * X), supernets.ACTIVATIONS[fn](4 * X), rtol=1e-5, atol=1e-6
    )
