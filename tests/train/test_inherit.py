"""Inherited weights are the parent's where both networks have them."""

import numpy as np
import pytest

from tests import shrink_nets
from tfnas.derive import build_model
from tfnas.ops.masked_dag import MaskedDag
from tfnas.train.inherit import channels
from tfnas.train.inherit import inherit

SPACE = shrink_nets.space(size=8)
COMPLETE = SPACE.complete


def arch(*edges):
    return SPACE.from_dag(MaskedDag(SPACE.node_ops, tuple(sorted(edges))))


def arrays(model):
    return {v.path: np.array(v) for v in model.weights}


def pair(parent, child):
    """Models with all weights random; the child then inherits."""
    models = [build_model(parent), build_model(child)]
    for seed, model in enumerate(models):
        shrink_nets.randomise(model, seed)
    inherit(models[1], child, parent, arrays(models[0]))
    return models


def silence(model, network, source, target):
    """Makes the target node of every cell deaf to the source node.

    Its convolution no longer sees the channels that the source made.
    """
    for name, (taken, _) in channels(network).items():
        if name.endswith(f"_n{target}_conv"):
            cell = name.removesuffix(f"_n{target}_conv")
            from_source = [
                i for i, (layer, *_) in enumerate(taken)
                if layer == f"{cell}_n{source}_conv"
            ]
            assert len(from_source) == 4
            kernel = np.array(model.get_layer(name).kernel)
            kernel[:, :, from_source] = 0
            model.get_layer(name).kernel.assign(kernel)


@pytest.mark.parametrize(
    "edges, removed",
    [
        (COMPLETE.edges, (1, 2)),
        (COMPLETE.edges, (1, 3)),
        (((0, 1), (0, 3), (1, 2), (1, 3)), (1, 3)),  # two leaves
    ],
)
def test_what_the_parent_did_not_use_can_go(edges, removed):
    """Where the parent ignores an edge, the child computes the same."""
    parent = arch(*edges)
    child = arch(*(set(edges) - {removed}))
    models = [build_model(parent), build_model(child)]
    for seed, model in enumerate(models):
        shrink_nets.randomise(model, seed)
    silence(models[0], parent, *removed)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3))
    expected = np.array(models[0](x))
    assert np.abs(np.array(models[1](x)) - expected).max() > 0.1
    inherit(models[1], child, parent, arrays(models[0]))
    np.testing.assert_allclose(models[1](x), expected, rtol=1e-4, atol=1e-4)


def test_an_equal_network_inherits_everything():
    parent, child = pair(arch(*COMPLETE.edges), arch(*COMPLETE.edges))
    for name, value in arrays(parent).items():
        np.testing.assert_array_equal(arrays(child)[name], value)


def test_a_new_leaf_brings_new_channels_and_leaves_the_old_ones():
    """Without 2-3, node 2 is a leaf beside 3: its channels come first."""
    before, after = COMPLETE.edges, set(COMPLETE.edges) - {(2, 3)}
    parent, child = pair(arch(*before), arch(*after))
    fresh = build_model(arch(*after))
    shrink_nets.randomise(fresh, 1)
    old, new, first = arrays(parent), arrays(child), arrays(fresh)
    layer = "b02_shrink_cell_n1_conv/kernel"  # takes the first cell's output
    assert (old[layer].shape[2], new[layer].shape[2]) == (4, 8)
    np.testing.assert_array_equal(new[layer][:, :, 4:], old[layer])
    np.testing.assert_array_equal(new[layer][:, :, :4], first[layer][:, :, :4])
    # Of the first projection, 8 > 4 and 8 > 8 channels.
    layer = "b01_shrink_cell_shortcut/kernel"
    np.testing.assert_array_equal(new[layer][..., 4:], old[layer])
    np.testing.assert_array_equal(new[layer][..., :4], first[layer][..., :4])
    layer = "b01_shrink_cell_shortcut_bn/moving_mean"
    np.testing.assert_array_equal(new[layer][4:], old[layer])
    np.testing.assert_array_equal(new[layer][:4], first[layer][:4])
    layer = "b04_classifier_dense/kernel"
    np.testing.assert_array_equal(new[layer][4:], old[layer])
    layer = "b04_classifier_dense/bias"
    np.testing.assert_array_equal(new[layer], old[layer])


def test_every_weight_has_its_channels():
    for seed in range(10):
        network = SPACE.sample(seed)
        named = channels(network)
        for layer in build_model(network).layers:
            for weight in layer.weights:
                taken, given = named[layer.name]
                assert len(set(taken)) == len(taken)
                if len(weight.shape) == 1:
                    assert weight.shape == (len(given),)
                else:
                    assert weight.shape[-2:] == (len(taken), len(given))


def test_a_network_without_edges_inherits_its_stem():
    parent, child = pair(arch((0, 1)), arch())
    np.testing.assert_array_equal(
        arrays(child)["b00_conv_conv/kernel"],
        arrays(parent)["b00_conv_conv/kernel"],
    )
