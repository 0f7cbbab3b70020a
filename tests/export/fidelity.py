"""Is what was trained for int8 what the int8 file computes?"""

import numpy as np

from tfnas import data
from tfnas import export
from tfnas.export import qat

STEPS = 20
SETTINGS = qat.FineTuning(epochs=1, batch_size=16)


def digits(size):
    """Returns images for `STEPS` steps of training and some to compare on."""
    return data.load(
        {
            "name": "digits", "image_size": size,
            "limit_train": STEPS * SETTINGS.batch_size, "limit_test": 50,
            # With the usual values, pixels lie halfway between two integers.
            "mean": 101.3, "std": 71.9,
        }
    )


def check(tuned, blob, images):
    """Checks that a file is int8 only and gives what the twin gives.

    That is within a quantum in the mean and eight at most, or, where a value
    lies halfway and the two round it apart, within what a network of random
    weights makes of such quanta in the image. The images must be like those
    that gave the ranges, or all logits end at the edges of theirs and agree
    on nothing.
    """
    export.require_int8(blob)
    assert set(export.describe(blob)["tensor_dtypes"]) == {"int8", "int32"}
    network = export.TFLiteClassifier(blob)
    given, output = (
        details["quantization"][0]
        for details in (*network._runtime.inputs, *network._runtime.outputs)
    )
    expected = tuned(images).numpy()
    received = network.predict(images)
    levels = np.round(expected / output)
    edges = (levels == levels.min()) | (levels == levels.max())
    assert np.mean(edges) < 0.1
    assert len(np.unique(levels)) > 30

    sensitivity = np.abs(tuned(_nudged(images, given)) - expected)
    assert sensitivity.mean() > 0
    difference = np.abs(received - expected)
    assert difference.mean() < max(output, 1.5 * sensitivity.mean())
    assert difference.max() < max(8 * output, 2 * sensitivity.max())


def _nudged(images, quantum):
    """Returns images with one pixel of twenty moved by one quantum."""
    rng = np.random.default_rng(0)
    moves = rng.choice([-1, 1], images.shape) * (
        rng.random(images.shape) < 0.05
    )
    return (images + quantum * moves).astype(np.float32)
