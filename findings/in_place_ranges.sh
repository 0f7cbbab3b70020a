#!/usr/bin/env bash
# In a residual block, int8 calibration gives the branch the range of the sum.
#
# TensorFlow's converter calibrates with an interpreter that writes an inner
# sum over its first operand when nobody else needs that; the calibrator logs
# operands once more after the operator ran, and takes the sum for a value of
# the branch. A branch of a hundredth of the shortcut's size is then rounded in
# steps a hundred times too wide. A sum that is the output of the network is
# not written in place, and the same branch has its own scale.
#
# Seen with: tensorflow 2.21.0, CPython 3.11, Linux x86_64 (also reported as
# issue 127842 of TensorFlow in September 2026).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q "tensorflow==2.21.0" "ai-edge-litert==2.3.0"

TF_CPP_MIN_LOG_LEVEL=3 env/bin/python - 2> /dev/null <<'PY'
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

rng = np.random.default_rng(0)
images = rng.random((32, 1, 16, 16, 8), np.float32)
branch = tf.constant(rng.standard_normal((3, 3, 8, 8)), tf.float32)
shortcut = tf.constant(100 * rng.standard_normal((1, 1, 8, 8)), tf.float32)


def scale(inner):
    """The scale of the branch, by the one that its values ask for."""

    def network(x):
        y = tf.nn.conv2d(x, branch, 1, "SAME")
        y += tf.nn.conv2d(x, shortcut, 1, "SAME")
        return tf.nn.conv2d(y, branch, 1, "SAME") if inner else y

    function = tf.function(
        network, input_signature=[tf.TensorSpec([1, 16, 16, 8], tf.float32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x] for x in images)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8
    ]
    graph = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(converter.convert())
    ).subgraphs[0]
    codes = {
        graph.tensors[op.outputs[0]].name: op for op in graph.operators
    }
    shapes = {
        name: graph.tensors[op.inputs[1]].shape.tolist()
        for name, op in codes.items()
        if len(op.inputs) > 2
    }
    first = next(n for n, s in shapes.items() if s == [8, 3, 3, 8])
    index = codes[first].outputs[0]
    values = [tf.nn.conv2d(x, branch, 1, "SAME") for x in images]
    true = (np.max(values) - np.min(values)) / 255
    return graph.tensors[index].quantization.scale[0] / true


print(f"tensorflow {tf.__version__}")
inner, last = scale(True), scale(False)
print(f"an inner sum: the branch's scale is {inner:.1f} times too wide")
print(f"a sum at the end: {last:.2f} times")
assert inner > 10 and 0.99 < last < 1.01
PY
echo "as described"
