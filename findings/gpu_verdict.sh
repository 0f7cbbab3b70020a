#!/usr/bin/env bash
# TensorFlow's analyzer of .tflite files has a check for the GPU delegate.
# Guess before the run: it names the operators that this delegate has no kernel
# for. Seen with 2.21.0: every file "looks compatible", also one whose only
# operator is an ARG_MAX, a CONV_3D, or one of TensorFlow's own (FlexErf), none
# of which stand in the delegate's list (gpu_compatibility.cc).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet "tensorflow-cpu==2.21.0"
seen=$(cd "$folder" && TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" - 2> /dev/null <<'PYTHON'
import contextlib
import io

import tensorflow as tf

IMAGE = tf.TensorSpec([1, 8, 8, 4], tf.float32)
KERNEL = tf.ones([3, 3, 3, 1, 2])
MODELS = {
    "RELU": tf.nn.relu,
    "ARG_MAX": lambda x: tf.argmax(x, -1),
    "CONV_3D": lambda x: tf.nn.conv3d(x[..., None], KERNEL, [1] * 5, "SAME"),
    "FlexErf": tf.math.erf,
}
print(tf.__version__)
for name, function in MODELS.items():
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(function).get_concrete_function(IMAGE)]
    )
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS
    ]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        content = converter.convert()
        tf.lite.experimental.Analyzer.analyze(
            model_content=content, gpu_compatibility=True
        )
    assert name in said.getvalue()
    print(name, "looks compatible" in said.getvalue(),
          "WARNING" in said.getvalue())
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "2.21.0
RELU True False
ARG_MAX True False
CONV_3D True False
FlexErf True False" ]]
echo "as found"
