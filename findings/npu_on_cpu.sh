#!/usr/bin/env bash
# "Fully accelerated: True" is said of a run that no NPU took part in.
#
# litert-benchmark, a console program of the ai-edge-litert wheel, is asked for
# the NPU on a machine that has none. It lists the accelerators as NPU | CPU, runs
# on the CPU, says that the model is fully accelerated, and ends with 0: XNNPACK
# counts as an accelerator. The same with --no_cpu ends with an error, so only
# a run without the CPU is proof of another processor.
#
# Seen with: ai-edge-litert 2.3.0, CPython 3.11, Linux x86_64, no NPU.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q "ai-edge-litert==2.3.0" "flatbuffers==25.12.19" numpy

# A model of one operator, x + x.
env/bin/python - <<'PY'
import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def tensor(name):
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name, [1, 8, 8, 16], 0
    made.type = schema.TensorType.FLOAT32
    return made


add, op = schema.OperatorCodeT(), schema.OperatorT()
add.builtinCode = add.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
add.version = 1
op.opcodeIndex, op.inputs, op.outputs = 0, [0, 0], [1]
op.builtinOptions = schema.AddOptionsT()
op.builtinOptionsType = schema.BuiltinOptions.AddOptions
graph, model = schema.SubGraphT(), schema.ModelT()
graph.tensors, graph.operators = [tensor("x"), tensor("y")], [op]
graph.inputs, graph.outputs = [0], [1]
model.version, model.operatorCodes = 3, [add]
model.subgraphs, model.buffers = [graph], [schema.BufferT()]
builder = flatbuffers.Builder()
builder.Finish(model.Pack(builder), b"TFL3")
open("model.tflite", "wb").write(builder.Output())
PY

run() {
    code=0
    env/bin/litert-benchmark --model model.tflite --num_runs 3 "$@" \
        > out.txt 2>&1 || code=$?
}

run --use_npu
grep -E "Accelerators:|Fully accelerated: +True|XNNPACK delegate" out.txt
echo "with the CPU allowed: exit $code"
((code == 0))
grep -qE "Accelerators: .*NPU" out.txt
grep -qE "Fully accelerated: +True" out.txt
grep -q "Created TensorFlow Lite XNNPACK delegate for CPU" out.txt

run --use_npu --no_cpu --require_full_delegation
grep "not accelerated" out.txt
echo "without the CPU: exit $code"
((code != 0))
grep -q "Some ops are not accelerated" out.txt
echo "as described"
