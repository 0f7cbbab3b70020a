"""What is trained for int8 is what the int8 file computes."""

import dataclasses
import os

import numpy as np
import pytest

from tests.export import fidelity
from tests.export import networks
from tfnas import export
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.export import qat
from tfnas.export.placement import place

SETTINGS = fidelity.SETTINGS


@pytest.fixture(scope="module")
def digits():
    return fidelity.digits(16)


@pytest.fixture(scope="module")
def all_kinds(digits):
    """A network with layers of all kinds, its trained twin, their file."""
    model = networks.random_weights(networks.ALL_KINDS, seed=1)
    tuned = qat.quantize_aware(model, networks.ALL_KINDS, digits, SETTINGS)
    return model, tuned, qat.to_int8(tuned)


@pytest.fixture(scope="module")
def small():
    return networks.random_weights(networks.SMALL, seed=1)


@pytest.fixture(scope="module")
def tuned_small(digits, small):
    return qat.quantize_aware(small, networks.SMALL, digits, SETTINGS)


def _kernels(model):
    """Returns the kernels of a model by the class of their layer."""
    found = {}
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            name = type(layer).__name__
            found.setdefault(name, []).append(layer.kernel.numpy())
    return found


@pytest.mark.slow
def test_file_computes_what_was_trained(all_kinds, digits):
    _, tuned, blob = all_kinds
    fidelity.check(tuned, blob, digits.test.arrays()[0])


@pytest.mark.slow
def test_no_tensor_is_rescaled_on_its_way(all_kinds):
    ops = export.describe(all_kinds[2])["ops"]
    assert "QUANTIZE" not in ops and "DEQUANTIZE" not in ops
    assert ops["CONCATENATION"] == 1 and ops["HARD_SWISH"] == 4


def test_training_moves_the_weights_and_keeps_the_statistics(all_kinds):
    model, tuned, _ = all_kinds
    for layer in model.layers:
        if not layer.weights:
            continue
        weights = tuned.get_layer(f"quant_{layer.name}").weights
        for variable in layer.weights:
            # tf_keras calls it `depthwise_kernel` where Keras says `kernel`.
            name = f"{variable.name}:0"
            trained = next(w for w in weights if w.name.endswith(name))
            same = np.array_equal(variable, trained)
            assert same == variable.name.startswith("moving"), variable.path


def test_same_seed_gives_the_same_weights(digits, small, tuned_small):
    tuned = [tuned_small]
    for seed in (SETTINGS.seed, SETTINGS.seed + 1):
        settings = dataclasses.replace(SETTINGS, seed=seed)
        tuned.append(
            qat.quantize_aware(small, networks.SMALL, digits, settings)
        )
    weights = [
        np.concatenate([w.numpy().ravel() for w in one.trainable_weights])
        for one in tuned
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.slow
def test_file_may_take_and_give_floats(tuned_small):
    tuned = tuned_small
    floats = qat.to_int8(tuned, io="float32")
    export.require_int8(floats, float_io=True)
    images = networks.coloured_images(10, seed=5, size=16)
    np.testing.assert_allclose(
        export.TFLiteClassifier(floats).predict(images),
        export.TFLiteClassifier(qat.to_int8(tuned)).predict(images),
        atol=1e-5,
    )
    with pytest.raises(ConfigError, match="io='int16'"):
        qat.to_int8(tuned, io="int16")


def test_pruning_reaches_its_sparsity(digits, small):
    pruned = qat.prune(small, networks.SMALL, digits, 0.7, SETTINGS)
    kernels = _kernels(pruned)
    for kernel in kernels["Conv2D"] + kernels["Dense"]:
        assert np.mean(kernel == 0) == pytest.approx(0.7, abs=0.01)
    # The toolkit leaves these alone, and so the docs say.
    assert pruned.get_layer("b01_mbconv_depthwise").kernel.numpy().all()
    export.require_int8(
        export.to_tflite(pruned, "int8", digits.train.arrays()[0])
    )


def test_clustering_leaves_so_many_values(digits, small):
    clustered = qat.cluster(small, networks.SMALL, digits, 8, SETTINGS)
    kernels = _kernels(clustered)
    for kernel in kernels["Conv2D"] + kernels["Dense"]:
        assert len(np.unique(kernel)) <= 8
    depthwise = clustered.get_layer("b01_mbconv_depthwise").kernel.numpy()
    assert len(np.unique(depthwise)) == depthwise.size


def test_environment_is_left_as_it_was():
    assert "TF_USE_LEGACY_KERAS" not in os.environ


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 0}, "epochs=0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"batch_size": -1}, "batch_size=-1"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        qat.FineTuning(**change)


def test_what_cannot_be_tuned_is_refused(digits, small):
    with pytest.raises(ConfigError, match="sparsity=1.0"):
        qat.prune(small, networks.SMALL, digits, 1.0)
    with pytest.raises(ConfigError, match="clusters=1"):
        qat.cluster(small, networks.SMALL, digits, 1)
    with pytest.raises(ConfigError, match="takes images"):
        qat.quantize_aware(small, networks.SMALL, fidelity.digits(32))
    with pytest.raises(ConfigError, match="Expected the model of network"):
        qat.quantize_aware(small, networks.ALL_KINDS, digits)
    with pytest.raises(Diverged, match="lr=1e"):
        settings = qat.FineTuning(epochs=1, batch_size=16, lr=1e30)
        qat.prune(small, networks.SMALL, digits, settings=settings)


def test_cells_of_nasbench201_are_refused():
    with pytest.raises(ConfigError, match="after training only"):
        place(spaces.get("nasbench201").sample(0))


def test_rounding_is_where_the_file_rounds():
    """By hand: stem, a residual block and a join of two branches."""
    arch = Arch(
        (
            Block("conv", 3, 8, attrs={"k": 3}),
            Block("mbconv", 8, 8, 1, attrs={"k": 3, "e": 2}),
            Block(
                "shrink_cell", 8, 16,
                attrs={"graph": "sep.conv.conv:0-1.0-2", "f": 8},
            ),
            Block("classifier", 16, 10),
        ),
        (16, 16, 3),
        10,
    )
    groups = place(arch).groups
    assert list(groups) == [
        "image_int8", "b00_conv_conv_act", "b01_mbconv_expand_act",
        "b01_mbconv_depthwise_act", "b01_mbconv_project_bn", "b01_mbconv_sum",
        "b02_shrink_cell_n1_conv_bn", "b02_shrink_cell_n2_conv_bn",
        "b02_shrink_cell_shortcut_bn", "b02_shrink_cell_sum",
        "b03_classifier_pool", "b03_classifier_dense",
    ]
    branches = [groups[f"b02_shrink_cell_n{i}_conv_bn"] for i in (1, 2)]
    assert branches[0] == branches[1]
    assert len(set(groups.values())) == len(groups) - 1
