"""Sums of which one operand hardly counts stay in one piece."""

import keras
import numpy as np
import pytest

from tests.export.test_calibration import IMAGES
from tests.export.test_calibration import L
from tests.export.test_calibration import block
from tfnas import export
from tfnas.export.lowering.scales import bring_together
from tfnas.export.runtime import open_interpreter


def pieces(blob):
    return export.describe(blob)["delegate_nodes"]


def answers(blob):
    runner = open_interpreter(blob)
    given, taken = (
        details[0]
        for details in (
            runner.get_input_details(), runner.get_output_details()
        )
    )
    scale, zero = given["quantization"]
    steps, offset = taken["quantization"]
    found = []
    for image in IMAGES:
        value = np.clip(np.rint(image[None] / scale + zero), -128, 127)
        runner.set_tensor(given["index"], value.astype(np.int8))
        runner.invoke()
        result = runner.get_tensor(taken["index"]).astype(float)
        found.append((result - offset) * steps)
    return np.concatenate(found)


@pytest.mark.parametrize("join", [L.Add, L.Subtract])
@pytest.mark.parametrize("factor", [2e3, 1e5, 1e8])
def test_sums_of_unlike_operands_stay_in_one_piece(join, factor):
    model = block(join, factor)
    plain = export.to_tflite(model, "int8", IMAGES, lower="none")
    made = export.convert(model, "int8", IMAGES)
    assert pieces(plain) > 1  # or there would be nothing to mend
    assert pieces(made.blob) == 1
    assert made.lowering["applied"] == {"far_scales": 1}
    expected = model.predict(IMAGES, verbose=0)
    noise = np.std(answers(made.blob) - expected) / np.std(expected)
    assert noise < 0.02
    step = open_interpreter(plain).get_output_details()[0]["quantization"][0]
    assert np.abs(answers(made.blob) - answers(plain)).max() < 2.5 * step


def test_an_operand_that_others_need_too_is_copied():
    model = block(L.Add, 1e5)
    twice = keras.Model(
        model.input, [model.output, model.get_layer("first").output]
    )
    made = export.convert(twice, "int8", IMAGES)
    assert made.lowering["applied"] == {"far_scales": 1}
    assert export.describe(made.blob)["ops"]["QUANTIZE"] >= 1
    assert pieces(made.blob) == 1


def test_usual_files_are_left_alone():
    blob = export.to_tflite(block(L.Add, 30), "int8", IMAGES)
    again, mended = bring_together(blob)
    assert mended == 0
    assert again is blob


def test_a_constant_is_rescaled_itself():
    inputs = keras.Input((12, 12, 3))
    x = L.Conv2D(8, 3, name="large")(inputs)
    x = L.BatchNormalization()(L.ReLU()(x))  # a product, then a small sum
    model = keras.Model(inputs, L.Conv2D(4, 3)(L.MaxPooling2D(2)(x)))
    layer = model.get_layer("large")
    layer.set_weights([value * 1e6 for value in layer.get_weights()])
    norm = next(x for x in model.layers if "norm" in x.name)
    norm.beta.assign(np.linspace(-1, 1, 8))
    made = export.convert(model, "int8", IMAGES)
    assert made.lowering["applied"].get("far_scales") == 1
    assert pieces(made.blob) == 1
    ops = export.describe(made.blob)["ops"]
    assert "QUANTIZE" not in ops
