#!/usr/bin/env bash
# TFLiteConverter.from_concrete_functions takes the object that owns the
# variables as its second argument. Guess before the run: a Keras 3 model given
# there is frozen, as a tf.Module is. Seen (tensorflow 2.21.0, keras 3.15.1,
# ai-edge-litert 2.3.0): the file keeps every weight as a variable that nothing
# assigns; no error and no warning names it, and its answers are not the
# model's. Without the second argument the same call freezes the weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet \
    tensorflow==2.21.0 keras==3.15.1 ai-edge-litert==2.3.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - 2> log.txt <<'PYTHON'
import importlib.metadata

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

for name in ("tensorflow", "keras", "ai-edge-litert"):
    print(name, importlib.metadata.version(name))
keras.utils.set_random_seed(0)
image = keras.Input((8, 8, 3))
x = keras.layers.GlobalAveragePooling2D()(image)
model = keras.Model(image, keras.layers.Dense(4)(x))
function = tf.function(
    lambda images: model(images),
    input_signature=[tf.TensorSpec((1, 8, 8, 3))],
).get_concrete_function()
images = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)


def look(*owner):
    blob = tf.lite.TFLiteConverter.from_concrete_functions(
        [function], *owner
    ).convert()
    runtime = Interpreter(model_content=blob)
    runtime.allocate_tensors()
    ops = [op["op_name"] for op in runtime._get_ops_details()]
    runtime.set_tensor(runtime.get_input_details()[0]["index"], images)
    runtime.invoke()
    answer = runtime.get_tensor(runtime.get_output_details()[0]["index"])
    same = np.allclose(answer, model(images), atol=1e-4)
    return ops.count("READ_VARIABLE"), ops.count("ASSIGN_VARIABLE"), same


without, beside = look(), look(model)
for name, seen in (("function alone", without), ("model beside", beside)):
    print(f"{name}: {seen[0]} variables read, {seen[1]} assigned, "
          f"the model's answers: {seen[2]}")
assert without == (0, 0, True), "the function alone is no longer frozen"
assert beside == (2, 0, False), "this has changed: look at it again"
print("as found")
PYTHON
