"""Checks that every vision network has to pass, one function for each.

A check takes a `Subject` and a folder to write into, and asserts. `CHECKS`
lists them by name: `tests/applications/test_battery.py` runs each of them on
each network, so that another check is another function here.
"""

import dataclasses

import keras
import numpy as np

from tests.export import fidelity
from tfnas import Arch
from tfnas import applications
from tfnas import derive
from tfnas import export
from tfnas.export import qat

STATISTICS = 96  # fewer images leave channels of hardly any variance
CALIBRATION, IMAGES = 24, 6


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network under the contract of Keras applications.

    Args:
        name: Name of the application, or of the space it was searched in.
        arch: The network, for the images it is tested with.
    """

    name: str
    arch: Arch

    def build(self, **arguments):
        """Builds it as a user does, for the images it is tested with."""
        arguments.setdefault("input_shape", self.arch.input_shape)
        arguments.setdefault("classes", self.arch.classes)
        if self.name in applications.names():
            return applications.get(self.name, **arguments)
        return applications.from_arch(self.arch, **arguments)

    def images(self, n, seed=0):
        """Returns images that differ in colour and in their noise."""
        rng = np.random.default_rng([seed, n])
        colours = rng.normal(0, 1, (n, 1, 1, 3))
        noise = rng.normal(0, 0.5, (n, *self.arch.input_shape))
        return (colours + noise).astype(np.float32)

    def normalised(self, **arguments):
        """Builds it with batch norms that know the statistics of images.

        Without, random weights make logits that are huge or all alike.
        """
        keras.utils.set_random_seed(0)
        model = self.build(**arguments)
        norms = [
            layer for layer in model.layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        kept = [layer.momentum for layer in norms]
        for layer in norms:
            layer.momentum = 0.0
        model(self.images(STATISTICS), training=True)
        for layer, momentum in zip(norms, kept, strict=True):
            layer.momentum = momentum
        return model


def check_shapes(subject, folder):
    """With and without top it gives what Keras applications give."""
    classes = subject.arch.classes
    assert subject.build().output_shape == (None, classes)
    other = subject.build(classes=7, classifier_activation="softmax")
    probabilities = np.asarray(other(subject.images(2)))
    assert probabilities.shape == (2, 7)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    body = subject.build(include_top=False)
    batch, *side, width = body.output_shape
    assert batch is None and len(side) == 2
    for pooling in ("avg", "max"):
        pooled = subject.build(include_top=False, pooling=pooling)
        assert pooled.output_shape == (None, width)


def check_endpoints(subject, folder):
    """It gives feature maps of falling resolution in one call."""
    network = subject.name
    if network not in applications.names():
        network = subject.arch
    model = applications.feature_extractor(
        network, input_shape=subject.arch.input_shape
    )
    maps = model(subject.images(1))
    assert len(maps) > 1
    for name, value in maps.items():
        stride = int(name.removeprefix("stride_"))
        assert value.shape[1] == -(-subject.arch.input_shape[0] // stride)


def check_save_load(subject, folder):
    """A saved model loads without code of ours and computes the same."""
    model = subject.normalised()
    model.save(folder / "model.keras")
    again = keras.models.load_model(folder / "model.keras", safe_mode=True)
    image = subject.images(1)
    np.testing.assert_array_equal(model(image), again(image))


def check_gradient(subject, folder):
    """Every trainable variable has a finite gradient, most not zero."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = subject.build(classifier_activation=None)
    images = subject.images(4)
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                np.arange(4), logits
            )
        )
    variables = [v.value for v in model.trainable_variables]
    gradients = tape.gradient(loss, variables)
    assert all(np.isfinite(g).all() for g in gradients)  # None is not finite
    assert np.mean([np.any(g) for g in gradients]) > 0.9


def check_float_parity(subject, folder):
    """Its float `.tflite` gives its logits to 1e-4."""
    model = subject.normalised(classifier_activation=None)
    blob = export.to_tflite(model)
    images = subject.images(IMAGES, seed=1)
    assert np.std(model(images), axis=0).max() > 0.01  # they say something
    assert export.parity(model, blob, images).max_abs < 1e-4


def check_int8(subject, folder):
    """Its int8 `.tflite` is int8 from end to end, and close to it."""
    model = subject.normalised(classifier_activation=None)
    blob = export.to_tflite(model, "int8", subject.images(CALIBRATION))
    export.require_int8(blob)
    assert set(export.describe(blob)["tensor_dtypes"]) == {"int8", "int32"}
    images = subject.images(IMAGES, seed=1)
    parity = export.parity(model, blob, images)
    assert parity.mean_abs < 0.5 * np.std(model(images))


def check_qat(subject, folder):
    """Trained for int8, its file is small and gives what was trained."""
    arch = derive.with_classes(subject.arch, 10)  # there are ten digits
    images = fidelity.digits(arch.input_shape[0])
    model = dataclasses.replace(subject, arch=arch).normalised(
        classifier_activation=None
    )
    tuned = qat.quantize_aware(model, arch, images, fidelity.SETTINGS)
    blob = qat.to_int8(tuned)
    fidelity.check(tuned, blob, images.test.arrays()[0])
    assert len(blob) < 0.6 * len(export.to_tflite(model))


CHECKS = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_shapes, check_endpoints, check_save_load, check_gradient,
        check_float_parity, check_int8, check_qat,
    )
}
