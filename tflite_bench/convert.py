"""Makes models with Keras and the TFLite converter, in its own process.

    python -m tflite_bench.convert jobs.json

For operators that `writer` cannot write. TensorFlow stays out of the process
that measures: it would take memory, threads, and a second per operator.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import DeviceError

_SAMPLES = 4  # of the range of activations; they change no latency


def convert(jobs: Mapping[str, Any], dtype: str) -> None:
    """Makes models in a process of its own.

    Args:
        jobs: Path of the `.tflite` to write, to an `Arch`, or to the
            latency-table keys of the operators to put in series.
        dtype: `"float32"` or `"int8"`.

    Raises:
        DeviceError: when the process fails, with the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "jobs.json"
        values = {
            target: job if isinstance(job, tuple) else job.to_json()
            for target, job in jobs.items()
        }
        path.write_text(json.dumps({"dtype": dtype, "jobs": values}))
        done = subprocess.run(
            [sys.executable, "-m", "tflite_bench.convert", str(path)],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    if done.returncode:
        raise DeviceError(
            f"The converter failed with exit code {done.returncode}:\n"
            f"{done.stderr[-2000:]}"
        )


def main(path: str) -> None:
    """Does the jobs of a file that `convert` wrote."""
    todo = json.loads(pathlib.Path(path).read_text())
    chains = {target: _blocks(job) for target, job in todo["jobs"].items()}
    for target, (blocks, shape) in chains.items():
        content = convert_model(keras_model(blocks, shape), todo["dtype"])
        pathlib.Path(target).write_bytes(content)


def _blocks(job: list | dict) -> tuple[Sequence[Block], tuple[int, ...]]:
    if isinstance(job, list):
        block, shape = ops.parse_lut_key(job[0])
        return [block] * len(job), shape
    arch = Arch.from_json(job)
    return arch.blocks, arch.input_shape


def keras_model(blocks: Sequence[Block], shape: tuple[int, ...]) -> Any:
    """Returns blocks in series as a Keras model of batch 1.

    Each recurrent block adds an input, its state.

    Args:
        blocks: Blocks of registered ops.
        shape: Shape of the first one's input.
    """
    import keras

    first = ops.lower(blocks[0], shape).input_shape
    dtype = "float32" if first else "int32"  # a word is a number
    x = keras.Input(batch_shape=(1, *first), dtype=dtype, name="in00")
    inputs = [x]
    for i, block in enumerate(blocks):
        graph = ops.lower(block, shape)
        states = [
            keras.Input(
                batch_shape=(1, *graph.shapes[node.name]), dtype="float32",
                name=f"in{number:02d}",
            )
            for number, node in enumerate(
                (node for node in graph.live if node.kind == "state"),
                len(inputs),
            )
        ]
        x = ops.build(block, shape, keras, f"b{i:02d}")(x, *states)
        inputs += states
        shape = graph.output_shape
    return keras.Model(inputs, x)


def convert_model(model: Any, dtype: str) -> bytes:
    """Converts a Keras model of fixed batch size.

    Args:
        model: The model; its weights are replaced by random ones, so that
            the converter can simplify none of them away.
        dtype: `"float32"` or `"int8"`.

    Returns:
        The content of a `.tflite` file.
    """
    import tensorflow as tf

    rng = np.random.default_rng(0)
    model.set_weights(
        [w + rng.uniform(0.0, 0.1, w.shape) for w in model.get_weights()]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if dtype == "int8":

        def samples() -> Iterator[dict[str, np.ndarray]]:
            # By name: the converter has an order of its own.
            for _ in range(_SAMPLES):
                yield {
                    x.name: rng.standard_normal(x.shape).astype(x.dtype)
                    if x.dtype == "float32" else np.zeros(x.shape, x.dtype)
                    for x in model.inputs
                }

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    return converter.convert()


if __name__ == "__main__":
    main(sys.argv[1])
